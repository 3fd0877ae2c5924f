/* The order of prefetch against page maps of every layout. */
#include "worker/order.h"

#include "tests/mapkit.h"

/* Is [page, page + n) in one region, and absent? */
static void check_run(const struct fixture *f, uint64_t page, uint64_t n, uint64_t max)
{
	const uint64_t bytes = f->regions->page_bytes;
	const struct region *r = regions_at_offset(f->pm.regions, page * bytes);

	ck_assert_uint_ge(n, 1);
	ck_assert_uint_le(n, max);
	ck_assert_ptr_nonnull(r);
	ck_assert_uint_le((page + n) * bytes, r->offset + r->size);
	for (uint64_t i = page; i < page + n; i++)
		ck_assert_msg(f->model[i] == PAGE_ABSENT, "page %ju is %u", i, f->model[i]);
}

static uint64_t count_absent(const struct fixture *f)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < f->pm.npages; i++)
		n += f->model[i] == PAGE_ABSENT;
	return n;
}

static void change_some(struct fixture *f)
{
	for (uint64_t i = rnd(20); i > 0; i--)
		change(f);
}

/* Nothing is installed in between: asked ahead, it gives every page once. */
START_TEST(test_all_once_in_order_of_offset)
{
	struct fixture f;
	struct order o;
	uint64_t page, n, max, after = 0, sum = 0;

	setup(&f, _i);
	change_some(&f);
	order_init(&o);
	while ((n = order_next(&o, &f.pm, max = 1 + rnd(300), &page))) {
		check_run(&f, page, n, max);
		ck_assert_uint_ge(page, after);
		after = page + n;
		sum += n;
	}
	ck_assert_uint_eq(sum, count_absent(&f));
	ck_assert_uint_eq(order_next(&o, &f.pm, 1, &page), 0);
	order_restart(&o);
	ck_assert_uint_eq(order_next(&o, &f.pm, 1, &page), sum > 0);
	teardown(&f);
}
END_TEST

/* What changes behind the cursor does not count, what changes before it does. */
START_TEST(test_all_while_it_changes)
{
	struct fixture f;
	struct order o;
	uint64_t page, n, max;

	setup(&f, _i);
	order_init(&o);
	while ((n = order_next(&o, &f.pm, max = 1 + rnd(40), &page))) {
		check_run(&f, page, n, max);
		change(&f);
	}
	teardown(&f);
}
END_TEST

/* A run that was handed out is done piece by piece, whatever happens to it meanwhile. */
START_TEST(test_again)
{
	struct fixture f;
	uint64_t page, n, first, max;

	setup(&f, _i);
	for (int round = 0; round < 300; round++) {
		uint64_t absent = 0, sum = 0, end;

		change_some(&f);
		page = rnd(f.pm.npages);
		end = page + rnd(f.pm.npages - page + 1);
		for (uint64_t i = page; i < end; i++)
			absent += f.model[i] == PAGE_ABSENT;
		for (; (n = order_again(&f.pm, page, end - page, max = 1 + rnd(90), &first));
		     page = first + n, sum += n) {
			check_run(&f, first, n, max);
			ck_assert_uint_ge(first, page);
			ck_assert_uint_le(first + n, end);
		}
		ck_assert_uint_eq(sum, absent);
	}
	teardown(&f);
}
END_TEST

/* A part of the run that was moved is a region of its own. */
START_TEST(test_again_after_a_move)
{
	struct fixture f;
	struct err err;
	uint64_t page = 0;

	setup(&f, 0);
	ck_assert_int_eq(regions_move(f.pm.regions, 0x7f0000000000 + 8 * PAGE_4K, 0x10000,
				      4 * PAGE_4K, &err), 0);
	ck_assert_uint_eq(order_again(&f.pm, 0, 64, 64, &page), 8);
	ck_assert_uint_eq(page, 0);
	ck_assert_uint_eq(order_again(&f.pm, 8, 56, 64, &page), 4);
	ck_assert_uint_eq(page, 8);
	ck_assert_uint_eq(order_again(&f.pm, 12, 52, 64, &page), 52);
	teardown(&f);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("order");
	TCase *t = tcase_create("all");

	tcase_add_loop_test(t, test_all_once_in_order_of_offset, 0, ARRAY_LEN(layouts));
	tcase_add_loop_test(t, test_all_while_it_changes, 0, ARRAY_LEN(layouts));
	tcase_add_loop_test(t, test_again, 0, ARRAY_LEN(layouts));
	tcase_add_test(t, test_again_after_a_move);
	suite_add_tcase(s, t);
	return s;
}
