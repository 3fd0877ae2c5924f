#include "tests/support/runner.h"
#include "worker/fault_set.h"

#include <string.h>

struct seen {
	uint64_t page[FAULTS_MAX];
	size_t n;
	uint64_t keep; /* pages divisible by it stay */
};

static bool answer(void *arg, struct fault *fault)
{
	struct seen *s = arg;
	uint64_t page = fault->page;

	s->page[s->n++] = page;
	return !s->keep || page % s->keep != 0;
}

START_TEST(test_many_threads_on_one_page_are_one_fault)
{
	static struct fault_set f;

	memset(&f, 0, sizeof(f));
	for (int i = 0; i < 10; i++)
		fault_set_add(&f, 7);
	ck_assert_uint_eq(f.n, 1);
}
END_TEST

START_TEST(test_handed_out_in_order)
{
	static const uint64_t in[] = {9, 3, 7, 3, 1, 9, 0};
	static const uint64_t out[] = {0, 1, 3, 7, 9};
	static struct fault_set f;
	static struct seen s;

	memset(&f, 0, sizeof(f));
	memset(&s, 0, sizeof(s));
	for (size_t i = 0; i < ARRAY_LEN(in); i++)
		fault_set_add(&f, in[i]);
	ck_assert_uint_eq(fault_set_each(&f, answer, &s), ARRAY_LEN(out));
	ck_assert_uint_eq(s.n, ARRAY_LEN(out));
	ck_assert_mem_eq(s.page, out, sizeof(out));
	ck_assert_uint_eq(f.n, 0);
}
END_TEST

START_TEST(test_deferred_ones_stay)
{
	static struct fault_set f;
	static struct seen s;

	memset(&f, 0, sizeof(f));
	memset(&s, 0, sizeof(s));
	s.keep = 2;
	for (uint64_t page = 0; page < 10; page++)
		fault_set_add(&f, page);
	ck_assert_uint_eq(fault_set_each(&f, answer, &s), 5);
	ck_assert_uint_eq(f.n, 5);
	for (size_t i = 0; i < f.n; i++)
		ck_assert_uint_eq(f.v[i].page, 2 * i);
	fault_set_add(&f, 4);
	ck_assert_uint_eq(f.n, 5);
}
END_TEST

START_TEST(test_overflow_is_remembered)
{
	static struct fault_set f;

	memset(&f, 0, sizeof(f));
	for (uint64_t page = FAULTS_MAX; page > 0; page--)
		fault_set_add(&f, page);
	ck_assert_uint_eq(f.n, FAULTS_MAX);
	ck_assert(!f.overflow);
	fault_set_add(&f, 5);
	ck_assert(!f.overflow);
	fault_set_add(&f, FAULTS_MAX + 1);
	ck_assert(f.overflow);
	ck_assert_uint_eq(f.n, FAULTS_MAX);
}
END_TEST

static bool send_to_disk(void *arg, struct fault *fault)
{
	struct seen *s = arg;

	s->page[s->n++] = fault->page;
	if (fault->stage == FAULT_WARMED)
		return true;
	if (fault->page % 2)
		fault->stage = FAULT_WARMING;
	return fault->page % 2 == 0;
}

/* Odd pages are on the disk: they are not asked about again until it has been read. */
START_TEST(test_warming_ones_are_left_alone)
{
	static const uint64_t first[] = {0, 1, 2, 3, 4, 5}, then[] = {3};
	static struct fault_set f;
	static struct seen s;

	memset(&f, 0, sizeof(f));
	memset(&s, 0, sizeof(s));
	for (uint64_t page = 0; page < 6; page++)
		fault_set_add(&f, page);
	ck_assert(fault_set_ready(&f));
	ck_assert_uint_eq(fault_set_each(&f, send_to_disk, &s), 3);
	ck_assert_mem_eq(s.page, first, sizeof(first));
	ck_assert_uint_eq(f.warming, 3);
	ck_assert(!fault_set_ready(&f));
	s.n = 0;
	ck_assert_uint_eq(fault_set_each(&f, send_to_disk, &s), 0);
	ck_assert_uint_eq(s.n, 0);

	fault_set_warmed(&f, 2, 2);
	ck_assert(fault_set_ready(&f));
	ck_assert_uint_eq(fault_set_each(&f, send_to_disk, &s), 1);
	ck_assert_mem_eq(s.page, then, sizeof(then));
	ck_assert_uint_eq(f.n, 2);
	ck_assert_uint_eq(f.warming, 2);
	/* One that is there already keeps its stage. */
	fault_set_add(&f, 1);
	ck_assert_uint_eq(f.n, 2);
	ck_assert(!fault_set_ready(&f));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("faults");
	TCase *t = tcase_create("set");

	tcase_add_test(t, test_many_threads_on_one_page_are_one_fault);
	tcase_add_test(t, test_handed_out_in_order);
	tcase_add_test(t, test_deferred_ones_stay);
	tcase_add_test(t, test_overflow_is_remembered);
	tcase_add_test(t, test_warming_ones_are_left_alone);
	suite_add_tcase(s, t);
	return s;
}
