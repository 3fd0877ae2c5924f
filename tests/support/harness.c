#include "tests/support/harness.h"

#include <check.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/chan.h"
#include "common/proc.h"
#include "common/sock.h"

#define POLL_MS 2
/* What <dir>/run/control.sock and the names of sockets below run/ need. */
#define DIR_MAX 40

/* Directories */

char *harness_tmpdir(void)
{
	const char *base = getenv("TMPDIR");
	char *dir;

	if (!base || !*base || strlen(base) > DIR_MAX)
		base = "/tmp";
	ck_assert_int_gt(asprintf(&dir, "%s/uffdd-XXXXXX", base), 0);
	ck_assert_msg(mkdtemp(dir) != NULL, "mkdtemp %s: %s", dir, strerror(errno));
	return dir;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	return remove(path);
}

void harness_rmtree(const char *path)
{
	int r = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);

	ck_assert_msg(r == 0 || errno == ENOENT, "cannot remove %s: %s", path, strerror(errno));
}

static char *read_text(int fd)
{
	char *text = xcalloc(1, HARNESS_TEXT_MAX + 1);
	size_t len = 0;
	ssize_t n;

	while (len < HARNESS_TEXT_MAX &&
	       (n = pread(fd, text + len, HARNESS_TEXT_MAX - len, (off_t)len)) > 0)
		len += (size_t)n;
	text = realloc(text, len + 1);
	ck_assert_ptr_nonnull(text);
	return text;
}

static void write_file(const char *path, const char *text)
{
	cleanup_file FILE *f = fopen(path, "we");

	ck_assert_msg(f && fputs(text, f) >= 0, "cannot write %s: %s", path, strerror(errno));
}

/* Deadlines */

static bool put_text(const char *name, const char *text)
{
	cleanup_fd int fd = open(name, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Who is not root may mount in a user namespace, if the host has such; there it is itself. */
static bool new_mounts(void)
{
	char uids[32], gids[32];

	snprintf(uids, sizeof(uids), "%u %u 1", getuid(), getuid());
	snprintf(gids, sizeof(gids), "%u %u 1", getgid(), getgid());
	if (unshare(CLONE_NEWNS) == 0)
		return true;
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
	       put_text("/proc/self/setgroups", "deny") && put_text("/proc/self/gid_map", gids) &&
	       put_text("/proc/self/uid_map", uids);
}

bool harness_private_mounts(void)
{
	return new_mounts() && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

bool harness_small_disk(const char *path, const char *size)
{
	char options[64];

	snprintf(options, sizeof(options), "size=%s,mode=0700", size);
	return harness_private_mounts() && mount("none", path, "tmpfs", 0, options) == 0;
}

int harness_scale_ms(int timeout_ms)
{
	const char *text = getenv("CK_TIMEOUT_MULTIPLIER");
	double factor = text ? strtod(text, NULL) : 1;

	return factor > 1 ? (int)(timeout_ms * factor) : timeout_ms;
}

bool harness_wait(bool (*cond)(void *), void *arg, int timeout_ms)
{
	uint64_t deadline = now_us() + (uint64_t)harness_scale_ms(timeout_ms) * 1000;

	while (!cond(arg)) {
		if (now_us() >= deadline)
			return false;
		poll(NULL, 0, POLL_MS);
	}
	return true;
}

/* Waits for a child of ours; false if it did not end in time. Its status is in *ret_status. */
static bool wait_child(pid_t pid, int timeout_ms, int *ret_status)
{
	uint64_t deadline = now_us() + (uint64_t)harness_scale_ms(timeout_ms) * 1000;
	pid_t r;

	while ((r = waitpid(pid, ret_status, WNOHANG)) == 0) {
		if (now_us() >= deadline)
			return false;
		poll(NULL, 0, POLL_MS);
	}
	ck_assert_int_eq(r, pid);
	return true;
}

static void kill_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Processes */

/* Parent and name of a process, given as text; -1: there is none. */
static pid_t parent_of(const char *pid, char ret_name[static 32])
{
	cleanup_file FILE *f = NULL;
	char path[64], line[1024] = "";
	const char *p;
	int ppid;

	snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		return -1;
	p = strrchr(line, ')');
	return p && sscanf(line, "%*d (%31[^)]", ret_name) == 1 && sscanf(p, ") %*c %d", &ppid) == 1
		       ? ppid
		       : -1;
}

static int count_children(pid_t pid, const char *but)
{
	DIR *dir = opendir("/proc");
	char name[32];
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	for (struct dirent *e; (e = readdir(dir));)
		n += isdigit((unsigned char)e->d_name[0]) && parent_of(e->d_name, name) == pid &&
		     strcmp(name, but) != 0;
	closedir(dir);
	return n;
}

#define SPARE_MAX 8

struct rlimit harness_limit_fds(int spare)
{
	struct rlimit before, now;
	int fds[SPARE_MAX + 1];

	ck_assert_int_le(spare, SPARE_MAX);
	/* Some numbers may be taken that were inherited. */
	for (int i = 0; i <= spare; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i <= spare; i++)
		close(fds[i]);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = before;
	now.rlim_cur = (rlim_t)fds[spare];
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
	return before;
}

int harness_count_children(pid_t pid)
{
	return count_children(pid, "");
}

int harness_count_workers(pid_t pid)
{
	return count_children(pid, CHAN_ZYGOTE);
}

/* Forks and executes; output goes to the two descriptors. A dead test takes it along. */
static pid_t start_program(const char *const argv[], int out, int err)
{
	pid_t parent = getpid(), pid = fork();
	int null;

	ck_assert_msg(pid >= 0, "fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (getppid() != parent || null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 ||
	    dup2(err, 2) < 0)
		_exit(126);
	execvp(argv[0], (char *const *)argv);
	dprintf(2, "cannot execute %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* Daemon */

#define ARGS_MAX 32

static void write_beside(const struct harness_daemon *d, const char *name, const char *text)
{
	cleanup_free char *file = NULL;

	ck_assert_int_gt(asprintf(&file, "%s/%s", d->dir, name), 0);
	write_file(file, text);
}

static void make_dirs(struct harness_daemon *d)
{
	cleanup_free char *dir = harness_tmpdir();

	snprintf(d->dir, sizeof(d->dir), "%s", dir);
	snprintf(d->run, sizeof(d->run), "%s/run", dir);
	snprintf(d->state, sizeof(d->state), "%s/state", dir);
	snprintf(d->socket, sizeof(d->socket), "%s/run/control.sock", dir);
	ck_assert_int_eq(mkdir(d->run, 0755), 0);
	ck_assert_int_eq(mkdir(d->state, 0700), 0);
	/* The tests' own snapshots and sockets lie here, and some callers are other users. */
	ck_assert_int_eq(chmod(d->dir, 0755), 0);
	write_beside(d, "uffdd.json", d->config ? d->config : "{\"each_user_is_tenant\":true}");
	if (d->tenants)
		write_beside(d, "tenants.json", d->tenants);
}

static int open_log(const struct harness_daemon *d, int flags)
{
	char path[sizeof(d->dir) + 8];
	int fd;

	snprintf(path, sizeof(path), "%s/log", d->dir);
	fd = open(path, flags | O_CLOEXEC, 0644);
	ck_assert_msg(fd >= 0, "cannot open %s: %s", path, strerror(errno));
	return fd;
}

char *harness_daemon_log(const struct harness_daemon *d)
{
	cleanup_fd int fd = open_log(d, O_RDONLY);

	return read_text(fd);
}

bool harness_accepts_or_ended(void *arg)
{
	const struct harness_daemon *d = arg;
	siginfo_t ended = {0};
	struct err err;
	int fd;

	if (waitid(P_PID, (id_t)d->pid, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 || ended.si_pid)
		return true;
	if (sock_connect(d->socket, SOCK_STREAM, &fd, &err) < 0)
		return false;
	close(fd);
	return true;
}

/* Ends the test; nothing of the daemon is left. */
static void daemon_failed(struct harness_daemon *d, const char *what)
{
	cleanup_free char *log = harness_daemon_log(d);

	if (d->pid)
		kill_child(d->pid);
	harness_rmtree(d->dir);
	ck_abort_msg("uffdd %s; its log:\n%s", what, log);
}

void harness_daemon_start(struct harness_daemon *d, const char *const *extra_args)
{
	const char *argv[ARGS_MAX + 1] = {TEST_BUILD "/daemon/uffdd"};
	char config[sizeof(d->dir) + 16], tenants[sizeof(d->dir) + 16];
	cleanup_fd int log = -1;
	size_t n = 1;

	if (!d->dir[0])
		make_dirs(d);
	snprintf(config, sizeof(config), "%s/uffdd.json", d->dir);
	argv[n++] = "--config";
	argv[n++] = config;
	argv[n++] = "--run-dir";
	argv[n++] = d->run;
	argv[n++] = "--state-dir";
	argv[n++] = d->state;
	snprintf(tenants, sizeof(tenants), "%s/tenants.json", d->dir);
	if (d->tenants) {
		argv[n++] = "--tenants-file";
		argv[n++] = tenants;
	}
	for (; extra_args && *extra_args; extra_args++) {
		ck_assert_uint_lt(n, ARGS_MAX);
		argv[n++] = *extra_args;
	}
	log = open_log(d, O_WRONLY | O_CREAT | O_APPEND);
	d->pid = start_program(argv, log, log);
	if (!harness_wait(harness_accepts_or_ended, d, HARNESS_MS))
		daemon_failed(d, "does not listen in time");
	if (waitpid(d->pid, NULL, WNOHANG) == d->pid) {
		d->pid = 0;
		daemon_failed(d, "ended at start");
	}
}

/* The first socket, page map or other file below a directory; locks may stay. */
static char *left_behind(const char *path)
{
	DIR *dir = opendir(path);
	char *found = NULL;

	ck_assert_msg(dir != NULL, "cannot look into %s: %s", path, strerror(errno));
	for (struct dirent *e; !found && (e = readdir(dir));) {
		cleanup_free char *full = NULL;
		const char *dot = strrchr(e->d_name, '.');
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    (dot && strcmp(dot, ".lock") == 0))
			continue;
		ck_assert_int_gt(asprintf(&full, "%s/%s", path, e->d_name), 0);
		if (lstat(full, &st) < 0)
			continue;
		found = S_ISDIR(st.st_mode) ? left_behind(full) : steal_ptr(&full);
	}
	closedir(dir);
	return found;
}

void harness_daemon_stop(struct harness_daemon *d)
{
	cleanup_free char *left = NULL;
	char what[256];
	int status;

	ck_assert_int_eq(kill(d->pid, SIGTERM), 0);
	if (!wait_child(d->pid, HARNESS_MS, &status))
		daemon_failed(d, "does not stop in time");
	d->pid = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		snprintf(what, sizeof(what), "did not stop cleanly (wait status %#x)", status);
		daemon_failed(d, what);
	}
	left = left_behind(d->run);
	if (left) {
		snprintf(what, sizeof(what), "left %s behind", left);
		daemon_failed(d, what);
	}
	harness_rmtree(d->dir);
	d->dir[0] = '\0';
}

void harness_daemon_kill(struct harness_daemon *d)
{
	kill_child(d->pid);
	d->pid = 0;
}

/* Programs */

void harness_run(const char *const argv[], struct harness_output *ret)
{
	cleanup_fd int out = memfd_create("stdout", MFD_CLOEXEC);
	cleanup_fd int err = memfd_create("stderr", MFD_CLOEXEC);
	pid_t pid;
	int status = 0;
	bool ended;

	ck_assert(out >= 0 && err >= 0);
	pid = start_program(argv, out, err);
	ended = wait_child(pid, HARNESS_MS, &status);
	if (!ended)
		kill_child(pid);
	*ret = (struct harness_output){
		.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
		.out = read_text(out),
		.err = read_text(err),
	};
	ck_assert_msg(ended, "%s does not end; it wrote:\n%s%s", argv[0], ret->out, ret->err);
}

void harness_output_fini(struct harness_output *output)
{
	free(output->out);
	free(output->err);
	*output = (struct harness_output){0};
}
