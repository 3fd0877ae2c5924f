#include "tests/support/cgroup2.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/harness.h"
#include "tests/support/scene.h"

#define GONE_MS 5000

/* "" without one. */
static void find_mount(char ret[PATH_MAX])
{
	cleanup_file FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[2 * PATH_MAX];

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %4095s", ret) == 1)
			return;
	ret[0] = '\0';
}

bool cgroup2_available(const char **ret_why)
{
	char mount[PATH_MAX];

	find_mount(mount);
	*ret_why = "no file system of cgroup version 2 that may be changed";
	return mount[0] && access(mount, W_OK) == 0;
}

/* Without an assertion: no test runs yet when a suite asks. */
bool cgroup2_offers(const char *controller)
{
	char path[PATH_MAX + 64], list[1024] = "", *rest = list;
	cleanup_file FILE *f = NULL;

	find_mount(path);
	strcat(path, "/cgroup.subtree_control");
	f = fopen(path, "re");
	if (!f || !fgets(list, sizeof(list), f))
		return false;
	for (char *one; (one = strsep(&rest, " \n"));)
		if (strcmp(one, controller) == 0)
			return true;
	return false;
}

void cgroup2_open(struct cgroup2 *g, const char *name)
{
	char mount[PATH_MAX];

	find_mount(mount);
	g->dir = scene_format("%s/uffdd-test-%s-%d", mount, name, (int)getpid());
	ck_assert_msg(mkdir(g->dir, 0755) == 0, "cannot make %s: %s", g->dir, strerror(errno));
}

static void remove_below(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0)
			unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR);
	if (dir)
		closedir(dir);
}

/* Those who have ended leave it a moment later. */
static bool is_gone(void *dir)
{
	remove_below(dir);
	return rmdir(dir) == 0 || errno == ENOENT;
}

void cgroup2_close(struct cgroup2 *g)
{
	ck_assert_msg(harness_wait(is_gone, g->dir, GONE_MS), "cannot remove %s", g->dir);
	free(g->dir);
	g->dir = NULL;
}

char *cgroup2_read(const struct cgroup2 *g, const char *name, const char *file)
{
	cleanup_free char *path = scene_format("%s/%s/%s", g->dir, name, file);
	cleanup_file FILE *f = fopen(path, "re");
	char text[16384];
	size_t n;

	if (!f)
		return NULL;
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	if (n && text[n - 1] == '\n')
		text[n - 1] = '\0';
	return strdup(text);
}

bool cgroup2_write(const struct cgroup2 *g, const char *name, const char *file, const char *text)
{
	cleanup_free char *path = scene_format("%s/%s/%s", g->dir, name, file);
	cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* @pid: 0: all. */
static int count(const struct cgroup2 *g, const char *name, long pid)
{
	cleanup_free char *list = cgroup2_read(g, name, "cgroup.procs");
	char *at = list;
	int n = 0;

	if (!list)
		return -1;
	for (long one; (one = strtol(at, &at, 10)) > 0;)
		n += !pid || one == pid;
	return n;
}

bool cgroup2_has(const struct cgroup2 *g, const char *name, pid_t pid)
{
	return count(g, name, pid) > 0;
}

int cgroup2_count(const struct cgroup2 *g, const char *name)
{
	return count(g, name, 0);
}
