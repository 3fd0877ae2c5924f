#include "daemon/http_users.h"

#define HALF_LIFE_US ((uint64_t)1000 * 1000)
/* Twice what is taken in a second, where it is the same each second. */
#define MUCH_US ((uint64_t)200 * 1000)
/* Of users without a connection; others than these are forgotten at once. */
#define RESTING_MAX 256

static uint64_t halvings(const struct http_user *user, uint64_t now)
{
	return now > user->since_us ? (now - user->since_us) / HALF_LIFE_US : 0;
}

static uint64_t taken(const struct http_user *user, uint64_t now)
{
	uint64_t n = halvings(user, now);

	return n < 64 ? user->taken_us >> n : 0;
}

static void user_free(struct http_user *user)
{
	LIST_REMOVE(user, link);
	free(user);
}

/* Forgets who takes nothing any more. Returns how many are left without a connection. */
static size_t tidy(struct http_users *users, uint64_t now)
{
	struct http_user *user, *next;
	size_t resting = 0;

	for (user = LIST_FIRST(users); user; user = next) {
		next = LIST_NEXT(user, link);
		if (user->connections)
			continue;
		if (taken(user, now))
			resting++;
		else
			user_free(user);
	}
	return resting;
}

static struct http_user *find(const struct http_users *users, uid_t uid)
{
	struct http_user *user;

	LIST_FOREACH(user, users, link)
	if (user->uid == uid)
		break;
	return user;
}

struct http_user *http_users_join(struct http_users *users, uid_t uid)
{
	struct http_user *user = find(users, uid);

	if (!user) {
		user = xcalloc(1, sizeof(*user));
		user->uid = uid;
		LIST_INSERT_HEAD(users, user, link);
	}
	user->connections++;
	return user;
}

void http_users_leave(struct http_users *users, struct http_user *user)
{
	if (--user->connections)
		return;
	if (tidy(users, now_us()) > RESTING_MAX)
		user_free(user);
}

void http_users_fini(struct http_users *users)
{
	while (!LIST_EMPTY(users))
		user_free(LIST_FIRST(users));
}

void http_users_charge(struct http_users *users, uid_t uid, uint64_t us, uint64_t now)
{
	struct http_user *user = find(users, uid);
	uint64_t n;

	if (!user)
		return;
	n = halvings(user, now);
	user->taken_us = taken(user, now) + us;
	user->since_us = user->since_us ? user->since_us + n * HALF_LIFE_US : now;
}

bool http_user_is_late(const struct http_user *user, uint64_t now)
{
	return !user->privileged && taken(user, now) >= MUCH_US;
}
