#include "tests/support/rig.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "ctl/client.h"

#define START_MS 20000
#define END_MS 20000
#define WORKERS_MS 20000
#define POLL_MS 2
#define AGAIN_MS 20
#define DIR_MAX 40 /* what <dir>/run/uffd/<id> leaves of a socket address */

pid_t rig_spawn(const char *const argv[], int out)
{
	pid_t parent = getpid(), pid = fork();
	int null;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (getppid() != parent || null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 ||
	    dup2(out, 2) < 0)
		_exit(126);
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

/* --- the daemon --- */

static int write_config(const struct rig *r, struct err *err)
{
	char path[sizeof(r->dir) + 16];
	cleanup_file FILE *f = NULL;

	snprintf(path, sizeof(path), "%s/uffdd.json", r->dir);
	f = fopen(path, "we");
	if (!f)
		return err_sys(err, "cannot write %s", path);
	/* The kills are ours, and what they lead to must be seen to the end. */
	fprintf(f,
		"{\"worker_restarts\":1000000,\"pool_workers\":%d,\"http_held_per_uid\":1024,"
		"\"event_retention_count\":1000000%s%s}\n",
		RIG_POOL, r->config ? "," : "", r->config ? r->config : "");
	return 0;
}

int rig_prepare(struct rig *r, struct err *err)
{
	const char *base = getenv("TMPDIR");

	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		return err_sys(err, "cannot become a subreaper");
	if (!base || !*base || strlen(base) > DIR_MAX)
		base = "/tmp";
	snprintf(r->dir, sizeof(r->dir), "%s/rig-XXXXXX", base);
	if (!mkdtemp(r->dir)) {
		err_sys(err, "cannot make a directory below %s", base);
		r->dir[0] = '\0';
		return -1;
	}
	snprintf(r->run, sizeof(r->run), "%.*s/run", DIR_MAX + 12, r->dir);
	if (!r->state[0])
		snprintf(r->state, sizeof(r->state), "%.*s/state", DIR_MAX + 12, r->dir);
	snprintf(r->socket, sizeof(r->socket), "%.*s/run/control.sock", DIR_MAX + 12, r->dir);
	snprintf(r->log, sizeof(r->log), "%.*s/log", DIR_MAX + 12, r->dir);
	return write_config(r, err);
}

static bool accepts(const struct rig *r)
{
	struct err err;
	int fd;

	if (sock_connect(r->socket, SOCK_STREAM, &fd, &err))
		return false;
	close(fd);
	return true;
}

int rig_launch(struct rig *r, struct err *err)
{
	char config[sizeof(r->dir) + 16];
	const char *argv[] = {TEST_BUILD "/daemon/uffdd",
			      "--config",
			      config,
			      "--run-dir",
			      r->run,
			      "--state-dir",
			      r->state,
			      NULL};
	cleanup_fd int log = open(r->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	pid_t pid;

	snprintf(config, sizeof(config), "%s/uffdd.json", r->dir);
	pid = log < 0 ? -1 : rig_spawn(argv, log);
	if (pid < 0)
		return err_sys(err, "cannot start the daemon");
	r->pid = pid;
	return 0;
}

int rig_await(struct rig *r, struct err *err)
{
	uint64_t deadline = now_us() + START_MS * 1000;
	int status;

	while (!accepts(r)) {
		if (rig_died(r, &status))
			return err_set(err, ERR_SYSTEM,
				       "the daemon ended at start (wait status "
				       "%#x)",
				       status);
		if (now_us() >= deadline)
			return err_set(err, ERR_TIMEOUT, "the daemon does not listen after %d ms",
				       START_MS);
		poll(NULL, 0, POLL_MS);
	}
	return 0;
}

int rig_start(struct rig *r, struct err *err)
{
	return rig_launch(r, err) ? -1 : rig_await(r, err);
}

bool rig_died(struct rig *r, int *ret_status)
{
	if (!r->pid || waitpid(r->pid, ret_status, WNOHANG) != r->pid)
		return false;
	r->pid = 0;
	return true;
}

static bool is_unlocked(const struct rig *r)
{
	cleanup_fd int fd = open(r->run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0;
}

int rig_end(struct rig *r, int sig)
{
	uint64_t deadline = now_us() + END_MS * 1000;
	int status;

	if (!r->pid)
		return 0;
	kill(r->pid, sig);
	while (!rig_died(r, &status)) {
		if (now_us() >= deadline)
			return -1;
		poll(NULL, 0, POLL_MS);
	}
	/* A worker between fork and exec has all descriptors of the daemon, and its locks. */
	while (!is_unlocked(r) && now_us() < deadline)
		poll(NULL, 0, POLL_MS);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	return remove(path);
}

void rig_remove(struct rig *r)
{
	if (r->dir[0])
		nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

size_t rig_logged(const struct rig *r, const char *words)
{
	cleanup_file FILE *f = fopen(r->log, "re");
	cleanup_free char *line = NULL;
	size_t room = 0, n = 0;

	while (f && getline(&line, &room, f) > 0)
		n += strstr(line, words) != NULL;
	return n;
}

/* --- requests --- */

static int call(const struct rig *r, const struct client_request *request,
		struct json_object **ret_reply, struct err *err)
{
	uint64_t deadline = now_us() + (uint64_t)RIG_CALL_MS * 1000;
	int rc;

	for (;;) {
		struct client c = {.path = r->socket};

		rc = client_call(&c, request, ret_reply, err);
		client_fini(&c);
		/* A supervisor that was killed while it answered leaves half an answer. */
		if (rc == 0 || (err->code != ERR_UNREADY && err->code != ERR_PEER) ||
		    now_us() >= deadline)
			return rc;
		poll(NULL, 0, AGAIN_MS);
	}
}

int rig_call(const struct rig *r, const char *method, const char *target, const char *body,
	     struct json_object **ret_reply, struct err *err)
{
	cleanup_json struct json_object *o = NULL, *reply = NULL;
	struct client_request request = {.method = method,
					 .target = target,
					 .timeout_ms = RIG_CALL_MS};

	if (body && !(o = js_parse(body, strlen(body), false, err)))
		return -1;
	request.body = o;
	if (call(r, &request, &reply, err))
		return -1;
	if (ret_reply)
		*ret_reply = steal_ptr(&reply);
	return 0;
}

int rig_lines(const struct rig *r, const char *target,
	      int (*on_line)(const char *line, size_t len, void *arg, struct err *err), void *arg,
	      struct err *err)
{
	const struct client_request request = {.method = "GET",
					       .target = target,
					       .timeout_ms = RIG_CALL_MS,
					       .on_line = on_line,
					       .arg = arg};
	cleanup_json struct json_object *none = NULL;

	return call(r, &request, &none, err);
}

struct json_object *rig_member(struct json_object *o, const char *path)
{
	char key[64];

	while (o && *path) {
		size_t n = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)n, path);
		if (!json_object_object_get_ex(o, key, &o))
			return NULL;
		path += n + (path[n] == '.');
	}
	return o;
}

const char *rig_text(struct json_object *o, const char *path)
{
	const char *text = json_object_get_string(rig_member(o, path));

	return text ? text : "";
}

/* --- processes --- */

static bool read_proc(const char *pid, const char *what, char *buf, size_t size)
{
	cleanup_fd int fd = -1;
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%.16s/%s", pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (n < 0)
		return false;
	buf[n] = '\0';
	return true;
}

bool rig_process(const char *pid, char *ret_state, pid_t *ret_parent)
{
	char text[2048];
	const char *p;

	if (!read_proc(pid, "stat", text, sizeof(text)))
		return false;
	p = strrchr(text, ')');
	return p && sscanf(p, ") %c %d", ret_state, ret_parent) == 2;
}

static DIR *open_proc(void)
{
	DIR *dir = opendir("/proc");

	if (!dir)
		abort();
	return dir;
}

size_t rig_workers(const struct rig *r, pid_t ret[RIG_WORKERS_MAX])
{
	DIR *dir = open_proc();
	size_t n = 0;

	for (struct dirent *e; n < RIG_WORKERS_MAX && (e = readdir(dir));) {
		char state, args[32], name[32];
		pid_t parent;

		if (isdigit((unsigned char)e->d_name[0]) &&
		    rig_process(e->d_name, &state, &parent) && state != 'Z' &&
		    (parent == r->pid || parent == getpid()) &&
		    read_proc(e->d_name, "cmdline", args, sizeof(args)) &&
		    strcmp(args, "uffdd-worker") == 0 &&
		    read_proc(e->d_name, "comm", name, sizeof(name)) &&
		    strcmp(name, "uffdd-holder\n") != 0)
			ret[n++] = (pid_t)strtol(e->d_name, NULL, 10);
	}
	closedir(dir);
	return n;
}

int rig_await_workers(const struct rig *r, size_t n, struct err *err)
{
	uint64_t deadline = now_us() + WORKERS_MS * 1000;
	pid_t pids[RIG_WORKERS_MAX];
	size_t have;

	while ((have = rig_workers(r, pids)) != n) {
		if (now_us() >= deadline)
			return err_set(err, ERR_TIMEOUT,
				       "the daemon has %zu workers, not %zu, "
				       "after %d ms",
				       have, n, WORKERS_MS);
		poll(NULL, 0, POLL_MS);
	}
	return 0;
}
