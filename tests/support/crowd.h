/*
 * crowd - hostile tenants and outsiders, each in a process of its own, who go on until they are ended
 *
 *   crowd.c         the processes, and what they share
 *   crowd_asks.c    who misbehave at control.sock
 *   crowd_doors.c   who misbehave at the other sockets, and as VMMs
 *
 * For use inside a Check test that is root, like the scene. The daemon must have the users of
 * CROWD_TENANTS. All of the crowd has real users of its own, but for those who start VMMs, which
 * are root until they ask or connect.
 *
 * The processes of the crowd, from their first deed on, and their VMMs run only while a processor
 * has nothing else to do (SCHED_IDLE). So they take from others only what the daemon and its workers
 * do for them.
 */
#ifndef UFFDD_TESTS_CROWD_H
#define UFFDD_TESTS_CROWD_H

#include "tests/support/scene.h"

/* Tenants by their group; each member is a user of its own. */
#define CROWD_HOSTILE 64110
#define CROWD_GREEDY 64111   /* its budgets are small */
#define CROWD_OUTSIDER 64112 /* no tenant */
#define CROWD_UID 64200      /* of the first member; and the next ones */

#define CROWD_TENANTS                                                                        \
	"\"hostile\":{\"gids\":[64110],"                                                     \
	"\"budgets\":{\"restores\":64,\"records\":64,\"events\":1000}},"                     \
	"\"greedy\":{\"gids\":[64111],\"budgets\":{\"restores\":8,\"guest_bytes\":67108864," \
	"\"files\":64,\"records\":64,\"events\":1000}}"

#define CROWD_MAX 32
#define CROWD_HELD 64

/* Whom the crowd is hostile to: ids of restores, and paths of sockets that wait for their VMM. */
struct crowd_victim {
	const char *served, *shut, *open; /* borrowed; the last may be connected to by anybody */
	const char *shut_socket, *open_socket;
};

struct crowd {
	const struct scene *s; /* borrowed, open */
	struct crowd_victim victim;
	char *small, *chain, *sparse; /* owned paths: a snapshot, one of many layers, a huge file */
	_Atomic uint64_t *deeds;      /* owned, shared with the processes: of each member */
	pid_t pids[CROWD_MAX];
};

/* One of them, in its process. */
struct crowd_self {
	const struct crowd *in;
	const struct crowd_member *as;
	uid_t uid;
	uint64_t deed; /* which one this is; no two of a member are the same, over all times */
	int held[CROWD_HELD]; /* owned: connections that are kept; the oldest is replaced */
	size_t at;
	struct scene_vmm vmm; /* owned; .pid 0: none */
	char *id;             /* owned: of the restore that it has, or NULL */
};

struct crowd_member {
	const char *name;
	gid_t gid;
	bool starts_vmms;
	void (*act)(struct crowd_self *self); /* one deed, which ends by itself */
};

extern const struct crowd_member crowd_asks[], crowd_doors[]; /* end with a NULL name */

/* Makes the files. */
void crowd_open(struct crowd *c, const struct scene *s, const struct crowd_victim *victim);
/* Starts all of them, and waits until each has done something, for which it does not step back. */
void crowd_begin(struct crowd *c);
/* All of them are still there; ends them, and waits until the daemon has nothing of theirs. */
void crowd_end(struct crowd *c);
void crowd_close(struct crowd *c);
/* Deeds of all so far. */
uint64_t crowd_deeds(const struct crowd *c);

/* ---- for members ---- */

/* From now on it runs only on processors that have nothing else to do: from its first deed on. */
void crowd_step_back(void);

/* Connects to @path as its user. -1: refused, or no place. */
int crowd_dial(const struct crowd_self *self, const char *path, int type);
/* Connects to control.sock and sends this. -1: as above. */
int crowd_say(const struct crowd_self *self, const char *text, size_t len);
/* Keeps a connection (or -1); closes the one that it has kept for longest. */
void crowd_keep(struct crowd_self *self, int fd);
/* One request, whose answer is read. Its status; 0: none. @body: or NULL. */
int crowd_ask(const struct crowd_self *self, const char *method, const char *target,
	      const char *body);
/* The same, and the answer must be one of the statuses, or none, or that it asks too often. */
void crowd_refused(const struct crowd_self *self, const char *method, const char *target,
		   const char *body, int status);

#endif
