/* pagemap against a model of one byte per page, and against files that lie */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/mapkit.h"

#define GIB ((uint64_t)1 << 30)
#define CALLS_MAX 100000

static void check_absent_run(const struct fixture *f, const char *name)
{
	uint64_t page, n, end, max, start, len, got;

	pick(f, &page, &n);
	end = page + n;
	max = rnd(4) ? 1 + rnd(n + 8) : UINT64_MAX;
	for (start = page; start < end && f->model[start] != PAGE_ABSENT;)
		start++;
	for (len = 0; start + len < end && len < max && f->model[start + len] == PAGE_ABSENT;)
		len++;
	n = pagemap_absent_run(&f->pm, page, end, max, &got);
	ck_assert_msg(n == len && got == start,
		      "%s: [%ju, %ju) max %ju: %ju at %ju, not %ju at %ju", name, page, end, max, n,
		      got, len, start);
}

/* The next run of the model at or after page *@at. */
static bool model_run(const struct fixture *f, uint64_t *at, struct pagemap_run *ret)
{
	uint64_t i = *at, n = f->pm.npages, bytes = f->regions->page_bytes, first;

	while (i < n && f->model[i] == OUTSIDE)
		i++;
	first = i;
	while (i < n && f->model[i] == f->model[first])
		i++;
	*at = i;
	*ret = (struct pagemap_run){first * bytes, (i - first) * bytes,
				    first < n ? f->model[first] : 0};
	return first < n;
}

/* Pages through everything from a random offset on, @max runs at a time. */
static void check_runs(const struct fixture *f, size_t max, const char *name)
{
	uint64_t at = rnd(f->pm.npages);
	struct pagemap_run v[40], want;
	struct pagemap_runs runs = {.v = v, .max = max, .next = at * f->regions->page_bytes};
	struct pagemap_view view;
	struct err err;

	ck_assert_msg(pagemap_view(f->fd, &view, &err) == 0, "%s: %s", name, err.msg);
	runs.next += rnd(f->regions->page_bytes);
	while (runs.next != UINT64_MAX) {
		ck_assert_int_eq(pagemap_runs(f->fd, &view, runs.next, &runs, &err), 0);
		ck_assert_msg(runs.n == max || runs.next == UINT64_MAX, "%s: %zu runs", name,
			      runs.n);
		for (size_t i = 0; i < runs.n; i++) {
			ck_assert_msg(model_run(f, &at, &want), "%s: one run too many", name);
			ck_assert_msg(v[i].offset == want.offset && v[i].len == want.len &&
					      v[i].state == want.state,
				      "%s: %ju+%ju %d, not %ju+%ju %d", name, v[i].offset, v[i].len,
				      v[i].state, want.offset, want.len, want.state);
		}
	}
	ck_assert_msg(!model_run(f, &at, &want), "%s: a run is missing", name);
}

START_TEST(agrees_with_the_model)
{
	const char *name = layouts[_i].name;
	struct fixture f;

	setup(&f, _i);
	check_states(&f, name);
	for (int round = 0; round < 300; round++) {
		change(&f);
		for (int i = 0; i < 20; i++)
			check_absent_run(&f, name);
		if (round % 10 == 0)
			check_states(&f, name);
		if (round % 10 == 5)
			check_runs(&f, 1 + rnd(40), name);
	}
	for (uint32_t i = 0; i < f.regions->n; i++) {
		const struct region *r = &f.regions->v[i];

		pagemap_set(&f.pm, r->offset / f.regions->page_bytes,
			    r->size / f.regions->page_bytes, PAGE_PRESENT);
		memset(f.model + r->offset / f.regions->page_bytes, PAGE_PRESENT,
		       r->size / f.regions->page_bytes);
	}
	check_states(&f, name);
	ck_assert(pagemap_complete(&f.pm));
	check_runs(&f, 1, name);
	teardown(&f);
}
END_TEST

START_TEST(view_tells_what_was_recorded)
{
	struct pagemap_view view;
	struct pagemap_run run;
	struct pagemap_runs runs = {.v = &run, .max = 1, .n = 1};
	struct fixture f;
	struct err err;

	setup(&f, 3);
	f.pm.stats->faults = 77;
	pagemap_set(&f.pm, 7, 33, PAGE_PRESENT);
	ck_assert_int_eq(pagemap_view(f.fd, &view, &err), 0);
	ck_assert_uint_eq(view.head.connected, 1);
	ck_assert_uint_eq(view.head.span_bytes, layouts[3].span);
	ck_assert_uint_eq(view.head.vmm_pid, 11);
	ck_assert_uint_eq(view.head.vmm_uid, 22);
	ck_assert_uint_eq(view.head.vmm_gid, 33);
	ck_assert_uint_eq(view.stats.faults, 77);
	ck_assert_uint_eq(view.stats.pages[PAGE_PRESENT], 33);
	ck_assert_uint_eq(view.stats.pages[PAGE_ABSENT], 501);
	ck_assert_int_eq(memcmp(&view.regions, f.regions, sizeof(*f.regions)), 0);
	ck_assert_int_eq(pagemap_runs(f.fd, &view, 701 * 4096, &runs, &err), 0);
	ck_assert(runs.n == 0 && runs.next == UINT64_MAX);
	ck_assert_int_eq(pagemap_runs(f.fd, &view, UINT64_MAX, &runs, &err), 0);
	ck_assert(runs.n == 0 && runs.next == UINT64_MAX);
	teardown(&f);
}
END_TEST

/* An absent page may need nothing of the snapshot: its worker knows, and says so. */
START_TEST(complete_with_zeros_left)
{
	struct pagemap_view view;
	struct fixture f;
	struct err err;

	setup(&f, 3);
	pagemap_set(&f.pm, 7, 33, PAGE_PRESENT);
	f.pm.absent_zeros = 500;
	ck_assert(!pagemap_complete(&f.pm));
	pagemap_set(&f.pm, 6, 1, PAGE_REMOVED);
	ck_assert(pagemap_complete(&f.pm));
	ck_assert_uint_eq(pagemap_resident(&f.pm), 33);
	ck_assert_int_eq(pagemap_view(f.fd, &view, &err), 0);
	ck_assert(!pagemap_view_complete(&view));
	f.pm.head->complete = 1;
	f.pm.head->prefetch_limit = LIMIT_POOL;
	ck_assert_int_eq(pagemap_view(f.fd, &view, &err), 0);
	ck_assert(pagemap_view_complete(&view));
	ck_assert_uint_eq(view.head.prefetch_limit, LIMIT_POOL);
	/* A reason of a release that we do not know, or of nobody. */
	f.pm.head->prefetch_limit = LIMIT_COUNT;
	ck_assert_int_eq(pagemap_view(f.fd, &view, &err), 0);
	ck_assert_uint_eq(view.head.prefetch_limit, LIMIT_NONE);
	teardown(&f);
}
END_TEST

START_TEST(view_before_a_vmm_came)
{
	struct pagemap_view view = {0};
	struct pagemap_run run;
	struct pagemap_runs runs = {.v = &run, .max = 1, .n = 1, .next = 1};
	struct pagemap pm;
	struct err err;
	int fd = memfd_create("map", MFD_CLOEXEC);

	ck_assert_int_eq(pagemap_view(fd, &view, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_int_eq(ftruncate(fd, 20480), 0);
	ck_assert_int_eq(pagemap_view(fd, &view, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_int_eq(pagemap_create(fd, MIB, &pm, &err), -1);
	ck_assert_msg(strstr(err.msg, "in use") != NULL, "%s", err.msg);

	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(pagemap_create(fd, MIB, &pm, &err), 0);
	pm.stats->refused_peers = 3;
	pm.stats->pages[PAGE_ABSENT] = 256; /* as a reader may see it just before "connected" */
	ck_assert_msg(pagemap_view(fd, &view, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(view.head.connected, 0);
	ck_assert_uint_eq(view.regions.n, 0);
	ck_assert_uint_eq(view.stats.refused_peers, 3);
	ck_assert_uint_eq(view.stats.pages[PAGE_ABSENT], 0);
	ck_assert_int_eq(pagemap_runs(fd, &view, 0, &runs, &err), 0);
	ck_assert(runs.n == 0 && runs.next == UINT64_MAX);
	pagemap_close(&pm);
	close(fd);
}
END_TEST

static const uint64_t bad_spans[] = {0, ((uint64_t)1 << 44) + 1, UINT64_MAX};

START_TEST(create_refuses_spans)
{
	int fd = memfd_create("map", MFD_CLOEXEC);
	struct pagemap pm = {.npages = 5};
	struct stat st;
	struct err err;

	ck_assert_int_eq(pagemap_create(fd, bad_spans[_i], &pm, &err), -1);
	ck_assert_int_eq(err.code, ERR_TOOBIG);
	ck_assert_uint_eq(pm.npages, 5);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
	close(fd);
}
END_TEST

/* Every byte is there before the first page is served. */
START_TEST(create_reserves_all)
{
	int fd = memfd_create("map", MFD_CLOEXEC);
	struct pagemap pm;
	struct stat st;
	struct err err;

	ck_assert_int_eq(pagemap_create(fd, GIB, &pm, &err), 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, PAGEMAP_BITS_OFF + 65536);
	ck_assert_int_ge(st.st_blocks * 512, st.st_size);
	pagemap_close(&pm);
	close(fd);
}
END_TEST

START_TEST(create_on_a_full_tmpfs)
{
	cleanup_free char *dir = NULL, *path = NULL;
	struct pagemap pm = {.npages = 5};
	struct err err;
	struct stat st;
	int fd;

	dir = harness_tmpdir();
	if (!harness_small_disk(dir, "64k")) {
		harness_rmtree(dir);
		return;
	}
	ck_assert_int_gt(asprintf(&path, "%s/map", dir), 0);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pagemap_create(fd, GIB, &pm, &err), -1);
	ck_assert_int_eq(err.code, ERR_NOSPACE);
	ck_assert_msg(strstr(err.msg, "84 KiB") && strstr(err.msg, "larger"), "%s", err.msg);
	ck_assert_uint_eq(pm.npages, 5);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
	/* What fits is taken, and can be written to the last word. */
	ck_assert_int_eq(pagemap_create(fd, 512 * MIB, &pm, &err), 0);
	memset(pm.bits, 0xff, 32768);
	pagemap_close(&pm);
	close(fd);
	ck_assert_int_eq(umount(dir), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* More memory than a reader looks at in one go: it comes in bounded steps. */
START_TEST(huge_map_in_steps)
{
	const uint64_t span = 600 * GIB, pages = span / 4096;
	const uint64_t marks[] = {0, 1, 64 * GIB / 4096 + 3, pages / 2, pages - 1};
	struct regions regions = {4096, 1, 0, {{0x100000000000, 600 * GIB, 0}}};
	int fd = memfd_create("map", MFD_CLOEXEC), calls = 0;
	uint64_t seen = 0, covered = 0;
	struct pagemap_run v[64];
	struct pagemap_runs runs = {.v = v, .max = ARRAY_LEN(v)};
	struct pagemap_view view;
	struct pagemap pm;
	struct err err;

	ck_assert_int_eq(pagemap_create(fd, span, &pm, &err), 0);
	pagemap_connect(&pm, &regions, 1, 1, 1);
	for (size_t i = 0; i < ARRAY_LEN(marks); i++)
		pagemap_set(&pm, marks[i], 1, PAGE_REMOVED);
	ck_assert_int_eq(pagemap_view(fd, &view, &err), 0);
	for (; runs.next != UINT64_MAX; calls++) {
		uint64_t from = runs.next;

		ck_assert_int_eq(pagemap_runs(fd, &view, from, &runs, &err), 0);
		ck_assert_uint_gt(runs.next, from);
		for (size_t i = 0; i < runs.n; i++) {
			ck_assert_uint_eq(v[i].offset, covered);
			covered += v[i].len;
			if (v[i].state == PAGE_REMOVED)
				seen += v[i].len / 4096;
		}
	}
	ck_assert_int_gt(calls, 1);
	ck_assert_int_lt(calls, 10);
	ck_assert_uint_eq(covered, span);
	ck_assert_uint_eq(seen, ARRAY_LEN(marks));
	pagemap_close(&pm);
	close(fd);
}
END_TEST

/* A reader in another process never sees anything it would have to refuse. */
START_TEST(read_while_it_is_written)
{
	struct pagemap_view view;
	struct pagemap_run run;
	struct pagemap_runs runs = {.v = &run, .max = 1};
	struct fixture f;
	struct err err;
	uint64_t until;
	pid_t writer;
	int status;

	setup(&f, 0);
	until = now_us() + 100000;
	writer = fork();
	if (writer == 0) {
		while (now_us() < until)
			change(&f);
		_exit(0);
	}
	while (now_us() < until) {
		ck_assert_msg(pagemap_view(f.fd, &view, &err) == 0, "%s", err.msg);
		for (runs.next = 0; runs.next != UINT64_MAX;)
			ck_assert_int_eq(pagemap_runs(f.fd, &view, runs.next, &runs, &err), 0);
	}
	ck_assert_int_eq(waitpid(writer, &status, 0), writer);
	ck_assert_int_eq(status, 0);
	teardown(&f);
}
END_TEST

START_TEST(reader_refuses)
{
	struct pagemap_view view, before;
	struct fixture f;
	struct err err = {0};

	setup(&f, 3);
	memset(&view, 'v', sizeof(view));
	before = view;
	ck_assert_int_eq(pwrite(f.fd, &lies[_i].value, lies[_i].size, (off_t)lies[_i].at),
			 (ssize_t)lies[_i].size);
	ck_assert_msg(pagemap_view(f.fd, &view, &err) == -1, "%s: believed", lies[_i].what);
	ck_assert_msg(strstr(err.msg, lies[_i].text) != NULL, "%s: %s", lies[_i].what, err.msg);
	ck_assert_msg(memcmp(&view, &before, sizeof(view)) == 0, "%s: output", lies[_i].what);
	teardown(&f);
}
END_TEST

/* Before a VMM came there are no regions that would contradict. */
START_TEST(reader_refuses_spans)
{
	int fd = memfd_create("map", MFD_CLOEXEC);
	struct pagemap_view view;
	struct pagemap pm;
	struct err err;

	ck_assert_int_eq(pagemap_create(fd, MIB, &pm, &err), 0);
	pm.head->span_bytes = bad_spans[_i];
	ck_assert_msg(pagemap_view(fd, &view, &err) == -1, "span %#jx", bad_spans[_i]);
	ck_assert_msg(strstr(err.msg, "damaged") != NULL, "%s", err.msg);
	pagemap_close(&pm);
	close(fd);
}
END_TEST

/* Every length that a file may be cut to. */
START_TEST(reader_refuses_short_files)
{
	static const off_t lengths[] = {0,    8,     55,    4096,  4200,  8191,
					8192, 12000, 12288, 16384, 20480, 20487};
	struct pagemap_view view, good;
	struct pagemap_run run;
	struct pagemap_runs runs = {.v = &run, .max = 1, .n = 7, .next = 7};
	struct fixture f;
	struct err err;

	setup(&f, 3);
	pagemap_close(&f.pm);
	ck_assert_int_eq(pagemap_view(f.fd, &good, &err), 0);
	for (size_t i = ARRAY_LEN(lengths); i-- > 0;) {
		ck_assert_int_eq(ftruncate(f.fd, lengths[i]), 0);
		ck_assert_msg(pagemap_view(f.fd, &view, &err) == -1, "%jd bytes", lengths[i]);
		ck_assert_msg(pagemap_runs(f.fd, &good, 0, &runs, &err) == -1, "runs of %jd bytes",
			      lengths[i]);
		ck_assert(runs.n == 7 && runs.next == 7);
	}
	teardown(&f);
}
END_TEST

/* clang-format off */
static const uint64_t odd_values[] = {
	0, 1, 3, 4095, 4096, 8192, 2 * MIB, 3 * MIB, UINT32_MAX, (uint64_t)1 << 44,
	(uint64_t)1 << 63, UINT64_MAX - 4095, UINT64_MAX,
};
/* clang-format on */

/* Whatever is in the file: refused, or a bounded number of runs in order inside the span. */
START_TEST(reader_survives_anything)
{
	struct pagemap_run v[8];
	struct pagemap_view view;
	struct err err;

	for (int round = 0; round < 200; round++) {
		struct pagemap_runs runs = {.v = v, .max = ARRAY_LEN(v)};
		struct fixture f;
		uint64_t last = 0;

		setup(&f, 3 + (round & 1));
		seed = (uint64_t)(_i * 1000 + round);
		for (uint64_t i = 1 + rnd(4); i > 0; i--) {
			static const uint64_t places[] = {0, PAGEMAP_REGIONS_OFF, PAGEMAP_STATS_OFF,
							  PAGEMAP_BITS_OFF};
			uint64_t at = places[rnd(4)] + 4 * rnd(28);
			uint64_t odd = rnd(3) ? odd_values[rnd(ARRAY_LEN(odd_values))]
					      : rnd(UINT64_MAX);

			ck_assert_int_eq(pwrite(f.fd, &odd, rnd(2) ? 8 : 4, (off_t)at) > 0, 1);
		}
		if (pagemap_view(f.fd, &view, &err) < 0)
			runs.next = UINT64_MAX;
		for (int calls = 0; runs.next != UINT64_MAX; calls++) {
			ck_assert_int_lt(calls, CALLS_MAX);
			ck_assert_int_eq(pagemap_runs(f.fd, &view, runs.next, &runs, &err), 0);
			for (size_t i = 0; i < runs.n; i++) {
				ck_assert(v[i].offset >= last && v[i].len > 0);
				last = v[i].offset + v[i].len;
				ck_assert_uint_le(last, align_up(view.head.span_bytes, 4096));
				ck_assert_int_lt(v[i].state, PAGE_STATE_COUNT);
			}
		}
		teardown(&f);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("pagemap");
	TCase *tc = tcase_create("states");

	tcase_add_loop_test(tc, agrees_with_the_model, 0, ARRAY_LEN(layouts));
	tcase_add_test(tc, huge_map_in_steps);
	suite_add_tcase(suite, tc);

	tc = tcase_create("file");
	tcase_add_test(tc, view_tells_what_was_recorded);
	tcase_add_test(tc, complete_with_zeros_left);
	tcase_add_test(tc, view_before_a_vmm_came);
	tcase_add_loop_test(tc, create_refuses_spans, 0, ARRAY_LEN(bad_spans));
	tcase_add_test(tc, create_reserves_all);
	tcase_add_test(tc, create_on_a_full_tmpfs);
	tcase_add_test(tc, read_while_it_is_written);
	suite_add_tcase(suite, tc);

	tc = tcase_create("hostile");
	tcase_add_loop_test(tc, reader_refuses, 0, ARRAY_LEN(lies));
	tcase_add_loop_test(tc, reader_refuses_spans, 0, ARRAY_LEN(bad_spans));
	tcase_add_test(tc, reader_refuses_short_files);
	tcase_add_loop_test(tc, reader_survives_anything, 0, 3);
	suite_add_tcase(suite, tc);
	return suite;
}
