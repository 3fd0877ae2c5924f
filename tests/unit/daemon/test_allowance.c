/* test_allowance - how much a worker may say, row by row, on a clock of our own */
#include "daemon/allowance.h"

#include <check.h>

#include "tests/support/runner.h"

#define START ((uint64_t)1000000)
#define TOKEN_US (1000000 / ALLOWANCE_PER_S)

/* After @earned and @us: as many words of @price as can be paid. */
static const struct {
	uint64_t spent, earned, us, price, words;
} rows[] = {
	{0, 0, 0, ALLOWANCE_CHEAP, ALLOWANCE_MAX},
	{0, 0, 0, ALLOWANCE_DEAR, ALLOWANCE_MAX / ALLOWANCE_DEAR},
	/* A full purse takes no more. */
	{0, 500, 0, ALLOWANCE_CHEAP, ALLOWANCE_MAX},
	{0, 0, 3600000000, ALLOWANCE_CHEAP, ALLOWANCE_MAX},
	{0, UINT64_MAX / 2, 0, ALLOWANCE_CHEAP, ALLOWANCE_MAX},
	/* An empty one is filled by what it is told, and by time. */
	{ALLOWANCE_MAX, 0, 0, ALLOWANCE_CHEAP, 0},
	{ALLOWANCE_MAX, ALLOWANCE_ANSWERS, 0, ALLOWANCE_DEAR, 2},
	{ALLOWANCE_MAX, 0, TOKEN_US - 1, ALLOWANCE_CHEAP, 0},
	{ALLOWANCE_MAX, 0, TOKEN_US, ALLOWANCE_CHEAP, 1},
	{ALLOWANCE_MAX, 0, 1000000, ALLOWANCE_CHEAP, ALLOWANCE_PER_S},
	{ALLOWANCE_MAX, ALLOWANCE_ANSWERS, 1000000, ALLOWANCE_CHEAP,
	 ALLOWANCE_PER_S + ALLOWANCE_ANSWERS},
	{ALLOWANCE_MAX, 0, 3600000000, ALLOWANCE_CHEAP, ALLOWANCE_MAX},
	/* What is left is less than the price, and stays. */
	{ALLOWANCE_MAX - ALLOWANCE_DEAR + 1, 0, 0, ALLOWANCE_DEAR, 0},
	{ALLOWANCE_MAX - ALLOWANCE_DEAR + 1, 1, 0, ALLOWANCE_DEAR, 1},
};

START_TEST(test_row)
{
	uint64_t now = START + rows[_i].us, words = 0;
	struct allowance a;

	allowance_init(&a, START);
	ck_assert(allowance_pay(&a, rows[_i].spent, START));
	allowance_earn(&a, rows[_i].earned);
	while (words <= ALLOWANCE_MAX && allowance_pay(&a, rows[_i].price, now))
		words++;
	ck_assert_uint_eq(words, rows[_i].words);
}
END_TEST

/* Time is paid for once, however often one asks, and no part of a token is lost. */
START_TEST(test_time_in_pieces)
{
	uint64_t words = 0, now = START;
	struct allowance a;

	allowance_init(&a, START);
	ck_assert(allowance_pay(&a, ALLOWANCE_MAX, START));
	for (; now <= START + 1000000; now += 8)
		words += allowance_pay(&a, ALLOWANCE_CHEAP, now);
	ck_assert_uint_eq(words, ALLOWANCE_PER_S);
	/* A clock that is set back pays nothing. */
	ck_assert(!allowance_pay(&a, ALLOWANCE_CHEAP, START));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("allowance");
	TCase *tc = tcase_create("rows");

	tcase_add_loop_test(tc, test_row, 0, ARRAY_LEN(rows));
	tcase_add_test(tc, test_time_in_pieces);
	suite_add_tcase(suite, tc);
	return suite;
}
