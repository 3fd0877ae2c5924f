/*
 * harness - what tests across processes need: directories, deadlines, programs
 *
 * For use inside a Check test: what must not happen fails the test, with the
 * daemon's log or the program's output in the message. Deadlines grow with
 * CK_TIMEOUT_MULTIPLIER. Nothing started here outlives the test.
 */
#ifndef UFFDD_TESTS_HARNESS_H
#define UFFDD_TESTS_HARNESS_H

#include <sys/resource.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/proto.h"

/*
 * What is sure to happen may take this long, whatever else the host does: it ends a test that
 * hangs, and says nothing about how long something takes.
 */
#define HARNESS_MS 60000
#define HARNESS_TEXT_MAX ((size_t)16 << 20) /* of a reply, of a program's output */

/* A new directory with a short path below TMPDIR or /tmp; the caller frees the text. */
char *harness_tmpdir(void);
/* Removes a directory and all below it; gone already is fine. */
void harness_rmtree(const char *path);

/* What is mounted from now on is seen by nobody else, and gone with this process. */
bool harness_private_mounts(void);
/*
 * A file system of @size ("1m") over a directory, gone with this process and seen by
 * nobody else; false where that is not allowed (no rights, a chroot that is no mount).
 */
bool harness_small_disk(const char *path, const char *size);

/* @timeout_ms stretched by CK_TIMEOUT_MULTIPLIER. */
int harness_scale_ms(int timeout_ms);
/* Asks every few milliseconds; false if @cond was not true before the deadline. */
bool harness_wait(bool (*cond)(void *), void *arg, int timeout_ms);

/* From now on only @spare more (at most 8) can be opened. Returns the limit as it was. */
struct rlimit harness_limit_fds(int spare);
/* Children of a process, those not yet waited for included. */
int harness_count_children(pid_t pid);
/* Of a supervisor, without its zygote. */
int harness_count_workers(pid_t pid);

/*
 * A daemon out of the build tree, in a directory of its own.
 *
 *   struct harness_daemon d = {.config = "{…}"};
 *   harness_daemon_start(&d, NULL); … harness_daemon_stop(&d);
 */
struct harness_daemon {
	const char *config;  /* in: text of the configuration file; NULL: each user is a tenant */
	const char *tenants; /* in: text of the tenants file, or NULL */
	pid_t pid;           /* 0 while it does not run */
	char dir[PROTO_SUN_MAX + 1];
	char run[PROTO_SUN_MAX + 1], state[PROTO_SUN_MAX + 1];
	char socket[PROTO_SUN_MAX + 1];
};

/*
 * harness_daemon_start - run uffdd until its control socket accepts
 * @extra_args: NULL-terminated, or NULL
 *
 * After harness_daemon_kill() it starts again in the same directory.
 */
void harness_daemon_start(struct harness_daemon *d, const char *const *extra_args);
/* For harness_wait(): its control socket accepts, or the daemon (@arg) has ended. */
bool harness_accepts_or_ended(void *arg);
/* SIGTERM; it must exit with 0 and leave nothing in the run directory. Removes the directory. */
void harness_daemon_stop(struct harness_daemon *d);
/* SIGKILL, and waits. The directory stays. */
void harness_daemon_kill(struct harness_daemon *d);
/* All it has logged; the caller frees it. */
char *harness_daemon_log(const struct harness_daemon *d);

struct harness_reply {
	int status;
	char content_type[64]; /* as sent; "" if there was none */
	char *head;            /* status line and headers */
	char *body;            /* NUL-terminated */
	size_t len;
};

/*
 * harness_http - one request, one reply, one connection
 * @body: sent as application/json, or NULL
 *
 * Returns the status, or -1 if nobody listens or there was no whole reply
 * (then *ret is empty). Free *ret with harness_reply_fini() either way.
 */
int harness_http(const char *socket_path, const char *method, const char *target, const char *body,
		 struct harness_reply *ret);
void harness_reply_fini(struct harness_reply *reply);

struct harness_output {
	int code; /* exit code, or 128 + signal */
	char *out, *err;
};

/* Runs a program (PATH is searched) to its end, with nothing to read on stdin. */
void harness_run(const char *const argv[], struct harness_output *ret);
void harness_output_fini(struct harness_output *output);

#endif
