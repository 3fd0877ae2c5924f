#include "daemon/capacity.h"

#include <event2/event.h>

#include "common/proc.h"
#include "daemon/descriptors.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/adopt.h"
#include "daemon/timer.h"

/* How often rows that wait are looked at. */
#define AGAIN_MS 500

/* ---- descriptors that are left ---- */

static bool is_deferred(const struct restore *r)
{
	return r->slot.state == SLOT_DEFERRED;
}

/* Descriptors of its share that the restore does not hold yet. */
static int64_t promised(const struct restore *r)
{
	int has = (r->worker ? 2 : r->hold.old_worker >= 0) + (r->hold.uffd >= 0) +
		  (r->hold.vmm >= 0);

	return is_deferred(r) || slot_is_released(&r->slot) ? 0 : DESCRIPTORS_PER_RESTORE - has;
}

/* As if no restore had a share that it does not hold yet. */
static int64_t unused(const struct capacity *c)
{
	uint64_t kept = DESCRIPTORS_ASIDE + pool_wanting(c->host->pool) +
			descriptors_for_http(c->host->conf.http_connections);

	return (int64_t)descriptors_limit() - (int64_t)(descriptors_used() + kept);
}

int64_t capacity_left(const struct capacity *c)
{
	int64_t left = unused(c);

	for (size_t i = 0; i < c->table->n; i++)
		left -= promised(c->table->v[i]);
	return left;
}

bool capacity_any(const struct capacity *c)
{
	return unused(c) > (int64_t)c->table->n * DESCRIPTORS_PER_RESTORE || capacity_left(c) > 0;
}

int capacity_check(const struct capacity *c, struct err *err)
{
	int64_t left = capacity_left(c);

	if (left >= DESCRIPTORS_PER_RESTORE)
		return 0;
	return err_set(err, ERR_QUOTA,
		       "a restore needs %d descriptors, %lld are missing: the "
		       "daemon may have %llu, end other restores or raise its limit of open files "
		       "(LimitNOFILE=, ulimit -Hn)",
		       DESCRIPTORS_PER_RESTORE, (long long)(DESCRIPTORS_PER_RESTORE - left),
		       (unsigned long long)descriptors_limit());
}

/* ---- rows that wait ---- */

static bool is_there(uint32_t pid, uint64_t start)
{
	return pid && proc_start_time((pid_t)pid) == start;
}

static void go_on(struct restore *r)
{
	slot_event(&r->slot, SLOT_TAKE_UP);
	adopt_row(r);
}

static bool has_share(const struct capacity *c)
{
	return capacity_left(c) >= DESCRIPTORS_PER_RESTORE;
}

/* First rows whose VMM has ended, which take no room, and rows whose worker has died. */
static void look_at_orphans(struct capacity *c)
{
	for (size_t i = 0; i < c->table->n; i++) {
		struct restore *r = c->table->v[i];
		const struct restore_record *rec = &r->rec;

		if (is_deferred(r) && rec->vmm_pid && !is_there(rec->vmm_pid, rec->vmm_start))
			go_on(r);
		else if (is_deferred(r) && !is_there(rec->worker_pid, rec->worker_start) &&
			 has_share(c))
			go_on(r);
	}
}

static void look_at_all(struct capacity *c)
{
	for (size_t i = 0; i < c->table->n && has_share(c); i++)
		if (is_deferred(c->table->v[i]))
			go_on(c->table->v[i]);
}

static void look_later(struct capacity *c)
{
	if (capacity_waiting(c))
		timer_add(c->again, AGAIN_MS * TIMER_MS);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct capacity *c = arg;

	(void)fd;
	(void)what;
	look_at_orphans(c);
	look_at_all(c);
	look_later(c);
}

void capacity_take_up(struct capacity *c, struct restore *r)
{
	static struct log_limit limit = LOG_LIMIT(5, 10 * 1000 * 1000);

	if (capacity_make(c, r))
		return;
	/* The uffd that systemd kept is here already, and would be closed. */
	r->hold.uffd = notify_take(r->rec.key);
	if (log_allow(&limit, now_us()))
		log_warning("no descriptors are left for a restore; its worker serves on alone",
			    "id=%s tenant=%s limit=%llu", r->rec.id, r->rec.tenant,
			    (unsigned long long)descriptors_limit());
	if (!c->again)
		c->again = evtimer_new(c->host->base, on_again, c);
	look_later(c);
}

bool capacity_make(struct capacity *c, struct restore *r)
{
	if (is_deferred(r) && has_share(c))
		go_on(r);
	return !is_deferred(r);
}

uint64_t capacity_waiting(const struct capacity *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < c->table->n; i++)
		n += is_deferred(c->table->v[i]);
	return n;
}

void capacity_fini(struct capacity *c)
{
	timer_drop(&c->again);
}
