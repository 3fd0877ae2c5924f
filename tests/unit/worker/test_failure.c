/* test_failure - pages that can no longer be supplied: what is told, and what the guest gets */
#include "worker/failure.h"

#include <errno.h>

#include "tests/support/servekit.h"
#include "worker/answer.h"

/* As the spec says; the guest is a process of its own. */
static void open_with(struct served *v, enum spec_failure policy)
{
	served_prepare_apart(v, 0);
	v->s.job.spec.on_failure = policy;
	served_begin(v);
}

static void fail_for(struct served *v, const char *why)
{
	struct err err;

	err_set(&err, ERR_SNAPSHOT, "%s", why);
	err.sys = EIO;
	failure_begin(&v->s.loop, &err);
}

static void check_told(struct served *v, const char *why, bool kill)
{
	struct chan_msg msg;

	must_hear(v->s.sup, CHAN_FAILED, &msg);
	ck_assert_msg(strstr(msg.failed.msg, why), "%s", msg.failed.msg);
	ck_assert_uint_eq(msg.failed.kill, kill);
	ck_assert_uint_eq(msg.failed.vmm_pid, 0);
	must_hear_nothing(v->s.sup);
}

/* Its thread waits for this page, and the loop knows it. */
static void wait_apart(struct served *v, unsigned char page)
{
	ask_apart(v, page);
	ck_assert(touch_readable(v->m.uffd, HARNESS_MS));
	messages_read(&v->s.loop);
	ck_assert_uint_eq(v->s.loop.faults.n, 1);
}

/* It goes on, and is served. Signals that were sent would come first. */
static void check_lives(struct served *v, unsigned char page)
{
	struct err err;

	ask_apart(v, page);
	ck_assert(touch_readable(v->m.uffd, HARNESS_MS));
	ck_assert_int_eq(guest_fault(&v->s.guest, page, false, &err), GUEST_DONE);
	ck_assert_int_eq(hear_apart(v), 'a' + page);
}

/* ---- the beginning ---- */

/* Once, with the reason that came first. The supervisor is there: whom it kills is its business. */
START_TEST(test_told)
{
	const enum spec_failure policy = (enum spec_failure)_i;
	struct chan_msg msg;
	struct served v;

	open_with(&v, policy);
	fail_for(&v, "gone bad");
	must_hear(v.s.sup, CHAN_FAILED, &msg);
	ck_assert_uint_eq(msg.failed.code, ERR_SNAPSHOT);
	ck_assert_int_eq(msg.failed.sys, EIO);
	ck_assert_str_eq(msg.failed.msg, "gone bad");
	ck_assert_uint_eq(msg.failed.kill, policy == FAILURE_KILL);
	fail_for(&v, "and worse");
	must_hear_nothing(v.s.sup);
	ck_assert(v.s.loop.failure.on);
	ck_assert_str_eq(v.s.loop.failure.err.msg, "gone bad");
	ck_assert_int_eq(v.s.loop.failure.policy, policy);
	check_lives(&v, 2);
	served_end(&v);
}
END_TEST

/* Nobody is there who would kill, so whoever needs the page ends by a signal of its own. */
START_TEST(test_without_a_supervisor)
{
	const enum spec_failure policy = (enum spec_failure)_i;
	struct served v;

	open_with(&v, policy);
	close_fd(&v.s.sup);
	fail_for(&v, "gone bad");
	ck_assert(supervisor_link_away(&v.s.job.link));
	ck_assert(v.s.loop.failure.on);
	check_lives(&v, 2);
	if (policy == FAILURE_KILL && touch_have_poison()) {
		ck_assert_int_eq(v.s.loop.failure.policy, FAILURE_POISON);
		wait_apart(&v, 3);
		answer_faults(&v.s.loop);
		ck_assert_int_eq(await_apart(&v), SIGBUS);
	}
	served_end(&v);
}
END_TEST

/* Its peer had ended before: there is nobody to kill. */
START_TEST(test_without_a_pidfd)
{
	struct served v;

	open_with(&v, FAILURE_KILL);
	v.s.loop.vmm = -1;
	close_fd(&v.s.sup);
	fail_for(&v, "gone bad");
	ck_assert(v.s.loop.failure.on);
	ck_assert_int_eq(v.s.loop.failure.policy, FAILURE_POISON);
	check_lives(&v, 2);
	served_end(&v);
}
END_TEST

/* The VMM lives on in another process than its peer: whom to kill is not known. */
START_TEST(test_elsewhere)
{
	static const enum spec_failure becomes[FAILURE_COUNT] = {
		[FAILURE_KILL] = FAILURE_POISON,
		[FAILURE_POISON] = FAILURE_POISON,
		[FAILURE_HOLD] = FAILURE_HOLD,
	};
	const enum spec_failure policy = (enum spec_failure)_i;
	struct served v;
	struct loop *l = &v.s.loop;

	open_with(&v, policy);
	failure_poison_instead(l);
	fail_for(&v, "gone bad");
	check_told(&v, "gone bad", policy == FAILURE_KILL);
	failure_poison_instead(l);
	ck_assert_msg(l->failure.policy == policy, "it is not known to live elsewhere");
	l->life.elsewhere = true;
	failure_poison_instead(l);
	ck_assert_int_eq(l->failure.policy, becomes[policy]);
	/* Known beforehand. */
	l->failure.on = false;
	l->failure.policy = policy;
	failure_poison_instead(l);
	ck_assert_msg(l->failure.policy == policy, "nothing has failed");
	fail_for(&v, "gone bad");
	ck_assert_int_eq(l->failure.policy, becomes[policy]);
	served_end(&v);
}
END_TEST

/* ---- what a thread gets ---- */

START_TEST(test_not_answered)
{
	struct served v;

	open_with(&v, _i ? FAILURE_HOLD : FAILURE_KILL);
	wait_apart(&v, 3);
	fail_for(&v, "gone bad");
	ck_assert(!failure_answer(&v.s.loop, 3));
	answer_faults(&v.s.loop);
	ck_assert_uint_eq(v.s.loop.faults.n, 1);
	ck_page(&v, 3, PAGE_ABSENT);
	ck_assert_msg(uffd_registered(v.m.uffd, v.m.base + 3 * PAGE_4K, PAGE_4K),
		      "it was given back");
	ck_assert(!touch_readable(v.got, 0));
	ck_assert(!proc_ended(v.s.vmm));
	served_end(&v);
}
END_TEST

/* What is there stays readable, what was removed reads zero, and what is missing is SIGBUS. */
START_TEST(test_poisoned)
{
	struct served v;

	if (!touch_have_poison())
		return;
	open_with(&v, FAILURE_POISON);
	check_lives(&v, 2);
	fail_for(&v, "gone bad");
	ask_apart(&v, 2);
	ck_assert_int_eq(hear_apart(&v), 'c');
	guest_mark(&v.s.guest, 6, 1, PAGE_REMOVED);
	wait_apart(&v, 6);
	answer_faults(&v.s.loop);
	ck_assert_int_eq(hear_apart(&v), 0);
	wait_apart(&v, 3);
	answer_faults(&v.s.loop);
	ck_assert_int_eq(await_apart(&v), SIGBUS);
	ck_assert_uint_eq(v.s.loop.faults.n, 0);
	ck_page(&v, 3, PAGE_ABSENT);
	ck_assert_int_eq(v.s.loop.failure.policy, FAILURE_POISON);
	check_told(&v, "gone bad", false);
	served_end(&v);
}
END_TEST

/* The layer changes while a thread waits: failed, and poisoned, in one go. */
START_TEST(test_poisoned_at_once)
{
	struct served v;

	if (!touch_have_poison())
		return;
	open_with(&v, FAILURE_POISON);
	wait_apart(&v, 3);
	change_layer(&v);
	answer_faults(&v.s.loop);
	ck_assert_int_eq(await_apart(&v), SIGBUS);
	check_told(&v, "", false);
	served_end(&v);
}
END_TEST

/* It came there after all: its thread goes on with it. */
START_TEST(test_there_already)
{
	struct touch t = {.page = 3};
	struct served v;

	if (!touch_have_poison())
		return;
	served_prepare(&v, 0);
	v.s.job.spec.on_failure = FAILURE_POISON;
	served_begin(&v);
	fault_on(&v, &t, 1);
	fail_for(&v, "gone bad");
	ck_outcome(touch_copy(&v.m, 3, 1), UF_DONE);
	ck_assert(failure_answer(&v.s.loop, 3));
	touch_join(&t);
	ck_assert_int_eq(t.value, 'd');
	served_end(&v);
}
END_TEST

/* A removal is under way: it is tried again, and nothing else comes of it. */
START_TEST(test_deferred)
{
	struct touch removal = {.body = touch_discard, .page = 6};
	struct served v;

	if (!touch_have_poison())
		return;
	served_prepare(&v, UF_FEATURE_REMOVE);
	v.s.job.spec.on_failure = FAILURE_POISON;
	served_begin(&v);
	fail_for(&v, "gone bad");
	check_told(&v, "gone bad", false);
	removal.m = &v.m;
	touch_start(&removal);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	ck_assert(!failure_answer(&v.s.loop, 3));
	ck_assert_int_eq(v.s.loop.failure.policy, FAILURE_POISON);
	messages_read(&v.s.loop);
	touch_join(&removal);
	while (!failure_answer(&v.s.loop, 3))
		;
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

START_TEST(test_gone)
{
	struct served v;

	open_with(&v, FAILURE_POISON);
	fail_for(&v, "gone bad");
	check_told(&v, "gone bad", false);
	kill_apart(&v);
	ck_assert(failure_answer(&v.s.loop, 3));
	ck_assert(v.s.loop.gone);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/*
 * The kernel knows no UFFDIO_POISON: a guest must not hang unseen. Here it is a descriptor
 * that refuses it, as any kernel has one.
 */
START_TEST(test_cannot_be_poisoned)
{
	const bool elsewhere = _i;
	struct served v;
	struct loop *l = &v.s.loop;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	open_with(&v, FAILURE_POISON);
	fail_for(&v, "gone bad");
	check_told(&v, "gone bad", false);
	l->life.elsewhere = elsewhere;
	ck_assert_int_ge(dup3(fd, v.s.guest.uffd, O_CLOEXEC), 0);
	close(fd);
	ck_assert(!failure_answer(l, 3));
	check_told(&v, "the kernel refuses to install page 3", !elsewhere);
	ck_assert(l->failure.on);
	ck_assert_int_eq(l->failure.policy, elsewhere ? FAILURE_HOLD : FAILURE_KILL);
	ck_assert(!failure_answer(l, 3));
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("failure");
	TCase *t = tcase_create("told");

	tcase_add_loop_test(t, test_told, 0, FAILURE_COUNT);
	tcase_add_loop_test(t, test_without_a_supervisor, 0, FAILURE_COUNT);
	tcase_add_test(t, test_without_a_pidfd);
	tcase_add_loop_test(t, test_elsewhere, 0, FAILURE_COUNT);
	suite_add_tcase(s, t);
	t = tcase_create("answered");
	tcase_add_loop_test(t, test_not_answered, 0, 2);
	tcase_add_test(t, test_poisoned);
	tcase_add_test(t, test_poisoned_at_once);
	tcase_add_test(t, test_there_already);
	tcase_add_test(t, test_deferred);
	tcase_add_test(t, test_gone);
	tcase_add_loop_test(t, test_cannot_be_poisoned, 0, 2);
	suite_add_tcase(s, t);
	return s;
}
