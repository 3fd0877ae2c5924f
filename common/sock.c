#include "common/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/proc.h"
#include "common/proto.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* <linux/un.h> cannot be included beside <sys/un.h>. */
#define UNIX_FILE SIOCPROTOPRIVATE

#define BACKLOG 128

static int make_address(const char *path, struct sockaddr_un *ret, struct err *err)
{
	size_t len = strlen(path);

	if (len == 0)
		return err_set(err, ERR_PATH, "the socket path is empty");
	if (len > PROTO_SUN_MAX)
		return err_set(err, ERR_PATH,
			       "socket path of %zu bytes is too long, the limit is "
			       "%d: choose a shorter directory or name: %s",
			       len, PROTO_SUN_MAX, path);
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, path, len + 1);
	return 0;
}

/*
 * Asks with a datagram socket whether @addr is in use, without disturbing its owner: a stream
 * socket bound there answers EPROTOTYPE, and its owner sees no connection. Returns 0 if it is in
 * use, else an errno; ECONNREFUSED: no process has it.
 */
static int probe(const struct sockaddr_un *addr)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EPROTOTYPE)
		return 0;
	return errno;
}

static int remove_stale(const struct sockaddr_un *addr, struct err *err)
{
	const char *path = addr->sun_path;
	struct stat st;
	int why;

	/* bind() finds any other fault of the path, too. */
	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_PATH,
			       "%s exists and is not a socket: remove it or choose "
			       "another path",
			       path);
	why = probe(addr);
	/* Mode 0: its maker died between bind() and open_up(). */
	if (why == EACCES && st.st_uid == geteuid() && (st.st_mode & 0777) == 0)
		why = ECONNREFUSED;
	if (why == 0)
		return err_set(err, ERR_PATH,
			       "somebody is listening at %s: stop that process or "
			       "choose another path",
			       path);
	if (why == EACCES)
		return err_set(err, ERR_PATH,
			       "%s is a socket of uid %u that uid %u may not try: "
			       "remove it if it is unused, or choose another path",
			       path, st.st_uid, geteuid());
	if (why != ECONNREFUSED && why != ENOENT) {
		errno = why;
		return err_sys(err, "cannot tell whether %s is in use", path);
	}
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(err, "cannot remove the stale socket %s", path);
	return 0;
}

static int bind_failed(const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');
	int dir_len = slash == path ? 1 : slash ? (int)(slash - path) : 1;
	const char *dir = slash ? path : ".";

	switch (errno) {
	case ENOENT:
	case ENOTDIR:
		return err_set(err, ERR_PATH,
			       "cannot listen at %s: there is no directory %.*s, "
			       "create it",
			       path, dir_len, dir);
	case EACCES:
	case EPERM:
	case EROFS:
		return err_set(err, ERR_PATH,
			       "cannot listen at %s: directory %.*s must be "
			       "writable for uid %u",
			       path, dir_len, dir, geteuid());
	case EADDRINUSE:
		return err_set(err, ERR_PATH,
			       "cannot listen at %s: somebody else has just created "
			       "it, choose another path",
			       path);
	default:
		return err_sys(err, "cannot listen at %s", path);
	}
}

/* Opens the new socket: its directory may belong to another user, who may replace the path. */
static int pin(const char *path, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, "cannot find the new socket %s", path);
	if (!S_ISSOCK(st.st_mode) || (st.st_mode & 0777) != 0 || st.st_uid != geteuid())
		return err_set(err, ERR_PATH,
			       "somebody else has replaced %s: choose a directory "
			       "that only you may write to",
			       path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/*
 * Gives the new socket its owner and mode. The group comes before the mode, so that no other group
 * gets access. The user comes last, because only the owner may change the mode, and CAP_CHOWN is
 * all that this process needs.
 */
static int open_up(int fd, const char *path, const struct sock_rights *r, struct err *err)
{
	char link[32];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (r->gid != SOCK_KEEP_OWNER && fchownat(fd, "", (uid_t)-1, r->gid, AT_EMPTY_PATH) < 0)
		return err_sys(err, "cannot give %s to gid %u (needs CAP_CHOWN, or membership)",
			       path, r->gid);
	if (chmod(link, r->mode) < 0)
		return err_sys(err, "cannot set mode %04o of %s", r->mode, path);
	if (r->uid != SOCK_KEEP_OWNER && fchownat(fd, "", r->uid, (gid_t)-1, AT_EMPTY_PATH) < 0)
		return err_sys(err, "cannot give %s to uid %u (needs CAP_CHOWN)", path, r->uid);
	return 0;
}

static int open_directory(const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char dir[PROTO_SUN_MAX + 1];

	*ret_name = slash ? slash + 1 : path;
	if (!slash)
		return open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path + 1), path);
	return open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Is @fd the socket behind @found? */
static bool is_bound_there(int fd, const struct stat *found)
{
	cleanup_fd int file = ioctl(fd, UNIX_FILE);
	struct stat bound;

	if (file < 0)
		return errno == EPERM && geteuid() != 0;
	return fstat(file, &bound) == 0 && bound.st_dev == found->st_dev &&
	       bound.st_ino == found->st_ino;
}

/* From the open directory only its owner's own files can be removed, whatever is done to the path. */
void sock_unlink(const char *path, int fd)
{
	const char *name;
	cleanup_fd int dir = open_directory(path, &name);
	struct stat st;

	if (dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode) &&
	    is_bound_there(fd, &st))
		unlinkat(dir, name, 0);
}

int sock_bind(const char *path, int type, struct sock_rights rights, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = -1, file = -1;
	struct sockaddr_un addr;

	if (make_address(path, &addr, err) < 0 || remove_stale(&addr, err) < 0)
		return -1;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(err, "cannot make a socket");
	/* The file takes the mode of the unbound socket: closed to all from its creation. */
	if (fchmod(fd, 0) < 0)
		return err_sys(err, "cannot set the mode of a socket");
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return bind_failed(path, err);
	if (pin(path, &file, err) < 0)
		return -1;
	if (open_up(file, path, &rights, err) < 0) {
		sock_unlink(path, fd);
		return -1;
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

int sock_listen(const char *path, int type, struct sock_rights rights, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = -1;

	if (sock_bind(path, type, rights, &fd, err) < 0)
		return -1;
	if (listen(fd, BACKLOG) < 0) {
		err_sys(err, "cannot listen at %s", path);
		sock_unlink(path, fd);
		return -1;
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

int sock_connect(const char *path, int type, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = -1;
	struct sockaddr_un addr;
	int r;

	if (make_address(path, &addr, err) < 0)
		return -1;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, "cannot make a socket");
	do
		r = connect(fd, (const struct sockaddr *)&addr, sizeof(addr));
	while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED))
		return err_set(err, ERR_UNREADY, "nobody is listening at %s", path);
	if (r < 0 && errno == EACCES)
		return err_set(err, ERR_DENIED, "uid %u may not connect to %s", geteuid(), path);
	if (r < 0)
		return err_sys(err, "cannot connect to %s", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* The kernel returns all groups or none, so a peer in many groups needs a larger buffer. */
static int get_groups(int fd, struct sock_peer *peer, struct err *err)
{
	cleanup_free gid_t *all = NULL;
	socklen_t len = sizeof(peer->groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer->groups, &len) == 0) {
		peer->ngroups = len / sizeof(gid_t);
		return 0;
	}
	if (errno != ERANGE)
		return err_sys(err, "cannot read the groups of process %d", (int)peer->pid);
	/* At most NGROUPS_MAX, 256 KiB. */
	all = xcalloc(1, len);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &len) < 0)
		return err_sys(err, "cannot read the groups of process %d", (int)peer->pid);
	memcpy(peer->groups, all, sizeof(peer->groups));
	peer->ngroups = SOCK_GROUPS_MAX;
	return 0;
}

int sock_peer(int fd, struct sock_peer *ret, struct err *err)
{
	struct sock_peer peer = {0};
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return err_sys(err, "cannot read who is at the other end of a socket");
	peer.pid = cred.pid;
	peer.uid = cred.uid;
	peer.gid = cred.gid;
	if (get_groups(fd, &peer, err) < 0)
		return -1;
	*ret = peer;
	return 0;
}

uint64_t sock_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) ? 0 : cookie;
}

int sock_peer_pidfd(int fd, pid_t pid, int *ret_pidfd, struct err *err)
{
	int pidfd;
	socklen_t len = sizeof(pidfd);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0) {
		*ret_pidfd = pidfd;
		return 0;
	}
	if (errno == ENOPROTOOPT)
		return proc_pidfd(pid, ret_pidfd, err);
	if (errno == ESRCH || errno == EINVAL || errno == ENODATA)
		return err_set(err, ERR_PEER, "process %d at the other end of a socket has ended",
			       (int)pid);
	return err_sys(err, "cannot open process %d at the other end of a socket", (int)pid);
}
