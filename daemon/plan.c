#include "daemon/plan.h"

#include "common/base.h"

/* The first row counts of which all "given" facts hold, and no "not_given" fact does. */
static const struct {
	unsigned given, not_given; /* FACT() bits */
	enum plan plan;
} rules[] = {
	{FACT(FACT_MAP_LOST) | FACT(FACT_GUEST), 0, PLAN_FAIL_MAP},
	{FACT(FACT_MAP_LOST), 0, PLAN_END_EXITED},
	{FACT(FACT_OVER), 0, PLAN_END_EXITED},
	{FACT(FACT_WORKER), 0, PLAN_AWAIT_WORKER},
	{FACT(FACT_UNRECOVERABLE), 0, PLAN_LEAVE},
	/* Without a userfaultfd no worker can go on with a guest that has run. */
	{FACT(FACT_BEGUN) | FACT(FACT_NO_MEMORY), FACT(FACT_UFFD), PLAN_AWAIT_END},
	{FACT(FACT_BEGUN) | FACT(FACT_LEFT_ALONE), FACT(FACT_UFFD), PLAN_END_RELEASED},
	{FACT(FACT_BEGUN), FACT(FACT_UFFD), PLAN_FAIL_UFFD},
	{FACT(FACT_TOO_OFTEN), 0, PLAN_FAIL_DEATHS},
	{0, 0, PLAN_SUCCEED},
};

enum plan plan_of(unsigned facts)
{
	size_t i = 0;

	while ((facts & rules[i].given) != rules[i].given || facts & rules[i].not_given)
		i++;
	return rules[i].plan;
}

const char *plan_name(enum plan plan)
{
	static const char *const names[PLAN_COUNT] = {
#define X(plan, name) [plan] = name,
		PLANS(X)
#undef X
	};

	return names[plan];
}
