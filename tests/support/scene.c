#include "tests/support/scene.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/fakes/snapshot/snapgen.h"

#define REQUESTS_MAX 4096
#define ZYGOTE_FDS 2 /* its channel and its pidfd */

char *scene_format(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	ck_assert_int_ge(vasprintf(&text, fmt, ap), 0);
	va_end(ap);
	return text;
}

/* --- files --- */

void scene_write(const char *path, const void *bytes, size_t len)
{
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_msg(fd >= 0 && write(fd, bytes, len) == (ssize_t)len, "cannot write %s: %s", path,
		      strerror(errno));
}

static void copy_file(const char *from, const char *to)
{
	cleanup_fd int in = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_free char *bytes = NULL;
	struct stat st;

	ck_assert_msg(in >= 0 && fstat(in, &st) == 0, "cannot read %s: %s", from, strerror(errno));
	bytes = xcalloc(1, (size_t)st.st_size + 1);
	ck_assert_int_eq(read(in, bytes, (size_t)st.st_size), st.st_size);
	scene_write(to, bytes, (size_t)st.st_size);
}

void scene_copy_dir(const char *from, const char *to)
{
	DIR *dir = opendir(from);

	ck_assert_msg(dir && mkdir(to, 0755) == 0, "cannot copy %s to %s: %s", from, to,
		      strerror(errno));
	for (struct dirent *e; (e = readdir(dir));) {
		cleanup_free char *source = scene_format("%s/%s", from, e->d_name);
		cleanup_free char *target = scene_format("%s/%s", to, e->d_name);

		if (e->d_name[0] != '.')
			copy_file(source, target);
	}
	closedir(dir);
}

void scene_make_snapshot(const char *dir, uint64_t size, uint64_t seed)
{
	struct snapgen_opts o = snapgen_defaults;
	struct err err;

	o.size_bytes = size;
	o.seed = seed;
	ck_assert_msg(snapgen_write(&o, dir, &err) == 0, "%s", err.msg);
}

/* --- the daemon --- */

/* Entries of run/<what>. */
static int count_files(const struct scene *s, const char *what)
{
	cleanup_free char *path = scene_format("%s/%s", s->d.run, what);
	DIR *dir = opendir(path);
	int n = 0;

	ck_assert_msg(dir != NULL, "cannot look into %s: %s", path, strerror(errno));
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static bool pool_is_full(void *arg)
{
	const struct scene *s = arg;

	return harness_count_workers(s->d.pid) == SCENE_POOL;
}

/* Those of the control socket's connections, by their inodes. */
struct requests {
	size_t n;
	unsigned long inodes[REQUESTS_MAX];
};

static void find_requests(const struct scene *s, struct requests *ret)
{
	cleanup_file FILE *f = fopen("/proc/net/unix", "re");
	char line[512], path[sizeof(s->d.socket)];
	unsigned long inode;

	ret->n = 0;
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %lu %107s", &inode, path) == 2 &&
		    strcmp(path, s->d.socket) == 0 && ret->n < REQUESTS_MAX)
			ret->inodes[ret->n++] = inode;
}

/* Not its listening socket, which is one and stays: it is subtracted on both sides. */
static bool is_request(const struct requests *r, const char *link)
{
	unsigned long inode;

	if (sscanf(link, "socket:[%lu]", &inode) != 1)
		return false;
	for (size_t i = 0; i < r->n; i++)
		if (r->inodes[i] == inode)
			return true;
	return false;
}

/*
 * A connection closes a moment after its reply, the database opens some of its files when it
 * is first written to, and a zygote that does not answer is ended: none of it is counted.
 */
int scene_count_fds(const struct scene *s)
{
	cleanup_free char *path = scene_format("/proc/%d/fd", (int)s->d.pid);
	struct requests requests;
	DIR *dir = opendir(path);
	int nurseries = harness_count_children(s->d.pid) - harness_count_workers(s->d.pid);
	int n = -nurseries * ZYGOTE_FDS;

	ck_assert_msg(dir != NULL, "cannot look into %s: %s", path, strerror(errno));
	find_requests(s, &requests);
	for (struct dirent *e; (e = readdir(dir));) {
		char link[PATH_MAX] = "";

		if (readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1) > 0 &&
		    strncmp(link, s->d.state, strlen(s->d.state)) != 0 &&
		    !is_request(&requests, link))
			n++;
	}
	closedir(dir);
	return n;
}

static bool is_at_rest(void *arg)
{
	struct scene *s = arg;

	return pool_is_full(arg) && count_files(s, "uffd") == 0 && count_files(s, "maps") == 0 &&
	       count_files(s, "files") == 0 && scene_count_fds(s) == s->fds;
}

void scene_at_rest(struct scene *s)
{
	ck_assert_msg(harness_wait(is_at_rest, s, SCENE_MS),
		      "the daemon is not as before: %d descriptors of %d, %d workers of %d, "
		      "%d sockets, %d page maps",
		      scene_count_fds(s), s->fds, harness_count_workers(s->d.pid), SCENE_POOL,
		      count_files(s, "uffd"), count_files(s, "maps"));
}

/* Of the warm-up: threads close what others have sent (daemon/closer.h). */
static bool has_closed_all(void *arg)
{
	cleanup_json struct json_object *o = scene_ask(arg, 200, "GET", "/v1/status", NULL);

	return scene_number(o, "descriptors.closing") == 0;
}

void scene_open(struct scene *s)
{
	const char *more = s->config;

	s->config_text = scene_format("{\"pool_workers\":%d,\"each_user_is_tenant\":%s%s%s}",
				      SCENE_POOL, s->d.tenants ? "false" : "true", more ? "," : "",
				      more ? more : "");
	s->d.config = s->config_text;
	harness_daemon_start(&s->d, NULL);
	scene_create(s, "0-warm-up", SCENE_SNAPSHOT, "\"connect_timeout\":\"30s\"");
	scene_delete(s, "0-warm-up", "");
	ck_assert_msg(harness_wait(pool_is_full, s, SCENE_MS), "no workers wait");
	/* Which also is not in the middle of starting the last of them then. */
	ck_assert_msg(harness_wait(has_closed_all, s, SCENE_MS), "descriptors stay open");
	s->fds = scene_count_fds(s);
}

static bool is_unlocked(void *arg)
{
	const struct scene *s = arg;
	cleanup_fd int fd = open(s->d.run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* A worker between fork and exec has all descriptors of the daemon, and its locks. */
static void wait_for_locks(struct scene *s)
{
	ck_assert_msg(harness_wait(is_unlocked, s, SCENE_MS), "%s stays locked", s->d.run);
}

void scene_kill(struct scene *s)
{
	harness_daemon_kill(&s->d);
	wait_for_locks(s);
}

void scene_stop(struct scene *s)
{
	int status = -1;

	ck_assert_int_eq(kill(s->d.pid, SIGTERM), 0);
	ck_assert_int_eq(waitpid(s->d.pid, &status, 0), s->d.pid);
	ck_assert_msg(status == 0, "the daemon stopped with wait status %#x", (unsigned)status);
	s->d.pid = 0;
	wait_for_locks(s);
}

void scene_check_log(const struct scene *s, const char *who)
{
	static const char *const complaints[] = {"Sanitizer", "runtime error", "Assertion"};
	cleanup_free char *log = harness_daemon_log(&s->d);

	for (size_t i = 0; i < ARRAY_LEN(complaints); i++)
		ck_assert_msg(!strstr(log, complaints[i]), "%s: the log:\n%s", who, log);
}

void scene_close(struct scene *s)
{
	scene_at_rest(s);
	harness_daemon_stop(&s->d);
	free(s->config_text);
}
