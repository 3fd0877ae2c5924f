/* test_messages - what a real userfaultfd delivers, and what becomes of each message */
#include "worker/messages.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "tests/support/fds.h"
#include "tests/support/servekit.h"

#define CROWD (UF_READ_MAX + 40) /* more than are read at once */

static void check_set(const struct served *v, const uint64_t *pages, size_t n)
{
	const struct fault_set *f = &v->s.loop.faults;

	ck_assert_uint_eq(f->n, n);
	for (size_t i = 0; i < n; i++)
		ck_assert_uint_eq(f->v[i].page, pages[i]);
}

/* A thread that does something to memory, and is done once that was read. */
static void change(struct served *v, void (*body)(struct touch *t), size_t page)
{
	struct touch t = {.m = &v->m, .body = body, .page = page};

	touch_start(&t);
	ck_assert(touch_readable(v->m.uffd, HARNESS_MS));
	messages_read(&v->s.loop);
	touch_join(&t);
	if (body == touch_fork)
		ck_assert_int_eq(waitpid(t.child, NULL, 0), t.child);
}

/* ---- faults ---- */

START_TEST(test_faults)
{
	static const uint64_t pages[] = {1, 4, 6};
	struct touch t[] = {{.page = 6}, {.page = 1}, {.page = 6}, {.page = 4}};
	struct served v;

	served_open(&v, 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		t[i].m = &v.m;
		t[i].body = i == 3 ? touch_store : touch_load;
		touch_start(&t[i]);
	}
	touch_await_faults(v.m.uffd, ARRAY_LEN(t));
	messages_read(&v.s.loop);
	check_set(&v, pages, ARRAY_LEN(pages));
	ck_assert_uint_eq(stats(&v)->faults, 4);
	ck_assert_uint_eq(stats(&v)->faults_written, 1);
	ck_assert(inbox_is_empty(&v));
	/* They are only noted. */
	ck_page(&v, 6, PAGE_ABSENT);
	check_waits(&t[0]);
	ck_outcome(touch_copy(&v.m, 0, PAGES), UF_DONE);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		touch_join(&t[i]);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

START_TEST(test_nothing)
{
	struct served v;

	served_open(&v, 0);
	messages_read(&v.s.loop);
	ck_assert_uint_eq(stats(&v)->faults, 0);
	ck_assert(!v.s.loop.failure.on);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* Until the queue is empty, not only as many as fit into one read. */
START_TEST(test_crowd)
{
	static struct touch t[CROWD];
	struct served v;

	served_open(&v, 0);
	for (size_t i = 0; i < CROWD; i++) {
		t[i] = (struct touch){.m = &v.m, .body = touch_load, .page = 3};
		touch_start(&t[i]);
	}
	touch_await_faults(v.m.uffd, CROWD);
	messages_read(&v.s.loop);
	ck_assert_uint_eq(stats(&v)->faults, CROWD);
	ck_assert_uint_eq(v.s.loop.faults.n, 1);
	touch_await_faults(v.m.uffd, 0);
	ck_outcome(touch_copy(&v.m, 3, 1), UF_DONE);
	for (size_t i = 0; i < CROWD; i++)
		touch_join(&t[i]);
	served_end(&v);
}
END_TEST

/* What does not fit is not forgotten. */
START_TEST(test_overflow)
{
	struct touch t[] = {{.page = 3}, {.page = 3}};
	struct served v;
	struct fault_set *f = &v.s.loop.faults;

	served_open(&v, 0);
	for (uint64_t page = PAGES; f->n < FAULTS_MAX - 1; page++)
		fault_set_add(f, page);
	fault_on(&v, &t[0], 1);
	ck_assert_uint_eq(f->n, FAULTS_MAX);
	fault_on(&v, &t[1], 1);
	ck_assert_msg(!f->overflow, "it is in the set already");
	f->v[0].page = 2;
	t[1].page = 5;
	ck_outcome(touch_copy(&v.m, 3, 1), UF_DONE);
	touch_join(&t[0]);
	touch_join(&t[1]);
	fault_on(&v, &t[1], 1);
	ck_assert(f->overflow);
	ck_assert_uint_eq(f->n, FAULTS_MAX);
	ck_assert_uint_eq(stats(&v)->faults, 3);
	ck_outcome(touch_copy(&v.m, 5, 1), UF_DONE);
	touch_join(&t[1]);
	served_end(&v);
}
END_TEST

/* What is registered and was not told of. */
START_TEST(test_in_no_region)
{
	struct touch t = {.page = 7};
	struct served v;

	served_prepare(&v, 0);
	v.s.regions = (struct regions){.page_bytes = PAGE_4K, .n = 1};
	v.s.regions.v[0] = (struct region){v.m.base, 6 * PAGE_4K, 0};
	served_begin(&v);
	fault_on(&v, &t, 1);
	ck_assert_uint_eq(v.s.loop.faults.n, 0);
	ck_assert_uint_eq(stats(&v)->faults, 1);
	check_failed(&v, "in no region of the handshake");
	ck_outcome(touch_copy(&v.m, 7, 1), UF_DONE);
	touch_join(&t);
	served_end(&v);
}
END_TEST

/* The page is there; the VMM has it watched, and is served by nobody else. */
START_TEST(test_write_protected)
{
	struct touch t = {.page = 3, .value = 'x'};
	struct served v;
	struct err err;
	uint64_t done;

	served_prepare(&v, 0);
	ck_assert_msg(uffd_register_tracked(v.m.uffd, v.m.base, v.m.len, &err) == 0, "%s", err.msg);
	served_begin(&v);
	ck_outcome(uffd_copy_protected(v.m.uffd, v.m.base, v.m.src, v.m.len, &done), UF_DONE);
	t.m = &v.m;
	t.body = touch_store;
	touch_start(&t);
	touch_await_faults(v.m.uffd, 1);
	messages_read(&v.s.loop);
	touch_join(&t);
	ck_assert_int_eq(v.m.mem[3 * PAGE_4K], 'x');
	ck_assert_uint_eq(v.s.loop.faults.n, 0);
	ck_assert_uint_eq(stats(&v)->faults, 0);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* Shared memory, in the page cache already: of that only the VMM knows what it is to be. */
START_TEST(test_minor)
{
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MINOR};
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct touch t = {.page = 3};
	struct served v;

	served_prepare(&v, 0);
	write_layer(fd);
	ck_assert_ptr_eq(mmap(v.m.mem, v.m.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			      0),
			 v.m.mem);
	close(fd);
	reg.range = (struct uffdio_range){v.m.base, v.m.len};
	ck_assert_int_eq(ioctl(v.m.uffd, UFFDIO_REGISTER, &reg), 0);
	served_begin(&v);
	fault_on(&v, &t, 1);
	ck_assert_uint_eq(v.s.loop.faults.n, 0);
	check_failed(&v, "a minor fault at");
	ck_outcome(uffd_continue(v.m.uffd, v.m.base + 3 * PAGE_4K, PAGE_4K), UF_DONE);
	touch_join(&t);
	ck_assert_int_eq(t.value, 'd');
	served_end(&v);
}
END_TEST

/* Prefetch waits a moment for the next fault, and for nothing else. */
START_TEST(test_prefetch_yields)
{
	struct touch t = {.page = 3};
	struct served v;

	served_prepare(&v, UF_FEATURE_REMOVE);
	v.s.job.spec.prefetch = PREFETCH_ALL;
	served_begin(&v);
	change(&v, touch_discard, 6);
	ck_assert_uint_eq(v.s.loop.prefetch.quiet_us, 0);
	v.s.loop.prefetch.held = true;
	fault_on(&v, &t, 1);
	ck_assert_uint_eq(v.s.loop.prefetch.quiet_us, 0);
	ck_outcome(touch_copy(&v.m, 3, 1), UF_DONE);
	touch_join(&t);
	v.s.loop.prefetch.held = false;
	t.page = 4;
	fault_on(&v, &t, 1);
	ck_assert_uint_gt(v.s.loop.prefetch.quiet_us, 0);
	ck_outcome(touch_copy(&v.m, 4, 1), UF_DONE);
	touch_join(&t);
	served_end(&v);
}
END_TEST

/* ---- events ---- */

START_TEST(test_remove)
{
	struct served v;

	served_open(&v, UF_FEATURE_REMOVE);
	guest_mark(&v.s.guest, 3, 1, PAGE_PRESENT);
	change(&v, touch_discard, 3);
	ck_page(&v, 2, PAGE_ABSENT);
	ck_page(&v, 3, PAGE_REMOVED);
	ck_page(&v, 4, PAGE_REMOVED);
	ck_page(&v, 5, PAGE_ABSENT);
	ck_assert_uint_eq(stats(&v)->events_remove, 1);
	ck_assert_uint_eq(stats(&v)->events_unmap, 0);
	ck_assert_uint_eq(stats(&v)->pages[PAGE_REMOVED], 2);
	ck_assert(inbox_is_empty(&v));
	ck_assert_uint_eq(v.s.loop.faults.n, 0);
	served_end(&v);
}
END_TEST

/* The kernel delivers faults first, whatever came first: none is answered before the removal. */
START_TEST(test_remove_behind_fault)
{
	struct touch removal = {.body = touch_discard, .page = 3}, t = {.page = 3};
	struct served v;

	served_open(&v, UF_FEATURE_REMOVE);
	removal.m = &v.m;
	touch_start(&removal);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	fault_on(&v, &t, 1);
	touch_join(&removal);
	ck_page(&v, 3, PAGE_REMOVED);
	ck_assert_uint_eq(v.s.loop.faults.n, 1);
	ck_outcome(touch_copy(&v.m, 3, 1), UF_DONE);
	touch_join(&t);
	served_end(&v);
}
END_TEST

START_TEST(test_unmap)
{
	struct served v;

	served_open(&v, UF_FEATURE_UNMAP);
	change(&v, touch_unmap, 3);
	ck_page(&v, 3, PAGE_REMOVED);
	ck_page(&v, 4, PAGE_REMOVED);
	ck_page(&v, 5, PAGE_ABSENT);
	ck_assert_uint_eq(stats(&v)->events_unmap, 1);
	ck_assert_uint_eq(stats(&v)->events_remove, 0);
	served_end(&v);
}
END_TEST

/* The same pages, at other addresses. */
START_TEST(test_remap)
{
	static const uint64_t pages[] = {1};
	struct touch t = {.page = 6};
	struct served v;

	served_open(&v, UF_FEATURE_REMAP);
	change(&v, touch_remap, 1);
	ck_assert_uint_eq(stats(&v)->events_remap, 1);
	ck_assert(!v.s.loop.failure.on);
	fault_on(&v, &t, 1);
	check_set(&v, pages, 1);
	ck_outcome(touch_copy(&v.m, 6, 1), UF_DONE);
	touch_join(&t);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* Guest memory in more pieces than can be noted cannot be served right. */
START_TEST(test_remap_into_too_many)
{
	struct served v;
	struct regions *r;

	served_open(&v, UF_FEATURE_REMAP);
	r = v.s.guest.map.regions;
	for (; r->n < REGIONS_MAX; r->n++)
		r->v[r->n] = (struct region){v.m.base + v.m.len + r->n * PAGE_2M, PAGE_4K,
					     r->n * PAGE_2M};
	change(&v, touch_remap, 1);
	check_failed(&v, "splits guest memory into");
	/* As it was, and as much as there is room for. */
	ck_assert_uint_eq(r->n, REGIONS_MAX);
	r->n = 1;
	served_end(&v);
}
END_TEST

/* The child's memory is nobody's to serve; it is told once. */
START_TEST(test_fork)
{
	struct chan_msg msg;
	struct served v;
	int fds;

	served_open(&v, UF_FEATURE_FORK);
	fds = fds_count(getpid());
	change(&v, touch_fork, 0);
	must_hear(v.s.sup, CHAN_NOTE, &msg);
	ck_assert_int_eq(chan_note_kind(msg.note.type), CHAN_NOTE_FORKED);
	change(&v, touch_fork, 0);
	must_hear_nothing(v.s.sup);
	ck_assert_uint_eq(stats(&v)->events_fork, 2);
	ck_assert_int_eq(fds_count(getpid()), fds);
	ck_assert(!v.s.loop.failure.on);
	served_end(&v);
}
END_TEST

/* A descriptor that cannot be read is told of once, and not waited for any more. */
START_TEST(test_unreadable)
{
	struct served v;
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	served_open(&v, 0);
	ck_assert_int_ge(dup3(fd, v.s.guest.uffd, O_CLOEXEC), 0);
	close(fd);
	messages_read(&v.s.loop);
	check_failed(&v, "reading the userfaultfd");
	ck_assert_int_eq(v.s.loop.wakes.wait.fds[WAKES_UFFD], -1);
	messages_read(&v.s.loop);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* A removal sleeps until it is read: whoever waits for that reads. */
START_TEST(test_drain)
{
	struct touch removal = {.body = touch_discard, .page = 3};
	struct served v;

	served_open(&v, UF_FEATURE_REMOVE);
	messages_drain(&v.s.loop);
	removal.m = &v.m;
	touch_start(&removal);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	messages_drain(&v.s.loop);
	touch_join(&removal);
	ck_page(&v, 3, PAGE_REMOVED);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("messages");
	TCase *t = tcase_create("faults");

	tcase_add_test(t, test_faults);
	tcase_add_test(t, test_nothing);
	tcase_add_test(t, test_crowd);
	tcase_add_test(t, test_overflow);
	tcase_add_test(t, test_in_no_region);
	tcase_add_test(t, test_write_protected);
	tcase_add_test(t, test_minor);
	tcase_add_test(t, test_prefetch_yields);
	suite_add_tcase(s, t);
	t = tcase_create("events");
	tcase_add_test(t, test_remove);
	tcase_add_test(t, test_remove_behind_fault);
	tcase_add_test(t, test_unmap);
	tcase_add_test(t, test_remap);
	tcase_add_test(t, test_remap_into_too_many);
	tcase_add_test(t, test_fork);
	tcase_add_test(t, test_unreadable);
	tcase_add_test(t, test_drain);
	suite_add_tcase(s, t);
	return s;
}
