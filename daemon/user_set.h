/*
 * user_set - users and groups: for whom something is meant
 *
 * A user is in the set by its uid, or by one of its groups. As JSON: {"uids": [1000], "gids": [27]}.
 * Pure.
 */
#ifndef UFFDD_USER_SET_H
#define UFFDD_USER_SET_H

#include "common/js.h"
#include "common/sock.h"

#define USER_SET_MAX 1024 /* uids, and the same of gids */

struct user_set {              /* all zero: nobody */
	uint32_t *uids, *gids; /* owned; sorted, no number twice */
	size_t nuids, ngids;
};

/*
 * user_set_parse - reads the members "uids" and "gids" of @at, both optional
 * @ret: filled on success only; released by user_set_fini()
 *
 * Numbers that are there twice count once. Returns 0, or -1 with ERR_INVALID naming the member: not
 * numbers of users, or more than USER_SET_MAX.
 */
int user_set_parse(struct js_at at, struct user_set *ret, struct err *err);
/* Adds the members "uids" and "gids" to @o. */
void user_set_json(const struct user_set *set, struct json_object *o);

bool user_set_has_uid(const struct user_set *set, uint32_t uid);
bool user_set_has_gid(const struct user_set *set, uint32_t gid);
/* By the main group, or by one of the others. */
bool user_set_has_group_of(const struct user_set *set, const struct sock_peer *peer);

/* Safe to repeat. */
void user_set_fini(struct user_set *set);

#endif
