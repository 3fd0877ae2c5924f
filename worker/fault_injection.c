#include "worker/fault_injection.h"

#include <limits.h>
#include <signal.h>
#include <string.h>

#include "common/base.h"

static const char *const names[FAULT_COUNT] = {
#define X(point, name) [point] = name,
	FAULT_TABLE(X)
#undef X
};

static const struct {
	const char *name;
	int signal;
} actions[] = {{"stop", SIGSTOP}, {"kill", SIGKILL}};

static struct {
	const char *name;
	unsigned left; /* passages until the action; 0: no action (any more) */
	int signal;
} armed;

/* An unknown point or action would make its test pass for nothing. */
static void set(const char *name, unsigned count, const char *action)
{
	for (size_t i = 0; i < FAULT_COUNT; i++)
		if (strcmp(names[i], name) == 0)
			armed.name = names[i];
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (strcmp(actions[i].name, action) == 0)
			armed.signal = actions[i].signal;
	armed.left = count;
	if (!armed.name || !armed.signal || !count)
		abort();
}

void fault_arm(const char *id)
{
	const char *dir = getenv("UFFDD_FAULT");
	char path[PATH_MAX], name[32], action[8];
	cleanup_file FILE *f = NULL;
	unsigned count;

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : "", id);
	f = dir ? fopen(path, "re") : NULL;
	if (!f)
		return;
	if (fscanf(f, "%31[^:]:%u:%7s", name, &count, action) != 3)
		abort();
	set(name, count, action);
	unlink(path);
}

void fault_point(enum fault_point point)
{
	if (armed.left && armed.name == names[point] && --armed.left == 0)
		raise(armed.signal);
}
