#include "daemon/worker_user.h"

#include <pwd.h>

static void by_conf(const struct conf *conf, struct worker_user *ret)
{
	const struct passwd *p;

	ret->uid = (uid_t)conf->worker_uid;
	p = getpwuid(ret->uid);
	ret->gid = p ? p->pw_gid : (gid_t)ret->uid;
}

static void by_name(struct worker_user *ret)
{
	const struct passwd *p = getpwnam(WORKER_USER_NAME);

	ret->uid = p ? p->pw_uid : WORKER_USER_ID;
	ret->gid = p ? p->pw_gid : WORKER_USER_ID;
}

int worker_user_find(const struct conf *conf, struct worker_user *ret, struct err *err)
{
	struct worker_user u = {.apart = geteuid() == 0};

	if (conf->worker_uid)
		by_conf(conf, &u);
	else
		by_name(&u);
	if (conf->worker_gid)
		u.gid = (gid_t)conf->worker_gid;
	if (u.apart && (u.uid == 0 || u.gid == 0))
		return err_set(err, ERR_INVALID,
			       "worker_uid: workers must not be root, and the user %s (uid %u, gid "
			       "%u) is: give them a user and a group of their own",
			       WORKER_USER_NAME, (unsigned)u.uid, (unsigned)u.gid);
	*ret = u;
	return 0;
}

struct sock_peer worker_user_caller(const struct worker_user *u, const struct sock_peer *who)
{
	const struct sock_peer root = {.pid = who->pid};

	return worker_user_is(u, who->uid) ? root : *who;
}
