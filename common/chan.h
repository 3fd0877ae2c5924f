/*
 * chan - what supervisor and worker say to each other
 *
 * The channel is SOCK_SEQPACKET: one fixed-size struct per message, descriptors beside the struct.
 * Progress and counters are not messages: the page map file holds them. Bump CHAN_VERSION whenever
 * a struct or a meaning changes.
 *
 *   supervisor                          worker (its end is fd 3)
 *      |<-- HELLO -------------------------|  after exec
 *      |--- ASSIGN, and what it names ---->|  becomes the caller, opens, sandboxes itself, parses
 *      |<-- READY, or FAILED --------------|  201, or the error to the caller
 *      |--- KNOWN ------------------------>|  the restore is in the store
 *      |--- WSET_GIVEN (files) ----------->|  the working sets recorded of this snapshot so far
 *      |--- PEER (a connection) ---------->|  may be the VMM; its handshake is not read yet
 *      |<-- REFUSED -----------------------|  the peer is not the VMM; the worker rejected it
 *      |<-- CONNECTED (uffd, pidfd) -------|  serving
 *      |--- PRESENCE (pagemap) ----------->|  shows which pages are there; also for a successor
 *      |--- PREFETCH, PAUSE, RESUME ------>|
 *      |<-- LEASE_ASK, LEASE_BACK ---------|  the worker needs a lease to prefetch
 *      |--- CGROUPS (their files) -------->|  what the VMM may have, before the lease
 *      |--- LEASE_GRANT, LEASE_REVOKE ---->|
 *      |<-- PAUSED, COMPLETE, NOTE --------|
 *      |<-- WSET_MADE (memfd) -------------|  the recording is over; no memfd: it gave no set
 *      |--- STOP ------------------------->|
 *      |<-- GONE, RELEASED, FAILED --------|  the VMM ended / needs no worker / cannot be served
 *
 * A worker that has lost its supervisor connects to the next supervisor's workers.sock. The worker
 * begins with REATTACH, PROOF and, as far as they apply, PEER, CONNECTED, PAUSED, COMPLETE and
 * FAILED: all that a new supervisor must hear.
 *
 * Between a worker and the holder of its files (worker/holder.h):
 *
 *   worker                              holder
 *      |--- ASSIGN (listening socket) ---->|  becomes the caller, sandboxes itself, listens
 *      |--- FILES (header, layers) ------->|
 *      |<-- READY -------------------------|  has all files
 *      |--- KNOWN, CONNECTED (pidfd) ----->|  outlives the worker; ends with the VMM
 *      |--- STOP ------------------------->|  no successor will need the files
 *   successor
 *      |<-- FILES -------------------------|  to the process that connects to the socket
 *
 * Versions: structs only grow at their end. A receiver accepts a shorter message of an older sender
 * (missing members are zero) and ignores the tail of a newer sender's message, down to
 * CHAN_VERSION_MIN. So an upgraded supervisor goes on with old workers. A type that only the newer
 * side knows arrives as CHAN_NONE, so a downgrade works, too.
 */
#ifndef UFFDD_CHAN_H
#define UFFDD_CHAN_H

#include <uuid/uuid.h>

#include "common/proto.h"
#include "common/err.h"
#include "common/wset.h"

#ifndef CHAN_VERSION /* the tests build the next release's supervisor */
#define CHAN_VERSION 2
#endif
#define CHAN_VERSION_MIN 1
#define CHAN_FD 3
/* argv[0] and name of the worker program: as the zygote, and as a worker, executed or forked. */
#define CHAN_ZYGOTE "uffdd-zygote"
#define CHAN_WORKER "uffdd-worker"
#define CHAN_FDS_MAX 32
#define CHAN_GROUPS_MAX 64
#define CHAN_PEERS_MAX 16 /* undecided connections to a UFFD socket */
/* Events of one kind that a restore's worker may cause: REFUSED, and each kind of NOTE. */
#define CHAN_TOLD_MAX 16

struct chan_hello {
	uint32_t pid, chan_version;
	char release[32]; /* PACKAGE_VERSION */
};

enum chan_assign_kind {
	CHAN_ASSIGN_WAIT,  /* fds: request, page map, listening socket (or -1: the worker binds) */
	CHAN_ASSIGN_SERVE, /* fds: request, page map, uffd, pidfd (none: the VMM has ended) */
};

/* What the last descriptor of ASSIGN is. */
enum chan_holder {
	CHAN_HOLDER_NONE,
	CHAN_HOLDER_NEW,   /* a bound socket: the worker's own holder listens at it */
	CHAN_HOLDER_THERE, /* a connection to the predecessor's holder */
};

struct chan_user {
	uint32_t uid, gid;
};

/* What the tenant of a restore may still have; 0: no bound. */
struct chan_bounds {
	uint64_t map_bytes, entries, files;
};

struct chan_assign {                /* fds: see kind and holder; the request is a memfd with JSON */
	char key[PROTO_ID_MAX + 1]; /* names the restore on this host (record.h) */
	char reconnect_path[PROTO_SUN_MAX + 1]; /* workers.sock of the next supervisor */
	uint32_t kind;
	uint32_t become; /* 1: take on uid, gid and groups before any path is opened */
	uint32_t uid, gid, ngroups;
	uint32_t groups[CHAN_GROUPS_MAX];
	uint32_t unused;                  /* version 1: number of files */
	uint32_t prefetch, prefetch_held; /* the current values */
	uint32_t paused, failed;
	uint32_t unlink_socket; /* the worker removes the socket's path */
	uint64_t rate_bytes_per_s;
	uint64_t connect_ms;            /* CHAN_ASSIGN_WAIT: time left to connect */
	uint64_t record_ms;             /* window of a recording; 0: do not record */
	uint64_t wset_bytes;            /* largest working-set file that the store takes */
	uint64_t prefetch_margin_bytes; /* memory that prefetch leaves to others */
	uint64_t max_resident_bytes;    /* the current value; 0: no bound */
	uint32_t holder;                /* enum chan_holder */
	uint32_t pad;
	struct chan_user serve;    /* of the worker once its files are open; 0: as before */
	struct chan_bounds bounds; /* of a new restore */
	char id[PROTO_ID_MAX + 1]; /* as its tenant says */
};

/* fds: @count files, beginning with number @first of the @total files of a restore. */
struct chan_files {
	uint32_t first, count;
	uint32_t total; /* 0: there are no files, or they are lost */
	uint32_t pad;
};

struct chan_reattach { /* fds: listening socket, while no VMM has connected */
	char key[PROTO_ID_MAX + 1];
	uint32_t pid, chan_version;
	char release[32];
	uint32_t npeers; /* number of PEER messages that follow */
	uint32_t proof;  /* 1: PROOF comes before the PEER messages */
};

/*
 * For a supervisor whose store does not know the restore. fds: the page map, which only a
 * supervisor hands out; the request of ASSIGN; the VMM's pidfd, once the page map knows the VMM.
 */
struct chan_proof {
	uint64_t size_bytes; /* as in READY */
	struct wset_key key;
	uint32_t prefetch, prefetch_held; /* the current values */
	uint64_t rate_bytes_per_s, max_resident_bytes;
	char id[PROTO_ID_MAX + 1]; /* of the restore; "" from an older worker: the key */
};

struct chan_ready { /* fds: listening socket, in the answer to CHAN_ASSIGN_WAIT */
	uint64_t size_bytes, span_bytes;
	uint64_t layers, extents;
	struct wset_key key; /* of the snapshot's working sets */
};

struct chan_refused {
	uint64_t peer; /* sock_cookie() of the rejected connection */
	uint32_t pid, uid;
	char why[256]; /* "": no event, CHAN_TOLD_MAX have been told */
};

struct chan_connected { /* fds: uffd, pidfd (none: the peer has ended) */
	uint32_t pid, uid, gid, nregions;
	uint64_t page_bytes, memory_bytes;
};

struct chan_failed {   /* fds: pidfd of a VMM with a bad handshake, unless it has ended */
	uint32_t code; /* enum err_code */
	int32_t sys;
	uint32_t kill;             /* 1: the supervisor must kill the VMM (on_failure) */
	uint32_t vmm_pid, vmm_uid; /* of a VMM with a bad handshake, else 0 */
	uint32_t pad;
	char msg[512];
};

struct chan_prefetch {
	uint32_t mode;   /* enum spec_prefetch */
	uint32_t paused; /* 1: hold prefetch */
	uint64_t rate_bytes_per_s;
	uint64_t max_resident_bytes; /* 0: no bound */
};

/* fds: the files of @levels cgroups, nearest first, as cgroup.h says. */
struct chan_cgroups {
	uint32_t kind; /* enum cgroup_kind */
	uint32_t levels;
	uint32_t anew; /* 1: forget the files of all earlier messages */
	uint32_t pad;
};

/*
 * ASK means "this worker holds no lease and wants one", BACK "holds none and wants none". Both
 * state the worker's present state, so messages that cross do no harm. A GRANT names the ASK it
 * answers; the worker ignores a GRANT for an earlier ASK. A worker that waits long asks again, so a
 * lost message does no harm either.
 */
struct chan_lease {
	uint64_t rate_bytes_per_s; /* GRANT: of snapshot data; 0: no limit */
	uint32_t ask;              /* number of this ASK, or of the ASK that is granted */
	uint32_t pad;
};

enum chan_stop_how {
	CHAN_STOP_WAITING, /* no VMM connected: leave */
	CHAN_STOP_GUEST,   /* the guest lives: release it if complete, else apply on_failure */
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
/* The kind with that event type; CHAN_NOTE_COUNT: unknown type. */
enum chan_note_kind chan_note_kind(const char *type);

struct chan_note {     /* becomes an event */
	char type[32]; /* one of chan_note_types */
	char msg[480];
};

struct chan_forked {  /* fds: pidfd of the new worker */
	uint32_t pid; /* 0: the fork failed */
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
	X(CHAN_FILES,      files,     worker) /* also its holder; in version 1, the supervisor */ \
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

/*
 * A socketpair, owned by the caller; both ends are CLOEXEC. [0] is the supervisor's, non-blocking.
 * Returns 0, or -1 with ERR_SYSTEM.
 */
int chan_pair(int ret_fds[2], struct err *err);

/*
 * chan_send - send one message, without blocking
 * @msg: the body is filled by the caller; chan_send() sets type and version
 * @fds: @nfds (0 to CHAN_FDS_MAX) descriptors, which stay the caller's; may be NULL if @nfds
 *	is 0
 *
 * Returns 0, or -1: ERR_UNREADY (the other side is gone, or its queue is full) or ERR_SYSTEM.
 */
int chan_send(int sock, enum chan_type type, struct chan_msg *msg, const int *fds, size_t nfds,
	      struct err *err);

enum chan_step {
	CHAN_GOT,
	CHAN_AGAIN,
	CHAN_CLOSED,
	CHAN_BAD,
	CHAN_LOST, /* this process had no room for the descriptors; the sender is not at fault */
};
/*
 * chan_recv - receive one message without blocking
 * @fds: -1 where no descriptor came; owned by the caller on CHAN_GOT, all -1 otherwise
 *
 * Text members always end with a NUL. A type that only a newer version knows arrives as CHAN_NONE,
 * without body and descriptors. CHAN_BAD: @err is ERR_PEER (any other unknown type, wrong length, a
 * version that is too old, too many descriptors), or ERR_SYSTEM when the channel cannot be read.
 * CHAN_LOST: the message is gone, @msg->type is valid, @err is filled.
 */
enum chan_step chan_recv(int sock, struct chan_msg *msg, int fds[CHAN_FDS_MAX], struct err *err);
/* Closes (foreign.h) the descriptors that the caller has not taken, and sets them to -1. */
void chan_close_fds(int fds[CHAN_FDS_MAX]);

#endif
