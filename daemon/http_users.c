#include "daemon/http_users.h"

struct http_user *http_users_join(struct http_users *users, uid_t uid)
{
	struct http_user *user;

	LIST_FOREACH(user, users, link)
	if (user->uid == uid)
		break;
	if (!user) {
		user = xcalloc(1, sizeof(*user));
		user->uid = uid;
		LIST_INSERT_HEAD(users, user, link);
	}
	user->connections++;
	return user;
}

void http_users_leave(struct http_user *user)
{
	if (--user->connections)
		return;
	LIST_REMOVE(user, link);
	free(user);
}
