/*
 * status - the handlers about the daemon as a whole: health, readiness, version, status
 *
 * What they return: api_request.h. status_readyz() fails with ERR_UNREADY while nothing can be
 * created.
 */
#ifndef UFFDD_STATUS_H
#define UFFDD_STATUS_H

#include "daemon/api_request.h"

int status_healthz(struct api_request *c, struct err *err);
int status_readyz(struct api_request *c, struct err *err);
int status_version(struct api_request *c, struct err *err);
int status_get(struct api_request *c, struct err *err);

#endif
