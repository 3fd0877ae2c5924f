#include "daemon/lease_scheduler.h"

#include <event2/event.h>

#include "daemon/timer.h"

/* A worker answers between two steps, and a step may have to wait for the disk. */
#define ANSWER_US ((uint64_t)1000 * 1000)
/* The largest step: it must be paid for at the lease's rate before the lease comes back. */
#define STEP_BYTES PAGE_2M

struct lease_scheduler {
	const struct lease_scheduler_hooks *hooks;
	struct leases leases;
	uint64_t rate_bytes_per_s; /* of each lease; 0: no limit */
	struct event *turn;
};

static uint64_t count_leases(const struct conf *conf)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (conf->prefetch_leases)
		return conf->prefetch_leases;
	return cpus > 2 ? (uint64_t)cpus / 2 : 1;
}

static void send_grant(struct lease_scheduler *lr, struct claim *c)
{
	struct chan_msg msg = {.lease = {.rate_bytes_per_s = lr->rate_bytes_per_s, .ask = c->ask}};

	lr->hooks->tell(c, CHAN_LEASE_GRANT, &msg);
}

static void send_revoke(struct lease_scheduler *lr, struct claim *c)
{
	struct chan_msg msg = {0};

	lr->hooks->tell(c, CHAN_LEASE_REVOKE, &msg);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct lease_scheduler *lr = arg;
	uint64_t now = now_us(), wait;
	struct claim *c;

	(void)fd;
	(void)what;
	while ((c = leases_grant(&lr->leases, now)))
		send_grant(lr, c);
	while ((c = leases_revoke(&lr->leases, now)))
		send_revoke(lr, c);
	wait = leases_wait_us(&lr->leases, now);
	if (wait != UINT64_MAX) {
		timer_add(lr->turn, wait);
	}
}

static void turn_soon(struct lease_scheduler *lr)
{
	timer_add(lr->turn, 0);
}

struct lease_scheduler *lease_scheduler_new(struct event_base *base, const struct conf *conf,
					    const struct lease_scheduler_hooks *hooks)
{
	struct lease_scheduler *lr = xcalloc(1, sizeof(*lr));
	uint64_t n = count_leases(conf), answer_us = ANSWER_US;

	lr->hooks = hooks;
	if (conf->prefetch_bytes_per_s) {
		lr->rate_bytes_per_s = max_u64(conf->prefetch_bytes_per_s / n, 1);
		answer_us += STEP_BYTES * 1000000 / lr->rate_bytes_per_s;
	}
	leases_init(&lr->leases, n, conf->prefetch_slice_ms * 1000, answer_us);
	lr->turn = evtimer_new(base, on_turn, lr);
	return lr;
}

void lease_scheduler_free(struct lease_scheduler *lr)
{
	if (!lr)
		return;
	event_free(lr->turn);
	free(lr);
}

void lease_scheduler_ask(struct lease_scheduler *lr, struct claim *c, const char *tenant,
			 uint64_t share, uint32_t ask)
{
	leases_ask(&lr->leases, c, tenant, share, ask);
	turn_soon(lr);
}

void lease_scheduler_back(struct lease_scheduler *lr, struct claim *c)
{
	if (c->state == CLAIM_NONE)
		return;
	leases_back(&lr->leases, c);
	turn_soon(lr);
}
