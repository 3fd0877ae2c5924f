/*
 * http_users - what each user has of the HTTP server: connections and held requests
 *
 * A user is listed while it has a connection.
 */
#ifndef UFFDD_HTTP_USERS_H
#define UFFDD_HTTP_USERS_H

#include <sys/queue.h>
#include <sys/types.h>

#include "daemon/http_accounts.h"

struct http_user {
	LIST_ENTRY(http_user) link;
	uid_t uid;
	size_t connections, held;
	struct http_account *account; /* whose time is taken; the caller's to give back */
	bool privileged;              /* has places of its own, and is never late */
};

LIST_HEAD(http_users, http_user);

/* Counts one more connection of @uid. The user stays valid until its last one has left. */
struct http_user *http_users_join(struct http_users *users, uid_t uid);
/* One connection fewer; frees @user with the last one. */
void http_users_leave(struct http_user *user);

#endif
