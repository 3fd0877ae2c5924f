/*
 * lease_scheduler - gives the workers of this host their prefetch leases
 *
 * The rules are in leases.h; here are clock and messages. A change is acted upon in the next turn
 * of the event loop. A timer runs only while a restore waits.
 */
#ifndef UFFDD_LEASE_SCHEDULER_H
#define UFFDD_LEASE_SCHEDULER_H

#include "common/chan.h"
#include "daemon/conf.h"
#include "daemon/leases.h"

struct event_base;
struct lease_scheduler;

struct lease_scheduler_hooks {
	/*
	 * Sends @msg to the worker of the restore whose claim @c is. It may be lost: workers ask
	 * again.
	 */
	void (*tell)(struct claim *c, enum chan_type type, struct chan_msg *msg);
};

/* @base and @hooks are borrowed, @conf is only read. Never fails. */
struct lease_scheduler *lease_scheduler_new(struct event_base *base, const struct conf *conf,
					    const struct lease_scheduler_hooks *hooks);
/* Accepts NULL. All claims must be CLAIM_NONE. */
void lease_scheduler_free(struct lease_scheduler *lr);

/* See leases_ask(), leases_back(). */
void lease_scheduler_ask(struct lease_scheduler *lr, struct claim *c, const char *tenant,
			 uint64_t share, uint32_t ask);
void lease_scheduler_back(struct lease_scheduler *lr, struct claim *c);

#endif
