#include "tests/support/respawn.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "common/sock.h"
#include "tests/fakes/vmm/apart.h"

#define FIRST_FD 3
#define ASIDE 200 /* where descriptors are out of each other's way */

static void become(uid_t uid)
{
	if (uid && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
		_exit(125);
}

static void limit(uint64_t descriptors)
{
	const struct rlimit l = {descriptors, descriptors};

	if (descriptors && setrlimit(RLIMIT_NOFILE, &l))
		_exit(123);
}

static void hand_over(const struct respawn *r)
{
	char text[24];

	for (size_t i = 0; i < r->nfds; i++)
		if (fcntl(r->fds[i], F_DUPFD, ASIDE + (int)i) != ASIDE + (int)i)
			_exit(124);
	for (size_t i = 0; i < r->nfds; i++)
		if (dup2(ASIDE + (int)i, FIRST_FD + (int)i) < 0)
			_exit(124);
	close_range((unsigned)(FIRST_FD + r->nfds), ~0U, CLOSE_RANGE_CLOEXEC);
	if (!r->names)
		return;
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof(text), "%zu", r->nfds);
	setenv("LISTEN_FDS", text, 1);
	setenv("LISTEN_FDNAMES", r->names, 1);
}

static void run(const struct harness_daemon *d, const struct respawn *r) __attribute__((noreturn));
static void run(const struct harness_daemon *d, const struct respawn *r)
{
	const char *program = r->program ? r->program : TEST_BUILD "/daemon/uffdd";
	char config[sizeof(d->dir) + 16], log[sizeof(d->dir) + 8];
	const char *argv[] = {program,   "--config",    config,   "--run-dir",
			      d->run,    "--state-dir", d->state, r->worker ? "--worker" : NULL,
			      r->worker, NULL};
	int out, null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	snprintf(config, sizeof(config), "%s/uffdd.json", d->dir);
	snprintf(log, sizeof(log), "%s/log", d->dir);
	out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (null < 0 || out < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(126);
	hand_over(r);
	limit(r->descriptors);
	become(r->uid);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(program, (char *const *)argv);
	_exit(127);
}

void respawn(struct harness_daemon *d, const struct respawn *r)
{
	bool in_time;

	d->pid = r->apart ? apart_fork() : fork();
	ck_assert_msg(d->pid >= 0, "fork: %s", strerror(errno));
	if (d->pid == 0)
		run(d, r);
	in_time = harness_wait(harness_accepts_or_ended, d, SCENE_MS);
	if (!in_time || waitpid(d->pid, NULL, WNOHANG) == d->pid) {
		cleanup_free char *log = harness_daemon_log(d);

		ck_abort_msg("the next daemon does not run; the log:\n%s", log);
	}
}

/* --- processes --- */

static void await_end(int pidfd, pid_t pid)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	ck_assert_msg(poll(&p, 1, harness_scale_ms(SCENE_MS)) == 1, "process %d goes on", (int)pid);
	close(pidfd);
}

void respawn_end(pid_t pid)
{
	struct err err;
	int pidfd;

	ck_assert_msg(proc_pidfd(pid, &pidfd, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(proc_kill(pidfd, &err), 0);
	await_end(pidfd, pid);
}

void respawn_await_end(pid_t pid)
{
	struct err err;
	int pidfd;

	if (proc_pidfd(pid, &pidfd, &err) == 0)
		await_end(pidfd, pid);
}

/* --- events --- */

unsigned respawn_count_events(const struct scene *s, const char *id, const char *type)
{
	cleanup_free char *types = scene_events(s, id);
	cleanup_free char *word = scene_format("%s ", type);
	unsigned n = 0;

	for (const char *at = types; (at = strstr(at, word)); at += strlen(word))
		n += at == types || at[-1] == ' ';
	return n;
}

struct awaited {
	const struct scene *s;
	const char *id, *type;
	unsigned n;
};

static bool has_happened(void *arg)
{
	const struct awaited *a = arg;

	return respawn_count_events(a->s, a->id, a->type) >= a->n;
}

void respawn_await_event(const struct scene *s, const char *id, const char *type, unsigned n)
{
	struct awaited a = {s, id, type, n};

	if (!harness_wait(has_happened, &a, SCENE_MS)) {
		cleanup_free char *types = scene_events(s, id);
		cleanup_free char *log = harness_daemon_log(&s->d);

		ck_abort_msg("%s: \"%s\" has not happened %u times, but %s; the log:\n%s", id, type,
			     n, types, log);
	}
}

struct json_object *respawn_adopted(struct stage *s, const char *state)
{
	struct json_object *o;

	respawn_await_event(s->scene, s->id, "adopted", 1);
	o = stage_ask(s, "GET", "", NULL);
	stage_check(s, strcmp(scene_text(o, "state"), state) == 0, "it is %s",
		    json_object_to_json_string(o));
	stage_check(s, (pid_t)scene_number(o, "worker.pid") == s->worker, "another worker");
	return o;
}

void respawn_lose_store(struct scene *s)
{
	static int n;
	cleanup_free char *away = scene_format("%s/lost-%d", s->d.dir, n++);

	scene_kill(s);
	ck_assert_int_eq(rename(s->d.state, away), 0);
	ck_assert_int_eq(mkdir(s->d.state, 0700), 0);
}
