/* test_room - how much prefetch may take; times and readings are arguments */
#include "worker/room.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/runner.h"

#define MIB ((uint64_t)1 << 20)
#define MS ((uint64_t)1000)
#define MUCH UINT64_MAX

/* A reading at some time, and what comes of it. */
static const struct look {
	const char *what;
	uint64_t at_ms;
	uint64_t shared, own; /* bytes */
	enum pagemap_limit limit;
	uint64_t left;    /* of an open one */
	uint64_t wait_ms; /* of a limited one */
} course[] = {
	{"nothing limits", 0, MUCH, MUCH, LIMIT_NONE, MUCH / 32, 0},
	{"a part of much", 100, 640 * MIB, MUCH, LIMIT_NONE, 20 * MIB, 0},
	{"a step of little", 200, 20 * MIB, MUCH, LIMIT_NONE, MIB, 0},
	{"just a step", 300, MIB, MUCH, LIMIT_NONE, MIB, 0},
	{"less than a step", 400, MIB - 1, MUCH, LIMIT_MEMORY, 0, 20},
	{"still", 420, 0, MUCH, LIMIT_MEMORY, 0, 40},
	{"not enough to go on", 460, 4 * MIB - 1, MUCH, LIMIT_MEMORY, 0, 80},
	{"it grows", 540, 0, MUCH, LIMIT_MEMORY, 0, 160},
	{"and grows", 700, 0, MUCH, LIMIT_MEMORY, 0, 320},
	{"and grows more", 1020, 0, MUCH, LIMIT_MEMORY, 0, 640},
	{"to a second", 1660, 0, MUCH, LIMIT_MEMORY, 0, 1000},
	{"not longer", 2660, 0, MUCH, LIMIT_MEMORY, 0, 1000},
	{"enough to go on", 3660, 4 * MIB, MUCH, LIMIT_NONE, MIB, 0},
	{"short again at once", 3661, 0, MUCH, LIMIT_MEMORY, 0, 20},
	{"by wish, to the last page", 3681, MUCH, 4096, LIMIT_NONE, 4096, 0},
	{"by wish, less than a page", 3700, MUCH, 4095, LIMIT_RESIDENT, 0, 20},
	{"one page again", 3720, MUCH, 4096, LIMIT_NONE, 4096, 0},
	{"both are short", 3800, 0, 0, LIMIT_RESIDENT, 0, 20},
	{"the other one still", 3820, 0, MUCH, LIMIT_MEMORY, 0, 40},
};

START_TEST(looks)
{
	struct room r = {0};

	for (size_t i = 0; i < ARRAY_LEN(course); i++) {
		const struct look *l = &course[i];
		const struct room_reading reading = {l->shared, LIMIT_MEMORY, l->own};
		uint64_t now = (l->at_ms + 1000) * MS, end = now + l->wait_ms * MS;

		ck_assert_msg(room_wait_us(&r, now) == 0, "%s: before its time", l->what);
		room_look(&r, &reading, PAGE_4K, now);
		ck_assert_msg(r.limit == l->limit, "%s: limit %d", l->what, r.limit);
		ck_assert_msg(r.left_bytes == l->left, "%s: %ju bytes", l->what, r.left_bytes);
		ck_assert_msg(room_wait_us(&r, now) == l->wait_ms * MS, "%s: %ju us", l->what,
			      room_wait_us(&r, now));
		if (r.limit == LIMIT_NONE)
			continue;
		ck_assert_msg(!room_allows(&r, PAGE_4K), "%s: allows", l->what);
		ck_assert_msg(!room_due(&r, PAGE_4K, end - 1) && room_due(&r, PAGE_4K, end),
			      "%s: due", l->what);
	}
}
END_TEST

/* Others take of it, too: after so much, or so long. */
START_TEST(looks_again)
{
	const struct room_reading reading = {64 * MIB, LIMIT_POOL, MUCH};
	struct room r = {0};
	const uint64_t now = 5000 * MS;

	ck_assert(room_due(&r, PAGE_4K, now));
	room_look(&r, &reading, PAGE_4K, now);
	ck_assert(!room_due(&r, PAGE_4K, now) && !room_due(&r, PAGE_4K, now + 100 * MS - 1));
	ck_assert(room_due(&r, PAGE_4K, now + 100 * MS));
	room_take(&r, 2 * MIB - PAGE_4K);
	ck_assert(room_allows(&r, PAGE_4K) && !room_due(&r, PAGE_4K, now));
	room_take(&r, 1);
	ck_assert(!room_allows(&r, PAGE_4K) && room_due(&r, PAGE_4K, now));
	room_take(&r, MUCH);
	ck_assert_uint_eq(r.left_bytes, 0);
}
END_TEST

/* A step is at least a page, and it goes on with four. */
START_TEST(huge_pages)
{
	struct room_reading reading = {PAGE_2M, LIMIT_POOL, MUCH};
	struct room r = {0};

	room_look(&r, &reading, PAGE_2M, 1000 * MS);
	ck_assert_uint_eq(r.left_bytes, PAGE_2M);
	reading.shared_bytes--;
	room_look(&r, &reading, PAGE_2M, 1000 * MS);
	ck_assert_int_eq(r.limit, LIMIT_POOL);
	reading.shared_bytes = 4 * PAGE_2M - 1;
	room_look(&r, &reading, PAGE_2M, 2000 * MS);
	ck_assert_int_eq(r.limit, LIMIT_POOL);
	reading.shared_bytes = 4 * PAGE_2M;
	room_look(&r, &reading, PAGE_2M, 3000 * MS);
	ck_assert_int_eq(r.limit, LIMIT_NONE);
}
END_TEST

/* By whoever found out otherwise; another wish begins anew. */
START_TEST(closed)
{
	const struct room_reading none = {0, LIMIT_MEMORY, MUCH};
	struct room r = {0};

	room_close(&r, LIMIT_POOL, 7000 * MS);
	ck_assert_uint_eq(room_wait_us(&r, 6000 * MS), 1000 * MS);
	ck_assert(!room_allows(&r, PAGE_4K) && !room_due(&r, PAGE_4K, 7000 * MS - 1));
	ck_assert(room_due(&r, PAGE_4K, 7000 * MS));
	/* It never looks without a pause. */
	room_look(&r, &none, PAGE_4K, 7000 * MS);
	ck_assert_uint_eq(room_wait_us(&r, 7000 * MS), ROOM_PAUSE_MIN_US);
	room_bound(&r, 100);
	ck_assert_int_eq(r.limit, LIMIT_NONE);
	ck_assert_uint_eq(room_wait_us(&r, 7000 * MS), 0);
	ck_assert(room_due(&r, PAGE_4K, 7000 * MS) && !room_allows(&r, PAGE_4K));
}
END_TEST

/* ---- its files ---- */

static int make_file(uint64_t value)
{
	int fd = memfd_create("cgroup", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_gt(dprintf(fd, "%ju\n", (uintmax_t)value), 0);
	return fd;
}

/* One level of the hugetlb controller: limit and use. */
static void hear(struct room *r, enum cgroup_kind kind, bool anew, uint64_t limit, uint64_t use)
{
	const struct chan_cgroups told = {.kind = kind, .levels = 1, .anew = anew};
	int fds[CHAN_FDS_MAX];

	memset(fds, -1, sizeof(fds));
	fds[0] = make_file(limit);
	fds[1] = make_file(use);
	room_receive(r, &told, fds);
	ck_assert(fds[0] == -1 && fds[1] == -1);
}

static uint64_t left(const struct room *r)
{
	return room_read(r, PAGE_2M, 0).shared_bytes;
}

START_TEST(hears)
{
	const struct chan_cgroups nothing = {.kind = CGROUP_POOL, .anew = 1};
	const struct chan_cgroups wrong[] = {
		{.kind = CGROUP_KIND_COUNT, .levels = 1},
		{.kind = CGROUP_POOL, .levels = CGROUP_LEVELS_MAX + 1},
	};
	struct room r = {.margin_bytes = MIB};
	int before = make_file(0), after;
	int fds[CHAN_FDS_MAX];

	memset(fds, -1, sizeof(fds));
	ck_assert(!r.told);
	ck_assert_uint_eq(left(&r), MUCH);
	hear(&r, CGROUP_HUGETLB_V1, true, 100 * MIB, 20 * MIB);
	ck_assert(r.told);
	ck_assert_uint_eq(left(&r), 79 * MIB);
	ck_assert_int_eq(room_read(&r, PAGE_2M, 0).shared, LIMIT_HUGETLB);
	/* Another kind beside it, and the same again instead of it. */
	hear(&r, CGROUP_HUGETLB_V2, false, 100 * MIB, 30 * MIB);
	ck_assert_uint_eq(left(&r), 69 * MIB);
	hear(&r, CGROUP_HUGETLB_V2, false, 100 * MIB, 10 * MIB);
	ck_assert_uint_eq(left(&r), 79 * MIB);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		room_receive(&r, &wrong[i], fds);
	ck_assert_uint_eq(left(&r), 79 * MIB);
	room_receive(&r, &nothing, fds);
	ck_assert_uint_eq(left(&r), MUCH);
	hear(&r, CGROUP_HUGETLB_V1, true, 100 * MIB, 20 * MIB);
	room_fini(&r);
	after = make_file(0);
	ck_assert_msg(after == before + 1, "descriptors are left open");
	close(before);
	close(after);
}
END_TEST

START_TEST(own_bound)
{
	struct room r = {.max_resident_bytes = 10 * MIB};

	ck_assert_uint_eq(room_read(&r, PAGE_4K, 0).own_bytes, 10 * MIB);
	ck_assert_uint_eq(room_read(&r, PAGE_4K, 7 * MIB).own_bytes, 3 * MIB);
	ck_assert_uint_eq(room_read(&r, PAGE_4K, 11 * MIB).own_bytes, 0);
	r.max_resident_bytes = 0;
	ck_assert_uint_eq(room_read(&r, PAGE_4K, 11 * MIB).own_bytes, MUCH);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("room");
	TCase *t = tcase_create("room");

	tcase_add_test(t, looks);
	tcase_add_test(t, looks_again);
	tcase_add_test(t, huge_pages);
	tcase_add_test(t, closed);
	tcase_add_test(t, hears);
	tcase_add_test(t, own_bound);
	suite_add_tcase(s, t);
	return s;
}
