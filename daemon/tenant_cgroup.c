#include "daemon/tenant_cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "common/io.h"
#include "common/js.h"
#include "common/parse.h"
#include "daemon/cgroup_writer.h"
#include "daemon/log.h"

/* memory.stat has some 60 lines; anon and file are the first ones. */
#define TEXT_MAX 16384
#define OPTION "tenant_cgroup"

static const struct {
	const char *controller, *limit, *use;
	uint64_t unit; /* the kernel rounds a limit down to whole ones */
	const char *budget;
} kinds[TENANT_CGROUP_COUNT] = {
	[TENANT_CGROUP_MEMORY] = {"memory", "memory.max", "memory.current", PAGE_4K,
				  "cgroup_memory_bytes"},
	[TENANT_CGROUP_PIDS] = {"pids", "pids.max", "pids.current", 1, "cgroup_pids"},
};

/* ---- files ---- */

/* One read. False: there is no such file, or the cgroup is gone. */
static bool read_text(int dir, const char *file, char *text, size_t size)
{
	cleanup_fd int fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	return n >= 0;
}

/* Where the kernel can, it takes back memory later (O_NONBLOCK, Linux 6.16). */
static int open_for_writing(int dir, const char *file)
{
	return openat(dir, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

static int write_text(int dir, const char *file, const char *text)
{
	cleanup_fd int fd = open_for_writing(dir, file);

	return fd < 0 ? -1 : io_write_all(fd, text, strlen(text));
}

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ' ') && (at[len] <= ' '))
			return true;
	return false;
}

/* The first process in the list that is @pid, or any if that is 0; 0: none. */
static pid_t find_process(int dir, const char *file, pid_t pid)
{
	char text[TEXT_MAX];
	char *at = text;

	if (!read_text(dir, file, text, sizeof(text)))
		return 0;
	for (long one; (one = strtol(at, &at, 10)) > 0;)
		if (!pid || one == pid)
			return (pid_t)one;
	return 0;
}

/* ---- the cgroup that is delegated ---- */

static int check_kind(const struct tenant_cgroup *g, struct err *err)
{
	struct statfs fs;
	char type[32];

	if (fstatfs(g->dir, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC)
		return err_set(err, ERR_PATH,
			       OPTION ": %s is no cgroup of version 2: name one, below a mount of "
				      "type cgroup2 in /proc/mounts",
			       g->path);
	/* The root has no type. */
	if (!read_text(g->dir, "cgroup.type", type, sizeof(type)))
		return 0;
	type[strcspn(type, "\n")] = '\0';
	if (strcmp(type, "domain") == 0)
		return 0;
	return err_set(err, ERR_PATH,
		       OPTION ": %s is a cgroup of type \"%s\", and can hold no processes of "
			      "tenants: name one of type \"domain\"",
		       g->path, type);
}

static int check_rights(const struct tenant_cgroup *g, struct err *err)
{
	static const char *const files[] = {".", "cgroup.procs", "cgroup.subtree_control"};

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (faccessat(g->dir, files[i], W_OK, AT_EACCESS))
			return err_set(err, ERR_PATH,
				       OPTION ": uid %u cannot write to %s/%s: %s: delegate the "
					      "cgroup to uffdd (systemd: Delegate=)",
				       (unsigned)geteuid(), g->path, files[i], strerror(errno));
	return 0;
}

/*
 * A cgroup below can have a controller only if no process is in this one. The kernel would refuse
 * now, or later, when a worker is placed.
 */
static int check_empty(const struct tenant_cgroup *g, struct err *err)
{
	pid_t pid = 0;

	if (faccessat(g->dir, "cgroup.type", F_OK, 0) == 0)
		pid = find_process(g->dir, "cgroup.procs", 0);
	if (!pid)
		return 0;
	return err_set(err, ERR_STATE,
		       OPTION ": process %d%s is in %s itself, so the tenants' cgroups below can "
			      "have no limits: start uffdd in another cgroup, or in one below "
			      "(systemd: DelegateSubgroup=), and move others away",
		       (int)pid, pid == getpid() ? " (uffdd)" : "", g->path);
}

static int enable(struct tenant_cgroup *g, struct err *err)
{
	char there[512], word[32];

	read_text(g->dir, "cgroup.controllers", there, sizeof(there));
	for (size_t i = 0; i < TENANT_CGROUP_COUNT; i++) {
		if (!has_word(there, kinds[i].controller))
			continue;
		snprintf(word, sizeof(word), "+%s", kinds[i].controller);
		if (check_empty(g, err))
			return -1;
		if (write_text(g->dir, "cgroup.subtree_control", word))
			return err_set(err, ERR_PATH,
				       OPTION ": the controller %s cannot be enabled in "
					      "%s/cgroup.subtree_control: %s: delegate the cgroup "
					      "to uffdd (systemd: Delegate=)",
				       kinds[i].controller, g->path, strerror(errno));
		g->enabled[i] = true;
	}
	return 0;
}

/* The daemon may be in a cgroup beside those of the tenants, but in none of theirs. */
static void find_own(struct tenant_cgroup *g)
{
	char text[PATH_MAX + 64];
	const char *line = text, *name;
	size_t len;

	if (!read_text(AT_FDCWD, "/proc/self/cgroup", text, sizeof(text)))
		return;
	while (line && strncmp(line, "0::", 3) != 0)
		line = text_after(line, '\n');
	if (!line)
		return;
	text[(size_t)(line - text) + strcspn(line, "\n")] = '\0';
	name = strrchr(line, '/');
	len = name ? strlen(name + 1) : 0;
	if (len && len <= PROTO_ID_MAX) {
		char procs[PROTO_ID_MAX + 32];

		snprintf(procs, sizeof(procs), "%s/cgroup.procs", name + 1);
		if (find_process(g->dir, procs, getpid()))
			memcpy(g->own, name + 1, len + 1);
	}
}

int tenant_cgroup_open(const char *path, struct tenant_cgroup **ret, struct err *err)
{
	struct tenant_cgroup *g = xcalloc(1, sizeof(*g));
	int rc;

	snprintf(g->path, sizeof(g->path), "%s", path);
	g->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->dir < 0)
		rc = err_set(err, ERR_PATH,
			     OPTION ": cannot open %s: %s: make a cgroup there and delegate it to "
				    "uffdd, or name another one",
			     path, strerror(errno));
	else
		rc = check_kind(g, err) || check_rights(g, err) || enable(g, err) ? -1 : 0;
	if (rc) {
		tenant_cgroup_close(g);
		return -1;
	}
	find_own(g);
	*ret = g;
	return 0;
}

void tenant_cgroup_close(struct tenant_cgroup *g)
{
	if (!g)
		return;
	close_fd(&g->dir);
	free(g);
}

int tenant_cgroup_check(const struct tenant_cgroup *g, const struct tenant_cgroup_limits *limits,
			struct err *err)
{
	uint64_t memory = limits->of[TENANT_CGROUP_MEMORY];

	if (memory && memory < TENANT_CGROUP_MEMORY_MIN)
		return err_set(err, ERR_INVALID,
			       "%s: must be 0 (no limit) or at least %llu: with less each worker "
			       "is killed at once",
			       kinds[TENANT_CGROUP_MEMORY].budget,
			       (unsigned long long)TENANT_CGROUP_MEMORY_MIN);
	for (size_t i = 0; i < TENANT_CGROUP_COUNT; i++) {
		if (!limits->of[i] || (g && g->enabled[i]))
			continue;
		if (!g)
			return err_set(err, ERR_STATE,
				       "%s: no cgroup limits workers on this host: configure "
				       "tenant_cgroup, or set 0",
				       kinds[i].budget);
		return err_set(err, ERR_STATE,
			       "%s: the controller %s is not in %s/cgroup.controllers: enable it "
			       "in the cgroups above, or set 0",
			       kinds[i].budget, kinds[i].controller, g->path);
	}
	return 0;
}

/* ---- limits ---- */

static void limit_text(size_t kind, uint64_t limit, char ret[CGROUP_WRITER_TEXT_MAX + 1])
{
	uint64_t whole = align_down(limit, kinds[kind].unit);

	if (limit)
		snprintf(ret, CGROUP_WRITER_TEXT_MAX + 1, "%llu", (unsigned long long)whole);
	else
		snprintf(ret, CGROUP_WRITER_TEXT_MAX + 1, "max");
}

/* Of a cgroup in which nothing is charged yet: the kernel has nothing to take back. */
static int limit_new(const struct tenant_cgroup *g, int dir,
		     const struct tenant_cgroup_limits *limits)
{
	char text[CGROUP_WRITER_TEXT_MAX + 1];

	for (size_t i = 0; i < TENANT_CGROUP_COUNT; i++) {
		limit_text(i, limits->of[i], text);
		if (limits->of[i] && g->enabled[i] && write_text(dir, kinds[i].limit, text))
			return -1;
	}
	return 0;
}

static void limit_old(const struct tenant_cgroup *g, const char *tenant, int dir,
		      const struct tenant_cgroup_limits *limits)
{
	char is[64], text[CGROUP_WRITER_TEXT_MAX + 1], path[2 * PATH_MAX];

	for (size_t i = 0; i < TENANT_CGROUP_COUNT; i++) {
		int fd;

		limit_text(i, limits->of[i], text);
		if (!g->enabled[i] || (read_text(dir, kinds[i].limit, is, sizeof(is)) &&
				       (is[strcspn(is, "\n")] = '\0', strcmp(is, text) == 0)))
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", g->path, tenant, kinds[i].limit);
		fd = open_for_writing(dir, kinds[i].limit);
		if (fd < 0)
			log_error("a limit of a cgroup cannot be changed", "file=%s why=%s", path,
				  strerror(errno));
		else
			cgroup_writer_write(&fd, text, path);
	}
}

static int open_of(const struct tenant_cgroup *g, const char *tenant)
{
	return openat(g->dir, tenant, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

void tenant_cgroup_limit(const struct tenant_cgroup *g, const char *tenant,
			 const struct tenant_cgroup_limits *limits)
{
	cleanup_fd int dir = open_of(g, tenant);

	if (dir >= 0)
		limit_old(g, tenant, dir, limits);
}

/* ---- processes ---- */

static int move(int dir, pid_t pid)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", (int)pid);
	return write_text(dir, "cgroup.procs", text);
}

/*
 * A worker has made its holder before it is given a restore. Children that it makes after it was
 * moved are born in the cgroup, so all are there. A kernel without the list (CONFIG_PROC_CHILDREN)
 * leaves the holder where it was.
 */
static int move_with_children(int dir, pid_t pid)
{
	char path[64], text[TEXT_MAX];
	char *at = text;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	if (move(dir, pid))
		return -1;
	if (!read_text(AT_FDCWD, path, text, sizeof(text)))
		return 0;
	for (long child; (child = strtol(at, &at, 10)) > 0;)
		if (move(dir, (pid_t)child) && errno != ESRCH)
			return -1;
	return 0;
}

/* On failure errno says why. */
static int make(const struct tenant_cgroup *g, const char *tenant,
		const struct tenant_cgroup_limits *limits, int *ret_dir)
{
	bool made = mkdirat(g->dir, tenant, 0755) == 0;
	cleanup_fd int dir = made || errno == EEXIST ? open_of(g, tenant) : -1;

	if (dir < 0)
		return -1;
	if (made && limit_new(g, dir, limits)) {
		int why = errno;

		tenant_cgroup_remove(g, tenant);
		errno = why;
		return -1;
	}
	if (!made)
		limit_old(g, tenant, dir, limits);
	*ret_dir = steal_fd(&dir);
	return 0;
}

int tenant_cgroup_place(const struct tenant_cgroup *g, const char *tenant,
			const struct tenant_cgroup_limits *limits, pid_t pid, struct err *err)
{
	cleanup_fd int dir = -1;

	if (strcmp(tenant, g->own) == 0)
		return err_set(err, ERR_STATE,
			       "the cgroup %s/%s is the daemon's own, so tenant %s can have no "
			       "workers there: start uffdd in a cgroup of another name",
			       g->path, tenant, tenant);
	if (make(g, tenant, limits, &dir) == 0 && move_with_children(dir, pid) == 0)
		return 0;
	return err_set(err, ERR_UNREADY, "worker %d cannot be placed in the cgroup %s/%s: %s",
		       (int)pid, g->path, tenant, strerror(errno));
}

/* The kernel refuses while a process is there. */
void tenant_cgroup_remove(const struct tenant_cgroup *g, const char *tenant)
{
	unlinkat(g->dir, tenant, AT_REMOVEDIR);
}

void tenant_cgroup_tidy(const struct tenant_cgroup *g)
{
	int fd = openat(g->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		close_fd(&fd);
		return;
	}
	while ((e = readdir(dir)))
		if (e->d_type == DT_DIR && proto_id_valid(e->d_name) &&
		    strcmp(e->d_name, g->own) != 0)
			tenant_cgroup_remove(g, e->d_name);
	closedir(dir);
}

/* ---- view ---- */

/* "max", and what cannot be read, are null. */
static void add_number(struct json_object *o, const char *key, int dir, const char *file)
{
	char text[64];
	uint64_t n;

	if (!read_text(dir, file, text, sizeof(text)))
		text[0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (parse_u64(text, 0, UINT64_MAX, &n))
		js_add_u64(o, key, n);
	else
		json_object_object_add(o, key, NULL);
}

/* The number of the line "@name N". */
static void add_stat(struct json_object *o, const char *key, const char *text, const char *name)
{
	size_t len = strlen(name);

	while (text && (strncmp(text, name, len) != 0 || text[len] != ' '))
		text = text_after(text, '\n');
	if (text)
		js_add_u64(o, key, strtoull(text + len, NULL, 10));
	else
		json_object_object_add(o, key, NULL);
}

struct json_object *tenant_cgroup_json(const struct tenant_cgroup *g, const char *tenant)
{
	cleanup_fd int dir = open_of(g, tenant);
	struct json_object *o = json_object_new_object();
	char path[2 * PATH_MAX], stat[TEXT_MAX] = "";

	snprintf(path, sizeof(path), "%s/%s", g->path, tenant);
	js_add_string(o, "path", path);
	/* Without a cgroup no file is found. */
	read_text(dir, "memory.stat", stat, sizeof(stat));
	add_number(o, "memory_bytes", dir, kinds[TENANT_CGROUP_MEMORY].use);
	add_number(o, "memory_limit_bytes", dir, kinds[TENANT_CGROUP_MEMORY].limit);
	add_stat(o, "anon_bytes", stat, "anon");
	add_stat(o, "file_bytes", stat, "file");
	add_number(o, "pids", dir, kinds[TENANT_CGROUP_PIDS].use);
	add_number(o, "pids_limit", dir, kinds[TENANT_CGROUP_PIDS].limit);
	return o;
}
