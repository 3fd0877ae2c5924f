/*
 * tenant - the verb that shows, defines and removes tenants
 *
 * What set does not name stays as it is, but the daemon only takes whole definitions: of two that
 * change a tenant at once, the later one wins.
 */
#ifndef UFFDD_CTL_TENANT_H
#define UFFDD_CTL_TENANT_H

#include "ctl/ctl.h"

extern const struct args_option tenant_options[];

int tenant_run(struct ctl *ctl);

#endif
