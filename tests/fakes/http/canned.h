/*
 * canned - an HTTP server that answers from a script, and a way to run a program
 *
 * The server is a child of the test; it serves one connection per row of the
 * script, in order, and leaves. What it was asked is kept for the test to see.
 */
#ifndef UFFDD_TESTS_CANNED_H
#define UFFDD_TESTS_CANNED_H

#include <sys/types.h>

#include "common/base.h"

#define CANNED_REPLIES_MAX 6
#define CANNED_WORDS_MAX 64

enum canned_how {
	CANNED_LENGTH,  /* body with Content-Length */
	CANNED_CHUNKED, /* in chunks of 5 bytes */
	CANNED_CLOSE,   /* until the end of the connection */
	CANNED_DRIP,    /* like CANNED_LENGTH, byte by byte */
	CANNED_RAW,     /* the body is the whole answer, with its head */
	CANNED_STALL,   /* like CANNED_RAW, then nothing more, and no end before the client's */
	CANNED_EARLY,   /* like CANNED_LENGTH, but the body of the request is not read */
	CANNED_HOLD,    /* like CANNED_LENGTH, after the "wait=Nms" that the request asks for */
	CANNED_PULSE,   /* chunked, a line of the body each @pulse_ms */
	CANNED_FLOOD,   /* the body again and again, up to 40 MiB, behind a head without length */
};

struct canned_reply {
	int status; /* 0 ends a script */
	const char *body;
	enum canned_how how;
	const char *type; /* NULL: application/json, or problem+json from 400 on */
	int pulse_ms;
	size_t len; /* bytes of a body with NULs; 0: it is a text */
};

struct canned {
	pid_t pid;
	int log_fd;
	int listener; /* owned, for as long as somebody may ask */
	char *dir;    /* owned */
	char socket[108];
};

void canned_start(struct canned *c, const struct canned_reply *script);
/*
 * Ends the server and removes its directory. Returns the requests, one behind the
 * other, owned by the caller. Fails the test if the script was not used up.
 */
char *canned_stop(struct canned *c);

struct ran {
	int code;        /* - signal if it was killed */
	char *out, *err; /* owned */
};

struct run {
	const char *args;       /* words split at blanks; '' is an empty word */
	const char *socket;     /* for UFFDD_SOCKET, or NULL */
	const char *const *env; /* more "NAME=VALUE", ends with NULL; or NULL */
	const char *cwd;        /* or NULL */
	int out_fd, err_fd;     /* instead of catching them; 0: catch */
	bool powerless;         /* without the right to open any file */
};

/*
 * Splits a command line at blanks, in place; '' is an empty word. Returns the number of words, at
 * most @max.
 */
size_t canned_split(char *line, char **words, size_t max);

/* uffdctl of the build tree. */
pid_t ran_start(const struct run *run, int fds[2]);
void ran_finish(struct ran *ran, pid_t pid, int fds[2]);
void ran_run(struct ran *ran, const struct run *run);
void ran_fini(struct ran *ran);

#endif
