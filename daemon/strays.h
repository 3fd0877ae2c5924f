/*
 * strays - workers that came back and could not be adopted: counted, named, and left alone
 *
 * A stray serves its guest on, or is none of our workers. A process is listed once, until it has
 * ended or is adopted after all.
 */
#ifndef UFFDD_STRAYS_H
#define UFFDD_STRAYS_H

#include "common/proto.h"
#include "common/sock.h"

#define STRAYS_MAX 4096

struct stray {
	char key[PROTO_ID_MAX + 1]; /* of the restore, as the worker says */
	pid_t pid;
	uid_t uid;
	uint64_t start; /* start time: with the pid, its identity */
	char why[256];
};

struct strays {          /* all zero: none */
	struct stray *v; /* owned */
	size_t n;
};

/*
 * Lists the process @who, or renews its entry. Does nothing if STRAYS_MAX are listed. Texts are
 * copied.
 */
void strays_note(struct strays *s, const char *key, const struct sock_peer *who, const char *why);
/* Removes the entry of @pid, if there is one. */
void strays_forget(struct strays *s, pid_t pid);
/* To be called now and then: removes processes that have ended. */
void strays_drop_ended(struct strays *s);
/* Frees the list; the struct is empty then. Safe to repeat. */
void strays_fini(struct strays *s);

#endif
