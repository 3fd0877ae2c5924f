/* test_http_users - connections are counted by user, and a user is forgotten with the last one */
#include "daemon/http_users.h"

#include "tests/support/runner.h"

START_TEST(test_users)
{
	struct http_users users = LIST_HEAD_INITIALIZER(users);
	struct http_user *a = http_users_join(&users, 1), *b = http_users_join(&users, 2);

	ck_assert_ptr_ne(a, b);
	ck_assert_ptr_eq(http_users_join(&users, 1), a);
	ck_assert_uint_eq(a->uid, 1);
	ck_assert_uint_eq(a->connections, 2);
	ck_assert_uint_eq(b->connections, 1);
	ck_assert_uint_eq(a->held, 0);
	http_users_leave(b);
	ck_assert_ptr_eq(LIST_FIRST(&users), a);
	ck_assert_ptr_null(LIST_NEXT(a, link));
	http_users_leave(a);
	ck_assert_uint_eq(a->connections, 1);
	http_users_leave(a);
	ck_assert(LIST_EMPTY(&users));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("http_users");
	TCase *tc = tcase_create("users");

	tcase_add_test(tc, test_users);
	suite_add_tcase(suite, tc);
	return suite;
}
