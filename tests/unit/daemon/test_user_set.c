/* test_user_set - sets of users and groups: from JSON, back, and who is in them */
#include "daemon/user_set.h"

#include <string.h>

#include "tests/support/runner.h"

static int parse(const char *text, struct user_set *ret, struct err *err)
{
	cleanup_json struct json_object *o = js_parse(text, strlen(text), false, err);

	ck_assert_msg(o != NULL, "%s", err->msg);
	return user_set_parse((struct js_at){o, "p"}, ret, err);
}

static void parsed(const char *text, struct user_set *ret)
{
	struct err err = {.msg = ""};

	ck_assert_msg(parse(text, ret, &err) == 0, "%s: %s", text, err.msg);
}

START_TEST(test_round)
{
	static const struct {
		const char *text, *back;
	} rows[] = {
		{"{}", "{\"uids\":[],\"gids\":[]}"},
		{"{\"uids\":[],\"gids\":[]}", "{\"uids\":[],\"gids\":[]}"},
		{"{\"uids\":[5]}", "{\"uids\":[5],\"gids\":[]}"},
		{"{\"gids\":[0,4294967294]}", "{\"uids\":[],\"gids\":[0,4294967294]}"},
		{"{\"uids\":[9,1,9,5,1,9],\"gids\":[2,2]}", "{\"uids\":[1,5,9],\"gids\":[2]}"},
	};
	cleanup_json struct json_object *o = json_object_new_object();
	struct user_set set;

	parsed(rows[_i].text, &set);
	user_set_json(&set, o);
	ck_assert_str_eq(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), rows[_i].back);
	user_set_fini(&set);
	user_set_fini(&set);
}
END_TEST

START_TEST(test_refused)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{\"uids\":5}", "p.uids: must be an array"},
		{"{\"gids\":null}", "p.gids: must be an array"},
		{"{\"uids\":[\"5\"]}", "p.uids[0]: must be an integer"},
		{"{\"uids\":[5,-1]}", "p.uids[1]: must be from 0 to 4294967294"},
		{"{\"uids\":[4294967295]}", "p.uids[0]: must be from 0 to 4294967294"},
		/* What had been read is let go. */
		{"{\"uids\":[5],\"gids\":[1.5]}", "p.gids[0]: must be an integer"},
	};
	struct user_set set = {.nuids = 7};
	struct err err = {.msg = ""};

	ck_assert_int_eq(parse(rows[_i].text, &set, &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_str_eq(err.msg, rows[_i].says);
	ck_assert_uint_eq(set.nuids, 7);
}
END_TEST

START_TEST(test_bounded)
{
	enum { ROOM = USER_SET_MAX * 8 + 64 };
	cleanup_free char *text = xcalloc(1, ROOM);
	size_t len = (size_t)snprintf(text, ROOM, "{\"uids\":[0");
	struct err err = {.msg = ""};
	struct user_set set;
	size_t n = 1;

	for (; n < USER_SET_MAX; n++)
		len += (size_t)snprintf(text + len, ROOM - len, ",%zu", n);
	snprintf(text + len, ROOM - len, "]}");
	parsed(text, &set);
	ck_assert_uint_eq(set.nuids, USER_SET_MAX);
	ck_assert(user_set_has_uid(&set, USER_SET_MAX - 1));
	user_set_fini(&set);
	snprintf(text + len, ROOM - len, ",%zu]}", n);
	ck_assert_int_eq(parse(text, &set, &err), -1);
	ck_assert_msg(strstr(err.msg, "p.uids: "), "%s", err.msg);
}
END_TEST

START_TEST(test_members)
{
	struct sock_peer peer = {.uid = 3, .gid = 100, .ngroups = 2, .groups = {30, 20}};
	struct user_set set, nobody = {0};

	parsed("{\"uids\":[2,1],\"gids\":[10,20]}", &set);
	ck_assert(user_set_has_uid(&set, 1));
	ck_assert(user_set_has_uid(&set, 2));
	ck_assert(!user_set_has_uid(&set, 10));
	ck_assert(user_set_has_gid(&set, 10));
	ck_assert(!user_set_has_gid(&set, 2));
	ck_assert(user_set_has_group_of(&set, &peer));
	peer.ngroups = 1;
	ck_assert(!user_set_has_group_of(&set, &peer));
	peer.gid = 10;
	ck_assert(user_set_has_group_of(&set, &peer));
	ck_assert(!user_set_has_uid(&nobody, 0));
	ck_assert(!user_set_has_group_of(&nobody, &peer));
	user_set_fini(&set);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("user_set");
	TCase *t = tcase_create("user_set");

	tcase_add_loop_test(t, test_round, 0, 5);
	tcase_add_loop_test(t, test_refused, 0, 6);
	tcase_add_test(t, test_bounded);
	tcase_add_test(t, test_members);
	suite_add_tcase(s, t);
	return s;
}
