/*
 * status - how the daemon as a whole is: the handlers outside of /v1/restores and
 * /v1/events
 */
#ifndef UFFDD_STATUS_H
#define UFFDD_STATUS_H

#include "daemon/api_request.h"

int status_healthz(struct api_request *c, struct err *err);
int status_readyz(struct api_request *c, struct err *err);
int status_version(struct api_request *c, struct err *err);
int status_get(struct api_request *c, struct err *err);

#endif
