/*
 * restores - the handlers of /v1/restores
 *
 * Which of them gets which restore, or whose, is said by the table of routes.c.
 */
#ifndef UFFDD_RESTORES_H
#define UFFDD_RESTORES_H

#include "daemon/call.h"

/* @tenant: whose restores are listed; NULL: all. */
int restores_list(struct call *c, const char *tenant, struct err *err);

int restores_post(struct call *c, struct err *err);
int restores_put(struct call *c, struct err *err);

int restores_get(struct call *c, struct restore *l, struct err *err);
int restores_delete(struct call *c, struct restore *l, struct err *err);
int restores_prefetch(struct call *c, struct restore *l, struct err *err);
int restores_pages(struct call *c, struct restore *l, struct err *err);
int restores_working_set(struct call *c, struct restore *l, struct err *err);
int restores_pause(struct call *c, struct restore *l, struct err *err);
int restores_resume(struct call *c, struct restore *l, struct err *err);
int restores_restart_worker(struct call *c, struct restore *l, struct err *err);

#endif
