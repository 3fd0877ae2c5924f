/* soak_cage - a memory cgroup that is too small for the guests in it, and for each of them */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/soak/soak.h"

#define MOUNT "/sys/fs/cgroup/memory"
#define LIMIT "40M" /* a guest has 32 MiB */
#define GONE_TRIES 200
#define GONE_PAUSE_MS 50

static char cage[PATH_MAX];
static int tasks = -1, home_tasks = -1; /* who writes 0 is in it */

static int open_tasks(const char *dir, const char *name)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, O_WRONLY | O_CLOEXEC);
}

/* Where this process is now; "" without a controller of version 1. */
static void find_home(char ret[PATH_MAX])
{
	cleanup_file FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX + 64], path[PATH_MAX / 2];

	ret[0] = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*d:memory:%2047s", path) == 1)
			snprintf(ret, PATH_MAX, MOUNT "%s", path);
}

bool soak_cage_open(void)
{
	char home[PATH_MAX];
	cleanup_fd int limit = -1;

	find_home(home);
	snprintf(cage, sizeof(cage), "%.3900s/uffdd-soak-%d", home, (int)getpid());
	if (!home[0] || mkdir(cage, 0755))
		return false;
	limit = open_tasks(cage, "memory.limit_in_bytes");
	tasks = open_tasks(cage, "tasks");
	home_tasks = open_tasks(home, "tasks");
	return limit >= 0 && tasks >= 0 && home_tasks >= 0 &&
	       write(limit, LIMIT, strlen(LIMIT)) > 0;
}

/* The calling thread alone, and what it forks. */
bool soak_cage_enter(void)
{
	return write(tasks, "0", 1) == 1;
}

void soak_cage_leave(void)
{
	if (write(home_tasks, "0", 1) != 1)
		abort();
}

void soak_cage_close(struct soak *s)
{
	close_fd(&tasks);
	close_fd(&home_tasks);
	/* Those who have ended leave it a moment later. */
	for (int i = 0; cage[0] && rmdir(cage) && errno == EBUSY; i++) {
		if (i == GONE_TRIES) {
			soak_problem(s, "somebody is left in %s", cage);
			return;
		}
		poll(NULL, 0, GONE_PAUSE_MS);
	}
}
