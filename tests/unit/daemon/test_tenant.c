/* test_tenant - from the kernel's word to tenant and rights */
#include "daemon/tenant.h"

#include <string.h>
#include <sys/prctl.h>

#include "tests/support/runner.h"

static struct tenant_caller caller_of(uid_t uid)
{
	struct sock_peer peer = {.pid = 7, .uid = uid, .gid = 100};
	struct tenant_caller caller;

	tenant_resolve(&peer, &caller);
	return caller;
}

/* Some uid that is neither root's nor ours. */
static uid_t stranger(void)
{
	return geteuid() == 4242 ? 4243 : 4242;
}

START_TEST(test_strangers)
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
	struct tenant_caller c = caller_of(rows[_i].uid);

	if (rows[_i].uid == geteuid())
		return;
	ck_assert_msg(!tenant_is_admin(&c), "%s", rows[_i].tenant);
	ck_assert_str_eq(c.tenant, rows[_i].tenant);
	ck_assert_msg(proto_id_valid(c.tenant), "%s", c.tenant);
	ck_assert_uint_eq(c.uid, rows[_i].uid);
	ck_assert_uint_eq(c.gid, 100);
}
END_TEST

START_TEST(test_admins)
{
	struct tenant_caller c = caller_of(0);

	ck_assert(tenant_is_admin(&c));
	ck_assert_str_eq(c.tenant, "default");
	/* Where we may, see that it is the effective uid that counts. */
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(31337), 0);
	c = caller_of(geteuid());
	ck_assert(tenant_is_admin(&c));
	ck_assert_str_eq(c.tenant, "default");
	c = caller_of(0);
	ck_assert(tenant_is_admin(&c));
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	prctl(PR_SET_DUMPABLE, 1); /* what seteuid took, and LeakSanitizer needs */
}
END_TEST

/* clang-format off */
static const struct {
	const char *tenant; /* "=" stands for the caller's own */
	bool stranger_sees;
	int stranger_acts, admin_acts; /* 0, or an error code + 1 */
} rights[] = {
	{"=", true, 0, 0},
	{"", false, ERR_INVALID + 1, ERR_INVALID + 1},
	{"default", false, ERR_DENIED + 1, 0},
	{"uid-1", false, ERR_DENIED + 1, 0},
	{"uid-42420", false, ERR_DENIED + 1, 0},
	{"UID-4242", false, ERR_DENIED + 1, 0},
	{"../x", false, ERR_INVALID + 1, ERR_INVALID + 1},
	{"a b", false, ERR_INVALID + 1, ERR_INVALID + 1},
	{"0123456789012345678901234567890123456789012345678901234567890123", false,
	 ERR_INVALID + 1, ERR_INVALID + 1},
};
/* clang-format on */

static int acts(const struct tenant_caller *c, const char *tenant)
{
	struct err err = {.msg = ""};

	if (tenant_may_act(c, tenant, &err) == 0)
		return 0;
	ck_assert_str_ne(err.msg, "");
	return (int)err.code + 1;
}

START_TEST(test_rights)
{
	struct tenant_caller own = caller_of(stranger()), admin = caller_of(0);
	bool self = strcmp(rights[_i].tenant, "=") == 0;
	const char *tenant = self ? own.tenant : rights[_i].tenant;

	ck_assert_msg(tenant_may_see(&own, tenant) == rights[_i].stranger_sees, "%s", tenant);
	ck_assert_msg(tenant_may_see(&admin, tenant), "%s", tenant);
	ck_assert_msg(acts(&own, tenant) == rights[_i].stranger_acts, "%s", tenant);
	ck_assert_msg(acts(&admin, tenant) == rights[_i].admin_acts, "%s", tenant);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("tenant");
	TCase *t = tcase_create("rights");

	tcase_add_loop_test(t, test_strangers, 0, 5);
	tcase_add_test(t, test_admins);
	tcase_add_loop_test(t, test_rights, 0, ARRAY_LEN(rights));
	suite_add_tcase(s, t);
	return s;
}
