/*
 * What a VMM does to its memory without a userfaultfd hearing of it: a diff that is made
 * out of page states loses nothing that the guest has written. This process is the VMM.
 */
#include <string.h>
#include <sys/mman.h>

#include "common/pagemap.h"
#include "tests/support/ownvmm.h"
#include "tests/support/runner.h"
#include "tests/support/vmmside.h"

#define PAGES 512 /* of a guest on small pages */
#define HUGE_PAGES 6
#define POOL_PAGES (HUGE_PAGES + 2)

static struct ownvmm own;

/* --- the VMM --- */

struct guest {
	struct stage s;
	int uffd, sock;
	uint64_t page_bytes, pages;
	char *mem;
	uint8_t states[PAGES]; /* expected */
};

enum memory { PRIVATE, SHARED, PRIVATE_HUGE, SHARED_HUGE, MEMORIES };
static const struct {
	const char *name;
	bool shared;
	uint64_t page_bytes, pages;
} memories[MEMORIES] = {
	[PRIVATE] = {"private", false, PAGE_4K, PAGES},
	[SHARED] = {"shared", true, PAGE_4K, PAGES},
	[PRIVATE_HUGE] = {"private-huge", false, PAGE_2M, HUGE_PAGES},
	[SHARED_HUGE] = {"shared-huge", true, PAGE_2M, HUGE_PAGES},
};

static char *map_memory(enum memory m)
{
	bool huge = memories[m].page_bytes != PAGE_4K;
	uint64_t bytes = memories[m].pages * memories[m].page_bytes;
	int flags = MAP_NORESERVE | (memories[m].shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);
	cleanup_fd int fd = -1;
	void *mem;

	if (memories[m].shared) {
		fd = memfd_create("guest", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0));
		ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	} else if (huge) {
		flags |= MAP_HUGETLB;
	}
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
	ck_assert_ptr_ne(mem, MAP_FAILED);
	return mem;
}

static void begin(struct guest *g, const char *id, enum memory m)
{
	struct regions r = {.page_bytes = memories[m].page_bytes, .n = 1};
	struct err err = {.msg = ""};

	memset(g, 0, sizeof(*g));
	snprintf(g->s.id, sizeof(g->s.id), "%s-%s", id, memories[m].name);
	g->page_bytes = memories[m].page_bytes;
	g->pages = memories[m].pages;
	ownvmm_create(&own, &g->s, g->page_bytes,
		      "\"prefetch\":{\"mode\":\"none\"},\"on_failure\":\"poison\"");
	g->mem = map_memory(m);
	r.v[0] = (struct region){(uint64_t)g->mem, g->pages * g->page_bytes, 0};
	ck_assert_msg(uffd_open(UF_FEATURE_REMOVE, &g->uffd, &err) == 0 &&
			      uffd_register(g->uffd, r.v[0].base, r.v[0].size, &err) == 0,
		      "%s", err.msg);
	g->sock = ownvmm_connect(&g->s, &r, g->uffd);
}

static volatile char *at(struct guest *g, uint64_t page)
{
	return g->mem + page * g->page_bytes;
}

static void expect(struct guest *g, uint64_t first, uint64_t n, enum page_state state)
{
	memset(g->states + first, (int)state, n);
}

static void touch(struct guest *g, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		(void)*at(g, i);
	expect(g, first, n, PAGE_PRESENT);
}

static void advise(struct guest *g, uint64_t first, uint64_t n, int advice)
{
	ck_assert_int_eq(madvise((void *)(uintptr_t)at(g, first), n * g->page_bytes, advice), 0);
}

static void check_runs(struct guest *g, struct json_object *o)
{
	struct json_object *runs = scene_member(o, "runs");
	uint64_t page = 0;

	for (size_t i = 0; i < json_object_array_length(runs); i++) {
		struct json_object *run = json_object_array_get_idx(runs, i);
		uint64_t end = (scene_number(run, "offset") + scene_number(run, "length")) /
			       g->page_bytes;

		for (; page < end; page++)
			stage_check(&g->s,
				    strcmp(page_state_names[g->states[page]],
					   scene_text(run, "state")) == 0,
				    "page %llu is said to be %s, it is %s",
				    (unsigned long long)page, scene_text(run, "state"),
				    page_state_names[g->states[page]]);
	}
	ck_assert_uint_eq(page, g->pages);
}

static void check_paused(struct guest *g)
{
	cleanup_json struct json_object *o = stage_ask(&g->s, "GET", "/pages", NULL);

	stage_check(&g->s, scene_flag(o, "exact"), "not exact: %s", scene_text(o, "inexact"));
	stage_check(&g->s, !scene_text(o, "inexact")[0], "exact, but: %s",
		    scene_text(o, "inexact"));
	check_runs(g, o);
	stage_tell(&g->s, "POST", "/resume", NULL);
}

static void check(struct guest *g)
{
	stage_tell(&g->s, "POST", "/pause", NULL);
	check_paused(g);
}

static void finish(struct guest *g)
{
	stage_tell(&g->s, "PUT", "/prefetch", "{\"mode\":\"all\"}");
	json_object_put(stage_await(&g->s, "complete"));
	ownvmm_stop(&g->s);
	munmap(g->mem, g->pages * g->page_bytes);
	close(g->uffd);
	close(g->sock);
	stage_fini(&g->s);
}

static bool is_exact(void *arg)
{
	cleanup_json struct json_object *o = stage_ask(arg, "GET", "/pages", NULL);

	return scene_flag(o, "exact");
}

static bool can_have(enum memory m)
{
	return memories[m].page_bytes == PAGE_4K || hugepool_free() >= HUGE_PAGES;
}

/* --- what it does --- */

/* Firecracker's balloon up to 1.10: other memory over the range, and no event. */
START_TEST(memory_put_over_it)
{
	struct guest g;

	begin(&g, "over", PRIVATE);
	touch(&g, 0, 40);
	ck_assert_ptr_ne(mmap((void *)(uintptr_t)at(&g, 20), 60 * g.page_bytes,
			      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			      0),
			 MAP_FAILED);
	expect(&g, 20, 60, PAGE_REMOVED);
	*at(&g, 25) = 1;
	*at(&g, 50) = 1;
	(void)*at(&g, 60); /* reads zero, and is the kernel's own page of zeros */
	expect(&g, 25, 1, PAGE_ZEROED);
	expect(&g, 50, 1, PAGE_ZEROED);
	expect(&g, 60, 1, PAGE_ZEROED);
	check(&g);
	*at(&g, 70) = 1;
	expect(&g, 70, 1, PAGE_ZEROED);
	check(&g);
	ck_assert_int_eq(*at(&g, 50), 1);
	ck_assert_int_eq(*at(&g, 71), 0);
	finish(&g);
}
END_TEST

/* The kernel sends a REMOVE, and everything stays where it is until memory gets short. */
START_TEST(freed_lazily)
{
	struct guest g;

	begin(&g, "free", PRIVATE);
	touch(&g, 0, 40);
	*at(&g, 10) = 1;
	advise(&g, 5, 20, MADV_FREE);
	*at(&g, 11) = 7;
	expect(&g, 5, 20, PAGE_ZEROED);
	advise(&g, 30, 5, MADV_DONTNEED);
	expect(&g, 30, 5, PAGE_REMOVED);
	check(&g);
	ck_assert_int_eq(*at(&g, 11), 7);
	finish(&g);
}
END_TEST

/* MADV_DONTNEED takes shared memory out of the page tables only, MADV_REMOVE drops it. */
START_TEST(shared_memory)
{
	struct guest g;

	if (!memories[_i].shared || !can_have(_i))
		return;
	begin(&g, "dontneed", _i);
	touch(&g, 0, 4);
	*at(&g, 1) = 7;
	advise(&g, 1, 1, MADV_DONTNEED);
	expect(&g, 1, 1, PAGE_ZEROED);
	advise(&g, 2, 1, MADV_REMOVE);
	expect(&g, 2, 1, PAGE_REMOVED);
	check(&g);
	ck_assert_int_eq(*at(&g, 1), 7);
	ck_assert_int_eq(*at(&g, 2), 0);
	expect(&g, 2, 1, PAGE_ZEROED);
	check(&g);
	finish(&g);
}
END_TEST

/* Nothing strange is done: nothing is corrected, and nothing is installed. */
START_TEST(as_usual)
{
	cleanup_json struct json_object *o = NULL;
	struct guest g;

	if (!can_have(_i))
		return;
	begin(&g, "usual", _i);
	check(&g);
	touch(&g, 0, 3);
	advise(&g, 1, 1, memories[_i].shared ? MADV_REMOVE : MADV_DONTNEED);
	expect(&g, 1, 1, PAGE_REMOVED);
	check(&g);
	o = stage_ask(&g.s, "GET", "", NULL);
	ck_assert_uint_eq(scene_number(o, "errors.page_states"), 0);
	ck_assert_uint_eq(scene_number(o, "memory.resident_bytes"), 2 * g.page_bytes);
	finish(&g);
}
END_TEST

/* Its worker dies: the next one finds out for itself. */
START_TEST(by_a_successor)
{
	struct guest g;

	begin(&g, "successor", PRIVATE);
	touch(&g, 0, 40);
	ck_assert_ptr_ne(mmap((void *)(uintptr_t)at(&g, 20), 60 * g.page_bytes,
			      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			      0),
			 MAP_FAILED);
	*at(&g, 25) = 1;
	expect(&g, 20, 60, PAGE_REMOVED);
	expect(&g, 25, 1, PAGE_ZEROED);
	stage_tell(&g.s, "POST", "/restart-worker", NULL);
	check(&g);
	stage_tell(&g.s, "POST", "/pause", NULL);
	*at(&g, 26) = 1;
	expect(&g, 26, 1, PAGE_ZEROED);
	stage_tell(&g.s, "POST", "/restart-worker", NULL);
	stage_check(&g.s, harness_wait(is_exact, &g.s, SCENE_MS), "it does not get exact again");
	check_paused(&g);
	finish(&g);
}
END_TEST

/* --- the scene --- */

static void start(void)
{
	ownvmm_open(&own, PAGES * PAGE_4K, HUGE_PAGES * PAGE_2M, POOL_PAGES);
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
	Suite *suite = suite_create("exact");
	TCase *tc = tcase_create("exact");

	tcase_add_unchecked_fixture(tc, start, end);
	tcase_add_test(tc, memory_put_over_it);
	tcase_add_test(tc, freed_lazily);
	tcase_add_loop_test(tc, shared_memory, 0, MEMORIES);
	tcase_add_loop_test(tc, as_usual, 0, MEMORIES);
	tcase_add_test(tc, by_a_successor);
	tcase_add_test(tc, leaves_nothing);
	suite_add_tcase(suite, tc);
	return suite;
}
