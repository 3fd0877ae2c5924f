/*
 * bench_server - whoever serves a guest, behind one Unix socket
 *
 * Both sides of a row are asked for the same things, so that they are measured by
 * the same code. A server is opened for one guest and closed when that has ended.
 */
#ifndef UFFDD_TESTS_BENCH_SERVER_H
#define UFFDD_TESTS_BENCH_SERVER_H

#include "tests/bench/bench.h"

enum bench_kind {
	BENCH_UFFDD,
	BENCH_FLOOR,      /* page by page, as they are touched */
	BENCH_FLOOR_BULK, /* all, in large steps */
};

struct bench_server {
	struct bench_run *run; /* borrowed */
	enum bench_kind kind;
	const char *image;    /* borrowed: a flat memory file */
	const char *snapshot; /* borrowed: JSON instead of it, for uffdd; or NULL */
	const char *members;  /* borrowed: of the create body, for uffdd: "\"prefetch\":{…}" */

	char socket[PROTO_SUN_MAX + 1];
	char id[16]; /* of the restore */
	pid_t pid;   /* of the floor */
};

/* From here on it listens. What uffdd refuses it for is in @err. */
int bench_server_open(struct bench_server *s, struct err *err);
/* Until all memory is installed. @vmm: the VMM's end of the handshake's connection. */
int bench_server_await(const struct bench_server *s, int vmm, struct err *err);
/* When its VMM has ended. Nothing of it is left afterwards; safe if it was not opened. */
int bench_server_close(struct bench_server *s, struct err *err);

#endif
