/*
 * test_room - prefetch leaves what guests, and others, need: memory cgroups smaller than
 * guests, shared ones, limits that change, and bounds that were asked for
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "common/pagemap.h"
#include "tests/support/memcg.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/fakes/snapshot/snapgen.h"
#include "tests/support/stage.h"

#define MIB ((uint64_t)1 << 20)
#define GUEST (64 * MIB)
#define LIMIT (40 * MIB)
#define TOUCHED 2048 /* pages, 8 MiB */
/* The last ones, to which prefetch comes last. */
#define TOUCHES_LAST "--hold-before --only 14336+2048 --hold"
#define TOUCHES_FIRST "--hold-before --only 0+2048 --hold"
#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define AWAY_MS 5000

static struct scene scene;
static char *snapshot, *image; /* owned, of the scene */

/* All of it is data. */
static void open_scene(const char *config)
{
	struct snapgen_opts o = snapgen_defaults;
	cleanup_free char *dir = NULL;
	struct err err;

	scene = (struct scene){.config = config};
	scene_open(&scene);
	dir = scene_format("%s/snapshot", scene.d.dir);
	o.size_bytes = GUEST;
	o.zero_percent = 0;
	ck_assert_msg(snapgen_write(&o, dir, &err) == 0, "%s", err.msg);
	snapshot = scene_format("{\"dir\":\"%s\"}", dir);
	image = scene_format("%s/" SCENE_IMAGE, dir);
}

static void close_scene(void)
{
	scene_close(&scene);
	free(snapshot);
	free(image);
}

static void create(struct stage *s, const char *id, const char *members)
{
	*s = (struct stage){.scene = &scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, snapshot, members);
}

/* @g: the cgroup of its VMM, NULL: any */
static void start(struct stage *s, const struct memcg *g, const char *vmm)
{
	if (g)
		memcg_enter(g);
	stage_start(s, image, vmm);
	if (g)
		memcg_leave(g);
}

static void begin(struct stage *s, const char *id, const struct memcg *g, const char *members,
		  const char *vmm)
{
	create(s, id, members);
	start(s, g, vmm);
	json_object_put(stage_await(s, "serving"));
}

static uint64_t number(const struct stage *s, const char *path)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return scene_number(o, path);
}

static bool is_limited_or_over(void *arg)
{
	const struct stage *s = arg;
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return strcmp(scene_text(o, "prefetch.state"), "limited") == 0 ||
	       strcmp(scene_text(o, "state"), "ended") == 0 || scene_flag(o, "complete");
}

/* It has stopped, says so, and why. */
static void await_limited(struct stage *s, const char *reason)
{
	bool in_time = harness_wait(is_limited_or_over, s, SCENE_MS);
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);
	cleanup_free char *events = scene_events(&scene, s->id);

	stage_check(s,
		    in_time && strcmp(scene_text(o, "prefetch.state"), "limited") == 0 &&
			    strstr(scene_text(o, "prefetch.reason"), reason),
		    "not limited: %s", json_object_to_json_string(o));
	stage_check(s, strstr(events, "prefetch-limited"), "only %s", events);
}

static void touch(struct stage *s)
{
	scene_vmm_go(&s->vmm);
	stage_check(s, stage_hears(s, "touched 2048"), "its VMM has not got its pages");
}

static void check_lives(struct stage *s)
{
	int code;

	stage_check(s, scene_vmm_lives(&s->vmm), "its VMM is dead");
	code = stage_end(s);
	stage_check(s, code == 0, "its VMM ended with %d", code);
	json_object_put(stage_await(s, "ended"));
	stage_fini(s);
}

/* ---- one that is smaller than its guest ---- */

static const struct {
	const char *name, *members;
	bool above;   /* the limit is that of the cgroup above */
	bool limited; /* prefetch comes to it */
} smalls[] = {
	{"default", NULL, false, true},
	{"above", NULL, true, true},
	{"none", ON_DEMAND, false, false},
	{"rate", "\"prefetch\":{\"rate_bytes_per_s\":100000000}", false, true},
};

START_TEST(smaller_than_its_guest)
{
	struct memcg top, own;
	struct stage s;

	open_scene(NULL);
	memcg_open(&top, NULL, "top");
	memcg_open(&own, &top, "own");
	memcg_limit(smalls[_i].above ? &top : &own, LIMIT);
	begin(&s, smalls[_i].name, &own, smalls[_i].members, TOUCHES_LAST);
	if (smalls[_i].limited) {
		await_limited(&s, "a memory cgroup of the VMM");
		/* Half of it, less what the VMM itself has. */
		ck_assert_uint_gt(number(&s, "prefetch.done_bytes"), LIMIT / 4);
		ck_assert_uint_le(memcg_usage(&top), LIMIT / 2 + MIB);
	}
	touch(&s);
	if (smalls[_i].limited)
		await_limited(&s, "a memory cgroup of the VMM");
	else
		ck_assert_uint_eq(number(&s, "prefetch.done_bytes"), 0);
	check_lives(&s);
	memcg_close(&own);
	memcg_close(&top);
	close_scene();
}
END_TEST

/* Three that prefetch at once, and one that does not, none of which has a limit of its own. */
#define NEIGHBOURS 4

START_TEST(neighbours)
{
	struct memcg top, own[NEIGHBOURS];
	struct stage s[NEIGHBOURS];

	open_scene("\"prefetch_leases\":3");
	memcg_open(&top, NULL, "top");
	memcg_limit(&top, 80 * MIB);
	for (int i = 0; i < NEIGHBOURS; i++) {
		cleanup_free char *name = scene_format("vm%d", i);

		memcg_open(&own[i], &top, name);
		begin(&s[i], name, &own[i], i ? NULL : ON_DEMAND, TOUCHES_LAST);
	}
	for (int i = 1; i < NEIGHBOURS; i++)
		await_limited(&s[i], "a memory cgroup of the VMM");
	for (int i = 0; i < NEIGHBOURS; i++)
		touch(&s[i]);
	for (int i = 0; i < NEIGHBOURS; i++) {
		check_lives(&s[i]);
		memcg_close(&own[i]);
	}
	memcg_close(&top);
	close_scene();
}
END_TEST

START_TEST(limit_is_raised)
{
	struct memcg own;
	struct stage s;

	open_scene(NULL);
	memcg_open(&own, NULL, "own");
	memcg_limit(&own, LIMIT);
	begin(&s, "raised", &own, NULL, "--no-touch --wait-resident 50 --hold");
	await_limited(&s, "a memory cgroup of the VMM");
	memcg_limit(&own, 4 * GUEST);
	json_object_put(stage_await(&s, "complete"));
	stage_check(&s, stage_hears(&s, "\"wrong\":0,"), "wrong");
	check_lives(&s);
	memcg_close(&own);
	close_scene();
}
END_TEST

/* The test's own, charged to the cgroup; false: files leave nothing in memory here. */
static bool fill_with_file_pages(const struct memcg *g, uint64_t bytes)
{
	cleanup_free char *path = scene_format("%s/filler", scene.d.dir);
	cleanup_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cleanup_free char *buf = xcalloc(1, MIB);

	ck_assert(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	memcg_enter(g);
	for (uint64_t at = 0; at < bytes; at += MIB)
		ck_assert_int_eq(pread(fd, buf, MIB, (off_t)at), MIB);
	memcg_leave(g);
	return memcg_usage(g) >= bytes;
}

/* A cgroup is always full of file pages in the end, and nobody dies of that. */
START_TEST(file_pages_are_room)
{
	struct memcg own;
	struct stage s;

	open_scene(NULL);
	memcg_open(&own, NULL, "own");
	memcg_limit(&own, 160 * MIB);
	if (fill_with_file_pages(&own, 120 * MIB)) {
		begin(&s, "filled", &own, NULL, "--no-touch --wait-resident 50 --hold");
		json_object_put(stage_await(&s, "complete"));
		check_lives(&s);
	}
	memcg_close(&own);
	close_scene();
}
END_TEST

/* What is not prefetched for lack of room keeps nobody else from it. */
START_TEST(limited_needs_no_lease)
{
	struct memcg own;
	struct stage limited, other;

	open_scene("\"prefetch_leases\":1,\"prefetch_slice\":\"60s\"");
	memcg_open(&own, NULL, "own");
	memcg_limit(&own, LIMIT);
	begin(&limited, "limited", &own, NULL, TOUCHES_LAST);
	await_limited(&limited, "a memory cgroup of the VMM");
	begin(&other, "other", NULL, NULL, "--no-touch --wait-resident 50 --hold");
	json_object_put(stage_await(&other, "complete"));
	check_lives(&other);
	touch(&limited);
	check_lives(&limited);
	memcg_close(&own);
	close_scene();
}
END_TEST

/* ---- somebody dies ---- */

/* Each on two restores. */
static void nobody_dies(struct stage *s)
{
	(void)s;
}

static void workers_restart(struct stage *s)
{
	for (int i = 0; i < 2; i++) {
		cleanup_json struct json_object *o = stage_ask(&s[i], "POST", "/restart-worker",
							       NULL);

		s[i].worker = (pid_t)scene_number(o, "worker.pid");
	}
}

static bool is_adopted(void *arg)
{
	const struct stage *s = arg;
	cleanup_free char *events = scene_events(&scene, s->id);

	return strstr(events, "adopted") != NULL;
}

static void supervisor_dies(struct stage *s)
{
	scene_kill(&scene);
	harness_daemon_start(&scene.d, NULL);
	for (int i = 0; i < 2; i++)
		stage_check(&s[i], harness_wait(is_adopted, &s[i], SCENE_MS), "not adopted");
}

static const struct {
	const char *name;
	void (*die)(struct stage *s);
} deaths[] = {
	{"nobody", nobody_dies},
	{"workers", workers_restart},
	{"supervisor", supervisor_dies},
};

/* Whoever serves it then knows the limit, and the bound, as they are. */
START_TEST(known_after_a_death)
{
	struct memcg own;
	struct stage s[2], *small = &s[0], *bound = &s[1];

	open_scene(NULL);
	memcg_open(&own, NULL, "own");
	memcg_limit(&own, LIMIT);
	begin(small, "small", &own, NULL, TOUCHES_LAST);
	begin(bound, "bound", NULL, "\"prefetch\":{\"max_resident_bytes\":8388608}", TOUCHES_LAST);
	await_limited(small, "a memory cgroup of the VMM");
	await_limited(bound, "max_resident_bytes");
	stage_tell(bound, "PUT", "/prefetch", "{\"max_resident_bytes\":12582912}");
	deaths[_i].die(s);
	/* Were it forgotten, this would be the end of it. */
	stage_tell(small, "PUT", "/prefetch", "{\"rate_bytes_per_s\":1000000000}");
	stage_settle(small);
	stage_settle(bound);
	await_limited(small, "a memory cgroup of the VMM");
	await_limited(bound, "max_resident_bytes");
	ck_assert_uint_eq(number(bound, "memory.resident_bytes"), 12 * MIB);
	ck_assert_uint_eq(number(bound, "prefetch.max_resident_bytes"), 12 * MIB);
	ck_assert_uint_le(memcg_usage(&own), LIMIT / 2 + MIB);
	touch(small);
	check_lives(small);
	check_lives(bound);
	memcg_close(&own);
	close_scene();
}
END_TEST

static void read_map(const struct stage *s, struct pagemap_view *ret)
{
	cleanup_free char *path = stage_path(s, "maps");
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct err err;

	ck_assert_msg(fd >= 0 && pagemap_view(fd, ret, &err) == 0, "no page map");
}

/* Nobody is there to open the cgroups of a VMM that comes now: so nothing is prefetched yet. */
START_TEST(comes_while_nobody_is_there)
{
	struct pagemap_view view;
	struct memcg own;
	struct stage s;

	open_scene(NULL);
	memcg_open(&own, NULL, "own");
	memcg_limit(&own, LIMIT);
	create(&s, "away", NULL);
	scene_kill(&scene);
	start(&s, &own, TOUCHES_FIRST);
	touch(&s);
	read_map(&s, &view);
	ck_assert_uint_eq(view.stats.pages[PAGE_PRESENT], TOUCHED);
	ck_assert_uint_eq(view.stats.prefetch_bytes, 0);
	harness_daemon_start(&scene.d, NULL);
	json_object_put(stage_await(&s, "serving"));
	await_limited(&s, "a memory cgroup of the VMM");
	ck_assert_uint_gt(number(&s, "prefetch.done_bytes"), 0);
	check_lives(&s);
	memcg_close(&own);
	close_scene();
}
END_TEST

/* One that knew them goes on by itself, and within them. */
START_TEST(goes_on_while_nobody_is_there)
{
	struct pagemap_view view;
	struct memcg own;
	struct stage s;

	open_scene(NULL);
	memcg_open(&own, NULL, "own");
	memcg_limit(&own, LIMIT);
	begin(&s, "alone", &own, NULL, TOUCHES_LAST);
	await_limited(&s, "a memory cgroup of the VMM");
	scene_kill(&scene);
	touch(&s);
	read_map(&s, &view);
	ck_assert_uint_eq(view.head.prefetch_limit, LIMIT_MEMORY);
	ck_assert_uint_ge(view.stats.pages[PAGE_PRESENT], TOUCHED);
	stage_check(&s, scene_vmm_lives(&s.vmm), "its VMM is dead");
	harness_daemon_start(&scene.d, NULL);
	await_limited(&s, "a memory cgroup of the VMM");
	check_lives(&s);
	memcg_close(&own);
	close_scene();
}
END_TEST

/* ---- by wish ---- */

START_TEST(resident_by_wish)
{
	struct stage s;

	open_scene(NULL);
	begin(&s, "wish", NULL, "\"prefetch\":{\"max_resident_bytes\":16777216}", TOUCHES_LAST);
	await_limited(&s, "max_resident_bytes");
	ck_assert_uint_eq(number(&s, "memory.resident_bytes"), 16 * MIB);
	/* Demand goes beyond it. */
	touch(&s);
	await_limited(&s, "max_resident_bytes");
	ck_assert_uint_eq(number(&s, "memory.resident_bytes"), 24 * MIB);
	/* Less than there is, more, and no bound at all. */
	stage_tell(&s, "PUT", "/prefetch", "{\"max_resident_bytes\":20971520}");
	stage_settle(&s);
	await_limited(&s, "max_resident_bytes");
	ck_assert_uint_eq(number(&s, "memory.resident_bytes"), 24 * MIB);
	stage_tell(&s, "PUT", "/prefetch", "{\"max_resident_bytes\":26214401}");
	stage_settle(&s);
	await_limited(&s, "max_resident_bytes");
	ck_assert_uint_eq(number(&s, "memory.resident_bytes"), 25 * MIB);
	stage_tell(&s, "PUT", "/prefetch", "{\"max_resident_bytes\":0}");
	json_object_put(stage_await(&s, "complete"));
	check_lives(&s);
	close_scene();
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("room");
	TCase *t = tcase_create("room");
	const char *why;

	if (!memcg_available(&why)) {
		printf("1..0 # SKIP %s\n", why);
		return NULL;
	}
	tcase_add_loop_test(t, smaller_than_its_guest, 0, ARRAY_LEN(smalls));
	tcase_add_test(t, neighbours);
	tcase_add_test(t, limit_is_raised);
	tcase_add_test(t, file_pages_are_room);
	tcase_add_test(t, limited_needs_no_lease);
	tcase_add_loop_test(t, known_after_a_death, 0, ARRAY_LEN(deaths));
	tcase_add_test(t, comes_while_nobody_is_there);
	tcase_add_test(t, goes_on_while_nobody_is_there);
	tcase_add_test(t, resident_by_wish);
	suite_add_tcase(s, t);
	return s;
}
