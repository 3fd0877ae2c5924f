/*
 * status - how the daemon as a whole is: GET /v1/status, for admins
 */
#ifndef UFFDD_STATUS_H
#define UFFDD_STATUS_H

#include "daemon/call.h"

void status_get(struct call *c);

#endif
