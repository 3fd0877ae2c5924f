/*
 * A VMM that has the kernel note which pages its guest writes (a userfaultfd registered for
 * missing pages and for write protection): what we install does not count as written.
 * This process is the VMM.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <fcntl.h>

#include "common/pagemap_scan.h"
#include "common/uffd.h"
#include "tests/support/ownvmm.h"
#include "tests/support/runner.h"
#include "tests/support/vmmside.h"

#define PAGES 1024
#define HUGE_PAGES 6
#define RUNS_MAX PAGES

static struct ownvmm own;
static bool tracks;

static const struct row {
	const char *name, *prefetch;
	unsigned features;
	uint64_t page_bytes, pages;
	bool worker_dies;
} rows[] = {
	{"async", "all", UF_FEATURE_REMOVE | UF_FEATURE_TRACK, PAGE_4K, PAGES, false},
	{"async-demand", "none", UF_FEATURE_REMOVE | UF_FEATURE_TRACK, PAGE_4K, PAGES, false},
	{"async-worker", "none", UF_FEATURE_REMOVE | UF_FEATURE_TRACK, PAGE_4K, PAGES, true},
	{"async-huge", "none", UF_FEATURE_REMOVE | UF_FEATURE_TRACK, PAGE_2M, HUGE_PAGES, false},
	/* Every first write is a message to us, and let through. */
	{"sync", "all", UF_FEATURE_REMOVE, PAGE_4K, PAGES, false},
	{"sync-demand", "none", UF_FEATURE_REMOVE, PAGE_4K, PAGES, false},
};

struct guest {
	const struct row *row;
	struct stage s;
	int uffd, sock, pagemap;
	char *mem, *image;
};

static void open_memory(struct guest *g)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uint64_t bytes = g->row->pages * g->row->page_bytes;
	bool huge = g->row->page_bytes != PAGE_4K;
	cleanup_free char *path = scene_format("%s/" SCENE_IMAGE,
					       ownvmm_dir(&own, g->row->page_bytes));
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

	g->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | (huge ? MAP_HUGETLB : 0), -1, 0);
	g->image = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	g->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ck_assert(g->mem != MAP_FAILED && g->image != MAP_FAILED && g->pagemap >= 0);
}

static void begin(struct guest *g, const char *id, const struct row *row)
{
	struct regions r = {.page_bytes = row->page_bytes, .n = 1};
	cleanup_free char *members =
		scene_format("\"prefetch\":{\"mode\":\"%s\"},"
			     "\"on_failure\":\"poison\",\"when_complete\":\"release\"",
			     row->prefetch);
	struct err err = {.msg = ""};

	*g = (struct guest){.row = row};
	snprintf(g->s.id, sizeof(g->s.id), "%s", id);
	ownvmm_create(&own, &g->s, row->page_bytes, members);
	open_memory(g);
	r.v[0] = (struct region){(uint64_t)g->mem, row->pages * row->page_bytes, 0};
	ck_assert_msg(uffd_open(row->features, &g->uffd, &err) == 0 &&
			      uffd_register_tracked(g->uffd, r.v[0].base, r.v[0].size, &err) == 0,
		      "%s", err.msg);
	g->sock = ownvmm_connect(&g->s, &r, g->uffd);
}

/* The pages that the kernel calls written; @list: room for all. */
static size_t written(struct guest *g, uint64_t *list)
{
	static struct page_region runs[RUNS_MAX];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uint64_t)g->mem,
		.end = (uint64_t)g->mem + g->row->pages * g->row->page_bytes,
		.vec = (uintptr_t)runs,
		.vec_len = RUNS_MAX,
		.category_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int n = ioctl(g->pagemap, PAGEMAP_SCAN, &arg);
	size_t count = 0;

	ck_assert_int_ge(n, 0);
	for (int i = 0; i < n; i++)
		for (uint64_t at = runs[i].start; at < runs[i].end; at += g->row->page_bytes)
			list[count++] = (at - (uint64_t)g->mem) / g->row->page_bytes;
	return count;
}

static void check_written(struct guest *g, const uint64_t *want, size_t n)
{
	uint64_t got[PAGES];
	size_t count = written(g, got);

	stage_check(&g->s, count == n, "%zu pages count as written, not %zu", count, n);
	for (size_t i = 0; i < n; i++)
		stage_check(&g->s, got[i] == want[i], "page %llu counts as written, not %llu",
			    (unsigned long long)got[i], (unsigned long long)want[i]);
}

static void read_all(struct guest *g)
{
	uint64_t bytes = g->row->pages * g->row->page_bytes;

	stage_check(&g->s, memcmp(g->mem, g->image, bytes) == 0, "not what the snapshot holds");
}

static void finish(struct guest *g)
{
	uint64_t bytes = g->row->pages * g->row->page_bytes;
	cleanup_json struct json_object *o = stage_ask(&g->s, "GET", "", NULL);

	/* Released it would count as written, all of it. */
	stage_check(&g->s, strcmp(scene_text(o, "state"), "serving") == 0, "it is %s",
		    scene_text(o, "state"));
	ownvmm_stop(&g->s);
	munmap(g->mem, bytes);
	munmap(g->image, bytes);
	close(g->uffd);
	close(g->sock);
	close(g->pagemap);
	stage_fini(&g->s);
}

START_TEST(only_what_the_guest_wrote)
{
	const struct row *row = &rows[_i];
	const uint64_t wrote[] = {1, 3, row->pages - 1};
	struct guest g;

	if (!tracks || (row->page_bytes != PAGE_4K && hugepool_free() < HUGE_PAGES))
		return;
	begin(&g, row->name, row);
	if (row->worker_dies) {
		ck_assert_int_eq(memcmp(g.mem, g.image, 5 * PAGE_4K), 0);
		stage_tell(&g.s, "POST", "/restart-worker", NULL);
	}
	read_all(&g);
	json_object_put(stage_await(&g.s, "complete"));
	check_written(&g, wrote, 0);
	for (size_t i = 0; i < ARRAY_LEN(wrote); i++)
		g.mem[wrote[i] * row->page_bytes + 5] ^= 1;
	check_written(&g, wrote, ARRAY_LEN(wrote));
	finish(&g);
}
END_TEST

/* What was given back reads zero, and that is not written either. */
START_TEST(removed)
{
	const uint64_t wrote[] = {11};
	struct guest g;

	if (!tracks)
		return;
	begin(&g, "removed", &rows[0]);
	read_all(&g);
	ck_assert_int_eq(madvise(g.mem + 10 * PAGE_4K, 4 * PAGE_4K, MADV_DONTNEED), 0);
	for (size_t i = 10; i < 14; i++)
		ck_assert_int_eq(((volatile char *)g.mem)[i * PAGE_4K], 0);
	check_written(&g, wrote, 0);
	g.mem[11 * PAGE_4K] = 1;
	check_written(&g, wrote, 1);
	finish(&g);
}
END_TEST

static void start(void)
{
	struct err err;
	cleanup_fd int fd = -1;

	ownvmm_open(&own, PAGES * PAGE_4K, HUGE_PAGES * PAGE_2M, HUGE_PAGES);
	tracks = uffd_open(UF_FEATURE_TRACK, &fd, &err) == 0;
	if (!tracks)
		fputs("# this kernel does not track writes (6.7): nothing is tested\n", stderr);
}

static void end(void)
{
	ownvmm_close(&own);
}

START_TEST(leaves_nothing)
{
	stage_over(&own.scene);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("tracked");
	TCase *tc = tcase_create("tracked");

	tcase_add_unchecked_fixture(tc, start, end);
	tcase_add_loop_test(tc, only_what_the_guest_wrote, 0, ARRAY_LEN(rows));
	tcase_add_test(tc, removed);
	tcase_add_test(tc, leaves_nothing);
	suite_add_tcase(suite, tc);
	return suite;
}
