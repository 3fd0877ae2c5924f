#include "daemon/creation.h"

#include <event2/event.h>
#include <string.h>

#include "common/js.h"
#include "daemon/assign.h"
#include "daemon/log.h"
#include "daemon/restore_wset.h"
#include "daemon/timer.h"

/* Opening a tenant's paths may take as long as its file systems like. */
#define LOAD_BY_S 30

static void answer(struct restore *l, const struct err *why)
{
	struct creator *c;

	while ((c = TAILQ_FIRST(&l->creators))) {
		TAILQ_REMOVE(&l->creators, c, link);
		c->list = NULL;
		c->done(c, why ? NULL : l, why);
	}
}

/* Nobody has seen it yet: its worker need not leave in peace. */
static void undo(struct restore *l)
{
	if (l->worker)
		worker_abandon(l->worker);
	l->worker = NULL;
	restore_release(l);
}

void creation_failed(struct restore *l, const struct err *why)
{
	log_info("restore refused", "id=%s tenant=%s why=%s", l->rec.id, l->rec.tenant, why->msg);
	answer(l, why);
	undo(l);
	l->host->hooks->create_failed(l->host->arg, l);
}

static void on_load_by(evutil_socket_t fd, short what, void *arg)
{
	struct restore *l = arg;
	struct err err;

	(void)fd;
	(void)what;
	err_set(&err, ERR_TIMEOUT, "opening the snapshot took more than %d s: is its file system "
		"reachable?", LOAD_BY_S);
	creation_failed(l, &err);
}

/* ---- loaded ---- */

static int check_size(const struct restore *l, uint64_t bytes, struct err *err)
{
	uint64_t max = l->host->conf.snapshot_bytes_max;

	if (bytes <= max)
		return 0;
	return err_set(err, ERR_SNAPSHOT, "the snapshot has %llu bytes of memory, at most %llu are "
		       "configured (snapshot_bytes_max)", (unsigned long long)bytes,
		       (unsigned long long)max);
}

/* In the store before anybody hears of it. */
static int record_created(struct restore *l, const struct chan_ready *ready, struct err *err)
{
	struct json_object *data;

	if (check_size(l, ready->size_bytes, err))
		return -1;
	l->rec.size_bytes = ready->size_bytes;
	data = json_object_new_object();
	js_add_u64(data, "size_bytes", ready->size_bytes);
	js_add_u64(data, "layers", ready->layers);
	js_add_u64(data, "extents", ready->extents);
	return restore_created(l, data, err);
}

void creation_done(struct restore *l, const struct chan_ready *ready, int *listen_fd)
{
	struct err err;

	timer_drop(&l->hold.load_by);
	if (record_created(l, ready, &err)) {
		creation_failed(l, &err);
		return;
	}
	slot_event(&l->slot, SLOT_LOADED);
	restore_known(l);
	/* Before anybody can start a VMM. */
	restore_wset_give(l);
	acceptor_open(&l->hold.acceptor, listen_fd, 0, l->rec.state == STATE_WAITING);
	log_info("restore ready", "id=%s tenant=%s size=%llu worker=%u", l->rec.id, l->rec.tenant,
		 (unsigned long long)l->rec.size_bytes, l->rec.worker_pid);
	answer(l, NULL);
}

/* ---- begin ---- */

int creation_begin(struct host *host, const char *id, struct spec *spec,
		   const struct sock_peer *caller, struct restore **ret, struct err *err)
{
	struct restore *l = xcalloc(1, sizeof(*l));

	restore_init(l, host);
	l->slot.state = SLOT_CREATING;
	l->spec = *spec;
	restore_begin(l, id, caller);
	if (assign_new(l, err)) {
		/* Only the path: it is unlinked, the rest stays the caller's. */
		memset(&l->spec, 0, sizeof(l->spec));
		memcpy(l->spec.socket_path, spec->socket_path, sizeof(l->spec.socket_path));
		undo(l);
		restore_free(l);
		return -1;
	}
	memset(spec, 0, sizeof(*spec));
	l->hold.load_by = evtimer_new(host->base, on_load_by, l);
	timer_add(l->hold.load_by, LOAD_BY_S * TIMER_S);
	*ret = l;
	return 0;
}
