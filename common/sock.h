/*
 * sock - Unix sockets: listening at a path, and who is at the other end
 */
#ifndef UFFDD_SOCK_H
#define UFFDD_SOCK_H

#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

#define SOCK_GROUPS_MAX 64

struct sock_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	size_t ngroups; /* supplementary groups; at most the first SOCK_GROUPS_MAX */
	gid_t groups[SOCK_GROUPS_MAX];
};

#define SOCK_KEEP_OWNER ((uid_t)-1)

/* Who may connect to a socket file. */
struct sock_rights {
	mode_t mode;
	uid_t uid; /* owner to set, or SOCK_KEEP_OWNER */
	gid_t gid; /* the same */
};

/* That mode; the file stays with the user who makes it. */
static inline struct sock_rights sock_mode(mode_t mode)
{
	return (struct sock_rights){mode, SOCK_KEEP_OWNER, SOCK_KEEP_OWNER};
}

/*
 * sock_listen - bind and listen at @path
 * @type: SOCK_STREAM or SOCK_SEQPACKET, perhaps with SOCK_NONBLOCK
 * @ret_fd: owned by the caller; CLOEXEC and non-blocking
 *
 * The socket is never reachable with wider rights than @rights. A stale socket file (no process
 * listens) is replaced; a live one, or a file of another kind, is refused. Returns 0, or -1 with
 * ERR_PATH or ERR_SYSTEM whose text names path and cure.
 */
int sock_listen(const char *path, int type, struct sock_rights rights, int *ret_fd,
		struct err *err);
/* As sock_listen(), but without listen(): until another process calls it, no peer can connect. */
int sock_bind(const char *path, int type, struct sock_rights rights, int *ret_fd, struct err *err);
/*
 * Connects, and blocks unless @type has SOCK_NONBLOCK. @ret_fd is owned by the caller. Returns 0,
 * or -1: ERR_UNREADY (no process listens), ERR_DENIED, ERR_PATH (empty or too long) or ERR_SYSTEM.
 */
int sock_connect(const char *path, int type, int *ret_fd, struct err *err);

/*
 * Removes the socket file at @path, if the kernel says that @fd is bound to that very file: a path
 * through a directory of another user may lead elsewhere by now. Asking needs CAP_NET_ADMIN. A
 * process that is not root and may not ask removes any socket there; root removes none.
 */
void sock_unlink(const char *path, int fd);

/* The peer's credentials at the time it connected. Returns 0, or -1 with ERR_SYSTEM. */
int sock_peer(int fd, struct sock_peer *ret, struct err *err);
/* The kernel's number of this socket, the same for all its descriptors; 0: not a socket. */
uint64_t sock_cookie(int fd);
/*
 * A pidfd of the peer, owned by the caller: by SO_PEERPIDFD, or by pidfd_open() of @pid on older
 * kernels. Returns 0, or -1: ERR_PEER or ERR_NOTFOUND if the peer has ended, or ERR_SYSTEM.
 */
int sock_peer_pidfd(int fd, pid_t pid, int *ret_pidfd, struct err *err);

#endif
