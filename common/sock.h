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
	size_t ngroups; /* supplementary, the first SOCK_GROUPS_MAX of them */
	gid_t groups[SOCK_GROUPS_MAX];
};

#define SOCK_KEEP_OWNER ((uid_t)-1)

/*
 * sock_listen - bind and listen at @path
 * @type: SOCK_STREAM or SOCK_SEQPACKET; the result is CLOEXEC and non-blocking
 * @uid, @gid: owner to set, or SOCK_KEEP_OWNER
 *
 * The socket is never reachable with wider rights than @mode. A stale socket
 * file (nobody listens) is replaced; a live one, or a file of another kind, is
 * refused. Returns 0, or -1 with ERR_PATH or ERR_SYSTEM that names path and cure.
 */
int sock_listen(const char *path, int type, mode_t mode, uid_t uid, gid_t gid, int *ret_fd,
		struct err *err);
/* The same for somebody else to listen at: until then nobody can connect. */
int sock_bind(const char *path, int type, mode_t mode, uid_t uid, gid_t gid, int *ret_fd,
	      struct err *err);
/* Blocking connect, unless @type says otherwise. ERR_UNREADY: nobody there. */
int sock_connect(const char *path, int type, int *ret_fd, struct err *err);

int sock_peer(int fd, struct sock_peer *ret, struct err *err);
/* What the kernel calls this socket, whoever has a descriptor of it; 0: it is none. */
uint64_t sock_cookie(int fd);
/* A pidfd of the peer: SO_PEERPIDFD, or pidfd_open on older kernels. */
int sock_peer_pidfd(int fd, pid_t pid, int *ret_pidfd, struct err *err);

#endif
