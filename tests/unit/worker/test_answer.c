/* test_answer - what threads get that wait for a page: real faults, answered by hand */
#include "worker/answer.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "tests/support/servekit.h"

static void check_stats(const struct served *v, uint64_t served, uint64_t present, uint64_t zero)
{
	ck_assert_uint_eq(stats(v)->faults_served, served);
	ck_assert_uint_eq(stats(v)->faults_present, present);
	ck_assert_uint_eq(stats(v)->faults_zero, zero);
}

/* ---- what can be answered at once ---- */

START_TEST(test_bytes)
{
	struct touch t = {.page = 3};
	struct served v;

	served_open(&v, 0);
	fault_on(&v, &t, 1);
	check_waits(&t);
	ck_assert_uint_eq(v.s.loop.faults.n, 1);
	answer_faults(&v.s.loop);
	touch_join(&t);
	ck_assert_int_eq(t.value, 'd');
	ck_assert_int_eq(memcmp(v.m.mem + 3 * PAGE_4K, v.m.src + 3 * PAGE_4K, PAGE_4K), 0);
	ck_page(&v, 3, PAGE_PRESENT);
	ck_page(&v, 4, PAGE_ABSENT);
	ck_assert_uint_eq(v.s.loop.faults.n, 0);
	check_stats(&v, 1, 0, 0);
	ck_assert_uint_eq(v.s.guest.map.head->answered, 4);
	ck_assert(!answer_soon(&v.s.loop));
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* Two threads wait for one of them; all in one call. */
START_TEST(test_many)
{
	struct touch t[] = {{.page = 7}, {.page = 0}, {.page = 2}, {.page = 2}, {.page = 6}};
	struct served v;

	served_open(&v, 0);
	fault_on(&v, t, ARRAY_LEN(t));
	ck_assert_uint_eq(v.s.loop.faults.n, 4);
	answer_faults(&v.s.loop);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		touch_join(&t[i]);
		ck_assert_int_eq(t[i].value, 'a' + (int)t[i].page);
		ck_page(&v, t[i].page, PAGE_PRESENT);
	}
	check_stats(&v, 4, 0, 0);
	ck_assert_uint_eq(stats(&v)->faults, 5);
	served_end(&v);
}
END_TEST

/* Other bytes than the snapshot's, and nobody is woken. */
static void put_there(struct served *v, size_t page)
{
	struct uffdio_copy copy = {
		.dst = v->m.base + page * PAGE_4K,
		.src = (uintptr_t)v->m.src + 6 * PAGE_4K,
		.len = PAGE_4K,
		.mode = UFFDIO_COPY_MODE_DONTWAKE,
	};

	ck_assert_int_eq(ioctl(v->m.uffd, UFFDIO_COPY, &copy), 0);
}

/* It came there without us: its bytes are left alone, and its thread goes on with them. */
START_TEST(test_present)
{
	const bool known = _i;
	struct touch t = {.page = 3};
	struct served v;

	served_open(&v, 0);
	fault_on(&v, &t, 1);
	put_there(&v, 3);
	if (known)
		guest_mark(&v.s.guest, 3, 1, PAGE_PRESENT);
	check_waits(&t);
	answer_faults(&v.s.loop);
	touch_join(&t);
	ck_assert_int_eq(t.value, 'g');
	ck_page(&v, 3, PAGE_PRESENT);
	ck_assert_uint_eq(v.s.loop.faults.n, 0);
	check_stats(&v, 0, 1, 0);
	served_end(&v);
}
END_TEST

START_TEST(test_zero)
{
	struct touch t = {.page = HOLE};
	struct served v;

	served_open(&v, 0);
	fault_on(&v, &t, 1);
	t.value = 'x';
	answer_faults(&v.s.loop);
	touch_join(&t);
	ck_assert_int_eq(t.value, 0);
	ck_page(&v, HOLE, PAGE_PRESENT);
	check_stats(&v, 1, 0, 0);
	ck_assert_uint_eq(stats(&v)->zero_installed_bytes, PAGE_4K);
	served_end(&v);
}
END_TEST

/* The snapshot has bytes for it, but the guest gave it back. */
START_TEST(test_removed)
{
	struct touch gone[] = {{.page = 3}, {.page = 6}};
	struct served v;

	served_open(&v, 0);
	guest_mark(&v.s.guest, 3, 1, PAGE_REMOVED);
	/* Discarded without a word. */
	guest_mark(&v.s.guest, 6, 1, PAGE_PRESENT);
	fault_on(&v, gone, ARRAY_LEN(gone));
	answer_faults(&v.s.loop);
	for (size_t i = 0; i < ARRAY_LEN(gone); i++) {
		touch_join(&gone[i]);
		ck_assert_int_eq(gone[i].value, 0);
		ck_page(&v, gone[i].page, PAGE_ZEROED);
	}
	check_stats(&v, 2, 0, 2);
	served_end(&v);
}
END_TEST

/* What a recording is made of: pages that came for the first time. */
START_TEST(test_touches)
{
	struct touch t[] = {{.page = 1}, {.page = 2}, {.page = 3}, {.page = 4}};
	struct touch_log *log;
	struct served v;
	struct err err;

	served_open(&v, 0);
	log = &v.s.job.working_set.touch_log;
	ck_assert_int_eq(touch_log_begin(log, 3600 * UINT64_C(1000000), 1, now_us(), &err), 0);
	guest_mark(&v.s.guest, 2, 1, PAGE_REMOVED);
	guest_mark(&v.s.guest, 3, 1, PAGE_PRESENT);
	fault_on(&v, t, ARRAY_LEN(t));
	put_there(&v, 3);
	answer_faults(&v.s.loop);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		touch_join(&t[i]);
	ck_assert_uint_eq(log->n, 2);
	ck_assert_uint_eq(log->v[0].page, 1);
	ck_assert_uint_eq(log->v[1].page, 4);
	served_end(&v);
}
END_TEST

/* ---- what cannot ---- */

/* While a removal is under way nothing can be installed, whatever its address. */
START_TEST(test_deferred)
{
	struct touch t = {.page = 3}, removal = {.body = touch_discard, .page = 6};
	const uint64_t waits[] = {20, 40, 80, 160, 320, 640, 1280, 2000, 2000};
	struct served v;

	served_open(&v, UF_FEATURE_REMOVE);
	fault_on(&v, &t, 1);
	removal.m = &v.m;
	touch_start(&removal);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		answer_faults(&v.s.loop);
		ck_assert_uint_eq(stats(&v)->faults_deferred, i + 1);
		ck_assert(answer_soon(&v.s.loop));
		ck_assert_uint_eq(answer_soon_us(&v.s.loop), waits[i]);
	}
	check_waits(&t);
	ck_page(&v, 3, PAGE_ABSENT);
	messages_read(&v.s.loop);
	touch_join(&removal);
	while (answer_soon(&v.s.loop))
		answer_faults(&v.s.loop);
	touch_join(&t);
	ck_assert_int_eq(t.value, 'd');
	ck_page(&v, 6, PAGE_REMOVED);
	/* The next one begins anew. */
	ck_assert_uint_eq(v.s.loop.backoff_us, 20);
	served_end(&v);
}
END_TEST

/* More threads than the set has room for: those that were dropped fault again. */
START_TEST(test_overflow)
{
	struct touch t[] = {{.page = 1}, {.page = 4}};
	struct served v;
	struct loop *l = &v.s.loop;

	served_open(&v, 0);
	fault_on(&v, &t[0], 1);
	for (uint64_t page = PAGES; l->faults.n < FAULTS_MAX; page++)
		fault_set_add(&l->faults, page);
	fault_on(&v, &t[1], 1);
	ck_assert(l->faults.overflow);
	ck_assert_uint_eq(l->faults.n, FAULTS_MAX);
	/* Those who are not there. */
	l->faults.n = 1;
	answer_faults(l);
	touch_join(&t[0]);
	ck_assert_int_eq(t[0].value, 'b');
	ck_assert(!l->faults.overflow);
	ck_assert_uint_eq(stats(&v)->wakes_overflow, 1);
	touch_await_faults(v.m.uffd, 1);
	messages_read(l);
	answer_faults(l);
	touch_join(&t[1]);
	ck_assert_int_eq(t[1].value, 'e');
	ck_assert_uint_eq(stats(&v)->wakes_overflow, 1);
	served_end(&v);
}
END_TEST

/* Other bytes may be in it now: nothing of it is served, but what was removed still is. */
START_TEST(test_source_fails)
{
	struct touch t[] = {{.page = 3}, {.page = 6}}, later = {.page = 7};
	struct chan_msg msg;
	struct served v;

	served_prepare(&v, 0);
	v.s.job.spec.on_failure = FAILURE_HOLD;
	served_begin(&v);
	guest_mark(&v.s.guest, 6, 2, PAGE_REMOVED);
	fault_on(&v, t, ARRAY_LEN(t));
	change_layer(&v);
	answer_faults(&v.s.loop);
	must_hear(v.s.sup, CHAN_FAILED, &msg);
	ck_assert_uint_eq(msg.failed.code, ERR_SNAPSHOT);
	ck_assert(v.s.loop.failure.on);
	touch_join(&t[1]);
	ck_assert_int_eq(t[1].value, 0);
	check_waits(&t[0]);
	ck_page(&v, 3, PAGE_ABSENT);
	ck_assert_uint_eq(stats(&v)->source_errors, 1);
	/* It is not tried again, nor waited for. */
	ck_assert_uint_eq(v.s.loop.faults.n, 1);
	ck_assert(!answer_soon(&v.s.loop));
	fault_on(&v, &later, 1);
	answer_faults(&v.s.loop);
	touch_join(&later);
	ck_assert_int_eq(later.value, 0);
	ck_assert_uint_eq(stats(&v)->source_errors, 1);
	must_hear_nothing(v.s.sup);
	ck_outcome(touch_copy(&v.m, 3, 1), UF_DONE);
	touch_join(&t[0]);
	served_end(&v);
}
END_TEST

/* Its threads are gone with it. */
START_TEST(test_gone)
{
	struct served v;

	served_open_apart(&v, 0);
	ask_apart(&v, 3);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	messages_read(&v.s.loop);
	ck_assert_uint_eq(v.s.loop.faults.n, 1);
	fault_set_add(&v.s.loop.faults, 4);
	kill_apart(&v);
	answer_faults(&v.s.loop);
	ck_assert(v.s.loop.gone);
	ck_assert_uint_eq(v.s.loop.faults.n, 0);
	ck_page(&v, 3, PAGE_ABSENT);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("answer");
	TCase *t = tcase_create("at once");

	tcase_add_test(t, test_bytes);
	tcase_add_test(t, test_many);
	tcase_add_loop_test(t, test_present, 0, 2);
	tcase_add_test(t, test_zero);
	tcase_add_test(t, test_removed);
	tcase_add_test(t, test_touches);
	suite_add_tcase(s, t);
	t = tcase_create("not at once");
	tcase_add_test(t, test_deferred);
	tcase_add_test(t, test_overflow);
	tcase_add_test(t, test_source_fails);
	tcase_add_test(t, test_gone);
	suite_add_tcase(s, t);
	return s;
}
