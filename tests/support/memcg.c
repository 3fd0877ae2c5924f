#include "tests/support/memcg.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/harness.h"
#include "tests/support/scene.h"

#define MOUNT "/sys/fs/cgroup/memory"
#define GONE_MS 5000

/* "" without one. */
static void own_path(char ret[PATH_MAX])
{
	cleanup_file FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX + 64];

	ret[0] = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*d:memory:%4095s", ret) == 1)
			return;
}

bool memcg_available(const char **ret_why)
{
	char path[PATH_MAX], procs[PATH_MAX + 64];

	own_path(path);
	snprintf(procs, sizeof(procs), MOUNT "%s/cgroup.procs", path);
	*ret_why = "no memory controller of cgroup version 1 that may be changed";
	return path[0] && access(procs, W_OK) == 0;
}

static void put(const char *dir, const char *name, const char *text)
{
	cleanup_free char *path = scene_format("%s/%s", dir, name);
	FILE *f = fopen(path, "we");
	bool ok = f && fputs(text, f) >= 0;

	/* What the kernel says is said when it is written. */
	ck_assert_msg(f && fclose(f) == 0 && ok, "cannot write %s into %s: %s", text, path,
		      strerror(errno));
}

void memcg_open(struct memcg *g, const struct memcg *above, const char *name)
{
	char path[PATH_MAX];

	own_path(path);
	g->home = above ? strdup(above->home) : scene_format(MOUNT "%s", path);
	g->dir = scene_format("%s/uffdd-test-%s-%d", above ? above->dir : g->home, name,
			      (int)getpid());
	ck_assert_msg(mkdir(g->dir, 0755) == 0, "cannot make %s: %s", g->dir, strerror(errno));
}

/* Those who have ended leave it a moment later. */
static bool is_gone(void *dir)
{
	return rmdir(dir) == 0 || errno == ENOENT;
}

void memcg_close(struct memcg *g)
{
	ck_assert_msg(harness_wait(is_gone, g->dir, GONE_MS), "cannot remove %s", g->dir);
	free(g->dir);
	free(g->home);
	*g = (struct memcg){0};
}

void memcg_limit(const struct memcg *g, uint64_t bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, bytes);
	put(g->dir, "memory.limit_in_bytes", text);
}

uint64_t memcg_usage(const struct memcg *g)
{
	cleanup_free char *path = scene_format("%s/memory.usage_in_bytes", g->dir);
	cleanup_file FILE *f = fopen(path, "re");
	uint64_t bytes = 0;

	ck_assert_msg(f && fscanf(f, "%" SCNu64, &bytes) == 1, "cannot read %s", path);
	return bytes;
}

void memcg_enter(const struct memcg *g)
{
	put(g->dir, "cgroup.procs", "0");
}

void memcg_leave(const struct memcg *g)
{
	put(g->home, "cgroup.procs", "0");
}
