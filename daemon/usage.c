#include "daemon/usage.h"

#include <string.h>

#include "daemon/request.h"

static bool is_of(const struct restore *r, const char *tenant)
{
	return !tenant || strcmp(r->rec.tenant, tenant) == 0;
}

/* The request is there twice, as text and as what it says; or once, in the store. */
static uint64_t record_bytes(const struct restore *r)
{
	return sizeof(*r) + (r->rec.spec ? 2 : 1) * request_bytes(r);
}

/* A failed restore whose VMM is held costs what a live one does. */
static struct usage usage_of(const struct restore *r)
{
	bool released = restore_released(r), live = proto_state_live(r->rec.state);
	struct usage u = {{0}};

	u.of[BUDGET_RESTORES] = live || (!released && r->rec.state == STATE_FAILED);
	u.of[BUDGET_WORKERS] = !released;
	u.of[BUDGET_GUEST_BYTES] = released ? 0 : r->rec.size_bytes;
	u.of[BUDGET_MAP_BYTES] = released ? 0 : r->rec.map_bytes;
	u.of[BUDGET_ENTRIES] = released ? 0 : r->rec.extents;
	u.of[BUDGET_FILES] = released ? 0 : r->rec.files;
	u.of[BUDGET_RECORDS] = !live;
	u.of[BUDGET_RECORD_BYTES] = record_bytes(r);
	return u;
}

void usage_count(const struct table *table, const struct pool *pool, const char *tenant,
		 struct usage *ret)
{
	struct usage usage = {{0}};

	for (size_t i = 0; i < table->n; i++) {
		struct usage of_one = usage_of(table->v[i]);

		for (size_t b = 0; is_of(table->v[i], tenant) && b < BUDGET_COUNT; b++)
			usage.of[b] += of_one.of[b];
	}
	usage.of[BUDGET_WORKERS] += pool_abandoned(pool, tenant);
	*ret = usage;
}

void usage_less(struct usage *u, const struct restore *r)
{
	struct usage of_one = usage_of(r);

	for (size_t b = 0; b < BUDGET_COUNT; b++)
		u->of[b] -= of_one.of[b];
}

bool usage_any(const struct table *table, const char *tenant)
{
	for (size_t i = 0; i < table->n; i++)
		if (is_of(table->v[i], tenant))
			return true;
	return false;
}
