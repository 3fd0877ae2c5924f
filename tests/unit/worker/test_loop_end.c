/* test_loop_end - when the owner thread leaves its guest, and when it does not */
#include "worker/loop.h"

#include "tests/support/servekit.h"

/* All is there, as a predecessor may have left it; only the layer's bytes are. */
static void fill(struct served *v)
{
	struct err err;

	for (uint64_t page = 0; page < PAGES; page++)
		ck_assert_int_eq(guest_fault(&v->s.guest, page, false, &err), GUEST_DONE);
	ck_assert(pagemap_complete(&v->s.guest.map));
}

/* It is here, and past whatever it does in a turn. */
static void check_goes_on(struct served *v)
{
	struct chan_msg msg;

	for (int i = 0; i < 2; i++) {
		tell(v, CHAN_PAUSE);
		must_hear(v->s.sup, CHAN_PAUSED, &msg);
		tell(v, CHAN_RESUME);
	}
}

/* Nothing is registered any more: the kernel alone is asked. */
static void check_left_alone(struct served *v)
{
	ck_assert_uint_eq(v->s.guest.map.head->releasing, 1);
	ck_assert(!uffd_registered(v->m.uffd, v->m.base, PAGE_4K));
	ck_assert(!uffd_registered(v->m.uffd, v->m.base + v->m.len - PAGE_4K, PAGE_4K));
}

/* ---- by itself ---- */

START_TEST(test_complete)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;

	served_prepare_apart(&v, 0);
	v.s.job.spec.prefetch = PREFETCH_ALL;
	v.s.job.spec.when_complete = COMPLETE_RELEASE;
	served_begin(&v);
	turning_start(&t, &v);
	must_hear_granting(&v, CHAN_COMPLETE, &msg);
	turning_end(&t, LOOP_RELEASED);
	ck_assert(v.s.guest.map.head->complete);
	check_left_alone(&v);
	for (unsigned char page = 0; page < PAGES; page++)
		check_apart(&v, page);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* It is told once, and the guest is served on. */
START_TEST(test_complete_and_stay)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;

	served_open_apart(&v, 0);
	fill(&v);
	turning_start(&t, &v);
	must_hear(v.s.sup, CHAN_COMPLETE, &msg);
	check_goes_on(&v);
	must_hear_nothing(v.s.sup);
	tell(&v, CHAN_STOP);
	turning_end(&t, LOOP_RELEASED);
	check_left_alone(&v);
	for (unsigned char page = 0; page < PAGES; page++)
		check_apart(&v, page);
	served_end(&v);
}
END_TEST

/* A snapshot wants page states that stay exact. */
START_TEST(test_complete_and_paused)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;

	served_prepare_apart(&v, 0);
	v.s.job.spec.when_complete = COMPLETE_RELEASE;
	v.s.job.assign.paused = true;
	served_begin(&v);
	fill(&v);
	turning_start(&t, &v);
	must_hear(v.s.sup, CHAN_COMPLETE, &msg);
	tell(&v, CHAN_PAUSE);
	must_hear(v.s.sup, CHAN_PAUSED, &msg);
	ck_assert(!touch_readable(t.done, 0));
	ck_assert(uffd_registered(v.m.uffd, v.m.base, PAGE_4K));
	tell(&v, CHAN_RESUME);
	turning_end(&t, LOOP_RELEASED);
	served_end(&v);
}
END_TEST

/* Its memory would look as if the guest had written all of it; but the supervisor may want it. */
START_TEST(test_complete_and_tracked)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;

	served_prepare_apart(&v, 0);
	v.s.job.spec.when_complete = COMPLETE_RELEASE;
	served_begin(&v);
	fill(&v);
	v.s.guest.tracks = UF_TRACKS;
	turning_start(&t, &v);
	must_hear(v.s.sup, CHAN_COMPLETE, &msg);
	check_goes_on(&v);
	ck_assert(uffd_registered(v.m.uffd, v.m.base, PAGE_4K));
	tell(&v, CHAN_STOP);
	turning_end(&t, LOOP_RELEASED);
	check_left_alone(&v);
	served_end(&v);
}
END_TEST

/* The last page was copied out of a layer that had just changed: that is seen before it is told. */
START_TEST(test_complete_and_failed)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;

	served_prepare_apart(&v, 0);
	v.s.job.spec.when_complete = COMPLETE_RELEASE;
	v.s.job.spec.on_failure = FAILURE_HOLD;
	served_begin(&v);
	fill(&v);
	change_layer(&v);
	turning_start(&t, &v);
	must_hear(v.s.sup, CHAN_FAILED, &msg);
	ck_assert_uint_eq(msg.failed.code, ERR_SNAPSHOT);
	check_goes_on(&v);
	ck_assert(!v.s.guest.map.head->complete);
	ck_assert(uffd_registered(v.m.uffd, v.m.base, PAGE_4K));
	kill_apart(&v);
	turning_end(&t, LOOP_GONE);
	served_end(&v);
}
END_TEST

/*
 * What is missing is zero, so nothing of the snapshot is. But the kernel kills whom it cannot
 * give a huge page, and nobody has said how many can be had.
 */
START_TEST(test_complete_and_huge)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;

	served_prepare_page(&v, PAGE_2M, 0);
	v.s.job.spec.when_complete = COMPLETE_RELEASE;
	source_free(v.s.job.src);
	v.s.job.src = source_none(PAGE_2M);
	served_begin(&v);
	turning_start(&t, &v);
	must_hear(v.s.sup, CHAN_COMPLETE, &msg);
	check_goes_on(&v);
	ck_assert(uffd_registered(v.m.uffd, v.m.base, PAGE_4K));
	/* As many as there are, or the supervisor takes it upon itself. */
	tell(&v, _i ? CHAN_CGROUPS : CHAN_STOP);
	turning_end(&t, LOOP_RELEASED);
	check_left_alone(&v);
	ck_assert_int_eq(v.m.mem[3 * PAGE_4K], 0);
	served_end(&v);
}
END_TEST

/* ---- as the supervisor wants it ---- */

/* What is there stays, what was removed reads zero, and what is missing is no zero. */
START_TEST(test_stop)
{
	struct turning t;
	struct served v;

	if (!touch_have_poison())
		return;
	served_open_apart(&v, 0);
	guest_mark(&v.s.guest, 6, 1, PAGE_REMOVED);
	turning_start(&t, &v);
	check_apart(&v, 2);
	tell(&v, CHAN_STOP);
	turning_end(&t, LOOP_RELEASED);
	check_left_alone(&v);
	ck_assert_msg(!v.s.guest.map.head->complete, "most of it is missing");
	check_apart(&v, 2);
	ask_apart(&v, 6);
	ck_assert_int_eq(hear_apart(&v), 0);
	ask_apart(&v, 3);
	ck_assert_int_eq(await_apart(&v), SIGBUS);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* A thread waits while it is stopped: SIGBUS, not a zero, and not for ever. */
START_TEST(test_stop_while_one_waits)
{
	struct turning t;
	struct served v;

	if (!touch_have_poison())
		return;
	served_prepare_apart(&v, 0);
	v.s.job.spec.on_failure = FAILURE_HOLD;
	served_begin(&v);
	change_layer(&v);
	turning_start(&t, &v);
	ask_apart(&v, 3);
	ck_assert(touch_readable(v.s.sup, HARNESS_MS));
	tell(&v, CHAN_STOP);
	ck_assert_int_eq(await_apart(&v), SIGBUS);
	turning_end(&t, LOOP_GONE);
	served_end(&v);
}
END_TEST

/* ---- with the VMM ---- */

/* Before the first turn, or in the middle of leaving it. */
START_TEST(test_gone)
{
	const bool leaving = _i;
	struct turning t;
	struct served v;

	served_open_apart(&v, 0);
	v.s.loop.stopping = v.s.loop.completed = leaving;
	kill_apart(&v);
	turning_start(&t, &v);
	turning_end(&t, LOOP_GONE);
	ck_assert_uint_eq(v.s.guest.map.head->releasing, leaving);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* Its peer had ended before it was served: the userfaultfd alone tells. */
START_TEST(test_gone_without_a_pidfd)
{
	struct turning t;
	struct served v;
	int vmm;

	served_prepare_apart(&v, 0);
	vmm = v.s.vmm;
	v.s.vmm = -1;
	served_begin(&v);
	v.s.vmm = vmm;
	turning_start(&t, &v);
	/* No bytes of a layer, which would be looked at again. */
	check_apart(&v, HOLE);
	kill_apart(&v);
	turning_end(&t, LOOP_GONE);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("loop end");
	TCase *t = tcase_create("complete");

	tcase_add_test(t, test_complete);
	tcase_add_test(t, test_complete_and_stay);
	tcase_add_test(t, test_complete_and_paused);
	tcase_add_test(t, test_complete_and_tracked);
	tcase_add_test(t, test_complete_and_failed);
	tcase_add_loop_test(t, test_complete_and_huge, 0, 2);
	suite_add_tcase(s, t);
	t = tcase_create("stopped");
	tcase_add_test(t, test_stop);
	tcase_add_test(t, test_stop_while_one_waits);
	suite_add_tcase(s, t);
	t = tcase_create("gone");
	tcase_add_loop_test(t, test_gone, 0, 2);
	tcase_add_test(t, test_gone_without_a_pidfd);
	suite_add_tcase(s, t);
	return s;
}
