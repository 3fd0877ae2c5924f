/*
 * rig - a daemon out of the build tree for programs that run outside of Check
 *
 * What the soak run and the benchmark need of it: to start and end it, to ask it,
 * and to know its workers. The caller is the parent of all of it.
 */
#ifndef UFFDD_TESTS_RIG_H
#define UFFDD_TESTS_RIG_H

#include <limits.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "common/js.h"
#include "common/proto.h"

#define RIG_WORKERS_MAX 1024
#define RIG_POOL 4 /* idle workers of the daemon */
/* Until a request must have been answered, over any number of supervisors. */
#define RIG_CALL_MS 60000

struct rig {
	const char *config;          /* borrowed; more members of the configuration; NULL: none */
	char dir[PROTO_SUN_MAX + 1]; /* everything of this run */
	char run[PROTO_SUN_MAX + 1], socket[PROTO_SUN_MAX + 1], log[PROTO_SUN_MAX + 1];
	char state[PATH_MAX];
	_Atomic pid_t pid; /* of the daemon; 0 while it does not run */
};

/*
 * Makes the directory, and becomes the parent of workers that lose their supervisor.
 * The store lies in the directory, too, unless r->state already says where.
 */
int rig_prepare(struct rig *r, struct err *err);
void rig_remove(struct rig *r);

/* Starts the daemon; again after its end, in the same directory. */
int rig_launch(struct rig *r, struct err *err);
/* Until its control socket accepts. */
int rig_await(struct rig *r, struct err *err);
/* Both. */
int rig_start(struct rig *r, struct err *err);
/* Sends @sig and waits for the end: exit code, or 128 + signal; -1: not in time. */
int rig_end(struct rig *r, int sig);
/* It ended by itself; then it has been waited for. */
bool rig_died(struct rig *r, int *ret_status);
/* How many lines of its log, which is also its workers', have these words. */
size_t rig_logged(const struct rig *r, const char *words);

/*
 * rig_call - a request, asked again until a supervisor answers
 *
 * *ret_reply (may be NULL) is owned by the caller. -1 with what the daemon
 * refused it for, or ERR_UNREADY after RIG_CALL_MS.
 */
int rig_call(const struct rig *r, const char *method, const char *target, const char *body,
	     struct json_object **ret_reply, struct err *err);
/* The same for a reply of lines: each is handed to @on_line; after a retry from the first on. */
int rig_lines(const struct rig *r, const char *target,
	      int (*on_line)(const char *line, size_t len, void *arg, struct err *err), void *arg,
	      struct err *err);
/* A member of a reply, by its path "worker.pid"; NULL or "" if it is not there. */
struct json_object *rig_member(struct json_object *o, const char *path);
const char *rig_text(struct json_object *o, const char *path);

/* Its workers now, with those of dead supervisors, which are ours. */
size_t rig_workers(const struct rig *r, pid_t ret[RIG_WORKERS_MAX]);
/* Until it has exactly so many. */
int rig_await_workers(const struct rig *r, size_t n, struct err *err);
/* State and parent of a process, given as text. False: there is none. */
bool rig_process(const char *pid, char *ret_state, pid_t *ret_parent);
/* Forks and executes with output to @out; it dies with the calling thread. */
pid_t rig_spawn(const char *const argv[], int out);

#endif
