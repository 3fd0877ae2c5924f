#include "daemon/store.h"

#include "daemon/statements.h"

static int bind_texts(struct store *s, enum statement id, const char *name, const char *definition,
		      struct err *err)
{
	sqlite3_stmt *st = statement_idle(s, id);
	int rc = sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);

	if (rc == SQLITE_OK && definition)
		rc = sqlite3_bind_text(st, 2, definition, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		return 0;
	database_fail(&s->d, rc, "write a tenant", err);
	statement_done(st);
	return -1;
}

int store_put_tenant(struct store *s, const char *name, const char *definition, struct err *err)
{
	if (bind_texts(s, PUT_TENANT, name, definition, err))
		return -1;
	return statement_run_alone(s, PUT_TENANT, "write a tenant", err);
}

int store_drop_tenant(struct store *s, const char *name, struct err *err)
{
	if (bind_texts(s, DROP_TENANT, name, NULL, err))
		return -1;
	return statement_run_alone(s, DROP_TENANT, "remove a tenant", err);
}

int store_tenants(struct store *s, store_visit_tenant visit, void *arg, struct err *err)
{
	sqlite3_stmt *st = statement_idle(s, ALL_TENANTS);
	int r = 0;
	int rc;

	while (r == 0 && (rc = sqlite3_step(st)) != SQLITE_DONE) {
		const char *name = (const char *)sqlite3_column_text(st, 0);
		const char *definition = (const char *)sqlite3_column_text(st, 1);

		if (rc != SQLITE_ROW || !name || !definition)
			r = database_fail(&s->d, rc == SQLITE_ROW ? SQLITE_NOMEM : rc,
					  "read tenants", err);
		else
			r = visit(arg, name, definition, err);
	}
	statement_done(st);
	return r;
}
