/*
 * status - how the daemon as a whole is: the handlers outside of /v1/restores and
 * /v1/events
 */
#ifndef UFFDD_STATUS_H
#define UFFDD_STATUS_H

#include "daemon/call.h"

int status_healthz(struct call *c, struct err *err);
int status_readyz(struct call *c, struct err *err);
int status_version(struct call *c, struct err *err);
int status_get(struct call *c, struct err *err);

#endif
