#include "daemon/retention.h"

#include <string.h>

#include "daemon/log.h"
#include "daemon/request.h"
#include "daemon/store.h"
#include "daemon/usage.h"

void retention_init(struct retention *rt, struct host *host, struct table *table)
{
	*rt = (struct retention){.host = host, .table = table};
	TAILQ_INIT(&rt->ended);
}

void retention_keep(struct retention *rt, struct restore *r)
{
	TAILQ_INSERT_TAIL(&rt->ended, r, ended_link);
	r->kept = true;
}

void retention_drop(struct retention *rt, struct restore *r)
{
	if (r->kept)
		TAILQ_REMOVE(&rt->ended, r, ended_link);
	r->kept = false;
}

/* The row goes first: one that stays would come back with the next daemon. */
static bool forget(struct retention *rt, struct restore *r)
{
	struct err err;

	if (store_forget(rt->host->store, r->rec.key, &err)) {
		log_warning("an ended restore could not be forgotten", "id=%s tenant=%s why=%s",
			    r->rec.id, r->rec.tenant, err.msg);
		return false;
	}
	retention_drop(rt, r);
	table_remove(rt->table, r);
	restore_free(r);
	return true;
}

/* In order of their end: what is behind the first that is young enough is younger. */
void retention_expire(struct retention *rt, int64_t now_ms)
{
	int64_t before = now_ms - (int64_t)rt->host->conf.ended_retention_ms;
	struct restore *r, *next;

	for (r = TAILQ_FIRST(&rt->ended); r && r->rec.ended_ms < before; r = next) {
		next = TAILQ_NEXT(r, ended_link);
		if (restore_released(r) && !forget(rt, r))
			return;
	}
}

void retention_thin(struct retention *rt)
{
	struct restore *r;
	struct err err;

	/* What waits for the store has its request in memory alone. */
	if (journal_check(rt->host->journal, &err))
		return;
	TAILQ_FOREACH(r, &rt->ended, ended_link)
	if (r->rec.spec && restore_released(r))
		request_leave_to_store(r);
}

static bool has_room(const struct retention *rt, const char *tenant, const struct usage *u)
{
	static const enum budget budgets[] = {BUDGET_RECORDS, BUDGET_RECORD_BYTES};

	for (size_t i = 0; i < ARRAY_LEN(budgets); i++)
		if (u->of[budgets[i]] >=
		    tenants_budget(&rt->host->tenants, &rt->host->conf, tenant, budgets[i]))
			return false;
	return true;
}

void retention_make_room(struct retention *rt, const char *tenant)
{
	struct restore *r, *next;
	struct usage u;

	usage_count(rt->table, NULL, tenant, &u);
	for (r = TAILQ_FIRST(&rt->ended); r && !has_room(rt, tenant, &u); r = next) {
		next = TAILQ_NEXT(r, ended_link);
		if (strcmp(r->rec.tenant, tenant) != 0 || !restore_released(r))
			continue;
		usage_less(&u, r);
		if (!forget(rt, r))
			return;
	}
}
