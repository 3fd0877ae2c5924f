/* test_answer_waits - what threads get for whose page there is no memory, or that is on the disk */
#include "worker/answer.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/fakes/disk/slowdisk.h"
#include "tests/support/hugepool.h"
#include "tests/support/servekit.h"

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

/* ---- what there is no memory for ---- */

/* Since so long ago, and met again just now; the next try is due. */
static void short_since(struct served *v, uint64_t ago_us)
{
	struct shortage *s = &v->s.guest.shortage;

	s->met_us = now_us();
	s->since_us = s->met_us - ago_us;
	s->pause_us = 0;
}

static void short_again(struct served *v)
{
	struct loop *l = &v->s.loop;

	/* It may be there, only nobody can tell: its threads are woken, to fault again. */
	fault_set_add(&l->faults, 0);
	answer_faults(l);
	ck_assert_uint_eq(l->faults.n, 0);
	ck_assert_uint_gt(v->s.guest.shortage.since_us, 0);
	/* It can be told: it waits. */
	fault_set_add(&l->faults, 0);
	v->s.guest.presence.verified = true;
	short_since(v, SHORTAGE_TOLD_US);
	answer_faults(l);
	ck_assert_uint_eq(l->faults.n, 1);
	ck_assert_uint_eq(v->s.guest.shortage.pause_us, SHORTAGE_PAUSE_MIN_US);
	ck_assert(answer_soon(l));
	must_hear_nothing(v->s.sup);
}

/* Not asked for again before it is time. */
static void not_before_time(struct served *v)
{
	struct shortage *s = &v->s.guest.shortage;
	struct loop *l = &v->s.loop;

	s->pause_us = 3600 * UINT64_C(1000000);
	ck_assert_uint_gt(answer_soon_us(l), s->pause_us / 2);
	answer_faults(l);
	ck_assert_uint_eq(s->pause_us, 3600 * UINT64_C(1000000));
	ck_assert_uint_eq(l->faults.n, 1);
}

/* The kernel says that it has none: it is tried again, with pauses, and fails in the end. */
START_TEST(test_short)
{
	struct hugepool pool;
	struct chan_msg msg;
	size_t held_bytes;
	struct served v;
	void *held;

	if (!hugepool_open(&pool, 0)) {
		fputs("# the pool of huge pages cannot be locked: skipped\n", stderr);
		return;
	}
	held = hugepool_take_but(0, &held_bytes);
	/* Nobody touches it. */
	served_prepare_page(&v, PAGE_2M, MAP_HUGETLB);
	source_free(v.s.job.src);
	v.s.job.src = source_none(PAGE_2M);
	served_begin(&v);
	short_again(&v);
	not_before_time(&v);
	short_since(&v, SHORTAGE_MAX_US);
	answer_faults(&v.s.loop);
	must_hear(v.s.sup, CHAN_FAILED, &msg);
	ck_assert_msg(strstr(msg.failed.msg, "no memory for the VMM's pages for 5 s"), "%s",
		      msg.failed.msg);
	served_end(&v);
	if (held)
		munmap(held, held_bytes);
	hugepool_close(&pool);
}
END_TEST

/* Told again after a while, but not of the same one. */
static void check_note(struct served *v, bool told)
{
	struct loop *l = &v->s.loop;
	uint64_t when = l->told.short_us;
	struct chan_msg msg;

	if (told) {
		must_hear(v->s.sup, CHAN_NOTE, &msg);
		ck_assert_int_eq(chan_note_kind(msg.note.type), CHAN_NOTE_MEMORY_SHORT);
		ck_assert_msg(strstr(msg.note.msg, "memory limit"), "%s", msg.note.msg);
	}
	must_hear_nothing(v->s.sup);
	l->told.short_us = when - 11 * UINT64_C(1000000);
	answer_watch_shortage(l);
	must_hear_nothing(v->s.sup);
	if (told)
		l->told.short_us = when;
}

/* It shows while it lasts, and is an event at most once in a while. */
START_TEST(test_shortage_shows)
{
	struct pagemap_head *head;
	struct served v;
	struct loop *l = &v.s.loop;

	served_open(&v, 0);
	head = v.s.guest.map.head;
	short_since(&v, 0);
	answer_watch_shortage(l);
	ck_assert_uint_eq(head->short_of, PAGEMAP_SHORT_OF_NOTHING);
	must_hear_nothing(v.s.sup);
	for (int again = 0; again < 3; again++) {
		short_since(&v, SHORTAGE_TOLD_US);
		answer_watch_shortage(l);
		answer_watch_shortage(l);
		ck_assert_uint_eq(head->short_of, PAGEMAP_SHORT_OF_MEMORY);
		check_note(&v, again != 1);
		shortage_end(&v.s.guest.shortage);
		answer_watch_shortage(l);
		ck_assert_uint_eq(head->short_of, PAGEMAP_SHORT_OF_NOTHING);
	}
	/* Nobody has met it again for long: it is over. */
	short_since(&v, SHORTAGE_TOLD_US);
	answer_watch_shortage(l);
	ck_assert_uint_eq(head->short_of, PAGEMAP_SHORT_OF_MEMORY);
	v.s.guest.shortage.met_us -= SHORTAGE_STALE_US + 1;
	v.s.guest.shortage.since_us -= SHORTAGE_STALE_US + 1;
	answer_watch_shortage(l);
	ck_assert_uint_eq(head->short_of, PAGEMAP_SHORT_OF_NOTHING);
	served_end(&v);
}
END_TEST

/* ---- what is on the disk ---- */

static void await_disk(struct loop *l, struct slowdisk *disk)
{
	slowdisk_await(disk);
	ck_assert(!touch_readable(readahead_fd(l->readahead), 0));
	slowdisk_go(disk);
	ck_assert(touch_readable(readahead_fd(l->readahead), HARNESS_MS));
	answer_take_warmed(l);
	ck_assert_uint_eq(l->faults.warming, 0);
	ck_assert(answer_soon(l));
}

/* Others are answered meanwhile, and it is not asked for again and again. */
START_TEST(test_cold)
{
	struct touch t = {.page = 3}, other = {.page = 6};
	struct slowdisk disk;
	cleanup_free char *file = slow_file(dir, &disk, JOBKIT_BYTES);
	struct served v;
	struct loop *l = &v.s.loop;

	if (!file)
		return;
	served_prepare(&v, 0);
	source_free(v.s.job.src);
	v.s.job.src = load_files((const char *[]){file}, 1);
	served_begin(&v);
	fault_on(&v, &t, 1);
	answer_faults(l);
	ck_assert_uint_eq(l->faults.n, 1);
	ck_assert_uint_eq(l->faults.warming, 1);
	ck_assert(!answer_soon(l));
	fault_on(&v, &other, 1);
	guest_mark(&v.s.guest, 6, 1, PAGE_REMOVED);
	answer_faults(l);
	touch_join(&other);
	check_waits(&t);
	await_disk(l, &disk);
	answer_faults(l);
	touch_join(&t);
	ck_assert_int_eq(t.value, 'd');
	ck_page(&v, 3, PAGE_PRESENT);
	served_end(&v);
	slowdisk_end(&disk);
}
END_TEST

/* A page of 2 MiB, of two files: put together by who reads the disk, in a buffer of his. */
START_TEST(test_cold_and_assembled)
{
	struct touch t = {.page = 3};
	char diff[64];
	struct slowdisk disk;
	cleanup_free char *file = slow_file(dir, &disk, PAGE_2M);
	struct served v;
	struct loop *l = &v.s.loop;

	if (!file)
		return;
	served_prepare_page(&v, PAGE_2M, 0);
	ck_assert_int_eq(ftruncate(v.layer, 0), 0);
	ck_assert_int_eq(ftruncate(v.layer, PAGE_2M), 0);
	ck_assert_int_eq(pwrite(v.layer, "diff", 4, PAGE_2M / 2), 4);
	snprintf(diff, sizeof(diff), "/proc/self/fd/%d", v.layer);
	source_free(v.s.job.src);
	v.s.job.src = load_files((const char *[]){file, diff}, 2);
	served_begin(&v);
	fault_on(&v, &t, 1);
	answer_faults(l);
	ck_assert_uint_eq(l->faults.warming, 1);
	await_disk(l, &disk);
	ck_assert_uint_eq(v.s.guest.nassembled, 1);
	answer_give_back(l);
	ck_assert_msg(v.s.guest.nassembled == 1, "it is absent still");
	/* Its bytes were right when they were read; nothing is read again. */
	memset(v.s.guest.assembled[0].bytes, 'r', PAGE_4K);
	answer_faults(l);
	touch_join(&t);
	ck_assert_int_eq(t.value, 'd');
	ck_assert_int_eq(v.m.mem[0], 'r');
	ck_assert_str_eq(v.m.mem + PAGE_2M / 2, "diff");
	answer_give_back(l);
	ck_assert_uint_eq(v.s.guest.nassembled, 0);
	served_end(&v);
	slowdisk_end(&disk);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("answer waits");
	TCase *t = tcase_create("memory");

	tcase_add_test(t, test_short);
	tcase_add_test(t, test_shortage_shows);
	suite_add_tcase(s, t);
	t = tcase_create("disk");
	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, test_cold);
	tcase_add_test(t, test_cold_and_assembled);
	suite_add_tcase(s, t);
	return s;
}
