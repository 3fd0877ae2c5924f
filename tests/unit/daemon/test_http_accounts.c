/* test_http_accounts - the time that requests have taken: how long it counts, and for whom */
#include "daemon/http_accounts.h"

#include <string.h>

#include "tests/support/runner.h"

#define S ((uint64_t)1000 * 1000)
#define MUCH (S / 5) /* within a second */

static struct http_accounts accounts = LIST_HEAD_INITIALIZER(accounts);

static void end(void)
{
	http_accounts_fini(&accounts);
	ck_assert(LIST_EMPTY(&accounts));
}

static size_t count(void)
{
	const struct http_account *account;
	size_t n = 0;

	LIST_FOREACH(account, &accounts, link)
	n++;
	return n;
}

START_TEST(test_users)
{
	struct http_account *a = http_account_get(&accounts, "a"),
			    *b = http_account_get(&accounts, "b");

	ck_assert_ptr_ne(a, b);
	ck_assert_ptr_eq(http_account_get(&accounts, "a"), a);
	ck_assert_uint_eq(count(), 2);
	http_account_put(&accounts, NULL);
	http_account_put(&accounts, b);
	ck_assert_uint_eq(count(), 1);
	http_account_put(&accounts, a);
	ck_assert_uint_eq(a->users, 1);
	http_account_put(&accounts, a);
	ck_assert(LIST_EMPTY(&accounts));
}
END_TEST

/* What was taken counts for a second, and half as much after each whole second. */
START_TEST(test_time)
{
	struct http_account *a = http_account_get(&accounts, "a");
	uint64_t now = 1000 * S;

	ck_assert(!http_account_is_late(a, now));
	http_account_charge(a, MUCH - 1, now);
	ck_assert(!http_account_is_late(a, now));
	http_account_charge(a, 1, now + S / 2);
	ck_assert(http_account_is_late(a, now + S / 2));
	ck_assert(http_account_is_late(a, now + S - 1));
	ck_assert(!http_account_is_late(a, now + S));
	/* Often and little is the same as seldom and much. */
	for (int i = 0; i < 100; i++)
		http_account_charge(a, MUCH / 100, now + S + (uint64_t)i * S / 100);
	ck_assert(http_account_is_late(a, now + 2 * S - 1));
	ck_assert(!http_account_is_late(a, now + 3 * S));
	ck_assert(!http_account_is_late(a, now + 1000000 * S));
}
END_TEST

/* Whoever connects anew is the same. */
START_TEST(test_without_a_user)
{
	struct http_account *a = http_account_get(&accounts, "a");

	http_account_charge(a, MUCH, now_us());
	http_account_put(&accounts, a);
	ck_assert_uint_eq(count(), 1);
	a = http_account_get(&accounts, "a");
	ck_assert(http_account_is_late(a, now_us()));
	/* Until it does not count any more. */
	a->since_us -= 64 * S;
	http_account_put(&accounts, a);
	ck_assert(LIST_EMPTY(&accounts));
}
END_TEST

/* Not so many that those could be a burden. */
START_TEST(test_crowd_without_users)
{
	for (int i = 0; i < 1000; i++) {
		struct http_account *a;
		char name[16];

		snprintf(name, sizeof(name), "%d", i);
		a = http_account_get(&accounts, name);
		http_account_charge(a, MUCH, now_us());
		http_account_put(&accounts, a);
	}
	ck_assert_uint_eq(count(), 256);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("http_accounts");
	TCase *tc = tcase_create("accounts");

	tcase_add_checked_fixture(tc, NULL, end);
	tcase_add_test(tc, test_users);
	tcase_add_test(tc, test_time);
	tcase_add_test(tc, test_without_a_user);
	tcase_add_test(tc, test_crowd_without_users);
	suite_add_tcase(suite, tc);
	return suite;
}
