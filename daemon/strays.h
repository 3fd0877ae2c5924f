/*
 * strays - workers that came back and could not be adopted: counted, named, and left alone
 *
 * They serve their guests on, or are none of ours. A process is listed once, until it has
 * ended, or is adopted after all.
 */
#ifndef UFFDD_STRAYS_H
#define UFFDD_STRAYS_H

#include "common/proto.h"
#include "common/sock.h"

#define STRAYS_MAX 4096

struct stray {
	char id[PROTO_ID_MAX + 1]; /* of the restore, as it says */
	pid_t pid;
	uid_t uid;
	uint64_t start; /* with the pid its identity */
	char why[256];
};

struct strays {          /* all zero: none */
	struct stray *v; /* owned */
	size_t n;
};

/* Where STRAYS_MAX are listed, it is not. */
void strays_note(struct strays *s, const char *id, const struct sock_peer *who, const char *why);
void strays_forget(struct strays *s, pid_t pid);
/* Now and then: those that have ended. */
void strays_drop_ended(struct strays *s);
void strays_fini(struct strays *s);

#endif
