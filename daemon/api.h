/*
 * api - the control API: one table of routes
 *
 * Who may do what is decided per request from the peer's credentials (tenant.h).
 */
#ifndef UFFDD_API_H
#define UFFDD_API_H

#include "daemon/supervisor.h"

struct api;

/* Listens on <run_dir>/control.sock. @sup is borrowed and gets us as observer. */
int api_new(struct supervisor *sup, struct api **ret, struct err *err);
/* Finishes what is held; before supervisor_free(). Accepts NULL. */
void api_free(struct api *api);

#endif
