#include "daemon/holders.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/foreign.h"
#include "common/proc.h"
#include "daemon/log.h"

/* Named by the directory's descriptor: a whole path may be longer than a socket address. */
struct place {
	int dir; /* owned */
	char path[PROTO_SUN_MAX + 1];
};

static int find_place(const struct host *host, const char *key, struct place *ret)
{
	char path[CONF_PATH_MAX + 1];

	host_path(host, "files", "", path);
	ret->dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(ret->path, sizeof(ret->path), "/proc/self/fd/%d/%s", ret->dir, key);
	return ret->dir < 0 ? -1 : 0;
}

static int dial(const struct place *p, int *ret_fd)
{
	struct err err;

	return sock_connect(p->path, SOCK_SEQPACKET | SOCK_NONBLOCK, ret_fd, &err);
}

/* The socket's owner is the user as whom the holder must run: see is_holder(). */
static int make_socket(const char *key, uid_t uid, const struct place *p, int *ret_fd)
{
	struct sock_rights rights = sock_mode(0600);
	struct err err;

	if (geteuid() == 0)
		rights.uid = uid;
	unlink(p->path);
	if (sock_bind(p->path, SOCK_SEQPACKET, rights, ret_fd, &err) == 0)
		return 0;
	log_warning("nobody will keep the snapshot's files", "key=%s why=%s", key, err.msg);
	return -1;
}

enum chan_holder holders_reach(const struct host *host, const char *key, uid_t uid, bool anew,
			       int *ret_fd)
{
	enum chan_holder how = CHAN_HOLDER_NONE;
	struct place p;

	*ret_fd = -1;
	if (anew)
		holders_end(host, key);
	if (find_place(host, key, &p))
		return how;
	if (!anew && dial(&p, ret_fd) == 0)
		how = CHAN_HOLDER_THERE;
	else if (make_socket(key, uid, &p, ret_fd) == 0)
		how = CHAN_HOLDER_NEW;
	close(p.dir);
	return how;
}

/*
 * Is the listening process @ret the holder? The holder runs as a tenant's user: so only a process
 * of the user who owns the socket file is killed for it.
 */
static bool is_holder(const struct place *p, int fd, struct sock_peer *ret)
{
	struct stat st;
	struct err err;

	return lstat(p->path, &st) == 0 && S_ISSOCK(st.st_mode) && sock_peer(fd, ret, &err) == 0 &&
	       ret->uid == st.st_uid && ret->pid != getpid();
}

void holders_end(const struct host *host, const char *key)
{
	cleanup_fd int pidfd = -1;
	struct sock_peer who;
	struct place p;
	struct err err;
	int fd = -1;

	if (find_place(host, key, &p))
		return;
	if (dial(&p, &fd) == 0 && is_holder(&p, fd, &who) &&
	    sock_peer_pidfd(fd, who.pid, &pidfd, &err) == 0)
		proc_kill(pidfd, &err);
	foreign_close(&fd);
	unlink(p.path);
	close(p.dir);
}
