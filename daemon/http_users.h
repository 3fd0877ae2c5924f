/*
 * http_users - what each user has of the HTTP server: connections, held requests, and its time
 *
 * A user who takes much of the one thread's time has a lower priority than others (timer.h), so that
 * nobody waits for more than one of its requests. A user is listed while it has a connection, and as
 * long as what it has taken counts.
 */
#ifndef UFFDD_HTTP_USERS_H
#define UFFDD_HTTP_USERS_H

#include <sys/queue.h>
#include <sys/types.h>

#include "common/base.h"

struct http_user {
	LIST_ENTRY(http_user) link;
	uid_t uid;
	size_t connections, held;
	bool privileged;             /* never late */
	uint64_t taken_us, since_us; /* of our time, halved each second; since now_us() */
};

LIST_HEAD(http_users, http_user);

/* Counts one more connection of @uid. The user stays valid until its last one has left. */
struct http_user *http_users_join(struct http_users *users, uid_t uid);
/* One connection fewer; with the last one @user may be freed. */
void http_users_leave(struct http_users *users, struct http_user *user);
void http_users_fini(struct http_users *users);

/* A request of @uid has taken @us until now; does nothing for a user who is not listed. */
void http_users_charge(struct http_users *users, uid_t uid, uint64_t us, uint64_t now_us);
/* Has @user taken much, a tenth of the time or more for a second or two? Then others come first. */
bool http_user_is_late(const struct http_user *user, uint64_t now_us);

#endif
