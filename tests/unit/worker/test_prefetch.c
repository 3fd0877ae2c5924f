/*
 * Prefetch and the guest room against a real userfaultfd over our own memory: no
 * page is touched before it is installed, so nothing can hang.
 */
#include "tests/support/runner.h"
#include "tests/support/vmmside.h"
#include "worker/prefetch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/harness.h"
#include "tests/support/openkit.h"

#define PAGES 512
#define BYTES (PAGES * PAGE_4K)

struct fixture {
	char *dir;
	char path[128];
	int layer;
	char *memory;
	struct spec spec;
	struct spec_layer file;
	struct source *src;
	struct guest guest;
};

static struct fixture fx;

/* Page i holds i + 1 in every byte, but the second quarter is a hole. */
static void write_image(struct fixture *f)
{
	char page[PAGE_4K];

	snprintf(f->path, sizeof(f->path), "%s/memory", f->dir);
	f->layer = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(f->layer, 0);
	ck_assert_int_eq(ftruncate(f->layer, BYTES), 0);
	for (int i = 0; i < PAGES; i++) {
		if (i >= PAGES / 4 && i < PAGES / 2)
			continue;
		memset(page, i + 1, sizeof(page));
		ck_assert_int_eq(pwrite(f->layer, page, sizeof(page), i * (off_t)PAGE_4K), PAGE_4K);
	}
}

static void check_page(const char *memory, int i)
{
	bool hole = i >= PAGES / 4 && i < PAGES / 2;
	char want[PAGE_4K];

	memset(want, hole ? 0 : i + 1, sizeof(want));
	ck_assert_msg(memcmp(memory + i * PAGE_4K, want, sizeof(want)) == 0, "page %d", i);
}

static void setup(void)
{
	struct regions regions = {.page_bytes = PAGE_4K, .n = 1};
	struct pagemap map;
	struct err err;
	int uffd, map_fd;

	fx.dir = harness_tmpdir();
	write_image(&fx);
	fx.file.path = fx.path;
	fx.spec = (struct spec){.source = SOURCE_MEMORY, .layers = &fx.file, .nlayers = 1};
	ck_assert_msg(source_open(&fx.spec, &fx.src, &err) == 0, "%s", err.msg);
	fx.memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(fx.memory, MAP_FAILED);
	regions.v[0] = (struct region){(uintptr_t)fx.memory, BYTES, 0};
	ck_assert_msg(uffd_open(UF_FEATURE_REMOVE, &uffd, &err) == 0, "%s", err.msg);
	ck_assert(uffd_register(uffd, regions.v[0].base, BYTES, &err) == 0);
	map_fd = memfd_create("map", MFD_CLOEXEC);
	ck_assert_msg(pagemap_create(map_fd, BYTES, &map, &err) == 0, "%s", err.msg);
	close(map_fd);
	pagemap_connect(&map, &regions, 1, 1, 1);
	ck_assert(guest_init(&fx.guest, uffd, &map, fx.src, &err) == 0);
}

static void teardown(void)
{
	guest_fini(&fx.guest);
	munmap(fx.memory, BYTES);
	source_free(fx.src);
	close(fx.layer);
	harness_rmtree(fx.dir);
	free(fx.dir);
}

/* Steps until it is done; returns how many. */
static int run(struct prefetch *p)
{
	struct err err;
	int steps = 0;

	while (!p->done && !p->stopped && steps < 10 * PAGES) {
		ck_assert_int_ne(prefetch_step(p, &fx.guest, now_us(), &err), GUEST_FAIL);
		steps++;
	}
	return steps;
}

START_TEST(test_all_arrives)
{
	struct prefetch p;

	prefetch_init(&p, NULL, PREFETCH_ALL, 0, now_us());
	run(&p);
	ck_assert(p.done);
	ck_assert(pagemap_complete(&fx.guest.map));
	for (int i = 0; i < PAGES; i++)
		check_page(fx.memory, i);
	ck_assert_uint_eq(fx.guest.map.stats->installed_bytes, BYTES / 4 * 3);
	ck_assert_uint_eq(fx.guest.map.stats->zero_installed_bytes, BYTES / 4);
	ck_assert_uint_eq(fx.guest.map.stats->prefetch_bytes, BYTES);
}
END_TEST

START_TEST(test_removed_pages_are_left_alone)
{
	struct prefetch p;

	guest_removed(&fx.guest, (uintptr_t)fx.memory + 8 * PAGE_4K,
		      (uintptr_t)fx.memory + 20 * PAGE_4K);
	prefetch_init(&p, NULL, PREFETCH_ALL, 0, now_us());
	run(&p);
	ck_assert(p.done);
	ck_assert_uint_eq(fx.guest.map.stats->pages[PAGE_REMOVED], 12);
	ck_assert_uint_eq(fx.guest.map.stats->pages[PAGE_PRESENT], PAGES - 12);
	ck_assert(pagemap_complete(&fx.guest.map));
}
END_TEST

/* After a takeover the map lags behind the kernel: what is there stays what it is. */
START_TEST(test_present_pages_are_recorded_not_replaced)
{
	struct prefetch p;
	uint64_t done;

	ck_assert_int_eq(uffd_zero(fx.guest.uffd, (uintptr_t)fx.memory + 5 * PAGE_4K, PAGE_4K,
				   &done),
			 UF_DONE);
	memset(fx.memory + 5 * PAGE_4K, 0x5a, PAGE_4K);
	prefetch_init(&p, NULL, PREFETCH_ALL, 0, now_us());
	run(&p);
	ck_assert(p.done);
	ck_assert_int_eq(pagemap_get(&fx.guest.map, 5), PAGE_PRESENT);
	ck_assert_int_eq(fx.memory[5 * PAGE_4K], 0x5a);
	check_page(fx.memory, 4);
	check_page(fx.memory, 6);
}
END_TEST

START_TEST(test_steps_grow_when_quiet_and_shrink_on_faults)
{
	struct prefetch p;
	struct err err;

	prefetch_init(&p, NULL, PREFETCH_ALL, 0, now_us());
	ck_assert_uint_eq(p.step_bytes, PREFETCH_STEP_MIN);
	prefetch_step(&p, &fx.guest, now_us(), &err);
	ck_assert_uint_le(fx.guest.map.stats->installed_bytes, PREFETCH_STEP_MIN);
	ck_assert_uint_ge(fx.guest.map.stats->prefetch_bytes, PREFETCH_STEP_MIN / 2);
	for (int i = 0; i < 6; i++)
		prefetch_step(&p, &fx.guest, now_us(), &err);
	ck_assert_uint_eq(p.step_bytes, PREFETCH_STEP_MAX);
	prefetch_yield(&p, now_us());
	ck_assert_uint_eq(p.step_bytes, PREFETCH_STEP_MIN);
}
END_TEST

/* Time is an argument: a rate is kept without waiting for it. */
START_TEST(test_rate_is_kept)
{
	const uint64_t rate = 1 << 20;
	struct prefetch p;
	struct err err;
	uint64_t now = now_us(), start = now;

	prefetch_init(&p, NULL, PREFETCH_ALL, rate, now);
	for (int i = 0; i < 10000 && !p.done; i++) {
		uint64_t wait = prefetch_wait_us(&p, now);

		if (wait == 0)
			prefetch_step(&p, &fx.guest, now, &err);
		else if (wait != UINT64_MAX)
			now += wait;
	}
	ck_assert(p.done);
	/* 1.5 MiB of data at 1 MiB/s; the last step need not be earned in full. */
	ck_assert_uint_ge(now - start, 1000000);
	ck_assert_uint_le(now - start, 1600000);
}
END_TEST

START_TEST(test_held_never_steps)
{
	struct prefetch p;

	prefetch_init(&p, NULL, PREFETCH_ALL, 0, 0);
	prefetch_set(&p, PREFETCH_ALL, true, 0, 0);
	ck_assert_uint_eq(prefetch_wait_us(&p, 1), UINT64_MAX);
	prefetch_set(&p, PREFETCH_ALL, false, 0, 0);
	ck_assert_uint_eq(prefetch_wait_us(&p, 1), 0);
	prefetch_set(&p, PREFETCH_NONE, false, 0, 0);
	ck_assert_uint_eq(prefetch_wait_us(&p, 1), UINT64_MAX);
}
END_TEST

START_TEST(test_left_ranges_count_as_given_back)
{
	struct prefetch p;

	ck_assert_int_eq(uffd_unregister(fx.guest.uffd, (uintptr_t)fx.memory + 100 * PAGE_4K,
					 10 * PAGE_4K),
			 UF_DONE);
	prefetch_init(&p, NULL, PREFETCH_ALL, 0, now_us());
	run(&p);
	ck_assert(p.done);
	ck_assert_uint_eq(fx.guest.map.stats->pages[PAGE_REMOVED], 10);
	check_page(fx.memory, 99);
	check_page(fx.memory, 110);
}
END_TEST

/* ---- zero pages that are left to the guest ---- */

#define ZEROS (PAGES / 4)

START_TEST(test_zeros_are_left)
{
	const struct pagemap_stats *stats = fx.guest.map.stats;
	struct prefetch p;

	guest_leave_zeros(&fx.guest);
	ck_assert_uint_eq(fx.guest.map.absent_zeros, ZEROS);
	ck_assert(!pagemap_complete(&fx.guest.map));
	prefetch_init(&p, NULL, PREFETCH_ALL, 0, now_us());
	run(&p);
	ck_assert(p.done);
	ck_assert_uint_eq(stats->pages[PAGE_ABSENT], ZEROS);
	ck_assert_uint_eq(stats->zero_installed_bytes, 0);
	ck_assert_uint_eq(stats->installed_bytes, BYTES - ZEROS * PAGE_4K);
	ck_assert(pagemap_complete(&fx.guest.map));
}
END_TEST

/* Whatever becomes of a page, it is complete when the last one with data is no longer absent. */
START_TEST(test_zeros_are_counted)
{
	const uint64_t first = PAGES / 4;
	struct err err;

	guest_leave_zeros(&fx.guest);
	ck_assert(guest_leaves(&fx.guest, first) && !guest_leaves(&fx.guest, first - 1));
	ck_assert_int_eq(guest_fault(&fx.guest, first, false, &err), GUEST_DONE);
	check_page(fx.memory, (int)first);
	ck_assert_uint_eq(fx.guest.map.absent_zeros, ZEROS - 1);
	ck_assert(!guest_leaves(&fx.guest, first));
	/* Four of data, and four zero ones; then once more. */
	for (int i = 0; i < 2; i++)
		guest_removed(&fx.guest, (uintptr_t)fx.memory + (PAGES / 2 - 4) * PAGE_4K,
			      (uintptr_t)fx.memory + (PAGES / 2 + 4) * PAGE_4K);
	ck_assert_uint_eq(fx.guest.map.absent_zeros, ZEROS - 5);
	/* The zero one is absent no longer, so it was given back. */
	ck_assert_int_eq(guest_fault(&fx.guest, PAGES / 2 - 1, false, &err), GUEST_DONE);
	for (uint64_t i = 0; i < PAGES; i++) {
		bool whole = pagemap_complete(&fx.guest.map);

		ck_assert_msg(whole == (i > PAGES - 1), "complete at page %ju", (uintmax_t)i);
		if (i < first || i >= PAGES / 2)
			guest_fault(&fx.guest, i, false, &err);
	}
	ck_assert(pagemap_complete(&fx.guest.map));
	/* A successor counts the same. */
	guest_leave_zeros(&fx.guest);
	ck_assert_uint_eq(fx.guest.map.absent_zeros, ZEROS - 5);
	ck_assert(pagemap_complete(&fx.guest.map));
}
END_TEST

static void drain_nothing(void *arg)
{
	(void)arg;
}

/* Nobody serves it any more, and every byte is right. */
START_TEST(test_released_with_zeros_left)
{
	struct prefetch p;

	guest_leave_zeros(&fx.guest);
	prefetch_init(&p, NULL, PREFETCH_ALL, 0, now_us());
	run(&p);
	ck_assert(pagemap_complete(&fx.guest.map));
	ck_assert_int_eq(guest_release(&fx.guest, drain_nothing, NULL), GUEST_DONE);
	for (int i = 0; i < PAGES; i++)
		check_page(fx.memory, i);
}
END_TEST

/* ---- room ---- */

/* Until it is done or limited. */
static void run_limited(struct prefetch *p, uint64_t now)
{
	struct err err;

	for (int i = 0; i < 10 * PAGES && prefetch_wants(p) && !prefetch_limited(p); i++)
		ck_assert_int_ne(prefetch_step(p, &fx.guest, now, &err), GUEST_FAIL);
}

START_TEST(test_resident_bound)
{
	const struct pagemap *map = &fx.guest.map;
	uint64_t now = now_us();
	struct prefetch p;
	struct err err;

	prefetch_init(&p, NULL, PREFETCH_ALL, 0, now);
	room_bound(&p.room, 100 * PAGE_4K + 1);
	ck_assert_int_eq(guest_fault(&fx.guest, PAGES - 1, false, &err), GUEST_DONE);
	run_limited(&p, now);
	ck_assert(prefetch_limited(&p) && p.room.limit == LIMIT_RESIDENT);
	ck_assert_uint_eq(pagemap_resident(map), 100);
	ck_assert_uint_gt(prefetch_wait_us(&p, now), 0);
	/* Demand goes beyond it; prefetch then has still less room. */
	for (uint64_t i = 200; i < 210; i++)
		ck_assert_int_eq(guest_fault(&fx.guest, i, false, &err), GUEST_DONE);
	ck_assert_uint_eq(pagemap_resident(map), 110);
	prefetch_look(&p, &fx.guest, now + ROOM_PAUSE_MAX_US);
	ck_assert(prefetch_limited(&p));
	/* What it gives back may be used for others. */
	guest_removed(&fx.guest, (uintptr_t)fx.memory, (uintptr_t)fx.memory + 20 * PAGE_4K);
	prefetch_look(&p, &fx.guest, now + 2 * ROOM_PAUSE_MAX_US);
	ck_assert(!prefetch_limited(&p));
	run_limited(&p, now + 2 * ROOM_PAUSE_MAX_US);
	ck_assert_uint_eq(pagemap_resident(map), 100);
	room_bound(&p.room, 0);
	run_limited(&p, now + 2 * ROOM_PAUSE_MAX_US);
	ck_assert(p.done && pagemap_complete(map));
}
END_TEST

/* Without room nothing is installed; a change of its rate does not make any. */
START_TEST(test_limit_holds)
{
	const uint64_t now = now_us();
	struct prefetch p;
	struct err err;

	prefetch_init(&p, NULL, PREFETCH_ALL, 0, now);
	room_close(&p.room, LIMIT_POOL, now + 5000);
	prefetch_set(&p, PREFETCH_ALL, false, 1 << 30, now - 1000000);
	ck_assert(prefetch_limited(&p));
	ck_assert_uint_eq(prefetch_wait_us(&p, now), 5000);
	ck_assert_int_eq(prefetch_step(&p, &fx.guest, now + 4999, &err), GUEST_DONE);
	ck_assert_uint_eq(fx.guest.map.stats->prefetch_bytes, 0);
	ck_assert_int_eq(prefetch_step(&p, &fx.guest, now + 5000, &err), GUEST_DONE);
	ck_assert(!prefetch_limited(&p));
	ck_assert_uint_gt(fx.guest.map.stats->prefetch_bytes, 0);
}
END_TEST

START_TEST(test_changed_layer_fails_the_restore)
{
	struct prefetch p;
	struct err err;

	ck_assert_int_eq(ftruncate(fx.layer, BYTES / 2), 0);
	prefetch_init(&p, NULL, PREFETCH_ALL, 0, now_us());
	ck_assert_int_eq(prefetch_step(&p, &fx.guest, now_us(), &err), GUEST_FAIL);
	ck_assert_ptr_nonnull(strstr(err.msg, fx.path));
	ck_assert_uint_eq(fx.guest.map.stats->installed_bytes, 0);
}
END_TEST

/* One row per state of the table in common/pagemap.h, and what the kernel has there. */
START_TEST(test_fault_by_state)
{
	static const struct {
		const char *name;
		enum page_state before, after;
		bool there; /* something is installed already */
		char want;  /* the page's first byte afterwards */
	} rows[] = {
		{"absent", PAGE_ABSENT, PAGE_PRESENT, false, 4},
		{"absent, but there", PAGE_ABSENT, PAGE_PRESENT, true, 0x5a},
		{"present, but missing", PAGE_PRESENT, PAGE_ZEROED, false, 0},
		{"present", PAGE_PRESENT, PAGE_PRESENT, true, 0x5a},
		{"removed", PAGE_REMOVED, PAGE_ZEROED, false, 0},
		{"removed, not zapped yet", PAGE_REMOVED, PAGE_REMOVED, true, 0x5a},
		{"zeroed, but missing", PAGE_ZEROED, PAGE_ZEROED, false, 0},
		{"zeroed", PAGE_ZEROED, PAGE_ZEROED, true, 0x5a},
	};
	const uint64_t page = 3;
	char *at = fx.memory + page * PAGE_4K;
	struct err err;
	uint64_t done;

	if (rows[_i].there) {
		uffd_zero(fx.guest.uffd, (uintptr_t)at, PAGE_4K, &done);
		*at = 0x5a;
	}
	pagemap_set(&fx.guest.map, page, 1, rows[_i].before);
	ck_assert_msg(guest_fault(&fx.guest, page, false, &err) == GUEST_DONE, "%s", rows[_i].name);
	ck_assert_msg(pagemap_get(&fx.guest.map, page) == rows[_i].after, "%s", rows[_i].name);
	ck_assert_msg(*at == rows[_i].want, "%s: %d", rows[_i].name, *at);
	ck_assert_uint_eq(fx.guest.map.stats->faults_present, rows[_i].there);
}
END_TEST

START_TEST(test_poison_absent)
{
	struct err err;

	for (uint64_t i = 0; i < 4; i++)
		ck_assert_int_eq(guest_fault(&fx.guest, i, false, &err), GUEST_DONE);
	ck_assert_int_eq(guest_poison_absent(&fx.guest, NULL, NULL, &err), GUEST_DONE);
	check_page(fx.memory, 3);
	/* A sanitizer's handler would turn it into an exit. */
	signal(SIGBUS, SIG_DFL);
	*(volatile char *)(fx.memory + 4 * PAGE_4K);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("prefetch");
	TCase *t = tcase_create("steps");
	struct err err;
	int fd;

	if (uffd_open(0, &fd, &err)) {
		printf("1..0 # SKIP %s\n", err.msg);
		return NULL;
	}
	close(fd);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_all_arrives);
	tcase_add_test(t, test_removed_pages_are_left_alone);
	tcase_add_test(t, test_present_pages_are_recorded_not_replaced);
	tcase_add_test(t, test_steps_grow_when_quiet_and_shrink_on_faults);
	tcase_add_test(t, test_rate_is_kept);
	tcase_add_test(t, test_held_never_steps);
	tcase_add_test(t, test_left_ranges_count_as_given_back);
	tcase_add_test(t, test_zeros_are_left);
	tcase_add_test(t, test_zeros_are_counted);
	tcase_add_test(t, test_released_with_zeros_left);
	tcase_add_test(t, test_resident_bound);
	tcase_add_test(t, test_limit_holds);
	tcase_add_test(t, test_changed_layer_fails_the_restore);
	tcase_add_loop_test(t, test_fault_by_state, 0, 8);
	tcase_add_test_raise_signal(t, test_poison_absent, SIGBUS);
	suite_add_tcase(s, t);
	return s;
}
