/*
 * chan - what supervisor and worker say to each other
 *
 * SOCK_SEQPACKET, one fixed-size struct per message, descriptors beside it.
 * Progress and counters are not messages: they live in the page map file.
 * Bump CHAN_VERSION whenever a struct or a meaning changes.
 *
 *   supervisor                          worker (its end is fd 3)
 *      |<-- HELLO -------------------------|  after exec
 *      |--- ASSIGN (spec, map[, listen]) ->|  becomes the caller, opens, locks in, parses
 *      |<-- READY, or FAILED --------------|  201, or the error to the caller
 *      |<-- REFUSED -----------------------|  a stranger was turned away
 *      |<-- CONNECTED (uffd, pidfd) -------|  serving
 *      |--- PREFETCH, PAUSE, RESUME ------>|
 *      |<-- PAUSED, COMPLETE, NOTE --------|
 *      |--- STOP ------------------------->|
 *      |<-- GONE, RELEASED, FAILED --------|  the VMM ended / needs nobody / cannot be served
 */
#ifndef UFFDD_CHAN_H
#define UFFDD_CHAN_H

#include <uuid/uuid.h>

#include "proto.h"
#include "err.h"

#define CHAN_VERSION 1
#define CHAN_FD 3
#define CHAN_FDS_MAX 4
#define CHAN_GROUPS_MAX 64

struct chan_hello {
	uint32_t pid, chan_version;
	char release[32]; /* the program's version */
};

struct chan_assign { /* fds: spec (memfd, JSON), page map[, listening socket] */
	char id[PROTO_ID_MAX + 1];
	uint32_t become; /* 1: take on uid, gid and groups before opening anything */
	uint32_t uid, gid, ngroups;
	uint32_t groups[CHAN_GROUPS_MAX];
};

struct chan_ready {
	uint64_t size_bytes, span_bytes;
	uint64_t layers, extents;
};

struct chan_refused {
	uint32_t pid, uid;
	char why[256];
};

struct chan_connected { /* fds: uffd, pidfd */
	uint32_t pid, uid, gid, nregions;
	uint64_t page_bytes, memory_bytes;
};

struct chan_failed {
	uint32_t code; /* enum err_code */
	int32_t sys;
	uint32_t kill; /* 1: the VMM must be killed, on_failure says so */
	uint32_t pad;
	char msg[512];
};

struct chan_prefetch {
	uint32_t mode;   /* enum spec_prefetch */
	uint32_t paused; /* 1: hold it */
	uint64_t rate_bytes_per_s;
};

enum chan_stop_how {
	CHAN_STOP_WAITING, /* no VMM came: leave */
	CHAN_STOP_GUEST,   /* the guest lives: release it if complete, else by on_failure */
};
struct chan_stop {
	uint32_t how;
	uint32_t pad;
};

struct chan_note { /* something worth an event */
	char type[32];
	char msg[480];
};

struct chan_empty {
	uint64_t zero;
};

/*        type             body           who sends it */
#define CHAN_TYPES(X)                                   \
	X(CHAN_HELLO,      hello,     worker)            \
	X(CHAN_ASSIGN,     assign,    supervisor)        \
	X(CHAN_READY,      ready,     worker)            \
	X(CHAN_REFUSED,    refused,   worker)            \
	X(CHAN_CONNECTED,  connected, worker)            \
	X(CHAN_PREFETCH,   prefetch,  supervisor)        \
	X(CHAN_PAUSE,      empty,     supervisor)        \
	X(CHAN_RESUME,     empty,     supervisor)        \
	X(CHAN_PAUSED,     empty,     worker)            \
	X(CHAN_COMPLETE,   empty,     worker)            \
	X(CHAN_NOTE,       note,      worker)            \
	X(CHAN_STOP,       stop,      supervisor)        \
	X(CHAN_GONE,       empty,     worker)            \
	X(CHAN_RELEASED,   empty,     worker)            \
	X(CHAN_FAILED,     failed,    worker)

enum chan_type {
	CHAN_NONE,
#define X(type, body, who) type,
	CHAN_TYPES(X)
#undef X
	CHAN_TYPE_COUNT
};
const char *chan_type_name(enum chan_type type);

struct chan_msg {
	uint32_t type;
	uint32_t version;
	union {
		struct chan_hello hello;
		struct chan_assign assign;
		struct chan_ready ready;
		struct chan_refused refused;
		struct chan_connected connected;
		struct chan_prefetch prefetch;
		struct chan_empty empty;
		struct chan_note note;
		struct chan_stop stop;
		struct chan_failed failed;
	};
};

/* A socketpair, both ends CLOEXEC; [0] is the supervisor's, non-blocking. */
int chan_pair(int ret_fds[2], struct err *err);

/*
 * chan_send - one message; @fds stay the caller's
 * Sets type and version, sends as many bytes as the type needs.
 * Returns 0, or -1 (ERR_UNREADY: the other side is gone or its queue is full).
 */
int chan_send(int sock, enum chan_type type, struct chan_msg *msg, const int *fds, size_t nfds,
	      struct err *err);

enum chan_step { CHAN_GOT, CHAN_AGAIN, CHAN_CLOSED, CHAN_BAD };
/*
 * chan_recv - one message without blocking
 * @fds: room for CHAN_FDS_MAX, -1 where none came; owned by the caller on CHAN_GOT
 *
 * Text members are NUL-terminated whatever was sent. CHAN_BAD: unknown type,
 * wrong length, another version, too many descriptors.
 */
enum chan_step chan_recv(int sock, struct chan_msg *msg, int fds[CHAN_FDS_MAX], struct err *err);

#endif
