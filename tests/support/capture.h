/*
 * capture - what this process prints on stdout and stderr
 *
 *   struct capture c = {.terminal = STDERR_FILENO, .columns = 80};
 *   capture_begin(&c); … capture_end(&c); … c.out, c.err … capture_fini(&c);
 *
 * For use inside a Check test. A process that was forked in between must have ended before
 * capture_end() if it has inherited a terminal.
 */
#ifndef UFFDD_TESTS_CAPTURE_H
#define UFFDD_TESTS_CAPTURE_H

#include "common/base.h"

struct capture {
	/* in */
	int terminal;           /* which of the two is a terminal, for a few KiB; 0: neither */
	unsigned short columns; /* of the terminal; 0: it does not know */
	bool full;              /* stdout is a disk without room */
	/* out: owned, each with a NUL behind */
	char *out, *err;
	size_t out_len;

	int saved[2], source[2]; /* of stdout and stderr */
};

void capture_begin(struct capture *c);
void capture_end(struct capture *c);
void capture_fini(struct capture *c);

#endif
