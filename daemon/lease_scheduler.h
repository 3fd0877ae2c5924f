/*
 * lease_scheduler - gives the workers of this host their prefetch leases
 *
 * The scheduler is leases.h; here are its clock and its messages. What changes is
 * looked at in the next turn of the event loop, and a timer runs only while
 * somebody waits.
 */
#ifndef UFFDD_LEASE_SCHEDULER_H
#define UFFDD_LEASE_SCHEDULER_H

#include "common/chan.h"
#include "daemon/conf.h"
#include "daemon/leases.h"

struct event_base;
struct lease_scheduler;

struct lease_scheduler_hooks {
	/* To the worker of the restore whose claim this is. One that cannot be sent is lost. */
	void (*tell)(struct claim *c, enum chan_type type, struct chan_msg *msg);
};

struct lease_scheduler *lease_scheduler_new(struct event_base *base, const struct conf *conf,
					    const struct lease_scheduler_hooks *hooks);
/* Accepts NULL. All claims have been given back. */
void lease_scheduler_free(struct lease_scheduler *lr);

/* As leases_ask(), leases_back(). */
void lease_scheduler_ask(struct lease_scheduler *lr, struct claim *c, const char *tenant,
			 uint32_t ask);
void lease_scheduler_back(struct lease_scheduler *lr, struct claim *c);

#endif
