/*
 * tenant_store - the tenants that the API has made: in memory as in the store
 *
 * Those of the tenants file are never in the store.
 */
#ifndef UFFDD_TENANT_STORE_H
#define UFFDD_TENANT_STORE_H

#include "daemon/store.h"
#include "daemon/tenants.h"

/*
 * tenant_store_load - adds the stored tenants to those of the tenants file
 *
 * The file wins: a stored tenant of the same name, or with the same user, is left out, and the log
 * says so. Returns 0, or -1 with ERR_SYSTEM: a row that cannot be read.
 */
int tenant_store_load(struct store *store, struct tenants *ts, struct err *err);

/*
 * tenant_store_put - stores @t, and puts it into @ts, in place of the one of its name
 * @t: emptied on success
 *
 * Returns 0, or -1 and nothing has changed, with the error of tenants_check() or of store_write().
 */
int tenant_store_put(struct store *store, struct tenants *ts, struct tenant *t, struct err *err);
/*
 * Removes the tenant @name. 0, or -1 and nothing has changed: ERR_NOTFOUND, ERR_STATE (it is in the
 * tenants file), or the store's error.
 */
int tenant_store_remove(struct store *store, struct tenants *ts, const char *name, struct err *err);

#endif
