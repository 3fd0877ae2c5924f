/*
 * restores - the handlers of /v1/restores
 *
 * Each answers, holds or streams its request.
 */
#ifndef UFFDD_RESTORES_H
#define UFFDD_RESTORES_H

#include "daemon/call.h"
#include "daemon/waits.h"

struct wait_list *api_waits(struct api *api);

void restores_list(struct call *c);
void restores_post(struct call *c);
void restores_put(struct call *c);
void restores_get(struct call *c);
void restores_delete(struct call *c);
void restores_prefetch(struct call *c);
void restores_pages(struct call *c);
void restores_working_set(struct call *c);
void restores_pause(struct call *c);
void restores_resume(struct call *c);
void restores_restart_worker(struct call *c);

#endif
