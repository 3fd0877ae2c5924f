/*
 * respawn - the next daemon in the directory of one that was killed: of another
 * release, as another user, or with descriptors that systemd kept
 *
 * For use inside a Check test, like the harness.
 */
#ifndef UFFDD_TESTS_RESPAWN_H
#define UFFDD_TESTS_RESPAWN_H

#include "tests/support/stage.h"

struct respawn {
	const char *program; /* NULL: daemon/uffdd */
	const char *worker;  /* its workers' program; NULL: the one beside it */
	uid_t uid;           /* 0: as we are */
	bool apart;          /* in a PID namespace of its own */
	const int *fds;      /* LISTEN_FDS, with their names */
	size_t nfds;
	const char *names;    /* NULL: no LISTEN_* at all */
	uint64_t descriptors; /* soft and hard limit of open files; 0: as ours are */
};

/* Kills the daemon. Its state is moved away, under a number. */
void respawn_lose_store(struct scene *s);
/* Until its control socket accepts. d->pid is the new one's. */
void respawn(struct harness_daemon *d, const struct respawn *r);

/* Ends a process that may be anybody's child, and waits until it has ended. */
void respawn_end(pid_t pid);
/* Waits until it has ended by itself. */
void respawn_await_end(pid_t pid);

/* Waits until the restore has had such an event, @n times. */
void respawn_await_event(const struct scene *s, const char *id, const char *type, unsigned n);
/* Waits until the worker has been taken back: @state, with the same worker. Returns the restore. */
struct json_object *respawn_adopted(struct stage *s, const char *state);
unsigned respawn_count_events(const struct scene *s, const char *id, const char *type);

#endif
