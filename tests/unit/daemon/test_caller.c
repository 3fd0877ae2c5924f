/* test_caller - from the kernel's word to role, tenant and rights */
#include "daemon/caller.h"

#include <string.h>
#include <sys/prctl.h>

#include "tests/support/runner.h"

/* Users and groups that stand in the tenants below. */
enum { ADMIN = 11, OBSERVER = 12, RED = 13, BLUE = 14, NONE = 15 };
enum { ADMINS = 21, OBSERVERS = 22, REDS = 23, BLUES = 24, NOTHING = 25 };

static uint32_t ids[] = {11, 12, 13, 14, 21, 22, 23, 24};
static struct tenant red = {.name = "red", .users = {&ids[2], &ids[6], 1, 1}};
static struct tenant blue = {.name = "blue", .users = {&ids[3], &ids[7], 1, 1}};
static struct tenant *both[] = {&blue, &red};
static const struct tenants some = {.v = both,
				    .n = 2,
				    .admins = {&ids[0], &ids[4], 1, 1},
				    .observers = {&ids[1], &ids[5], 1, 1}};
static const struct tenants each = {.v = both, .n = 2, .each_user = true};

static struct caller caller_of(const struct tenants *ts, uid_t uid, gid_t gid, gid_t more)
{
	struct sock_peer peer = {.pid = 7, .uid = uid, .gid = gid, .ngroups = 1, .groups = {more}};
	struct caller caller;

	caller_resolve(ts, &peer, &caller);
	ck_assert_uint_eq(caller.uid, uid);
	ck_assert_uint_eq(caller.gid, gid);
	return caller;
}

/* clang-format off */
static const struct {
	uid_t uid;
	gid_t gid, more;
	enum caller_role role;
	const char *tenant;
} resolved[] = {
	{0, 0, 0, ROLE_ADMIN, "default"},
	{0, REDS, REDS, ROLE_ADMIN, "default"},
	{ADMIN, NOTHING, NOTHING, ROLE_ADMIN, "default"},
	{NONE, ADMINS, NOTHING, ROLE_ADMIN, "default"},
	{NONE, NOTHING, ADMINS, ROLE_ADMIN, "default"},
	{OBSERVER, NOTHING, NOTHING, ROLE_OBSERVER, ""},
	{NONE, OBSERVERS, NOTHING, ROLE_OBSERVER, ""},
	{RED, NOTHING, NOTHING, ROLE_TENANT, "red"},
	{NONE, REDS, NOTHING, ROLE_TENANT, "red"},
	{NONE, NOTHING, BLUES, ROLE_TENANT, "blue"},
	/* The user counts for more than its groups. */
	{RED, BLUES, NOTHING, ROLE_TENANT, "red"},
	/* Of several roles, the one with the most rights. */
	{OBSERVER, ADMINS, NOTHING, ROLE_ADMIN, "default"},
	{RED, OBSERVERS, NOTHING, ROLE_OBSERVER, ""},
	{NONE, NOTHING, NOTHING, ROLE_OUTSIDER, ""},
	{NONE, REDS, BLUES, ROLE_OUTSIDER, ""},
	/* A uid is no gid. */
	{REDS, RED, RED, ROLE_OUTSIDER, ""},
};
/* clang-format on */

START_TEST(test_resolve)
{
	struct caller c = caller_of(&some, resolved[_i].uid, resolved[_i].gid, resolved[_i].more);

	ck_assert_int_eq(c.role, resolved[_i].role);
	ck_assert_str_eq(c.tenant, resolved[_i].tenant);
}
END_TEST

START_TEST(test_why_not)
{
	ck_assert_str_eq(caller_of(&some, NONE, NOTHING, NOTHING).why.msg,
			 "uid 15 belongs to no tenant: an administrator adds it to one (uffdctl "
			 "tenant set NAME --uid 15)");
	ck_assert_str_eq(caller_of(&some, NONE, REDS, BLUES).why.msg,
			 "groups of uid 15 belong to the tenants blue and red: an administrator "
			 "has to name the uid in one of them");
	ck_assert_int_eq(caller_of(&some, NONE, NOTHING, NOTHING).why.code, ERR_DENIED);
	/* Not even where each user is a tenant: it would be another one than is meant. */
	ck_assert_int_eq(caller_of(&each, NONE, REDS, BLUES).role, ROLE_OUTSIDER);
}
END_TEST

START_TEST(test_each_user)
{
	static const struct {
		uid_t uid;
		const char *tenant;
	} rows[] = {
		{1, "uid-1"},
		{1000, "uid-1000"},
		{65534, "uid-65534"},
		{4294967294u, "uid-4294967294"},
		{(uid_t)-1, "uid-4294967295"},
	};
	struct caller c = caller_of(&each, rows[_i].uid, NOTHING, NOTHING);

	if (rows[_i].uid == geteuid())
		return;
	ck_assert_int_eq(c.role, ROLE_TENANT);
	ck_assert_str_eq(c.tenant, rows[_i].tenant);
	ck_assert_msg(proto_id_valid(c.tenant), "%s", c.tenant);
	ck_assert_str_eq(caller_of(&each, RED, NOTHING, NOTHING).tenant, "red");
}
END_TEST

START_TEST(test_own_user)
{
	/* Where we may, see that it is the effective uid that counts. */
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(31337), 0);
	ck_assert_int_eq(caller_of(&some, geteuid(), NOTHING, NOTHING).role, ROLE_ADMIN);
	ck_assert_int_eq(caller_of(&some, 0, NOTHING, NOTHING).role, ROLE_ADMIN);
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	prctl(PR_SET_DUMPABLE, 1); /* what seteuid took, and LeakSanitizer needs */
}
END_TEST

/* clang-format off */
static const struct {
	uid_t uid;
	const char *tenant;
	bool sees;
	int acts; /* 0, or an error code + 1 */
} rights[] = {
	{ADMIN, "red", true, 0},
	{ADMIN, "any", true, 0},
	{ADMIN, "", true, ERR_INVALID + 1},
	{ADMIN, "../x", true, ERR_INVALID + 1},
	{ADMIN, "0123456789012345678901234567890123456789012345678901234567890123", true,
	 ERR_INVALID + 1},
	{OBSERVER, "red", true, ERR_DENIED + 1},
	{OBSERVER, "", true, ERR_DENIED + 1},
	{RED, "red", true, 0},
	{RED, "Red", false, ERR_DENIED + 1},
	{RED, "blue", false, ERR_DENIED + 1},
	{RED, "default", false, ERR_DENIED + 1},
	{RED, "", false, ERR_INVALID + 1},
	{RED, "a b", false, ERR_INVALID + 1},
	{NONE, "red", false, ERR_DENIED + 1},
	{NONE, "", false, ERR_DENIED + 1},
};
/* clang-format on */

START_TEST(test_rights)
{
	struct caller c = caller_of(&some, rights[_i].uid, NOTHING, NOTHING);
	struct err err = {.msg = ""};
	int rc = caller_check_act(&c, rights[_i].tenant, &err);

	ck_assert_int_eq(caller_may_see(&c, rights[_i].tenant), rights[_i].sees);
	ck_assert_int_eq(rc ? (int)err.code + 1 : 0, rights[_i].acts);
	ck_assert_int_eq(rc != 0, err.msg[0] != '\0');
}
END_TEST

START_TEST(test_only)
{
	struct caller admin = caller_of(&some, ADMIN, NOTHING, NOTHING);
	struct caller observer = caller_of(&some, OBSERVER, NOTHING, NOTHING);
	struct caller own = caller_of(&some, RED, NOTHING, NOTHING);

	ck_assert_ptr_null(caller_only(&admin));
	ck_assert_ptr_null(caller_only(&observer));
	ck_assert_ptr_eq(caller_only(&own), own.tenant);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("caller");
	TCase *t = tcase_create("rights");

	tcase_add_loop_test(t, test_resolve, 0, ARRAY_LEN(resolved));
	tcase_add_test(t, test_why_not);
	tcase_add_loop_test(t, test_each_user, 0, 5);
	tcase_add_test(t, test_own_user);
	tcase_add_loop_test(t, test_rights, 0, ARRAY_LEN(rights));
	tcase_add_test(t, test_only);
	suite_add_tcase(s, t);
	return s;
}
