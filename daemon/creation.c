#include "daemon/creation.h"

#include <event2/event.h>
#include <string.h>

#include "common/js.h"
#include "daemon/assign.h"
#include "daemon/log.h"
#include "daemon/restore_wset.h"
#include "daemon/timer.h"

/* A bound for tenants' file systems, which may take as long as they like. */
#define LOAD_BY_S 30

static void answer(struct restore *r, const struct err *why)
{
	struct creator *c;

	while ((c = TAILQ_FIRST(&r->creators))) {
		TAILQ_REMOVE(&r->creators, c, link);
		c->list = NULL;
		c->done(c, why ? NULL : r, why);
	}
}

/* No VMM has seen the restore: the worker need not leave in peace. */
static void undo(struct restore *r)
{
	if (r->worker)
		worker_abandon(r->worker, r->rec.tenant);
	r->worker = NULL;
	restore_release(r);
}

void creation_failed(struct restore *r, const struct err *why)
{
	log_info("restore refused", "id=%s tenant=%s why=%s", r->rec.id, r->rec.tenant, why->msg);
	answer(r, why);
	undo(r);
	r->host->hooks->create_failed(r->host->arg, r);
}

static void on_load_by(evutil_socket_t fd, short what, void *arg)
{
	struct restore *r = arg;
	struct err err;

	(void)fd;
	(void)what;
	err_set(&err, ERR_TIMEOUT,
		"opening the snapshot took more than %d s: is its file system "
		"reachable?",
		LOAD_BY_S);
	creation_failed(r, &err);
}

/* ---- the snapshot is loaded ---- */

static int check_size(const struct restore *r, uint64_t bytes, struct err *err)
{
	uint64_t max = r->host->conf.snapshot_bytes_max;

	if (bytes <= max)
		return 0;
	return err_set(err, ERR_SNAPSHOT,
		       "the snapshot has %llu bytes of memory, at most %llu are "
		       "configured (snapshot_bytes_max)",
		       (unsigned long long)bytes, (unsigned long long)max);
}

/* What the restore takes is counted for its tenant from now on, if there is so much left. */
static int take(struct restore *r, const struct chan_ready *ready, struct err *err)
{
	const struct {
		enum budget budget;
		uint64_t *to, value;
	} costs[] = {
		{BUDGET_GUEST_BYTES, &r->rec.size_bytes, ready->size_bytes},
		{BUDGET_MAP_BYTES, &r->rec.map_bytes, pagemap_file_bytes(ready->size_bytes)},
		{BUDGET_ENTRIES, &r->rec.extents, ready->extents},
		{BUDGET_FILES, &r->rec.files, ready->layers},
	};
	struct budgets left;

	r->host->hooks->left(r->host->arg, r, &left);
	for (size_t i = 0; i < ARRAY_LEN(costs); i++)
		if (costs[i].value > left.of[costs[i].budget])
			return err_set(err, ERR_QUOTA,
				       "the restore takes %llu %s, and %llu are left of the budget "
				       "of tenant %s",
				       (unsigned long long)costs[i].value,
				       budget_name(costs[i].budget),
				       (unsigned long long)left.of[costs[i].budget], r->rec.tenant);
	for (size_t i = 0; i < ARRAY_LEN(costs); i++)
		*costs[i].to = costs[i].value;
	return 0;
}

/* Stored before the creators are told. */
static int record_created(struct restore *r, const struct chan_ready *ready, struct err *err)
{
	struct json_object *data;

	if (check_size(r, ready->size_bytes, err) || take(r, ready, err))
		return -1;
	data = json_object_new_object();
	js_add_u64(data, "size_bytes", ready->size_bytes);
	js_add_u64(data, "layers", ready->layers);
	js_add_u64(data, "extents", ready->extents);
	return restore_created(r, data, err);
}

void creation_done(struct restore *r, const struct chan_ready *ready, int *listen_fd)
{
	struct err err;

	timer_drop(&r->hold.load_by);
	if (record_created(r, ready, &err)) {
		creation_failed(r, &err);
		return;
	}
	slot_event(&r->slot, SLOT_LOADED);
	restore_known(r);
	/* Before a VMM can be started. */
	restore_wset_give(r);
	restore_listen(r, listen_fd, 0);
	log_info("restore ready", "id=%s tenant=%s size=%llu worker=%u", r->rec.id, r->rec.tenant,
		 (unsigned long long)r->rec.size_bytes, r->rec.worker_pid);
	answer(r, NULL);
}

/* ---- begin ---- */

int creation_begin(struct host *host, const struct creation *c, struct restore **ret,
		   struct err *err)
{
	struct restore *r = xcalloc(1, sizeof(*r));

	restore_init(r, host);
	r->slot.state = SLOT_CREATING;
	r->spec = *c->spec;
	restore_begin(r, c->key, c->id, c->caller);
	if (assign_new(r, err)) {
		/*
		 * Only the path is kept, so that it is unlinked; the rest of the spec stays the
		 * caller's.
		 */
		memset(&r->spec, 0, sizeof(r->spec));
		memcpy(r->spec.socket_path, c->spec->socket_path, sizeof(r->spec.socket_path));
		undo(r);
		restore_free(r);
		return -1;
	}
	memset(c->spec, 0, sizeof(*c->spec));
	r->hold.load_by = evtimer_new(host->base, on_load_by, r);
	timer_add(r->hold.load_by, LOAD_BY_S * TIMER_S);
	*ret = r;
	return 0;
}
