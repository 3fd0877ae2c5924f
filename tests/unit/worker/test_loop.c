/* test_loop - what wakes the owner thread of a guest, one of each */
#include "worker/loop.h"

#include "common/sock.h"
#include "tests/support/servekit.h"
#include "worker/answer.h"
#include "worker/install.h"

#define HOUR_US (3600 * UINT64_C(1000000))

static char *dir; /* of the test case */

/* Unchecked: they run in the runner, so that a failed test leaves nothing behind. */
static void make_dir(void)
{
	dir = harness_tmpdir();
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

/* The guest is a process of its own, so its end is that of the loop. */
static void end_with_vmm(struct turning *t, struct served *v)
{
	kill_apart(v);
	turning_end(t, LOOP_GONE);
	ck_assert(v->s.loop.gone);
	served_end(v);
}

/* ---- the guest ---- */

START_TEST(test_faults)
{
	static const unsigned char pages[] = {3, HOLE, 0, 7, 3};
	struct turning t;
	struct served v;

	served_open_apart(&v, 0);
	turning_start(&t, &v);
	for (size_t i = 0; i < ARRAY_LEN(pages); i++)
		check_apart(&v, pages[i]);
	kill_apart(&v);
	turning_end(&t, LOOP_GONE);
	ck_assert_uint_eq(stats(&v)->faults_served, 4);
	ck_page(&v, 0, PAGE_PRESENT);
	ck_page(&v, 1, PAGE_ABSENT);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* A thread that gives memory back sleeps until that was read. */
START_TEST(test_removal)
{
	struct touch removal = {.body = touch_discard, .page = 3};
	struct touch load = {.body = touch_load, .page = 4, .value = 'x'};
	struct turning t;
	struct served v;

	served_prepare(&v, UF_FEATURE_REMOVE);
	v.s.job.spec.when_complete = COMPLETE_RELEASE;
	served_begin(&v);
	removal.m = load.m = &v.m;
	turning_start(&t, &v);
	touch_start(&removal);
	touch_join(&removal);
	touch_start(&load);
	touch_join(&load);
	ck_assert_int_eq(load.value, 0);
	for (removal.page = 0; removal.page < PAGES; removal.page += 2) {
		touch_start(&removal);
		touch_join(&removal);
	}
	/* Nothing is left for which it is needed. */
	turning_end(&t, LOOP_RELEASED);
	served_end(&v);
}
END_TEST

/* Its peer has ended, and its memory lives on elsewhere: it is asked after, until it is gone. */
START_TEST(test_peer_ends)
{
	struct turning t;
	struct served v;
	struct err err;
	int vmm;
	pid_t peer;

	served_prepare_apart(&v, 0);
	peer = fork();
	if (peer == 0)
		for (;;)
			pause();
	vmm = v.s.vmm;
	ck_assert_int_eq(proc_pidfd(peer, &v.s.vmm, &err), 0);
	served_begin(&v);
	turning_start(&t, &v);
	check_apart(&v, 3);
	ck_assert_int_eq(kill(peer, SIGKILL), 0);
	ck_assert_int_eq(waitpid(peer, NULL, 0), peer);
	/* No bytes of a layer, which would be looked at again. */
	check_apart(&v, HOLE);
	close_fd(&v.s.vmm);
	v.s.vmm = vmm;
	kill_apart(&v);
	turning_end(&t, LOOP_GONE);
	ck_assert_uint_gt(v.s.loop.life.since_us, 0);
	served_end(&v);
}
END_TEST

/* Since long ago: whom to kill for what is missing is not known, so it is poisoned. */
START_TEST(test_lives_elsewhere)
{
	struct turning t;
	struct served v;

	if (!touch_have_poison())
		return;
	served_open_apart(&v, 0);
	v.s.loop.life = (struct life){.since_us = now_us() - 2 * LIFE_ELSEWHERE_US, .pause_us = 1};
	v.s.loop.failure.on = true;
	turning_start(&t, &v);
	ask_apart(&v, 3);
	ck_assert_int_eq(await_apart(&v), SIGBUS);
	turning_end(&t, LOOP_GONE);
	ck_assert(v.s.loop.life.elsewhere);
	ck_assert_int_eq(v.s.loop.failure.policy, FAILURE_POISON);
	served_end(&v);
}
END_TEST

/* ---- the supervisor ---- */

START_TEST(test_orders)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;

	served_open_apart(&v, 0);
	turning_start(&t, &v);
	for (int i = 0; i < 2; i++) {
		tell(&v, CHAN_PAUSE);
		must_hear(v.s.sup, CHAN_PAUSED, &msg);
		check_apart(&v, (unsigned char)i);
		tell(&v, CHAN_RESUME);
	}
	end_with_vmm(&t, &v);
}
END_TEST

/* Its death ends nothing. */
START_TEST(test_supervisor_dies)
{
	struct turning t;
	struct served v;

	served_open_apart(&v, 0);
	turning_start(&t, &v);
	check_apart(&v, 3);
	close_fd(&v.s.sup);
	check_apart(&v, 4);
	kill_apart(&v);
	turning_end(&t, LOOP_GONE);
	ck_assert(supervisor_link_away(&v.s.job.link));
	served_end(&v);
}
END_TEST

/* The next one is looked for, told everything, and heard. */
START_TEST(test_next_supervisor)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;
	struct err err;
	int home;

	served_open_apart(&v, 0);
	v.s.loop.completed = true;
	snprintf(v.s.job.link.reconnect_path, sizeof(v.s.job.link.reconnect_path), "%.80s/home",
		 dir);
	ck_assert_msg(sock_listen(v.s.job.link.reconnect_path, SOCK_SEQPACKET, sock_mode(0600),
				  &home, &err) == 0,
		      "%s", err.msg);
	turning_start(&t, &v);
	close_fd(&v.s.sup);
	ck_assert(touch_readable(home, HARNESS_MS));
	v.s.sup = accept4(home, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	close(home);
	must_hear(v.s.sup, CHAN_REATTACH, &msg);
	must_hear(v.s.sup, CHAN_CONNECTED, &msg);
	must_hear(v.s.sup, CHAN_COMPLETE, &msg);
	tell(&v, CHAN_PAUSE);
	must_hear(v.s.sup, CHAN_PAUSED, &msg);
	check_apart(&v, 3);
	end_with_vmm(&t, &v);
}
END_TEST

/* ---- prefetch ---- */

/* Not without a lease, which is given back in the end, once what was taken is paid. */
START_TEST(test_lease)
{
	const uint64_t rate = 100000, bytes = (PAGES - 2) * PAGE_4K; /* not zeros, nor a fault */
	struct chan_msg msg;
	struct turning t;
	struct served v;
	uint64_t granted;

	served_prepare_apart(&v, 0);
	v.s.job.spec.prefetch = PREFETCH_ALL;
	served_begin(&v);
	turning_start(&t, &v);
	must_hear(v.s.sup, CHAN_LEASE_ASK, &msg);
	check_apart(&v, 3);
	msg.lease.rate_bytes_per_s = rate;
	granted = now_us();
	say(&v.s, CHAN_LEASE_GRANT, &msg, NULL, 0);
	must_hear_granting(&v, CHAN_COMPLETE, &msg);
	must_hear(v.s.sup, CHAN_LEASE_BACK, &msg);
	ck_assert_uint_ge(now_us() - granted, bytes * 1000000 / rate);
	kill_apart(&v);
	turning_end(&t, LOOP_GONE);
	ck_assert_uint_eq(stats(&v)->pages[PAGE_PRESENT], PAGES);
	ck_assert_uint_eq(stats(&v)->faults, 1);
	ck_assert(v.s.guest.map.head->complete);
	ck_assert(v.s.guest.map.head->prefetch_done);
	served_end(&v);
}
END_TEST

/* Asked for long ago: again, when it is time. */
START_TEST(test_lease_unheard)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;

	served_prepare_apart(&v, 0);
	v.s.job.spec.prefetch = PREFETCH_ALL;
	served_begin(&v);
	v.s.loop.lease.state = LEASE_ASKED;
	v.s.loop.lease.ask = 7;
	v.s.loop.lease.again_us = now_us() + 100000;
	turning_start(&t, &v);
	must_hear(v.s.sup, CHAN_LEASE_ASK, &msg);
	ck_assert_uint_eq(msg.lease.ask, 8);
	end_with_vmm(&t, &v);
}
END_TEST

/* No byte of a layer that has changed. */
START_TEST(test_prefetch_fails)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;

	served_prepare_apart(&v, 0);
	v.s.job.spec.prefetch = PREFETCH_ALL;
	v.s.job.spec.on_failure = FAILURE_HOLD;
	served_begin(&v);
	change_layer(&v);
	turning_start(&t, &v);
	must_hear_granting(&v, CHAN_FAILED, &msg);
	ck_assert_uint_eq(msg.failed.code, ERR_SNAPSHOT);
	must_hear(v.s.sup, CHAN_LEASE_BACK, &msg);
	kill_apart(&v);
	turning_end(&t, LOOP_GONE);
	ck_assert_uint_eq(stats(&v)->pages[PAGE_PRESENT], 0);
	served_end(&v);
}
END_TEST

/* ---- the disk ---- */

START_TEST(test_disk)
{
	struct slowdisk disk;
	struct turning t;
	struct served v;
	cleanup_free char *file = slow_file(dir, &disk, JOBKIT_BYTES);

	if (!file)
		return;
	served_prepare_apart(&v, 0);
	source_free(v.s.job.src);
	v.s.job.src = load_files((const char *[]){file}, 1);
	served_begin(&v);
	turning_start(&t, &v);
	ask_apart(&v, 3);
	slowdisk_await(&disk);
	ck_assert(!touch_readable(v.got, 0));
	slowdisk_go(&disk);
	ck_assert_int_eq(hear_apart(&v), 'd');
	end_with_vmm(&t, &v);
	slowdisk_end(&disk);
}
END_TEST

/* ---- times ---- */

/* A layer that was copied from for a fault is looked at again, though nobody faults any more. */
START_TEST(test_proof)
{
	struct chan_msg msg;
	struct turning t;
	struct served v;

	served_open_apart(&v, 0);
	ask_apart(&v, 3);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	messages_read(&v.s.loop);
	answer_faults(&v.s.loop);
	ck_assert_int_eq(hear_apart(&v), 'd');
	ck_assert(install_unverified(&v.s.guest));
	change_layer(&v);
	turning_start(&t, &v);
	must_hear(v.s.sup, CHAN_FAILED, &msg);
	ck_assert_uint_eq(msg.failed.code, ERR_SNAPSHOT);
	end_with_vmm(&t, &v);
}
END_TEST

/* And found unchanged, each time. */
START_TEST(test_proof_holds)
{
	struct turning t;
	struct served v;

	served_open_apart(&v, 0);
	turning_start(&t, &v);
	check_apart(&v, 3);
	check_apart(&v, 4);
	kill_apart(&v);
	turning_end(&t, LOOP_GONE);
	ck_assert(!v.s.loop.failure.on);
	served_end(&v);
}
END_TEST

/* Nobody faults any more who would show that there is memory again. */
static bool short_of_nothing(void *arg)
{
	const struct served *v = arg;

	return *(volatile uint32_t *)&v->s.guest.map.head->short_of == PAGEMAP_SHORT_OF_NOTHING;
}

START_TEST(test_shortage_ends)
{
	struct turning t;
	struct served v;
	struct shortage *s = &v.s.guest.shortage;

	served_open_apart(&v, 0);
	s->met_us = now_us();
	s->since_us = s->met_us - SHORTAGE_TOLD_US;
	v.s.guest.map.head->short_of = PAGEMAP_SHORT_OF_MEMORY;
	turning_start(&t, &v);
	ck_assert(harness_wait(short_of_nothing, &v, HARNESS_MS));
	end_with_vmm(&t, &v);
}
END_TEST

/* ---- a recording ---- */

static void end_paused(struct served *v)
{
	tell(v, CHAN_PAUSE);
}

static void end_failed(struct served *v)
{
	struct chan_msg msg;

	change_layer(v);
	ask_apart(v, 4);
	must_hear(v->s.sup, CHAN_FAILED, &msg);
}

static void end_complete(struct served *v)
{
	for (unsigned char page = 0; page < PAGES; page++)
		check_apart(v, page);
}

static const struct {
	uint64_t window_us;
	void (*end)(struct served *v);
	enum chan_type before, after; /* WSET_MADE */
	size_t nfds;
} recordings[] = {
	{100000, NULL, CHAN_NONE, CHAN_NONE, 1},
	{HOUR_US, end_paused, CHAN_NONE, CHAN_PAUSED, 1},
	{HOUR_US, end_complete, CHAN_COMPLETE, CHAN_NONE, 1},
	{HOUR_US, end_failed, CHAN_NONE, CHAN_NONE, 0},
};

/* Its window is over, or it would learn no more, or lies. What came of it goes to the supervisor. */
START_TEST(test_recording)
{
	struct working_set *h;
	struct chan_msg msg;
	struct turning t;
	struct served v;
	size_t nfds;

	served_prepare_apart(&v, 0);
	v.s.job.spec.on_failure = FAILURE_HOLD;
	served_begin(&v);
	h = &v.s.job.working_set;
	h->span_bytes = JOBKIT_BYTES;
	h->file_bytes = 1 << 20;
	h->window_us = recordings[_i].window_us;
	working_set_begin(h, &v.s.loop.prefetch, PAGE_4K, true, now_us());
	touch_log_touch(&h->touch_log, 3, now_us());
	turning_start(&t, &v);
	if (recordings[_i].end)
		recordings[_i].end(&v);
	if (recordings[_i].before)
		must_hear(v.s.sup, recordings[_i].before, &msg);
	ck_assert(touch_readable(v.s.sup, HARNESS_MS));
	ck_assert_int_eq(hear(v.s.sup, &msg, &nfds), CHAN_WSET_MADE);
	ck_assert_uint_eq(nfds, recordings[_i].nfds);
	if (recordings[_i].after)
		must_hear(v.s.sup, recordings[_i].after, &msg);
	kill_apart(&v);
	turning_end(&t, LOOP_GONE);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("loop");
	TCase *t = tcase_create("guest");

	tcase_add_test(t, test_faults);
	tcase_add_test(t, test_removal);
	tcase_add_test(t, test_peer_ends);
	tcase_add_test(t, test_lives_elsewhere);
	suite_add_tcase(s, t);
	t = tcase_create("others");
	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, test_orders);
	tcase_add_test(t, test_supervisor_dies);
	tcase_add_test(t, test_next_supervisor);
	tcase_add_test(t, test_lease);
	tcase_add_test(t, test_lease_unheard);
	tcase_add_test(t, test_prefetch_fails);
	tcase_add_test(t, test_disk);
	suite_add_tcase(s, t);
	t = tcase_create("times");
	tcase_add_test(t, test_proof);
	tcase_add_test(t, test_proof_holds);
	tcase_add_test(t, test_shortage_ends);
	tcase_add_loop_test(t, test_recording, 0, ARRAY_LEN(recordings));
	suite_add_tcase(s, t);
	return s;
}
