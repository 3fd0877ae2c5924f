/*
 * chan - what supervisor and worker say to each other
 *
 * SOCK_SEQPACKET, one fixed-size struct per message, descriptors beside it.
 * Progress and counters are not messages: they live in the page map file.
 * Bump CHAN_VERSION whenever a struct or a meaning changes.
 *
 *   supervisor                          worker (its end is fd 3)
 *      |<-- HELLO -------------------------|  after exec
 *      |--- ASSIGN, and what it names ---->|  becomes the caller, opens, locks in, parses
 *      |<-- READY, or FAILED --------------|  201, or the error to the caller
 *      |--- KNOWN ------------------------>|  it is in the store
 *      |--- WSET_GIVEN (files) ----------->|  what was recorded of this snapshot so far
 *      |--- PEER (a connection) ---------->|  may be the VMM; its message is not read yet
 *      |<-- REFUSED -----------------------|  no, a stranger, and turned away
 *      |<-- CONNECTED (uffd, pidfd) -------|  serving
 *      |--- PRESENCE (pagemap) ----------->|  to ask which pages are there; also to a successor
 *      |--- PREFETCH, PAUSE, RESUME ------>|
 *      |<-- LEASE_ASK, LEASE_BACK ---------|  a lease is needed to prefetch
 *      |--- CGROUPS (their files) -------->|  what the VMM may have, before the lease
 *      |--- LEASE_GRANT, LEASE_REVOKE ---->|
 *      |<-- PAUSED, COMPLETE, NOTE --------|
 *      |<-- WSET_MADE (memfd) -------------|  the recording is over; without: nothing came of it
 *      |--- STOP ------------------------->|
 *      |<-- GONE, RELEASED, FAILED --------|  the VMM ended / needs nobody / cannot be served
 *
 * A worker that has lost its supervisor connects to the next one's workers.sock
 * and begins with REATTACH, PROOF and, as far as they apply, PEER, CONNECTED, PAUSED,
 * COMPLETE and FAILED: all that a new supervisor must hear.
 *
 * Between a worker and the holder of its files (worker/holder.h):
 *
 *   worker                              holder
 *      |--- ASSIGN (listening socket) ---->|  becomes the caller, locks in, listens
 *      |--- FILES (header, layers) ------->|
 *      |<-- READY -------------------------|  has all of them
 *      |--- KNOWN, CONNECTED (pidfd) ----->|  goes on without its worker; ends with the VMM
 *      |--- STOP ------------------------->|  nobody will need them any more
 *   successor
 *      |<-- FILES -------------------------|  to whoever connects to the socket
 *
 * Versions: structs only grow at their end. A receiver takes a shorter message of
 * an older side (what is missing is zero) and ignores the tail of a newer one's,
 * down to CHAN_VERSION_MIN; so an upgraded supervisor goes on with old workers. A
 * type that only a newer side knows is nothing to an older one (CHAN_NONE), so that
 * the way back is open, too.
 */
#ifndef UFFDD_CHAN_H
#define UFFDD_CHAN_H

#include <uuid/uuid.h>

#include "common/proto.h"
#include "common/err.h"
#include "common/wset.h"

#ifndef CHAN_VERSION /* a test builds the next release's supervisor */
#define CHAN_VERSION 2
#endif
#define CHAN_VERSION_MIN 1
#define CHAN_FD 3
/* argv[0] of the worker program, which says what it is to be; the second is no longer. */
#define CHAN_ZYGOTE "uffdd-zygote"
#define CHAN_WORKER "uffdd-worker"
#define CHAN_FDS_MAX 32
#define CHAN_GROUPS_MAX 64
#define CHAN_PEERS_MAX 16 /* connections to a UFFD socket that are not decided upon */
/* Events of one kind that a restore's worker may cause: REFUSED, and each kind of NOTE. */
#define CHAN_TOLD_MAX 16

struct chan_hello {
	uint32_t pid, chan_version;
	char release[32]; /* the program's version */
};

enum chan_assign_kind {
	CHAN_ASSIGN_WAIT,  /* fds: spec, map, listening socket (or -1: bind it) */
	CHAN_ASSIGN_SERVE, /* fds: spec, map, uffd, pidfd unless it has ended: take over */
};

enum chan_holder { /* what the last descriptor of ASSIGN is */
		   CHAN_HOLDER_NONE,
		   CHAN_HOLDER_NEW,   /* a socket, bound: the worker's own holder listens at it */
		   CHAN_HOLDER_THERE, /* a connection to the holder that the predecessor had */
};

struct chan_assign { /* spec: memfd with JSON */
	char id[PROTO_ID_MAX + 1];
	char reconnect_path[PROTO_SUN_MAX +
			    1]; /* the socket to come back to when the supervisor is gone */
	uint32_t kind;
	uint32_t become; /* 1: take on uid, gid and groups before opening anything */
	uint32_t uid, gid, ngroups;
	uint32_t groups[CHAN_GROUPS_MAX];
	uint32_t unused;                  /* version 1 counted files here */
	uint32_t prefetch, prefetch_held; /* as they are now */
	uint32_t paused, failed;
	uint32_t unlink_socket; /* the worker removes the socket's path */
	uint64_t rate_bytes_per_s;
	uint64_t connect_ms;            /* CHAN_ASSIGN_WAIT: what is left of the time to connect */
	uint64_t record_ms;             /* window of a recording; 0: none */
	uint64_t wset_bytes;            /* the largest working-set file that will be taken */
	uint64_t prefetch_margin_bytes; /* of what others need, too; prefetch leaves it */
	uint64_t max_resident_bytes;    /* as it is now */
	uint32_t holder;                /* enum chan_holder */
	uint32_t pad;
};

/* fds: @count of them; of the @total files of a restore, from @first on. */
struct chan_files {
	uint32_t first, count;
	uint32_t total; /* 0: there are none (to be had) */
	uint32_t pad;
};

struct chan_reattach { /* fds: listening socket, while no VMM has connected */
	char id[PROTO_ID_MAX + 1];
	uint32_t pid, chan_version;
	char release[32];
	uint32_t npeers; /* as many PEER messages follow */
	uint32_t proof;  /* 1: and PROOF before them */
};

/*
 * For a supervisor whose store does not know the restore. fds: the page map, which only a
 * supervisor hands out; the request of ASSIGN; the VMM's pidfd, once the page map knows one.
 */
struct chan_proof {
	uint64_t size_bytes; /* as in READY */
	struct wset_key key;
	uint32_t prefetch, prefetch_held; /* as they are now */
	uint64_t rate_bytes_per_s, max_resident_bytes;
};

struct chan_ready { /* fds: listening socket, in the answer to CHAN_ASSIGN_WAIT */
	uint64_t size_bytes, span_bytes;
	uint64_t layers, extents;
	struct wset_key key; /* of its working sets */
};

struct chan_refused {
	uint64_t peer; /* sock_cookie() of the connection */
	uint32_t pid, uid;
	char why[256]; /* "": too many before it were worth an event */
};

struct chan_connected { /* fds: uffd, pidfd (none: who connected has ended) */
	uint32_t pid, uid, gid, nregions;
	uint64_t page_bytes, memory_bytes;
};

struct chan_failed {   /* fds: pidfd, of a VMM whose message was wrong, unless it has ended */
	uint32_t code; /* enum err_code */
	int32_t sys;
	uint32_t kill;             /* 1: the VMM must be killed, on_failure says so */
	uint32_t vmm_pid, vmm_uid; /* of the same VMM, else 0 */
	uint32_t pad;
	char msg[512];
};

struct chan_prefetch {
	uint32_t mode;   /* enum spec_prefetch */
	uint32_t paused; /* 1: hold it */
	uint64_t rate_bytes_per_s;
	uint64_t max_resident_bytes; /* 0: no bound */
};

/* fds: of @levels cgroups, nearest first, as cgroup.h says. */
struct chan_cgroups {
	uint32_t kind; /* enum cgroup_kind */
	uint32_t levels;
	uint32_t anew; /* 1: those of earlier messages are no longer it */
	uint32_t pad;
};

/*
 * ASK says "I hold none and want one", BACK "I hold none and want none"; both are
 * true whatever was granted or revoked meanwhile. A grant answers one ASK: another one's
 * is void. Whoever waits long asks again, so a lost message does no harm.
 */
struct chan_lease {
	uint64_t rate_bytes_per_s; /* GRANT: of snapshot data, 0: no limit */
	uint32_t ask;              /* number of the ASK, and of the one that is granted */
	uint32_t pad;
};

enum chan_stop_how {
	CHAN_STOP_WAITING, /* no VMM came: leave */
	CHAN_STOP_GUEST,   /* the guest lives: release it if complete, else by on_failure */
};
struct chan_stop {
	uint32_t how;
	uint32_t pad;
};

/*        kind                        type of its event */
/* clang-format off */
#define CHAN_NOTES(X)                                        \
	X(CHAN_NOTE_WSET_IGNORED,     "working-set-ignored") \
	X(CHAN_NOTE_PREFETCH_STOPPED, "prefetch-stopped")    \
	X(CHAN_NOTE_FORKED,           "forked")              \
	X(CHAN_NOTE_PREFETCH_LIMITED, "prefetch-limited")    \
	X(CHAN_NOTE_MEMORY_SHORT,     "memory-short")
/* clang-format on */

enum chan_note_kind {
#define X(kind, type) kind,
	CHAN_NOTES(X)
#undef X
		CHAN_NOTE_COUNT
};
extern const char *const chan_note_types[CHAN_NOTE_COUNT];
/* CHAN_NOTE_COUNT: there is none of that type. */
enum chan_note_kind chan_note_kind(const char *type);

struct chan_note {     /* something worth an event */
	char type[32]; /* of chan_note_types */
	char msg[480];
};

struct chan_forked {  /* fds: pidfd */
	uint32_t pid; /* 0: it could not be forked */
	uint32_t pad;
};

struct chan_empty {
	uint64_t zero;
};

/*        type             body           who sends it */
/* clang-format off */
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
	X(CHAN_FAILED,     failed,    worker)            \
	X(CHAN_FILES,      files,     worker) /* and its holder; in version 1, the supervisor */ \
	X(CHAN_REATTACH,   reattach,  worker)            \
	X(CHAN_LEASE_ASK,    lease,   worker)            \
	X(CHAN_LEASE_BACK,   empty,   worker)            \
	X(CHAN_LEASE_GRANT,  lease,   supervisor)        \
	X(CHAN_LEASE_REVOKE, empty,   supervisor)        \
	X(CHAN_FORK,         empty,   supervisor) /* fds: a worker's channel; to the zygote */ \
	X(CHAN_FORKED,       forked,  zygote)           \
	X(CHAN_WSET_GIVEN, empty,     supervisor)        \
	X(CHAN_WSET_MADE,  empty,     worker)         \
	X(CHAN_PEER,       empty,     both)           \
	X(CHAN_PRESENCE,   empty,     supervisor)       \
	X(CHAN_CGROUPS,    cgroups,   supervisor)       \
	X(CHAN_KNOWN,      empty,     supervisor)     \
	X(CHAN_PROOF,      proof,     worker)
/* clang-format on */

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
		struct chan_files files;
		struct chan_reattach reattach;
		struct chan_lease lease;
		struct chan_forked forked;
		struct chan_cgroups cgroups;
		struct chan_proof proof;
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

enum chan_step {
	CHAN_GOT,
	CHAN_AGAIN,
	CHAN_CLOSED,
	CHAN_BAD,
	CHAN_LOST, /* we had no room for its descriptors: our want, not the other side's fault */
};
/*
 * chan_recv - one message without blocking
 * @fds: room for CHAN_FDS_MAX, -1 where none came; owned by the caller on CHAN_GOT
 *
 * Text members are NUL-terminated whatever was sent. A type that only a newer
 * version knows comes as CHAN_NONE, without body and descriptors. CHAN_BAD: ERR_PEER for an
 * unknown type otherwise, wrong length, too old a version, too many descriptors. After
 * CHAN_LOST the message is gone, @msg tells its type.
 */
enum chan_step chan_recv(int sock, struct chan_msg *msg, int fds[CHAN_FDS_MAX], struct err *err);
/* Those that nobody has taken: -1 from then on. */
void chan_close_fds(int fds[CHAN_FDS_MAX]);

#endif
