#include "daemon/json_view.h"

#include <string.h>

#include "common/js.h"
#include "daemon/request.h"
#include "daemon/restore_wset.h"

static struct json_object *add_object(struct json_object *o, const char *key)
{
	struct json_object *member = json_object_new_object();

	json_object_object_add(o, key, member);
	return member;
}

static void add_socket(struct json_object *o, const struct restore *r)
{
	struct json_object *socket = add_object(o, "socket");
	struct json_object *backend, *peer;
	char mode[8];

	snprintf(mode, sizeof(mode), "%04o", (unsigned)r->spec.socket_mode);
	js_add_string(socket, "path", r->rec.socket_path);
	js_add_string(socket, "mode", mode);
	js_add_u64(socket, "uid", r->spec.socket_uid);
	js_add_u64(socket, "gid", r->spec.socket_gid);
	peer = add_object(o, "peer");
	js_add_u64(peer, "uid", r->spec.peer_uid);
	if (r->spec.peer_pid)
		js_add_u64(peer, "pid", r->spec.peer_pid);
	else
		json_object_object_add(peer, "pid", NULL);
	/* Can be sent to Firecracker as it is. */
	backend = add_object(o, "mem_backend");
	js_add_string(backend, "backend_type", "Uffd");
	js_add_string(backend, "backend_path", r->rec.socket_path);
}

static void add_processes(struct json_object *o, const struct restore *r)
{
	struct json_object *worker = add_object(o, "worker");

	if (r->rec.vmm_pid || r->rec.connected_ms) {
		struct json_object *vmm = add_object(o, "vmm");

		if (r->rec.vmm_pid)
			js_add_u64(vmm, "pid", r->rec.vmm_pid);
		else
			json_object_object_add(vmm, "pid", NULL);
		js_add_u64(vmm, "uid", r->rec.vmm_uid);
	} else {
		json_object_object_add(o, "vmm", NULL);
	}
	js_add_u64(worker, "pid", r->rec.worker_pid);
	js_add_u64(worker, "restarts", r->rec.worker_restarts);
	js_add_string(worker, "release", r->worker ? r->worker->release : NULL);
}

/* By enum pagemap_short. A worker may have written any value there: others mean nothing. */
static const char *short_of(const struct pagemap_view *v)
{
	static const char *const names[] = {
		[PAGEMAP_SHORT_OF_MEMORY] = "memory",
		[PAGEMAP_SHORT_OF_HUGE] = "huge-pages",
	};

	return v->head.short_of < ARRAY_LEN(names) ? names[v->head.short_of] : NULL;
}

static void add_memory(struct json_object *o, const struct restore *r, const struct pagemap_view *v)
{
	struct json_object *memory = add_object(o, "memory");
	const uint64_t *pages = v->stats.pages;
	uint64_t page = r->rec.page_bytes;

	js_add_u64(memory, "size_bytes", r->rec.size_bytes);
	js_add_u64(memory, "page_bytes", page);
	js_add_u64(memory, "total_bytes", r->rec.memory_bytes);
	js_add_u64(memory, "resident_bytes", (pages[PAGE_PRESENT] + pages[PAGE_ZEROED]) * page);
	js_add_u64(memory, "zero_bytes", pages[PAGE_ZEROED] * page);
	js_add_u64(memory, "removed_bytes", pages[PAGE_REMOVED] * page);
	js_add_string(memory, "short_of", proto_state_live(r->rec.state) ? short_of(v) : NULL);
}

static void add_counters(struct json_object *o, const struct pagemap_view *v)
{
	static const struct {
		const char *object, *name;
		size_t at;
	} counters[] = {
#define X(object, name, field) {object, name, offsetof(struct pagemap_stats, field)}
		X("faults", "count", faults),
		X("faults", "written", faults_written),
		X("faults", "served", faults_served),
		X("faults", "zero", faults_zero),
		X("faults", "present", faults_present),
		X("faults", "deferred", faults_deferred),
		X("faults", "left", faults_left),
		X("faults", "overflows", wakes_overflow),
		X("events", "remove", events_remove),
		X("events", "unmap", events_unmap),
		X("events", "remap", events_remap),
		X("events", "fork", events_fork),
		X("installed", "data_bytes", installed_bytes),
		X("installed", "zero_bytes", zero_installed_bytes),
		X("errors", "source", source_errors),
		X("errors", "refused_peers", refused_peers),
		X("errors", "page_states", states_corrected),
#undef X
	};

	for (size_t i = 0; i < ARRAY_LEN(counters); i++) {
		const char *base = (const char *)&v->stats;
		struct json_object *group;
		uint64_t value;

		if (!json_object_object_get_ex(o, counters[i].object, &group))
			group = add_object(o, counters[i].object);
		memcpy(&value, base + counters[i].at, sizeof(value));
		js_add_u64(group, counters[i].name, value);
	}
}

static const char *prefetch_state(const struct restore *r, const struct pagemap_view *v)
{
	if (r->rec.prefetch == PREFETCH_NONE)
		return "off";
	if (r->rec.complete || v->head.prefetch_done)
		return "done";
	if (r->rec.prefetch_held || r->rec.paused)
		return "paused";
	if (r->rec.state != STATE_SERVING)
		return "idle";
	if (v->head.prefetch_limit != LIMIT_NONE)
		return "limited";
	/* Without a lease nothing is prefetched; a worker that has not asked is not waiting. */
	if (r->claim.state == CLAIM_NONE)
		return "idle";
	return r->claim.state == CLAIM_WAITING ? "queued" : "running";
}

static void add_prefetch(struct json_object *o, const struct restore *r,
			 const struct pagemap_view *v)
{
	struct json_object *prefetch = add_object(o, "prefetch");
	const char *state = prefetch_state(r, v);
	bool limited = strcmp(state, "limited") == 0;

	js_add_string(prefetch, "mode", spec_prefetch_names[r->rec.prefetch]);
	js_add_string(prefetch, "state", state);
	js_add_string(prefetch, "reason",
		      limited ? pagemap_limit_texts[v->head.prefetch_limit] : NULL);
	js_add_u64(prefetch, "rate_bytes_per_s", r->rec.rate_bytes_per_s);
	js_add_u64(prefetch, "max_resident_bytes", r->rec.max_resident_bytes);
	js_add_bool(prefetch, "zero_pages", r->spec.zero_pages);
	js_add_u64(prefetch, "done_bytes", v->stats.prefetch_bytes);
	js_add_u64(prefetch, "total_bytes", r->rec.memory_bytes);
}

static void add_working_set(struct json_object *o, const struct restore *r, const struct spec *spec)
{
	struct json_object *set = add_object(o, "working_set");

	js_add_bool(set, "record", r->spec.record);
	js_add_string(set, "path", spec ? spec->wset_path : NULL);
	js_add_string(set, "state", restore_wset_state(r));
	js_add_u64(set, "pages", r->rec.wset_pages);
}

static void add_policies(struct json_object *o, const struct restore *r)
{
	char timeout[32];

	snprintf(timeout, sizeof(timeout), "%llums",
		 (unsigned long long)r->spec.connect_timeout_ms);
	js_add_string(o, "connect_timeout", timeout);
	js_add_string(o, "when_complete", spec_complete_names[r->spec.when_complete]);
	js_add_string(o, "on_failure", spec_failure_names[r->spec.on_failure]);
}

struct json_object *json_view_restore(const struct restore *r)
{
	struct json_object *o = json_object_new_object();
	struct pagemap_view view;
	struct request request;
	struct err err;

	/* A request that cannot be read is shown as null. */
	if (request_open(r, &request, &err))
		request = (struct request){0};
	/* The counters of a page map that cannot be read are shown as 0. */
	if (restore_view(r, &view, &err))
		memset(&view, 0, sizeof(view));
	js_add_string(o, "id", r->rec.id);
	js_add_string(o, "tenant", r->rec.tenant);
	js_add_string(o, "key", r->rec.key);
	js_add_string(o, "state", proto_state_name(r->rec.state));
	js_add_string(o, "reason", r->rec.reason[0] ? r->rec.reason : NULL);
	js_add_u64(o, "revision", r->rec.revision);
	js_add_bool(o, "complete", r->rec.complete);
	js_add_bool(o, "paused", r->rec.paused);
	json_object_object_add(o, "snapshot",
			       request.spec ? spec_snapshot_json(request.spec) : NULL);
	add_socket(o, r);
	add_processes(o, r);
	add_memory(o, r, &view);
	add_counters(o, &view);
	add_prefetch(o, r, &view);
	add_working_set(o, r, request.spec);
	add_policies(o, r);
	js_add_time(o, "created_at", r->rec.created_ms);
	js_add_time(o, "connected_at", r->rec.connected_ms);
	js_add_time(o, "ended_at", r->rec.ended_ms);
	request_close(&request);
	return o;
}

struct json_object *json_view_event(const struct store_event *e)
{
	struct json_object *o = json_object_new_object();
	struct err err;
	struct json_object *data = e->data ? js_parse(e->data, strlen(e->data), false, &err) : NULL;

	js_add_u64(o, "seq", e->seq);
	js_add_time(o, "time", e->time_ms);
	js_add_string(o, "type", e->type);
	js_add_string(o, "tenant", e->tenant);
	js_add_string(o, "restore", e->restore);
	json_object_object_add(o, "data", data ? data : json_object_new_object());
	return o;
}
