/* test_messages_successor - what a worker makes of what its predecessor had read, and died over */
#include "worker/messages.h"

#include <linux/userfaultfd.h>

#include "tests/support/fds.h"
#include "tests/support/servekit.h"

/* It has read all that there is, and done nothing about it. */
static void read_and_die(struct served *v)
{
	struct uf_msg msgs[UF_READ_MAX];
	struct err err;

	ck_assert_int_gt(uffd_read(v->m.uffd, v->s.guest.map.inbox, msgs, UF_READ_MAX, &err), 0);
	ck_assert(!inbox_is_empty(v));
}

START_TEST(test_takes_over)
{
	struct touch removal = {.body = touch_discard, .page = 6}, t = {.page = 4};
	struct served v;

	served_open(&v, UF_FEATURE_REMOVE);
	removal.m = t.m = &v.m;
	t.body = touch_load;
	touch_start(&removal);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	touch_start(&t);
	touch_await_faults(v.m.uffd, 1);
	read_and_die(&v);
	touch_join(&removal);
	messages_take_over(&v.s.loop);
	ck_page(&v, 6, PAGE_REMOVED);
	ck_page(&v, 7, PAGE_REMOVED);
	ck_assert_uint_eq(stats(&v)->events_remove, 1);
	ck_assert(inbox_is_empty(&v));
	ck_assert_uint_eq(v.s.loop.faults.n, 1);
	ck_assert_uint_eq(v.s.loop.faults.v[0].page, 4);
	/* All threads fault again. */
	touch_await_faults(v.m.uffd, 1);
	ck_assert(!v.s.loop.stopping && !v.s.loop.completed);
	must_hear_nothing(v.s.sup);
	ck_outcome(touch_copy(&v.m, 4, 1), UF_DONE);
	touch_join(&t);
	served_end(&v);
}
END_TEST

static const struct {
	uint64_t answered;
	enum page_state state;
	size_t n;
} rows[] = {
	{0, PAGE_ABSENT, 0},          {4, PAGE_ABSENT, 1},     {4, PAGE_PRESENT, 0},
	{4, PAGE_REMOVED, 0},         {PAGES, PAGE_ABSENT, 1}, {PAGES + 1, PAGE_ABSENT, 0},
	{UINT64_MAX, PAGE_ABSENT, 0},
};

/* The page that it died over is asked for again, if it still seems to be absent. */
START_TEST(test_asks_again)
{
	struct served v;

	served_open(&v, 0);
	v.s.guest.map.head->answered = rows[_i].answered;
	if (rows[_i].state != PAGE_ABSENT)
		guest_mark(&v.s.guest, rows[_i].answered - 1, 1, rows[_i].state);
	messages_take_over(&v.s.loop);
	ck_assert_uint_eq(v.s.loop.faults.n, rows[_i].n);
	if (rows[_i].n)
		ck_assert_uint_eq(v.s.loop.faults.v[0].page, rows[_i].answered - 1);
	served_end(&v);
}
END_TEST

/* It was leaving the guest by itself: so does its successor. */
START_TEST(test_goes_on_releasing)
{
	struct served v;

	served_open(&v, 0);
	v.s.guest.map.head->releasing = 1;
	messages_take_over(&v.s.loop);
	ck_assert(v.s.loop.stopping && v.s.loop.completed);
	served_end(&v);
}
END_TEST

/* A child's descriptor died with its reader; and what a later kernel says is not understood. */
START_TEST(test_left_in_the_inbox)
{
	struct uffd_msg *raw;
	struct chan_msg msg;
	struct served v;
	int fds;

	served_open(&v, 0);
	raw = (struct uffd_msg *)v.s.guest.map.inbox->raw;
	raw[0].event = UFFD_EVENT_FORK;
	raw[0].arg.fork.ufd = (uint32_t)v.s.guest.uffd;
	raw[1].event = 0x77;
	fds = fds_count(getpid());
	messages_take_over(&v.s.loop);
	ck_assert_int_eq(fds_count(getpid()), fds);
	ck_assert_uint_eq(stats(&v)->events_fork, 1);
	must_hear(v.s.sup, CHAN_NOTE, &msg);
	check_failed(&v, "an event of an unknown kind");
	ck_assert(inbox_is_empty(&v));
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("messages successor");
	TCase *t = tcase_create("taken over");

	tcase_add_test(t, test_takes_over);
	tcase_add_loop_test(t, test_asks_again, 0, ARRAY_LEN(rows));
	tcase_add_test(t, test_goes_on_releasing);
	tcase_add_test(t, test_left_in_the_inbox);
	suite_add_tcase(s, t);
	return s;
}
