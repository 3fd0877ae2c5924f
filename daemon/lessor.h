/*
 * lessor - gives the workers of this host their prefetch leases
 *
 * The scheduler is leases.h; here are its clock and its messages. What changes is
 * looked at in the next turn of the event loop, and a timer runs only while
 * somebody waits.
 */
#ifndef UFFDD_LESSOR_H
#define UFFDD_LESSOR_H

#include "common/chan.h"
#include "daemon/conf.h"
#include "daemon/leases.h"

struct event_base;
struct lessor;

struct lessor_hooks {
	/* To the worker of the restore whose claim this is. One that cannot be sent is lost. */
	void (*tell)(struct claim *c, enum chan_type type, struct chan_msg *msg);
};

struct lessor *lessor_new(struct event_base *base, const struct conf *conf,
			  const struct lessor_hooks *hooks);
/* Accepts NULL. All claims have been given back. */
void lessor_free(struct lessor *lr);

/* As leases_ask(), leases_back(). */
void lessor_ask(struct lessor *lr, struct claim *c, const char *tenant, uint32_t ask);
void lessor_back(struct lessor *lr, struct claim *c);

#endif
