/* test_http_target - path and query of a request: taken apart, decoded, or refused */
#include "daemon/http_target.h"

#include "tests/support/runner.h"

static const struct {
	const char *path, *query, *want; /* want: path and parameters, or NULL for refused */
} targets[] = {
	{"/v1/restores", NULL, "/v1/restores"},
	{"/", "", "/"},
	{"/a%2fb%41%7e", NULL, "/a/bA~"},
	{"/a+b", "x=1+2&y=%2B", "/a+b x=1 2 y=+"},
	{"/a/../b", NULL, "/a/../b"},
	{"/a", "follow&after=&n=a=b", "/a follow= after= n=a=b"},
	{"/a", "%61=%62", "/a a=b"},
	{"/%252e", NULL, "/%2e"},
	{"/a%00b", NULL, NULL},
	{"/a%", NULL, NULL},
	{"/a%4", NULL, NULL},
	{"/a%zz", NULL, NULL},
	{"/a%4g", NULL, NULL},
	{"/a", "x=%00", NULL},
	{"/a", "%0=1", NULL},
	{"/a", "x=1&x=1", NULL},
	{"/a", "x=1&%78=2", NULL},
	{"/a", "x=1&", NULL},
	{"/a", "=1", NULL},
	{"/a", "a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q", NULL},
	{"", NULL, NULL},
	{"*", NULL, NULL},
	{NULL, NULL, NULL},
};

START_TEST(target)
{
	struct http_target t;
	struct err err;
	char got[256];
	size_t n;
	int rc = http_target_parse(targets[_i].path, targets[_i].query, &t, &err);

	if (!targets[_i].want) {
		ck_assert_msg(rc == -1 && err.code == ERR_INVALID, "%s?%s", targets[_i].path,
			      targets[_i].query);
		return;
	}
	ck_assert_msg(rc == 0, "%s: %s", targets[_i].path, err.msg);
	n = (size_t)snprintf(got, sizeof(got), "%s", t.path);
	for (size_t i = 0; i < t.nparams; i++)
		n += (size_t)snprintf(got + n, sizeof(got) - n, " %s=%s", t.params[i].key,
				      t.params[i].value);
	ck_assert_str_eq(got, targets[_i].want);
	http_target_fini(&t);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("http_target");
	TCase *tc = tcase_create("target");

	tcase_add_loop_test(tc, target, 0, ARRAY_LEN(targets));
	suite_add_tcase(suite, tc);
	return suite;
}
