/* test_guest - which answer of the kernel leads to which page state, answer and counter */
#include "worker/guest.h"

#include "tests/support/servekit.h"

#define ck_answer(got, want)                                                         \
	do {                                                                         \
		enum guest_answer got_ = (got);                                      \
		ck_assert_msg(got_ == (want), "%s, expected %s", answer_names[got_], \
			      answer_names[(want)]);                                 \
	} while (0)

static const char *const answer_names[] = {
	[GUEST_DONE] = "done",   [GUEST_DEFER] = "defer", [GUEST_COLD] = "cold",
	[GUEST_SHORT] = "short", [GUEST_GONE] = "gone",   [GUEST_FAIL] = "fail",
};

static uint64_t addr(const struct served *v, uint64_t page)
{
	return v->m.base + page * PAGE_4K;
}

static enum guest_answer fault(struct served *v, uint64_t page)
{
	struct err err;

	return guest_fault(&v->s.guest, page, false, &err);
}

static void unregister(struct served *v, uint64_t page, uint64_t n)
{
	ck_outcome(uffd_unregister(v->m.uffd, addr(v, page), n * PAGE_4K), UF_DONE);
}

/* The VMM maps other memory there, and no event tells. */
static void replace(struct served *v, uint64_t page)
{
	ck_assert_ptr_ne(mmap(v->m.mem + page * PAGE_4K, PAGE_4K, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 MAP_FAILED);
}

/* Pages 0 to 2 at the end of the memory, 4 to 7 at its beginning; page 3 is the VMM's. */
static void open_two_regions(struct served *v)
{
	served_prepare(v, 0);
	v->s.regions = (struct regions){.page_bytes = PAGE_4K, .n = 2};
	v->s.regions.v[0] = (struct region){v->m.base, 4 * PAGE_4K, 4 * PAGE_4K};
	v->s.regions.v[1] = (struct region){v->m.base + 5 * PAGE_4K, 3 * PAGE_4K, 0};
	served_begin(v);
}

/* ---- addresses and pages ---- */

START_TEST(test_page_at)
{
	static const struct {
		uint64_t off;
		int page; /* -1: in no region */
	} rows[] = {{0, 4},
		    {PAGE_4K - 1, 4},
		    {3 * PAGE_4K, 7},
		    {4 * PAGE_4K - 1, 7},
		    {4 * PAGE_4K, -1},
		    {5 * PAGE_4K, 0},
		    {8 * PAGE_4K - 1, 2},
		    {8 * PAGE_4K, -1}};
	struct served v;
	uint64_t page;

	open_two_regions(&v);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool in = guest_page(&v.s.guest, v.m.base + rows[i].off, &page);

		ck_assert_msg(in == (rows[i].page >= 0), "%ju", rows[i].off);
		ck_assert_msg(!in || page == (uint64_t)rows[i].page, "%ju: page %ju", rows[i].off,
			      page);
	}
	ck_assert(!guest_page(&v.s.guest, v.m.base - 1, &page));
	served_end(&v);
}
END_TEST

/* A page goes where its region says, and its bytes are the snapshot's at its offset. */
START_TEST(test_page_goes_to_its_region)
{
	struct served v;

	open_two_regions(&v);
	ck_answer(fault(&v, 6), GUEST_DONE);
	ck_answer(fault(&v, 1), GUEST_DONE);
	ck_assert_int_eq(v.m.mem[2 * PAGE_4K], 'g');
	ck_assert_int_eq(v.m.mem[6 * PAGE_4K], 'b');
	/* In no region any more: nobody can wait for it. */
	ck_answer(fault(&v, 3), GUEST_DONE);
	ck_assert_uint_eq(stats(&v)->faults_served, 2);
	served_end(&v);
}
END_TEST

START_TEST(test_removed)
{
	struct guest *g;
	struct served v;

	open_two_regions(&v);
	g = &v.s.guest;
	/* From within the one, over what lies between, into the other. */
	guest_removed(g, addr(&v, 2), addr(&v, 6));
	ck_page(&v, 5, PAGE_ABSENT);
	ck_page(&v, 6, PAGE_REMOVED);
	ck_page(&v, 7, PAGE_REMOVED);
	ck_page(&v, 0, PAGE_REMOVED);
	ck_page(&v, 1, PAGE_ABSENT);
	ck_assert_uint_eq(stats(&v)->pages[PAGE_REMOVED], 3);
	guest_removed(g, addr(&v, 4), addr(&v, 5));
	guest_removed(g, addr(&v, 8), addr(&v, 9));
	ck_assert_uint_eq(stats(&v)->pages[PAGE_REMOVED], 3);
	served_end(&v);
}
END_TEST

/* The kernel removes a huge page whole or not at all. */
START_TEST(test_removed_huge)
{
	static const struct {
		uint64_t from, to;
		enum page_state state;
	} rows[] = {{0, PAGE_2M - PAGE_4K, PAGE_ABSENT},
		    {PAGE_4K, PAGE_2M, PAGE_ABSENT},
		    {0, PAGE_2M, PAGE_REMOVED}};
	struct served v;

	served_prepare_page(&v, PAGE_2M, 0);
	source_free(v.s.job.src);
	v.s.job.src = source_none(PAGE_2M);
	served_begin(&v);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		guest_removed(&v.s.guest, v.m.base + rows[i].from, v.m.base + rows[i].to);
		ck_page(&v, 0, rows[i].state);
	}
	served_end(&v);
}
END_TEST

/* ---- a thread waits ---- */

/* In memory that the VMM has replaced, a fault is the kernel's own. */
START_TEST(test_fault_left)
{
	const enum page_state before = _i ? PAGE_PRESENT : PAGE_ABSENT;
	struct touch t = {.page = 3, .value = 'x'};
	struct served v;

	served_open(&v, 0);
	if (before == PAGE_PRESENT)
		guest_mark(&v.s.guest, 3, 1, before);
	fault_on(&v, &t, 1);
	replace(&v, 3);
	ck_answer(fault(&v, 3), GUEST_DONE);
	touch_join(&t);
	ck_assert_int_eq(t.value, 0);
	ck_page(&v, 3, PAGE_REMOVED);
	ck_page(&v, 2, PAGE_ABSENT);
	ck_assert_uint_eq(stats(&v)->faults_left, 1);
	ck_assert_uint_eq(stats(&v)->faults_served, 0);
	served_end(&v);
}
END_TEST

START_TEST(test_fault_deferred)
{
	struct touch removal = {.body = touch_discard, .page = 6};
	struct served v;
	uint64_t done;
	struct err err;

	served_open(&v, UF_FEATURE_REMOVE);
	guest_mark(&v.s.guest, 1, 1, PAGE_REMOVED);
	removal.m = &v.m;
	touch_start(&removal);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	ck_answer(fault(&v, 3), GUEST_DEFER);
	ck_answer(fault(&v, 1), GUEST_DEFER);
	ck_assert_uint_eq(stats(&v)->faults_deferred, 2);
	ck_answer(guest_prefetch(&v.s.guest, 3, 2, &done, &err), GUEST_DEFER);
	ck_assert_uint_eq(done, 0);
	ck_assert_msg(stats(&v)->faults_deferred == 2, "nobody waits for prefetch");
	ck_page(&v, 3, PAGE_ABSENT);
	ck_page(&v, 1, PAGE_REMOVED);
	messages_read(&v.s.loop);
	touch_join(&removal);
	served_end(&v);
}
END_TEST

START_TEST(test_gone)
{
	struct served v;
	uint64_t done;
	struct err err;

	served_open_apart(&v, 0);
	guest_mark(&v.s.guest, 1, 1, PAGE_REMOVED);
	kill_apart(&v);
	ck_answer(fault(&v, 3), GUEST_GONE);
	ck_answer(fault(&v, 1), GUEST_GONE);
	ck_answer(guest_prefetch(&v.s.guest, 3, 2, &done, &err), GUEST_GONE);
	ck_answer(guest_poison(&v.s.guest, 3, &err), GUEST_GONE);
	ck_answer(guest_release(&v.s.guest, NULL, NULL), GUEST_GONE);
	ck_page(&v, 3, PAGE_ABSENT);
	ck_page(&v, 1, PAGE_REMOVED);
	served_end(&v);
}
END_TEST

START_TEST(test_source_fails)
{
	struct served v;
	uint64_t done;
	struct err err;

	served_open(&v, 0);
	ck_assert(!guest_source_changed(&v.s.guest, &err));
	change_layer(&v);
	ck_assert(guest_source_changed(&v.s.guest, &err));
	ck_assert_int_eq(err.code, ERR_SNAPSHOT);
	ck_answer(fault(&v, 3), GUEST_FAIL);
	ck_answer(guest_prefetch(&v.s.guest, 3, 1, &done, &err), GUEST_FAIL);
	ck_assert_uint_eq(done, 0);
	ck_page(&v, 3, PAGE_ABSENT);
	ck_assert_uint_eq(stats(&v)->source_errors, 2);
	ck_assert_uint_eq(stats(&v)->faults_served, 0);
	/* Zeros are not the layer's. */
	ck_answer(fault(&v, HOLE), GUEST_DONE);
	ck_page(&v, HOLE, PAGE_PRESENT);
	served_end(&v);
}
END_TEST

/* The kernel has other reasons to refuse; they are told with the page. */
START_TEST(test_refused)
{
	struct served v;
	struct err err;
	int uffd;

	served_open(&v, 0);
	uffd = v.s.guest.uffd;
	v.s.guest.uffd = memfd_create("no userfaultfd", MFD_CLOEXEC);
	ck_answer(guest_fault(&v.s.guest, 3, false, &err), GUEST_FAIL);
	ck_assert_int_eq(err.code, ERR_SYSTEM);
	ck_assert_msg(strstr(err.msg, "refuses to install page 3"), "%s", err.msg);
	ck_page(&v, 3, PAGE_ABSENT);
	close(v.s.guest.uffd);
	v.s.guest.uffd = uffd;
	served_end(&v);
}
END_TEST

/* Its end is what an installed page shows; until then it is not asked for too often. */
START_TEST(test_shortage)
{
	struct shortage *s;
	struct served v;

	served_open(&v, 0);
	s = &v.s.guest.shortage;
	*s = (struct shortage){now_us(), now_us(), 3600 * UINT64_C(1000000)};
	ck_answer(fault(&v, 3), GUEST_DEFER);
	ck_page(&v, 3, PAGE_ABSENT);
	ck_assert_uint_eq(v.s.guest.map.head->answered, 0);
	s->pause_us = 0;
	ck_answer(fault(&v, 3), GUEST_DONE);
	ck_assert_uint_eq(s->since_us, 0);
	ck_assert_uint_eq(v.s.guest.map.head->answered, 4);
	served_end(&v);
}
END_TEST

/* ---- nobody waits ---- */

static void put_there(struct served *v, uint64_t page)
{
	uint64_t done;

	ck_outcome(uffd_zero(v->m.uffd, addr(v, page), PAGE_4K, &done), UF_DONE);
}

static const struct {
	const char *name;
	int there, left; /* a page that is there, or left the userfaultfd; -1: none */
	uint64_t page, n, done;
	enum page_state first, last; /* of [page, page + done) */
} prefetched[] = {
	{"all of it", -1, -1, 0, 4, 4, PAGE_PRESENT, PAGE_PRESENT},
	{"there", 2, -1, 2, 3, 1, PAGE_PRESENT, PAGE_PRESENT},
	{"up to what is there", 2, -1, 0, 4, 2, PAGE_PRESENT, PAGE_PRESENT},
	{"left", -1, 2, 2, 1, 1, PAGE_REMOVED, PAGE_REMOVED},
	{"left, of several", -1, 2, 2, 3, 1, PAGE_REMOVED, PAGE_REMOVED},
	{"half of it left", -1, 2, 0, 4, 2, PAGE_PRESENT, PAGE_PRESENT},
	{"all but one left", -1, 1, 0, 4, 1, PAGE_PRESENT, PAGE_PRESENT},
};

START_TEST(test_prefetch)
{
	const uint64_t page = prefetched[_i].page, n = prefetched[_i].n;
	struct served v;
	uint64_t done;
	struct err err;

	served_open(&v, 0);
	if (prefetched[_i].there >= 0)
		put_there(&v, (uint64_t)prefetched[_i].there);
	if (prefetched[_i].left >= 0)
		unregister(&v, (uint64_t)prefetched[_i].left, 1);
	ck_answer(guest_prefetch(&v.s.guest, page, n, &done, &err), GUEST_DONE);
	ck_assert_msg(done == prefetched[_i].done, "%s: %ju pages", prefetched[_i].name, done);
	ck_page(&v, page, prefetched[_i].first);
	ck_page(&v, page + done - 1, prefetched[_i].last);
	ck_page(&v, page + done, PAGE_ABSENT);
	ck_assert_uint_eq(stats(&v)->faults_served, 0);
	ck_assert_uint_eq(stats(&v)->faults_present, 0);
	ck_assert_uint_eq(stats(&v)->faults_left, 0);
	served_end(&v);
}
END_TEST

/* A pool that is empty says the same as a page that is there. */
START_TEST(test_prefetch_short)
{
	struct served v;
	uint64_t done;
	struct err err;

	served_prepare_page(&v, PAGE_2M, 0);
	source_free(v.s.job.src);
	v.s.job.src = source_none(PAGE_2M);
	served_begin(&v);
	put_there(&v, 0);
	ck_answer(guest_prefetch(&v.s.guest, 0, 1, &done, &err), GUEST_SHORT);
	ck_page(&v, 0, PAGE_ABSENT);
	ck_assert_msg(v.s.guest.shortage.since_us == 0, "nobody waits");
	served_end(&v);
}
END_TEST

/* ---- what installed pages cost ---- */

START_TEST(test_paid)
{
	const bool tracked = _i;
	struct served v;
	struct err err;

	served_prepare(&v, 0);
	if (tracked)
		ck_assert_int_eq(uffd_register_tracked(v.m.uffd, v.m.base, v.m.len, &err), 0);
	served_begin(&v);
	ck_answer(fault(&v, 3), GUEST_DONE);
	ck_answer(fault(&v, 4), GUEST_DONE);
	ck_assert_uint_eq(guest_paid_bytes(&v.s.guest), 2 * PAGE_4K);
	ck_answer(fault(&v, HOLE), GUEST_DONE);
	ck_assert_uint_eq(guest_paid_bytes(&v.s.guest), (tracked ? 3 : 2) * PAGE_4K);
	served_end(&v);
}
END_TEST

START_TEST(test_paid_huge)
{
	struct served v;

	served_prepare_page(&v, PAGE_2M, 0);
	source_free(v.s.job.src);
	v.s.job.src = source_none(PAGE_2M);
	served_begin(&v);
	ck_answer(fault(&v, 0), GUEST_DONE);
	ck_assert_uint_eq(guest_paid_bytes(&v.s.guest), PAGE_2M);
	served_end(&v);
}
END_TEST

/* ---- the end ---- */

static void drain(void *arg)
{
	messages_read(arg);
}

static void begin_removal(struct served *v, struct touch *removal)
{
	*removal = (struct touch){.m = &v->m, .body = touch_discard, .page = 6};
	touch_start(removal);
	ck_assert(touch_readable(v->m.uffd, HARNESS_MS));
}

START_TEST(test_poison)
{
	struct touch removal;
	struct served v;
	uint64_t done;
	struct err err;

	if (!touch_have_poison())
		return;
	served_open(&v, UF_FEATURE_REMOVE);
	ck_answer(fault(&v, 2), GUEST_DONE);
	begin_removal(&v, &removal);
	ck_answer(guest_poison(&v.s.guest, 3, &err), GUEST_DEFER);
	ck_answer(guest_poison_absent(&v.s.guest, drain, &v.s.loop, &err), GUEST_DONE);
	touch_join(&removal);
	for (uint64_t page = 0; page < PAGES; page++) {
		bool absent = pagemap_get(&v.s.guest.map, page) == PAGE_ABSENT;
		enum uf_outcome o = uffd_poison(v.m.uffd, addr(&v, page), PAGE_4K, &done);

		/* What has its marker, or bytes, cannot get another; what was removed can. */
		ck_assert_msg((o == UF_EXISTS) == (absent || page == 2), "page %d: %s", (int)page,
			      uf_outcome_name(o));
	}
	served_end(&v);
}
END_TEST

START_TEST(test_release)
{
	struct touch waiting[] = {{.page = 1, .value = 'x'}, {.page = 2, .value = 'x'}}, removal;
	struct served v;

	served_prepare(&v, UF_FEATURE_REMOVE);
	v.s.regions = (struct regions){.page_bytes = PAGE_4K, .n = 2};
	v.s.regions.v[0] = (struct region){v.m.base, 4 * PAGE_4K, 0};
	v.s.regions.v[1] = (struct region){v.m.base + 4 * PAGE_4K, 4 * PAGE_4K, 4 * PAGE_4K};
	served_begin(&v);
	ck_answer(fault(&v, 3), GUEST_DONE);
	fault_on(&v, waiting, 2);
	/* Who waits for what was replaced is woken by nobody else. */
	replace(&v, 2);
	begin_removal(&v, &removal);
	ck_answer(guest_release(&v.s.guest, drain, &v.s.loop), GUEST_DONE);
	touch_join(&removal);
	for (size_t i = 0; i < ARRAY_LEN(waiting); i++) {
		touch_join(&waiting[i]);
		ck_assert_int_eq(waiting[i].value, 0);
	}
	/* The kernel supplies what is missing, in both: else this would hang. */
	ck_assert_int_eq(v.m.mem[0], 0);
	ck_assert_int_eq(v.m.mem[7 * PAGE_4K], 0);
	ck_assert_int_eq(v.m.mem[3 * PAGE_4K], 'd');
	ck_page(&v, 6, PAGE_REMOVED);
	served_end(&v);
}
END_TEST

START_TEST(test_wake_all)
{
	struct touch t[] = {{.page = 1}, {.page = 6}};
	struct served v;

	open_two_regions(&v);
	t[0].m = t[1].m = &v.m;
	fault_on(&v, t, 2);
	touch_await_faults(v.m.uffd, 0);
	guest_wake_all(&v.s.guest);
	touch_await_faults(v.m.uffd, 2);
	ck_outcome(touch_copy(&v.m, 0, PAGES), UF_DONE);
	touch_join(&t[0]);
	touch_join(&t[1]);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("guest");
	TCase *t = tcase_create("addresses");

	tcase_add_test(t, test_page_at);
	tcase_add_test(t, test_page_goes_to_its_region);
	tcase_add_test(t, test_removed);
	tcase_add_test(t, test_removed_huge);
	suite_add_tcase(s, t);
	t = tcase_create("answers");
	tcase_add_loop_test(t, test_fault_left, 0, 2);
	tcase_add_test(t, test_fault_deferred);
	tcase_add_test(t, test_gone);
	tcase_add_test(t, test_source_fails);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_shortage);
	tcase_add_loop_test(t, test_prefetch, 0, ARRAY_LEN(prefetched));
	tcase_add_test(t, test_prefetch_short);
	tcase_add_loop_test(t, test_paid, 0, 2);
	tcase_add_test(t, test_paid_huge);
	suite_add_tcase(s, t);
	t = tcase_create("end");
	tcase_add_test(t, test_poison);
	tcase_add_test(t, test_release);
	tcase_add_test(t, test_wake_all);
	suite_add_tcase(s, t);
	return s;
}
