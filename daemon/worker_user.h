/*
 * worker_user - as whom a caller is served who is root
 *
 * A worker serves as its caller, but never as root: once its files are open, the worker of a root
 * caller goes on as a user of its own, whose processes are workers and holders only. The kernel
 * says that uid of them from then on. What needs more rights is done by the supervisor.
 */
#ifndef UFFDD_WORKER_USER_H
#define UFFDD_WORKER_USER_H

#include "common/sock.h"
#include "daemon/conf.h"

#define WORKER_USER_NAME "uffdd-worker"
/* Without a user of that name; beside "nobody", and given to no user by Debian or systemd. */
#define WORKER_USER_ID 65533

struct worker_user {
	bool apart; /* false: uffdd is not root itself, and serves only its own user */
	uid_t uid;
	gid_t gid;
};

/* By the configuration, or else by name. 0, or -1 with ERR_INVALID. */
int worker_user_find(const struct conf *conf, struct worker_user *ret, struct err *err);
/* Is a caller with that uid served as the workers' own user? */
static inline bool worker_user_serves(const struct worker_user *u, uid_t caller)
{
	return u->apart && caller == 0;
}
/* Is that the workers' own user? */
static inline bool worker_user_is(const struct worker_user *u, uid_t uid)
{
	return u->apart && uid == u->uid;
}
/* Whom a worker or a holder serves that the kernel says to be @who. */
struct sock_peer worker_user_caller(const struct worker_user *u, const struct sock_peer *who);

#endif
