#include "daemon/restores.h"

#include <string.h>
#include <uuid/uuid.h>

#include "daemon/recording.h"
#include "daemon/recover.h"
#include "daemon/steer.h"
#include "daemon/view.h"

#define LIST_DEFAULT 100
#define LIST_MAX 1000
#define RUNS_DEFAULT 10000
#define RUNS_MAX 50000
#define WAIT_MAX_MS (300 * 1000)
#define GRACE_MAX_MS (300 * 1000)
/* What a stop takes beyond its grace: a worker that does not leave is killed meanwhile. */
#define STOP_MS (LIVE_LEAVE_MS + 2000)
#define PAUSE_MS 30000
#define RESTART_MS 30000

/* ---- list ---- */

struct filter {
	const char *tenant;
	enum restore_state state; /* STATE_NONE = any */
	uint64_t limit;
	const char *after;
};

static int read_filter(struct call *c, struct filter *f, struct err *err)
{
	const char *state = http_query(c->req, "state");
	const char *token = http_query(c->req, "page_token");

	f->tenant = http_query(c->req, "tenant");
	f->state = state ? proto_state_from(state) : STATE_NONE;
	f->limit = LIST_DEFAULT;
	f->after = token ? token : "";
	if (state && f->state == STATE_NONE)
		return err_set(err, ERR_INVALID, "state: there is no state of that name");
	if (f->tenant && !proto_id_valid(f->tenant))
		return err_set(err, ERR_INVALID, "tenant: is not a tenant's name");
	if (token && !proto_id_valid(token))
		return err_set(err, ERR_INVALID, "page_token: is not one of ours");
	return call_query_u64(c, "limit", 1, LIST_MAX, &f->limit, err);
}

static bool listed(const struct call *c, const struct filter *f, const struct live *l)
{
	return tenant_may_see(&c->caller, l->rec.tenant) &&
	       (!f->tenant || strcmp(f->tenant, l->rec.tenant) == 0) &&
	       (f->state == STATE_NONE || f->state == l->rec.state);
}

void restores_list(struct call *c)
{
	struct json_object *o, *items;
	const char *after, *token = NULL;
	struct filter f;
	struct live *l;
	struct err err;
	uint64_t n = 0;

	if (read_filter(c, &f, &err)) {
		call_problem(c->req, &err);
		return;
	}
	items = json_object_new_array();
	after = f.after;
	while ((l = supervisor_next(c->sup, after))) {
		if (listed(c, &f, l)) {
			if (n == f.limit) {
				token = after;
				break;
			}
			json_object_array_add(items, view_restore(l));
			n++;
		}
		after = l->rec.id;
	}
	o = json_object_new_object();
	json_object_object_add(o, "items", items);
	js_add_string(o, "next_page_token", token);
	call_reply(c->req, 200, o);
}

/* ---- create ---- */

struct pending {
	struct creator creator;
	struct supervisor *sup;
	struct http_request *req;
	char id[PROTO_ID_MAX + 1];
	bool held, answered;
};

static void on_created(struct creator *creator, struct live *live, const struct err *why)
{
	struct pending *p = creator->arg;

	if (why)
		call_problem(p->req, why);
	else
		call_reply_restore(p->req, creator->made ? 201 : 200, live);
	p->answered = true;
	if (p->held)
		free(p);
}

static void on_creator_gone(struct http_request *req, void *arg)
{
	struct pending *p = arg;

	(void)req;
	supervisor_forget_creator(&p->creator);
	free(p);
}

static int parse_spec(struct call *c, struct spec *ret, struct err *err)
{
	memset(ret, 0, sizeof(*ret));
	if (spec_parse(c->body, ret, err)) {
		spec_fini(ret);
		return -1;
	}
	return 0;
}

static void create(struct call *c, const char *id)
{
	struct pending *p;
	struct spec spec;
	struct err err;

	if (parse_spec(c, &spec, &err)) {
		call_problem(c->req, &err);
		return;
	}
	p = xcalloc(1, sizeof(*p));
	p->creator = (struct creator){.done = on_created, .arg = p};
	p->sup = c->sup;
	p->req = c->req;
	snprintf(p->id, sizeof(p->id), "%s", id);
	if (supervisor_create(c->sup, id, &spec, http_peer(c->req), &p->creator, &err)) {
		call_problem(c->req, &err);
		free(p);
	} else if (p->answered) {
		free(p);
	} else if (http_hold(c->req, on_creator_gone, p)) {
		supervisor_forget_creator(&p->creator);
		free(p);
		err_set(&err, ERR_QUOTA, "too many requests wait already; restore %s is being "
			"created, ask for it", id);
		call_problem(c->req, &err);
	} else {
		p->held = true;
	}
}

void restores_put(struct call *c)
{
	create(c, c->id);
}

void restores_post(struct call *c)
{
	char id[UUID_STR_LEN];
	uuid_t uuid;

	uuid_generate_random(uuid);
	uuid_unparse_lower(uuid, id);
	create(c, id);
}

/* ---- one ---- */

static void answer_object(struct http_request *req, const struct live *live, bool late)
{
	(void)late;
	call_reply_restore(req, 200, live);
}

static bool reached(const struct live *l, int target)
{
	enum restore_state state = (enum restore_state)target;

	return l->rec.state == state || !restore_can_reach(l->rec.state, state);
}

static bool complete_or_over(const struct live *l, int target)
{
	(void)target;
	return l->rec.complete || !proto_state_live(l->rec.state);
}

void restores_get(struct call *c)
{
	const char *target = http_query(c->req, "for");
	enum restore_state state = target ? proto_state_from(target) : STATE_NONE;
	bool complete = target && strcmp(target, "complete") == 0;
	uint64_t ms = 0;
	struct err err;
	struct live *l = call_restore(c, &err);

	if (!l || call_query_ms(c, "wait", WAIT_MAX_MS, &ms, &err)) {
		call_problem(c->req, &err);
	} else if (target && !complete && state == STATE_NONE) {
		err_set(&err, ERR_INVALID, "for: must be a state or \"complete\"");
		call_problem(c->req, &err);
	} else if (!target) {
		call_reply_restore(c->req, 200, l);
	} else if (complete) {
		waits_hold(api_waits(c->api), c, l, ms, complete_or_over, 0, answer_object);
	} else {
		waits_hold(api_waits(c->api), c, l, ms, reached, (int)state, answer_object);
	}
}

/* Or nobody is stopping it any more: its grace is over, and it had to be refused. */
static bool released_or_refused(const struct live *l, int target)
{
	(void)target;
	return live_released(l) ||
	       (!slot_is_released(&l->slot) && !l->rec.stop_reason[0]);
}

static void answer_stopped(struct http_request *req, const struct live *live, bool late)
{
	struct err err;

	if (live_released(live)) {
		call_reply_restore(req, 200, live);
		return;
	}
	err_set(&err, ERR_STATE, "restore %s: the VMM (pid %u) lives%s; end it first, or stop with "
		"kill", live->rec.id, live->rec.vmm_pid,
		late ? "" : " and its guest still needs pages");
	call_problem(req, &err);
}

void restores_delete(struct call *c)
{
	uint64_t grace = 0;
	bool kill = false;
	struct err err;
	struct live *l = call_restore(c, &err);

	if (!l || call_query_ms(c, "grace", GRACE_MAX_MS, &grace, &err) ||
	    call_query_bool(c, "kill", &kill, &err) || steer_stop(l, grace, kill, &err))
		call_problem(c->req, &err);
	else
		waits_hold(api_waits(c->api), c, l, grace + STOP_MS, released_or_refused, 0,
			   answer_stopped);
}

/* ---- prefetch, pause ---- */

static int read_prefetch(struct call *c, const struct live *l, struct chan_prefetch *ret,
			 struct err *err)
{
	static const char *const keys[] = {"mode", "rate_bytes_per_s", "paused",
					    "max_resident_bytes", NULL};
	enum spec_prefetch mode = l->rec.prefetch;
	bool paused = l->rec.prefetch_held, have;
	const char *name = NULL;

	ret->rate_bytes_per_s = l->rec.rate_bytes_per_s;
	ret->max_resident_bytes = l->rec.max_resident_bytes;
	if (js_known(c->body, "", keys, err) ||
	    js_string(c->body, "", "mode", 32, &name, &have, err) ||
	    js_u64(c->body, "", "rate_bytes_per_s", 0, INT64_MAX, &ret->rate_bytes_per_s, &have,
		   err) ||
	    js_u64(c->body, "", "max_resident_bytes", 0, INT64_MAX, &ret->max_resident_bytes,
		   &have, err) ||
	    js_bool(c->body, "", "paused", &paused, &have, err))
		return -1;
	if (name && spec_prefetch_parse(name, &mode))
		return err_set(err, ERR_INVALID, "mode: must be none, working-set or all");
	ret->mode = mode;
	ret->paused = paused;
	return 0;
}

void restores_prefetch(struct call *c)
{
	struct chan_prefetch p;
	struct err err;
	struct live *l = call_restore(c, &err);

	if (!l || read_prefetch(c, l, &p, &err) || steer_prefetch(l, &p, &err))
		call_problem(c->req, &err);
	else
		call_reply_restore(c->req, 200, l);
}

static bool paused_or_over(const struct live *l, int target)
{
	(void)target;
	return l->rec.paused || l->rec.state != STATE_SERVING;
}

static void answer_paused(struct http_request *req, const struct live *live, bool late)
{
	struct err err;

	if (live->rec.paused) {
		call_reply_restore(req, 200, live);
		return;
	}
	err_set(&err, late ? ERR_TIMEOUT : ERR_STATE, "restore %s is %s and did not pause",
		live->rec.id, proto_state_name(live->rec.state));
	call_problem(req, &err);
}

void restores_pause(struct call *c)
{
	struct err err;
	struct live *l = call_restore(c, &err);

	if (!l || steer_pause(l, &err))
		call_problem(c->req, &err);
	else
		waits_hold(api_waits(c->api), c, l, PAUSE_MS, paused_or_over, 0, answer_paused);
}

void restores_resume(struct call *c)
{
	struct err err;
	struct live *l = call_restore(c, &err);

	if (!l || steer_resume(l, &err))
		call_problem(c->req, &err);
	else
		call_reply_restore(c->req, 200, l);
}

/* ---- another worker ---- */

static bool restarted_or_over(const struct live *l, int target)
{
	return !proto_state_live(l->rec.state) ||
	       (l->slot.state == SLOT_READY && l->rec.worker_restarts != (uint32_t)target);
}

void restores_restart_worker(struct call *c)
{
	struct err err;
	struct live *l = call_restore(c, &err);
	int before = l ? (int)l->rec.worker_restarts : 0;

	if (!l || recover_replace(l, &err))
		call_problem(c->req, &err);
	else
		waits_hold(api_waits(c->api), c, l, RESTART_MS, restarted_or_over, before,
			   answer_object);
}

/* ---- pages ---- */

static struct json_object *run_json(const struct pagemap_run *run)
{
	struct json_object *o = json_object_new_object();

	js_add_u64(o, "offset", run->offset);
	js_add_u64(o, "length", run->len);
	js_add_string(o, "state", page_state_names[run->state]);
	return o;
}

/* Why page states are not exact while they should be; NULL: they are, or need not be. */
static const char *inexact(const struct live *l, const struct pagemap_view *v)
{
	static const char *const why[] = {
		[PAGEMAP_INEXACT] = "they are being compared with what the kernel says; ask again",
		[PAGEMAP_EXACT] = NULL,
		[PAGEMAP_UNASKED] = "the VMM may not be looked into: uffdd needs CAP_SYS_PTRACE",
		[PAGEMAP_FOREIGN] = "the process that connected is not the one whose memory it is",
	};

	if (!l->rec.paused)
		return NULL;
	if (!slot_is_ready(&l->slot))
		return "another worker is taking over";
	return why[v->head.exact < ARRAY_LEN(why) ? v->head.exact : PAGEMAP_INEXACT];
}

static struct json_object *pages_json(const struct live *l, const struct pagemap_view *v,
				      const struct pagemap_run *runs, size_t n, uint64_t next)
{
	struct json_object *o = json_object_new_object();
	struct json_object *array = json_object_new_array_ext((int)n);

	js_add_u64(o, "page_bytes", l->rec.page_bytes);
	js_add_u64(o, "size_bytes", l->rec.size_bytes);
	js_add_bool(o, "exact", l->rec.paused && !inexact(l, v));
	js_add_string(o, "inexact", inexact(l, v));
	for (size_t i = 0; i < n; i++)
		json_object_array_add(array, run_json(&runs[i]));
	json_object_object_add(o, "runs", array);
	if (next == UINT64_MAX)
		json_object_object_add(o, "next_offset", NULL);
	else
		js_add_u64(o, "next_offset", next);
	return o;
}

static int read_pages(struct call *c, struct live *l, struct err *err)
{
	uint64_t offset = 0, max = RUNS_DEFAULT, next = UINT64_MAX;
	cleanup_free struct pagemap_run *runs = NULL;
	cleanup_fd int map = -1;
	struct pagemap_view view;
	size_t n = 0;

	if (call_query_u64(c, "offset", 0, INT64_MAX, &offset, err) ||
	    call_query_u64(c, "limit", 1, RUNS_MAX, &max, err))
		return -1;
	if (slot_is_released(&l->slot) || !l->rec.page_bytes)
		return err_set(err, ERR_STATE, "restore %s is %s: there are page states while a "
			       "VMM is connected", l->rec.id, proto_state_name(l->rec.state));
	runs = xcalloc(max, sizeof(*runs));
	if (live_open_map(l, &map, err) || pagemap_view(map, &view, err) ||
	    pagemap_runs(map, &view, offset, runs, max, &n, &next, err))
		return -1;
	call_reply(c->req, 200, pages_json(l, &view, runs, n, next));
	return 0;
}

void restores_pages(struct call *c)
{
	struct err err;
	struct live *l = call_restore(c, &err);

	if (!l || read_pages(c, l, &err))
		call_problem(c->req, &err);
}

/* ---- working set ---- */

void restores_working_set(struct call *c)
{
	cleanup_free void *bytes = NULL;
	size_t len = 0;
	struct err err;
	struct live *l = call_restore(c, &err);

	if (!l || recording_read(l, &bytes, &len, &err))
		call_problem(c->req, &err);
	else
		http_reply(c->req, 200, "application/octet-stream", bytes, len);
}
