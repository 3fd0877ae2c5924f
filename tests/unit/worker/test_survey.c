/* test_survey - page states and what is really there: a row of the table each, over real memory */
#include "worker/survey.h"

#include <fcntl.h>

#include "tests/support/servekit.h"

static int pagemap_of(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* This process is the VMM, and its pagemap is known to be that. */
static void open_seen(struct served *v, unsigned features)
{
	served_open(v, features);
	guest_use_pagemap(&v->s.guest, pagemap_of(getpid()));
	v->s.guest.presence.verified = true;
}

/* Something is there that the page map may not know. */
static void put_there(struct served *v, uint64_t page)
{
	ck_outcome(touch_copy(&v->m, page, 1), UF_DONE);
}

static void leave(struct served *v, uint64_t page)
{
	ck_assert_ptr_ne(mmap(v->m.mem + page * PAGE_4K, PAGE_4K, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 MAP_FAILED);
}

/* To its end; how many steps took it there. */
static unsigned run(struct served *v, enum pagemap_exact want)
{
	struct survey s;
	enum survey_step step;
	unsigned n = 0;

	v->s.guest.map.head->exact = PAGEMAP_EXACT;
	survey_begin(&s, &v->s.guest);
	do {
		ck_assert_uint_eq(v->s.guest.map.head->exact, PAGEMAP_INEXACT);
		ck_assert(s.on);
		step = survey_step(&s, &v->s.guest);
		n++;
	} while (step == SURVEY_MORE && n < 100);
	ck_assert_int_eq(step, SURVEY_OVER);
	ck_assert(!s.on);
	ck_assert_uint_eq(v->s.guest.map.head->exact, want);
	return n;
}

/* ---- the table ---- */

enum memory { MISSING, THERE, LEFT_MISSING, LEFT_THERE };

static const struct {
	enum page_state before;
	enum memory is;
	enum page_state after;
} rows[] = {
	{PAGE_ABSENT, MISSING, PAGE_ABSENT},        {PAGE_ABSENT, THERE, PAGE_ZEROED},
	{PAGE_ABSENT, LEFT_MISSING, PAGE_REMOVED},  {PAGE_ABSENT, LEFT_THERE, PAGE_ZEROED},
	{PAGE_PRESENT, MISSING, PAGE_REMOVED},      {PAGE_PRESENT, THERE, PAGE_PRESENT},
	{PAGE_PRESENT, LEFT_MISSING, PAGE_REMOVED}, {PAGE_PRESENT, LEFT_THERE, PAGE_ZEROED},
	{PAGE_REMOVED, MISSING, PAGE_REMOVED},      {PAGE_REMOVED, THERE, PAGE_ZEROED},
	{PAGE_REMOVED, LEFT_MISSING, PAGE_REMOVED}, {PAGE_REMOVED, LEFT_THERE, PAGE_ZEROED},
	{PAGE_ZEROED, MISSING, PAGE_REMOVED},       {PAGE_ZEROED, THERE, PAGE_ZEROED},
	{PAGE_ZEROED, LEFT_MISSING, PAGE_REMOVED},  {PAGE_ZEROED, LEFT_THERE, PAGE_ZEROED},
};

static void make(struct served *v, uint64_t page, enum memory is)
{
	if (is == LEFT_MISSING || is == LEFT_THERE)
		leave(v, page);
	if (is == LEFT_THERE)
		v->m.mem[page * PAGE_4K] = 'x';
	if (is == THERE)
		put_there(v, page);
}

/* Among others that are as they should be. */
START_TEST(test_row)
{
	const uint64_t page = 3;
	struct served v;

	open_seen(&v, 0);
	put_there(&v, 6);
	guest_mark(&v.s.guest, 6, 1, PAGE_PRESENT);
	make(&v, page, rows[_i].is);
	if (rows[_i].before != PAGE_ABSENT)
		guest_mark(&v.s.guest, page, 1, rows[_i].before);
	ck_assert_uint_eq(run(&v, PAGEMAP_EXACT), 2);
	ck_page(&v, page, rows[_i].after);
	for (uint64_t i = 0; i < PAGES; i++)
		if (i != page)
			ck_page(&v, i, i == 6 ? PAGE_PRESENT : PAGE_ABSENT);
	ck_assert_uint_eq(stats(&v)->states_corrected, rows[_i].before != rows[_i].after);
	served_end(&v);
}
END_TEST

/* All of it left, or two parts of it. */
START_TEST(test_left)
{
	struct served v;

	open_seen(&v, 0);
	for (uint64_t page = 0; page < PAGES; page++)
		if (_i == 0 || page == 0 || page >= 5)
			leave(&v, page);
	v.m.mem[6 * PAGE_4K] = 'x';
	run(&v, PAGEMAP_EXACT);
	for (uint64_t page = 0; page < PAGES; page++) {
		bool left = _i == 0 || page == 0 || page >= 5;

		ck_page(&v, page, page == 6 ? PAGE_ZEROED : left ? PAGE_REMOVED : PAGE_ABSENT);
	}
	served_end(&v);
}
END_TEST

/* In shared memory a page may be there that the VMM's page tables do not have. */
START_TEST(test_shared)
{
	struct served v;
	struct err err;
	int fd = memfd_create("guest", MFD_CLOEXEC);

	served_prepare(&v, 0);
	ck_assert_int_eq(ftruncate(fd, JOBKIT_BYTES), 0);
	ck_assert_int_eq(pwrite(fd, "x", 1, 3 * PAGE_4K), 1);
	ck_assert_int_eq(pwrite(fd, "x", 1, 4 * PAGE_4K), 1);
	ck_assert_ptr_eq(mmap(v.m.mem, v.m.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			      0),
			 v.m.mem);
	close(fd);
	ck_assert_msg(uffd_register(v.m.uffd, v.m.base, v.m.len, &err) == 0, "%s", err.msg);
	served_begin(&v);
	guest_use_pagemap(&v.s.guest, pagemap_of(getpid()));
	v.s.guest.presence.verified = true;
	guest_mark(&v.s.guest, 3, 1, PAGE_PRESENT);
	guest_mark(&v.s.guest, 4, 2, PAGE_REMOVED);
	guest_mark(&v.s.guest, 6, 1, PAGE_PRESENT);
	run(&v, PAGEMAP_EXACT);
	ck_page(&v, 2, PAGE_ABSENT);
	ck_page(&v, 3, PAGE_PRESENT);
	ck_page(&v, 4, PAGE_ZEROED);
	ck_page(&v, 5, PAGE_REMOVED);
	ck_page(&v, 6, PAGE_REMOVED);
	served_end(&v);
}
END_TEST

/* ---- its course ---- */

/* Regions in any order of addresses, with a gap; what is in none does not matter. */
START_TEST(test_regions)
{
	struct served v;

	served_prepare(&v, 0);
	v.s.regions = (struct regions){.page_bytes = PAGE_4K, .n = 2};
	v.s.regions.v[0] = (struct region){v.m.base + 5 * PAGE_4K, 3 * PAGE_4K, 0};
	v.s.regions.v[1] = (struct region){v.m.base, 4 * PAGE_4K, 4 * PAGE_4K};
	served_begin(&v);
	guest_use_pagemap(&v.s.guest, pagemap_of(getpid()));
	v.s.guest.presence.verified = true;
	put_there(&v, 5);
	put_there(&v, 4);
	put_there(&v, 3);
	ck_assert_uint_eq(run(&v, PAGEMAP_EXACT), 3);
	ck_page(&v, 0, PAGE_ZEROED);
	ck_page(&v, 1, PAGE_ABSENT);
	ck_page(&v, 7, PAGE_ZEROED);
	ck_page(&v, 4, PAGE_ABSENT);
	ck_assert_uint_eq(stats(&v)->states_corrected, 2);
	served_end(&v);
}
END_TEST

/* The states before its event is read would be wrong. */
START_TEST(test_removal_under_way)
{
	struct touch removal = {.body = touch_discard, .page = 3};
	struct survey s;
	struct served v;

	open_seen(&v, UF_FEATURE_REMOVE);
	put_there(&v, 3);
	guest_mark(&v.s.guest, 3, 1, PAGE_PRESENT);
	put_there(&v, 6);
	removal.m = &v.m;
	touch_start(&removal);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	survey_begin(&s, &v.s.guest);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(survey_step(&s, &v.s.guest), SURVEY_AGAIN);
		ck_assert_uint_eq(s.offset, 0);
		ck_page(&v, 6, PAGE_ABSENT);
	}
	messages_read(&v.s.loop);
	touch_join(&removal);
	run(&v, PAGEMAP_EXACT);
	ck_page(&v, 3, PAGE_REMOVED);
	ck_page(&v, 6, PAGE_ZEROED);
	served_end(&v);
}
END_TEST

START_TEST(test_ended)
{
	struct survey s;
	struct served v;

	open_seen(&v, 0);
	survey_begin(&s, &v.s.guest);
	ck_assert_int_eq(survey_step(&s, &v.s.guest), SURVEY_MORE);
	ck_assert_int_eq(survey_step(&s, &v.s.guest), SURVEY_OVER);
	ck_assert_uint_eq(v.s.guest.map.head->exact, PAGEMAP_EXACT);
	survey_end(&s, &v.s.guest);
	ck_assert(!s.on);
	ck_assert_uint_eq(v.s.guest.map.head->exact, PAGEMAP_INEXACT);
	served_end(&v);
}
END_TEST

/* ---- whose pagemap it is ---- */

START_TEST(test_nobody_to_ask)
{
	struct served v;

	served_open(&v, 0);
	put_there(&v, 3);
	put_there(&v, 4);
	guest_mark(&v.s.guest, 4, 1, PAGE_PRESENT);
	run(&v, PAGEMAP_UNASKED);
	ck_page(&v, 3, PAGE_ABSENT);
	served_end(&v);
}
END_TEST

/* Nothing was installed, and nothing is seen: then there is nothing to prove. */
START_TEST(test_untouched)
{
	struct served v;

	served_open(&v, 0);
	guest_use_pagemap(&v.s.guest, pagemap_of(getpid()));
	ck_assert(!v.s.guest.presence.verified);
	run(&v, PAGEMAP_EXACT);
	/* Seen, but not ours. */
	put_there(&v, 3);
	run(&v, PAGEMAP_FOREIGN);
	ck_page(&v, 3, PAGE_ABSENT);
	served_end(&v);
}
END_TEST

/* What was installed is not seen there. */
START_TEST(test_of_another)
{
	struct served v;

	served_open(&v, 0);
	guest_use_pagemap(&v.s.guest, pagemap_of(getpid()));
	guest_mark(&v.s.guest, 3, 1, _i ? PAGE_ZEROED : PAGE_PRESENT);
	run(&v, PAGEMAP_FOREIGN);
	ck_page(&v, 3, _i ? PAGE_ZEROED : PAGE_PRESENT);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("survey");
	TCase *t = tcase_create("table");

	tcase_add_loop_test(t, test_row, 0, ARRAY_LEN(rows));
	tcase_add_loop_test(t, test_left, 0, 2);
	tcase_add_test(t, test_shared);
	suite_add_tcase(s, t);
	t = tcase_create("course");
	tcase_add_test(t, test_regions);
	tcase_add_test(t, test_removal_under_way);
	tcase_add_test(t, test_ended);
	tcase_add_test(t, test_nobody_to_ask);
	tcase_add_test(t, test_untouched);
	tcase_add_loop_test(t, test_of_another, 0, 2);
	suite_add_tcase(s, t);
	return s;
}
