/*
 * test_zeros - zero pages of 2 MiB cost as much as others: they are left to demand, and the
 * guest is complete without them; asked for, they are paid for. The last pages of the
 * pool are nobody's to prefetch.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/hugepool.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"
#include "tests/fakes/vmm/vmm.h"

#define PAGES 64
#define POOL 72 /* a sixteenth of it stays */
#define DEMAND "\"mode\":\"none\""
#define SETTLED 20 /* each lets at least one step be taken, if there is one */

static struct scene scene;
static char *image, *snapshot; /* owned */

/* A page, or 4 KiB in the middle of one: what else is in it is a hole. */
struct data {
	uint64_t page;
	bool small;
};

static void write_data(int fd, const struct data *d)
{
	uint64_t at = d->page * PAGE_2M + (d->small ? PAGE_2M / 2 : 0);
	uint64_t n = d->small ? PAGE_4K : PAGE_2M;
	cleanup_free char *bytes = xcalloc(1, n);

	memset(bytes, (int)(d->page % 251 + 1), n);
	ck_assert_int_eq(pwrite(fd, bytes, n, (off_t)at), (ssize_t)n);
}

/* A flat memory file, mostly of holes. */
static void open_scene(uint64_t pages, const struct data *data, size_t n)
{
	cleanup_fd int fd = -1;

	scene = (struct scene){0};
	scene_open(&scene);
	image = scene_format("%s/memory", scene.d.dir);
	snapshot = scene_format("{\"memory\":[\"%s\"]}", image);
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	ck_assert(fd >= 0 && ftruncate(fd, (off_t)(pages * PAGE_2M)) == 0);
	for (size_t i = 0; i < n; i++)
		write_data(fd, &data[i]);
}

static void close_scene(void)
{
	scene_close(&scene);
	free(image);
	free(snapshot);
}

static void begin(struct stage *s, const char *id, const char *prefetch, const char *members,
		  const char *vmm)
{
	cleanup_free char *all = scene_format("\"prefetch\":{%s}%s", prefetch, members);
	cleanup_free char *args = scene_format("--page-size 2M %s", vmm);

	*s = (struct stage){.scene = &scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, snapshot, all);
	stage_start(s, image, args);
	stage_check(s, stage_hears(s, "connected"), "no VMM");
}

static void check_pages(struct stage *s, uint64_t resident, bool complete)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	stage_check(s,
		    scene_number(o, "memory.resident_bytes") == resident * PAGE_2M &&
			    scene_flag(o, "complete") == complete,
		    "%s", json_object_to_json_string(o));
}

/* As the kernel counts them. */
static uint64_t pages_of_vmm(const struct stage *s)
{
	cleanup_free char *path = scene_format("/proc/%d/status", (int)s->vmm.pid);
	cleanup_file FILE *f = fopen(path, "re");
	char line[256];
	uint64_t kib;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "HugetlbPages: %" SCNu64, &kib) == 1)
			return kib * 1024 / PAGE_2M;
	ck_abort_msg("%s tells no huge pages", path);
}

static bool has_pages(struct stage *s, uint64_t pages)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return scene_number(o, "memory.resident_bytes") >= pages * PAGE_2M;
}

static bool has_a_page(void *arg)
{
	return has_pages(arg, 1);
}

static bool has_four_pages(void *arg)
{
	return has_pages(arg, 4);
}

static bool has_ten_pages(void *arg)
{
	return has_pages(arg, 10);
}

static void settle(const struct stage *s)
{
	for (int i = 0; i < SETTLED; i++)
		stage_settle(s);
}

static void check_right(struct stage *s, const char *reason)
{
	int code = stage_end(s);

	stage_check(s, code == 0 && strstr(stage_printed(s), "\"wrong\":0,"),
		    "the VMM ended with %d", code);
	json_object_put(stage_ended(s, reason));
	stage_fini(s);
}

/* ---- left to demand ---- */

static const struct data few[] = {{0, false}, {5, true}, {6, false}, {63, true}};
#define FEW ARRAY_LEN(few)

/* One page of 64 is data, and the guest touches nothing. */
START_TEST(nothing_is_taken)
{
	struct stage s;

	open_scene(PAGES, few, 1);
	begin(&s, "slow", "\"rate_bytes_per_s\":1000", "", "--no-touch --hold");
	json_object_put(stage_await(&s, "complete"));
	settle(&s);
	check_pages(&s, 1, true);
	ck_assert_uint_eq(pages_of_vmm(&s), 1);
	/* It has all that it needs, so it may be left. */
	stage_tell(&s, "DELETE", "", NULL);
	check_right(&s, "stopped");
	close_scene();
}
END_TEST

static const struct {
	const char *name, *members, *reason;
	bool restarts; /* the worker, after some pages */
} courses[] = {
	{"demand-first", "", "vmm-exited", false},
	{"taken-over", "", "vmm-exited", true},
	{"released", ",\"when_complete\":\"release\"", "released", false},
	{"released-by-another", ",\"when_complete\":\"release\"", "released", true},
};

/* Complete is: every page that has data, also where zeros come before and behind it. */
START_TEST(complete_without_zeros)
{
	struct stage s;

	open_scene(PAGES, few, FEW);
	begin(&s, courses[_i].name, DEMAND, courses[_i].members,
	      "--only 10,6,20+2 --timeout 50 --hold");
	stage_check(&s, stage_hears(&s, "touched 4"), "it hangs");
	/* The guest goes on before the worker has counted the page. */
	stage_check(&s, harness_wait(has_four_pages, &s, SCENE_MS), "it has not four pages");
	check_pages(&s, 4, false);
	if (courses[_i].restarts) {
		cleanup_json struct json_object *o = stage_ask(&s, "POST", "/restart-worker", NULL);

		s.worker = (pid_t)scene_number(o, "worker.pid");
		check_pages(&s, 4, false);
	}
	stage_tell(&s, "PUT", "/prefetch", "{\"mode\":\"all\"}");
	if (strcmp(courses[_i].reason, "released") == 0) {
		json_object_put(stage_await(&s, "ended"));
	} else {
		json_object_put(stage_await(&s, "complete"));
		settle(&s);
		check_pages(&s, 4 + FEW - 1, true);
	}
	/* All of it, by demand, or by the kernel itself. */
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_hears(&s, "verified 64 pages"), "it hangs");
	check_right(&s, courses[_i].reason);
	close_scene();
}
END_TEST

/* Nobody was there to hear that it was complete, and left alone: the page map says so. */
START_TEST(released_while_nobody_is_there)
{
	cleanup_json struct json_object *o = NULL;
	struct stage s;

	open_scene(PAGES, few, FEW);
	begin(&s, "unheard", DEMAND, ",\"when_complete\":\"release\"",
	      "--hold-before --only 10,0,5,6,63 --timeout 50 --hold");
	json_object_put(stage_await(&s, "serving"));
	scene_kill(&scene);
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_hears(&s, "touched 5"), "it hangs");
	respawn_await_end(s.worker);
	harness_daemon_start(&scene.d, NULL);
	o = stage_await(&s, "ended");
	stage_check(&s, scene_flag(o, "complete"), "%s", json_object_to_json_string(o));
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_hears(&s, "verified 64 pages"), "it hangs");
	check_right(&s, "released");
	close_scene();
}
END_TEST

/* A region that was never plugged: nobody counts it page by page, and it costs nothing. */
START_TEST(big_hole)
{
	static const struct data ends[] = {{0, false}, {16383, true}};
	struct stage s;

	open_scene(16384, ends, ARRAY_LEN(ends));
	begin(&s, "hole", "\"mode\":\"all\"", "", "--only 7,8000 --timeout 50 --hold");
	stage_check(&s, stage_hears(&s, "touched 2"), "it hangs");
	json_object_put(stage_await(&s, "complete"));
	settle(&s);
	check_pages(&s, 4, true);
	check_right(&s, "vmm-exited");
	close_scene();
}
END_TEST

/* ---- asked for ---- */

START_TEST(asked_for)
{
	struct stage s;

	open_scene(PAGES, few, FEW);
	begin(&s, "wanted", "\"zero_pages\":true", "", "--no-touch --wait-resident 50 --hold");
	json_object_put(stage_await(&s, "complete"));
	check_pages(&s, PAGES, true);
	stage_check(&s, stage_hears(&s, "verified 64 pages"), "it is not resident");
	check_right(&s, "vmm-exited");
	close_scene();
}
END_TEST

/* A page costs half an hour at this rate, whatever is in it. */
START_TEST(paid_for)
{
	struct stage s;

	open_scene(PAGES, &few[FEW - 1], 1);
	begin(&s, "paid", "\"zero_pages\":true,\"rate_bytes_per_s\":1000", "", "--no-touch --hold");
	stage_check(&s, harness_wait(has_a_page, &s, SCENE_MS), "nothing comes");
	settle(&s);
	check_pages(&s, 1, false);
	scene_vmm_kill(&s.vmm);
	json_object_put(stage_ended(&s, "vmm-exited"));
	stage_fini(&s);
	close_scene();
}
END_TEST

/* Or as many as were wished for. */
START_TEST(bounded)
{
	struct stage s;

	open_scene(PAGES, few, FEW);
	begin(&s, "bounded", "\"zero_pages\":true,\"max_resident_bytes\":20971520", "",
	      "--no-touch --hold");
	stage_check(&s, harness_wait(has_ten_pages, &s, SCENE_MS), "no ten pages come");
	settle(&s);
	check_pages(&s, 10, false);
	check_right(&s, "vmm-exited");
	close_scene();
}
END_TEST

/* ---- the pool ---- */

/* Alone, it would end at the first page that the pool has not. */
START_TEST(released_when_the_rest_can_be_had)
{
	cleanup_json struct json_object *o = NULL;
	struct stage s;
	void *neighbour;
	size_t taken;

	open_scene(PAGES, few, FEW);
	neighbour = hugepool_take_but(PAGES / 2, &taken);
	ck_assert_ptr_nonnull(neighbour);
	begin(&s, "alone", "\"mode\":\"all\"", ",\"when_complete\":\"release\"",
	      "--only 0+1 --hold");
	json_object_put(stage_await(&s, "complete"));
	settle(&s);
	o = stage_ask(&s, "GET", "", NULL);
	stage_check(&s, strcmp(scene_text(o, "state"), "serving") == 0, "it is %s",
		    scene_text(o, "state"));
	munmap(neighbour, taken);
	json_object_put(stage_await(&s, "ended"));
	check_right(&s, "released");
	close_scene();
}
END_TEST

static bool is_limited(void *arg)
{
	cleanup_json struct json_object *o = stage_ask(arg, "GET", "", NULL);

	return strcmp(scene_text(o, "prefetch.state"), "limited") == 0 &&
	       strstr(scene_text(o, "prefetch.reason"), "huge pages of the host");
}

/* The last pages belong to whoever faults; more of them, and it goes on. */
START_TEST(last_pages)
{
	struct data all[PAGES];
	struct stage s;
	void *neighbour;
	size_t taken;

	for (uint64_t i = 0; i < PAGES; i++)
		all[i] = (struct data){i, true};
	open_scene(PAGES, all, PAGES);
	neighbour = hugepool_take_but(POOL / 2, &taken);
	ck_assert_ptr_nonnull(neighbour);
	begin(&s, "last", "\"mode\":\"all\"", "", "--hold-before --only 62+2 --hold");
	stage_check(&s, harness_wait(is_limited, &s, SCENE_MS), "not limited");
	ck_assert_uint_ge(hugepool_free(), POOL / 2 / 16);
	ck_assert_uint_ge(pages_of_vmm(&s), POOL / 4);
	check_pages(&s, pages_of_vmm(&s), false);
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_hears(&s, "touched 2"), "it hangs");
	munmap(neighbour, taken);
	json_object_put(stage_await(&s, "complete"));
	check_pages(&s, PAGES, true);
	check_right(&s, "vmm-exited");
	close_scene();
}
END_TEST

static struct hugepool pool;

static void open_pool(void)
{
	hugepool_open(&pool, POOL);
}

static void close_pool(void)
{
	hugepool_close(&pool);
}

/* Whether they can be had is found out first: without them nothing is run. */
Suite *test_suite(void)
{
	Suite *s = suite_create("zeros");
	TCase *t = tcase_create("zeros");
	bool can = hugepool_open(&pool, POOL);

	hugepool_close(&pool);
	if (!can) {
		printf("1..0 # SKIP %d free huge pages of 2 MiB are needed: set vm.nr_hugepages, "
		       "or run as root\n",
		       POOL);
		return NULL;
	}
	tcase_add_unchecked_fixture(t, open_pool, close_pool);
	tcase_add_test(t, nothing_is_taken);
	tcase_add_loop_test(t, complete_without_zeros, 0, ARRAY_LEN(courses));
	tcase_add_test(t, released_while_nobody_is_there);
	tcase_add_test(t, big_hole);
	tcase_add_test(t, asked_for);
	tcase_add_test(t, paid_for);
	tcase_add_test(t, bounded);
	tcase_add_test(t, released_when_the_rest_can_be_had);
	tcase_add_test(t, last_pages);
	suite_add_tcase(s, t);
	return s;
}
