/* test_http_users - what is counted by user: connections, and the time that requests have taken */
#include "daemon/http_users.h"

#include "tests/support/runner.h"

#define S ((uint64_t)1000 * 1000)
#define MUCH (S / 5) /* within a second */

static struct http_users users = LIST_HEAD_INITIALIZER(users);

static void end(void)
{
	http_users_fini(&users);
	ck_assert(LIST_EMPTY(&users));
}

static bool is_listed(uid_t uid)
{
	const struct http_user *user;

	LIST_FOREACH(user, &users, link)
	if (user->uid == uid)
		return true;
	return false;
}

START_TEST(test_connections)
{
	struct http_user *a = http_users_join(&users, 1), *b = http_users_join(&users, 2);

	ck_assert_ptr_ne(a, b);
	ck_assert_ptr_eq(http_users_join(&users, 1), a);
	ck_assert_uint_eq(a->uid, 1);
	ck_assert_uint_eq(a->connections, 2);
	ck_assert_uint_eq(b->connections, 1);
	ck_assert_uint_eq(a->held, 0);
	http_users_leave(&users, b);
	ck_assert(is_listed(1) && !is_listed(2));
	http_users_leave(&users, a);
	ck_assert_uint_eq(a->connections, 1);
	http_users_leave(&users, a);
	ck_assert(LIST_EMPTY(&users));
}
END_TEST

/* What was taken counts half a second later, and half as much after each whole second. */
START_TEST(test_time)
{
	struct http_user *a = http_users_join(&users, 1);
	uint64_t now = 1000 * S;

	ck_assert(!http_user_is_late(a, now));
	http_users_charge(&users, 1, MUCH - 1, now);
	ck_assert(!http_user_is_late(a, now));
	http_users_charge(&users, 1, 1, now + S / 2);
	ck_assert(http_user_is_late(a, now + S / 2));
	ck_assert(http_user_is_late(a, now + S - 1));
	ck_assert(!http_user_is_late(a, now + S));
	/* Often and little is the same as seldom and much. */
	for (int i = 0; i < 100; i++)
		http_users_charge(&users, 1, MUCH / 100, now + S + (uint64_t)i * S / 100);
	ck_assert(http_user_is_late(a, now + 2 * S - 1));
	ck_assert(!http_user_is_late(a, now + 3 * S));
	ck_assert(!http_user_is_late(a, now + 1000000 * S));
	http_users_charge(&users, 2, MUCH, now);
	ck_assert(!is_listed(2));
}
END_TEST

START_TEST(test_privileged)
{
	struct http_user *a = http_users_join(&users, 1);

	http_users_charge(&users, 1, 10 * MUCH, S);
	ck_assert(http_user_is_late(a, S));
	a->privileged = true;
	ck_assert(!http_user_is_late(a, S));
}
END_TEST

/* A user does not become another one by connecting anew. */
START_TEST(test_without_a_connection)
{
	struct http_user *a = http_users_join(&users, 1);

	http_users_charge(&users, 1, MUCH, now_us());
	http_users_leave(&users, a);
	ck_assert(is_listed(1));
	a = http_users_join(&users, 1);
	ck_assert(http_user_is_late(a, now_us()));
	/* Until it does not count any more. */
	a->since_us -= 64 * S;
	http_users_leave(&users, a);
	ck_assert(!is_listed(1));
}
END_TEST

/* Not so many that those could be a burden. */
START_TEST(test_crowd_without_connections)
{
	size_t n = 0;

	for (uid_t uid = 1; uid <= 1000; uid++) {
		struct http_user *user = http_users_join(&users, uid);

		http_users_charge(&users, uid, MUCH, now_us());
		http_users_leave(&users, user);
	}
	for (uid_t uid = 1; uid <= 1000; uid++)
		n += is_listed(uid);
	ck_assert_uint_eq(n, 256);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("http_users");
	TCase *tc = tcase_create("users");

	tcase_add_checked_fixture(tc, NULL, end);
	tcase_add_test(tc, test_connections);
	tcase_add_test(tc, test_time);
	tcase_add_test(tc, test_privileged);
	tcase_add_test(tc, test_without_a_connection);
	tcase_add_test(tc, test_crowd_without_connections);
	suite_add_tcase(suite, tc);
	return suite;
}
