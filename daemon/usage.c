#include "daemon/usage.h"

#include <string.h>

static bool is_of(const struct restore *r, const char *tenant)
{
	return !tenant || strcmp(r->rec.tenant, tenant) == 0;
}

static void add(struct usage *u, const struct restore *r)
{
	u->of[BUDGET_RESTORES] += proto_state_live(r->rec.state);
}

void usage_count(const struct table *table, const char *tenant, struct usage *ret)
{
	struct usage usage = {{0}};

	for (size_t i = 0; i < table->n; i++)
		if (is_of(table->v[i], tenant))
			add(&usage, table->v[i]);
	*ret = usage;
}

bool usage_any(const struct table *table, const char *tenant)
{
	for (size_t i = 0; i < table->n; i++)
		if (is_of(table->v[i], tenant))
			return true;
	return false;
}
