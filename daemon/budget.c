#include "daemon/budget.h"

#include <stddef.h>

static const struct {
	const char *name;
	size_t at; /* of the default, a uint64_t in struct conf */
	uint64_t max;
} table[BUDGET_COUNT] = {
#define ROW(constant, name, member, max) [constant] = {name, offsetof(struct conf, member), max},
	BUDGETS(ROW)
#undef ROW
};

const char *budget_name(enum budget budget)
{
	return table[budget].name;
}

bool budget_is_of_cgroup(enum budget budget)
{
	return budget == BUDGET_CGROUP_MEMORY || budget == BUDGET_CGROUP_PIDS;
}

bool budget_is_counted(enum budget budget)
{
	return budget != BUDGET_EVENTS && budget != BUDGET_COMMANDS && !budget_is_of_cgroup(budget);
}

void budget_init(struct budgets *ret)
{
	for (size_t i = 0; i < BUDGET_COUNT; i++)
		ret->of[i] = BUDGET_DEFAULT;
}

uint64_t budget_of(const struct budgets *b, enum budget budget, const struct conf *conf)
{
	if (b->of[budget] != BUDGET_DEFAULT)
		return b->of[budget];
	return *(const uint64_t *)((const char *)conf + table[budget].at);
}

int budget_parse(struct js_at at, struct budgets *ret, struct err *err)
{
	const char *keys[BUDGET_COUNT + 1] = {NULL};

	for (size_t i = 0; i < BUDGET_COUNT; i++)
		keys[i] = table[i].name;
	if (js_known(at, keys, err))
		return -1;
	for (size_t i = 0; i < BUDGET_COUNT; i++) {
		bool have;

		if (js_u64(at, table[i].name, table[i].max, &ret->of[i], &have, err))
			return -1;
	}
	return 0;
}

struct json_object *budget_json(const struct budgets *b)
{
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < BUDGET_COUNT; i++)
		if (b->of[i] != BUDGET_DEFAULT)
			js_add_u64(o, table[i].name, b->of[i]);
	return o;
}
