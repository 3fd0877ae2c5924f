/*
 * What guests touch first is recorded, replayed for the next, changed with their
 * habits, carried to other hosts, and never trusted.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "common/wset_file.h"
#include "tests/respawn.h"
#include "tests/runner.h"
#include "tests/snapgen.h"
#include "tests/stage.h"

#define SIZE ((uint64_t)8 << 20)
#define PAGES (SIZE / PAGE_4K)
#define WINDOW_MS 500
#define NONE "\"prefetch\":{\"mode\":\"none\"}"
#define REPLAY "\"prefetch\":{\"mode\":\"working-set\"}"
#define HABIT 256 /* pages */

struct story {
	struct scene scene;
	char *dir;      /* owned: of snapshots, and other files */
	char *snapshot; /* owned: as the API wants it */
	char *image;
	char *habit;    /* owned: a list of pages for standin */
	bool *in_habit; /* owned: PAGES of them */
};

/* Short runs all over memory, as they are in life. */
static void make_habit(struct story *t)
{
	uint64_t page = 5, n = 0;
	size_t len;
	FILE *f = open_memstream(&t->habit, &len);

	t->in_habit = xcalloc(PAGES, sizeof(*t->in_habit));
	for (uint64_t run = 0; n < HABIT; run++, page += 7 + run % 5) {
		uint64_t count = min_u64(1 + run % 4, HABIT - n);

		fprintf(f, "%s%ju+%ju", run ? "," : "", (uintmax_t)page, (uintmax_t)count);
		for (uint64_t i = 0; i < count; i++)
			t->in_habit[page++] = true;
		n += count;
	}
	fclose(f);
	ck_assert_uint_lt(page, PAGES);
}

static void story_open(struct story *t, const char *more)
{
	cleanup_free char *path = NULL;

	*t = (struct story){.dir = harness_tmpdir()};
	path = scene_format("%s/s", t->dir);
	scene_make_snapshot(path, SIZE, 5);
	t->snapshot = scene_format("{\"dir\":\"%s\"}", path);
	t->image = scene_format("%s/" SCENE_IMAGE, path);
	ck_assert_int_eq(chmod(t->dir, 0755), 0);
	t->scene.config = scene_format("\"record_window\":\"%dms\"%s",
				       harness_scale_ms(WINDOW_MS), more);
	scene_open(&t->scene);
	make_habit(t);
}

static void story_close(struct story *t)
{
	free((char *)(uintptr_t)t->scene.config);
	scene_close(&t->scene);
	harness_rmtree(t->dir);
	free(t->dir);
	free(t->snapshot);
	free(t->image);
	free(t->habit);
	free(t->in_habit);
}

/* ---- a restore ---- */

static void begin(struct stage *s, struct story *t, const char *id, const char *members,
		  const char *pages)
{
	cleanup_free char *options = scene_format("--hold-before --hold --only %s", pages);

	*s = (struct stage){.scene = &t->scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, t->snapshot, members);
	stage_start(s, t->image, options);
	json_object_put(stage_await(s, "serving"));
}

static bool is_replayed(void *arg)
{
	cleanup_json struct json_object *o = stage_ask(arg, "GET", "", NULL);

	return strcmp(scene_text(o, "prefetch.state"), "done") == 0;
}

static void touch(struct stage *s)
{
	scene_vmm_go(&s->vmm);
	stage_check(s, stage_hears(s, "touched "), "it does not touch");
}

static bool is_not_recording(void *arg)
{
	cleanup_json struct json_object *o = stage_ask(arg, "GET", "", NULL);

	return strcmp(scene_text(o, "working_set.state"), "recording") != 0;
}

/* Until its window is over. */
static void await_recorded(struct stage *s, const char *state)
{
	cleanup_json struct json_object *o = NULL;

	stage_check(s, harness_wait(is_not_recording, s, SCENE_MS), "it goes on recording");
	o = stage_ask(s, "GET", "", NULL);
	stage_check(s, strcmp(scene_text(o, "working_set.state"), state) == 0, "not %s: %s", state,
		    json_object_to_json_string(o));
}

/* Its faults. */
static uint64_t finish(struct stage *s)
{
	struct json_object *o;
	uint64_t faults;
	int code = stage_end(s);

	stage_check(s, code == 0 && strstr(stage_printed(s), "\"wrong\":0,"), "exit %d", code);
	json_object_put(stage_ended(s, "vmm-exited"));
	o = stage_ask(s, "GET", "", NULL);
	faults = scene_number(o, "faults.count");
	json_object_put(o);
	stage_fini(s);
	return faults;
}

/* From create to end; the recording ends with its window, or with the VMM. */
static uint64_t round_of(struct story *t, const char *id, const char *members, const char *pages,
			 bool whole_window)
{
	struct stage s;

	begin(&s, t, id, members, pages);
	if (strstr(members, REPLAY))
		stage_check(&s, harness_wait(is_replayed, &s, SCENE_MS), "it is not replayed");
	touch(&s);
	if (whole_window)
		await_recorded(&s, "recorded");
	return finish(&s);
}

/* ---- its set ---- */

static char *target_of(const char *id)
{
	return scene_format("/v1/restores/%s/working-set", id);
}

static void get_file(const struct story *t, const char *id, struct harness_reply *ret)
{
	cleanup_free char *target = target_of(id);

	harness_http(t->scene.d.socket, "GET", target, NULL, ret);
	ck_assert_msg(ret->status == 200, "%s: %d %s", id, ret->status, ret->body);
	ck_assert_str_eq(ret->content_type, "application/octet-stream");
}

static struct wset get_set(const struct story *t, const char *id)
{
	struct harness_reply r;
	struct wset set;
	struct err err;

	get_file(t, id, &r);
	ck_assert_msg(wset_file_decode(r.body, r.len, &set, &err) == 0, "%s", err.msg);
	harness_reply_fini(&r);
	return set;
}

static void no_set(const struct story *t, const char *id, const char *why)
{
	cleanup_free char *target = target_of(id);

	scene_refused(&t->scene, "GET", target, NULL, ERR_NOTFOUND, why);
}

static unsigned score_of(const struct wset *s, uint64_t page)
{
	for (size_t i = 0; i < s->n; i++)
		if (page >= s->v[i].page && page - s->v[i].page < s->v[i].pages)
			return s->v[i].score;
	return 0;
}

/* Every page of the habit has at least that score, and nothing else is there. */
static void check_habit(const struct story *t, const char *id, unsigned score, uint32_t restores)
{
	struct wset s = get_set(t, id);

	for (uint64_t page = 0; page < PAGES; page++)
		ck_assert_msg(t->in_habit[page] ? score_of(&s, page) >= score :
						  score_of(&s, page) == 0,
			      "%s: page %ju has score %u", id, (uintmax_t)page,
			      score_of(&s, page));
	ck_assert_uint_eq(s.pages, HABIT);
	ck_assert_uint_eq(s.restores, restores);
	wset_fini(&s);
}

static void check_events(const struct story *t, const char *id, const char *has, const char *lacks)
{
	cleanup_free char *events = scene_events(&t->scene, id);

	ck_assert_msg(strstr(events, has), "%s: no %s in %s", id, has, events);
	ck_assert_msg(!lacks || !strstr(events, lacks), "%s: %s in %s", id, lacks, events);
}

/* ---- stories ---- */

START_TEST(recorded_and_replayed)
{
	struct json_object *o;
	struct harness_reply r;
	struct story t;
	struct stage s;
	uint64_t faults;

	story_open(&t, "");
	begin(&s, &t, "first", NONE, t.habit);
	o = stage_ask(&s, "GET", "", NULL);
	ck_assert(scene_flag(o, "working_set.record"));
	ck_assert_str_eq(scene_text(o, "working_set.state"), "recording");
	ck_assert_str_eq(scene_text(o, "working_set.path"), "");
	json_object_put(o);
	no_set(&t, "first", "restore first has no working set");
	touch(&s);
	ck_assert_uint_eq(finish(&s), HABIT);
	check_habit(&t, "first", WSET_MEMBER, 1);
	o = scene_show(&t.scene, "first");
	ck_assert_str_eq(scene_text(o, "working_set.state"), "recorded");
	ck_assert_uint_eq(scene_number(o, "working_set.pages"), HABIT);
	json_object_put(o);
	harness_http(t.scene.d.socket, "GET", "/v1/events?restore=first", NULL, &r);
	ck_assert_ptr_nonnull(strstr(r.body, "\"working-set-recorded\""));
	ck_assert_ptr_nonnull(strstr(r.body, "\"data\":{\"pages\":256,\"runs\":103,\"restores\":1}"));
	harness_reply_fini(&r);

	/* All but the sample is there before the guest asks for it. */
	faults = round_of(&t, "second", REPLAY, t.habit, false);
	ck_assert_msg(faults <= HABIT / 8, "%ju faults", (uintmax_t)faults);
	check_habit(&t, "second", WSET_MEMBER, 2);
	/* Whoever records nothing leaves nothing out. */
	faults = round_of(&t, "third", REPLAY ",\"working_set\":{\"record\":false}", t.habit, false);
	ck_assert_uint_eq(faults, 0);
	check_events(&t, "third", "ended", "working-set");
	check_habit(&t, "third", WSET_MEMBER, 2);
	story_close(&t);
}
END_TEST

/* The default mode: first the set, then everything. */
START_TEST(all_of_it_with_the_set_first)
{
	struct json_object *o;
	struct story t;
	struct stage s;

	story_open(&t, "");
	round_of(&t, "first", NONE, t.habit, false);
	begin(&s, &t, "second", "\"when_complete\":\"release\"", t.habit);
	stage_check(&s, scene_vmm_lives(&s.vmm), "gone");
	o = stage_ended(&s, "released");
	ck_assert(scene_flag(o, "complete"));
	json_object_put(o);
	touch(&s);
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_end(&s) == 0, "not right");
	stage_check(&s, strstr(stage_printed(&s), "verified 2048"), "not all");
	stage_fini(&s);
	/* Nobody touched anything, so nothing was learnt. */
	check_habit(&t, "second", WSET_MEMBER, 1);
	check_events(&t, "second", "ended", "working-set");
	story_close(&t);
}
END_TEST

/* Prefetch of nothing but the set, on request, beside a guest that runs. */
START_TEST(replay_on_request)
{
	struct json_object *o;
	struct story t;
	struct stage s;

	story_open(&t, "");
	round_of(&t, "first", NONE, t.habit, false);
	begin(&s, &t, "second", NONE ",\"working_set\":{\"record\":false}", t.habit);
	stage_tell(&s, "PUT", "/prefetch", "{\"mode\":\"working-set\"}");
	stage_check(&s, harness_wait(is_replayed, &s, SCENE_MS), "it is not replayed");
	o = stage_ask(&s, "GET", "", NULL);
	ck_assert_uint_eq(scene_number(o, "memory.resident_bytes"), HABIT * PAGE_4K);
	json_object_put(o);
	touch(&s);
	ck_assert_uint_eq(finish(&s), 0);
	story_close(&t);
}
END_TEST

/* What is not needed any more goes, what is new and repeats comes in, what came once does not. */
START_TEST(habits_change)
{
	static const char *const days[] = {"100+20,300+2", "200+20,301,500", "200+20,301,600+3",
					   "200+20,301,700"};
	struct story t;
	struct wset set;

	story_open(&t, "");
	for (size_t i = 0; i < ARRAY_LEN(days); i++) {
		cleanup_free char *id = scene_format("day-%zu", i);

		round_of(&t, id, NONE, days[i], true);
	}
	set = get_set(&t, "day-3");
	for (uint64_t page = 0; page < PAGES; page++) {
		unsigned want = (page >= 200 && page < 220) || page == 301 ? 3 : page == 700;

		ck_assert_msg(score_of(&set, page) == want, "page %ju has score %u, not %u",
			      (uintmax_t)page, score_of(&set, page), want);
	}
	ck_assert_uint_eq(set.restores, 4);
	wset_fini(&set);
	story_close(&t);
}
END_TEST

/* Also when all of it is replayed each time: then the sample tells. */
START_TEST(replayed_pages_are_let_go_of)
{
	uint64_t pages = HABIT;
	struct story t;

	story_open(&t, "");
	round_of(&t, "before", NONE, t.habit, true);
	for (int i = 0; i < 5; i++) {
		cleanup_free char *id = scene_format("after-%d", i);
		/* One that is always new: without a fault it cannot be told whether there is a guest. */
		cleanup_free char *list = scene_format("2000+20,%d", 1900 + i);
		struct wset set;

		round_of(&t, id, REPLAY, list, true);
		set = get_set(&t, id);
		ck_assert_uint_ge(score_of(&set, 2000), i ? WSET_MEMBER : WSET_CANDIDATE);
		ck_assert_uint_eq(score_of(&set, 1900 + (uint64_t)i), WSET_CANDIDATE);
		ck_assert_uint_eq(score_of(&set, 1899 + (uint64_t)i), 0);
		ck_assert_uint_le(set.pages - 21, pages);
		pages = set.pages - 21;
		wset_fini(&set);
	}
	/* In five restores, a page is in the sample with one chance in seven. */
	ck_assert_uint_lt(pages, HABIT);
	ck_assert_uint_gt(pages, HABIT / 2);
	story_close(&t);
}
END_TEST

START_TEST(long_lives_do_not_swell_it)
{
	struct story t;
	struct stage s;

	story_open(&t, "");
	begin(&s, &t, "long", NONE, t.habit);
	touch(&s);
	await_recorded(&s, "recorded");
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_hears(&s, "verified 2048"), "it does not touch the rest");
	ck_assert_uint_eq(finish(&s), PAGES);
	check_habit(&t, "long", WSET_MEMBER, 1);
	/* Nor does one that did nothing in its window. */
	begin(&s, &t, "late", NONE, t.habit);
	await_recorded(&s, "off");
	touch(&s);
	ck_assert_uint_eq(finish(&s), HABIT);
	check_habit(&t, "late", WSET_MEMBER, 1);
	story_close(&t);
}
END_TEST

/* A pause ends it: the VMM is about to read all of its memory. */
START_TEST(pause_ends_it)
{
	struct story t;
	struct stage s;

	story_open(&t, "");
	begin(&s, &t, "paused", NONE, t.habit);
	touch(&s);
	stage_tell(&s, "POST", "/pause", NULL);
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_hears(&s, "verified 2048"), "it does not touch the rest");
	stage_tell(&s, "POST", "/resume", NULL);
	finish(&s);
	check_habit(&t, "paused", WSET_MEMBER, 1);
	story_close(&t);
}
END_TEST

/* ---- deaths ---- */

START_TEST(half_a_recording_is_none)
{
	struct story t;
	struct stage s;

	story_open(&t, "");
	begin(&s, &t, "died", NONE, t.habit);
	touch(&s);
	stage_tell(&s, "POST", "/restart-worker", NULL);
	await_recorded(&s, "off");
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_hears(&s, "verified 2048"), "it does not touch the rest");
	s.worker = (pid_t)0x7fffffff; /* none: it has another one */
	finish(&s);
	no_set(&t, "died", "none is stored");
	check_events(&t, "died", "recovered", "working-set");
	story_close(&t);
}
END_TEST

/* A successor goes on with the replay: it is given the set again. */
START_TEST(successor_replays)
{
	struct story t;
	struct stage s;

	story_open(&t, "");
	round_of(&t, "first", NONE, t.habit, false);
	begin(&s, &t, "died", NONE, t.habit);
	stage_tell(&s, "POST", "/restart-worker", NULL);
	stage_tell(&s, "PUT", "/prefetch", "{\"mode\":\"working-set\"}");
	stage_check(&s, harness_wait(is_replayed, &s, SCENE_MS), "it is not replayed");
	touch(&s);
	s.worker = (pid_t)0x7fffffff;
	ck_assert_uint_eq(finish(&s), 0);
	story_close(&t);
}
END_TEST

static bool is_past(void *arg)
{
	const uint64_t *until_us = arg;

	return now_us() > *until_us;
}

/* What was learnt while there was no supervisor is told to the next one. */
START_TEST(supervisor_is_away)
{
	uint64_t over_us;
	struct story t;
	struct stage s;

	story_open(&t, "");
	begin(&s, &t, "alone", NONE, t.habit);
	over_us = now_us() + (uint64_t)harness_scale_ms(WINDOW_MS) * 1000;
	touch(&s);
	scene_kill(&t.scene);
	if (_i)
		ck_assert(harness_wait(is_past, &over_us, SCENE_MS));
	harness_daemon_start(&t.scene.d, NULL);
	respawn_await_event(&t.scene, "alone", "adopted", 1);
	await_recorded(&s, "recorded");
	finish(&s);
	check_habit(&t, "alone", WSET_MEMBER, 1);
	check_events(&t, "alone", "working-set-recorded", NULL);
	story_close(&t);
}
END_TEST

/* ---- other hosts, other tenants ---- */

static char *export_set(const struct story *t, const char *id)
{
	char *file = scene_format("%s/exported-%s", t->dir, id);
	cleanup_free char *line = scene_format("exec " TEST_BUILD "/ctl/uffdctl -S %s working-set %s "
					       ">%s", t->scene.d.socket, id, file);
	const char *const argv[] = {"sh", "-c", line, NULL};
	struct harness_output out;
	struct harness_reply r;
	char bytes[8192];
	int fd;

	harness_run(argv, &out);
	ck_assert_msg(out.code == 0, "%s", out.err);
	harness_output_fini(&out);
	get_file(t, id, &r);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), (ssize_t)r.len);
	ck_assert_mem_eq(bytes, r.body, r.len);
	close(fd);
	harness_reply_fini(&r);
	return file;
}

START_TEST(export_and_import)
{
	cleanup_free char *file = NULL, *record = NULL, *no_record = NULL;
	struct story here, there;

	story_open(&here, "");
	story_open(&there, "");
	round_of(&here, "a", NONE, here.habit, false);
	file = export_set(&here, "a");
	no_record = scene_format(REPLAY ",\"working_set\":{\"path\":\"%s\",\"record\":false}", file);
	ck_assert_uint_eq(round_of(&there, "b", no_record, there.habit, false), 0);
	no_set(&there, "b", "none is stored");
	record = scene_format(REPLAY ",\"working_set\":{\"path\":\"%s\"}", file);
	ck_assert_uint_le(round_of(&there, "c", record, there.habit, false), HABIT / 8);
	/* By now it needs nobody's file any more. */
	check_habit(&there, "c", WSET_MEMBER, 2);
	ck_assert_uint_le(round_of(&there, "d", REPLAY, there.habit, false), HABIT / 8);
	story_close(&there);
	story_close(&here);
}
END_TEST

/* The kernel notes the effective user when a socket is connected. */
static void act_as(uid_t uid)
{
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(seteuid(uid), 0);
}

START_TEST(tenants_share_nothing)
{
	struct story t;
	struct stage s;
	struct stat st;
	cleanup_free char *own = NULL;

	if (geteuid() != 0)
		return;
	story_open(&t, ",\"socket_mode\":\"0666\"");
	round_of(&t, "roots", NONE, t.habit, false);
	act_as(65534);
	s = (struct stage){.scene = &t.scene, .id = "theirs"};
	stage_create(&s, t.snapshot, REPLAY ",\"peer\":{\"uid\":0}");
	no_set(&t, "theirs", "none is stored");
	no_set(&t, "roots", "there is no restore");
	act_as(0);
	stage_start(&s, t.image, "--only 9+5");
	stage_check(&s, stage_hears(&s, "touched 5"), "it does not touch");
	ck_assert_uint_eq(finish(&s), 5);
	check_habit(&t, "roots", WSET_MEMBER, 1);
	own = scene_format("%s/working-sets/uid-65534", t.scene.d.state);
	ck_assert_int_eq(stat(own, &st), 0);
	story_close(&t);
}
END_TEST

/* ---- what is no good ---- */

static void damage_stored(const struct story *t)
{
	cleanup_free char *line = scene_format("printf x | dd of=$(echo %s/working-sets/default/*-4k) "
					       "bs=1 seek=90 conv=notrunc", t->scene.d.state);
	const char *const argv[] = {"sh", "-c", line, NULL};
	struct harness_output out;

	harness_run(argv, &out);
	ck_assert_msg(out.code == 0, "%s", out.err);
	harness_output_fini(&out);
}

START_TEST(damaged_set)
{
	struct harness_reply r;
	struct story t;

	story_open(&t, "");
	round_of(&t, "first", NONE, t.habit, false);
	damage_stored(&t);
	no_set(&t, "first", "wrong checksum");
	ck_assert_uint_eq(round_of(&t, "second", REPLAY, t.habit, false), HABIT);
	harness_http(t.scene.d.socket, "GET", "/v1/events?restore=second", NULL, &r);
	ck_assert_ptr_nonnull(strstr(r.body, "\"working-set-ignored\""));
	ck_assert_ptr_nonnull(strstr(r.body, "the stored working set: the working set is damaged"));
	harness_reply_fini(&r);
	check_habit(&t, "second", WSET_MEMBER, 1);
	story_close(&t);
}
END_TEST

/* The restore goes on, with every byte right. */
START_TEST(sets_that_are_no_good)
{
	static const struct {
		const char *file, *detail;
	} cases[] = {
		{"other", "of another snapshot"},
		{"nothing", "No such file"},
		{"fifo", "not a regular file"},
		{"s/" SCENE_IMAGE, "no working-set file"},
		{"s", "not a regular file"},
	};
	cleanup_free char *other = NULL, *fifo = NULL;
	struct wset set;
	cleanup_free void *bytes = NULL;
	struct story t;
	struct err err;
	size_t len;

	story_open(&t, "");
	other = scene_format("%s/other", t.dir);
	fifo = scene_format("%s/fifo", t.dir);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	round_of(&t, "first", NONE, "7", false);
	set = get_set(&t, "first");
	set.key.build[3] ^= 1;
	ck_assert_int_eq(wset_file_encode(&set, &bytes, &len, &err), 0);
	scene_write(other, bytes, len);
	wset_fini(&set);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_free char *id = scene_format("bad-%zu", i);
		cleanup_free char *members = scene_format(
			NONE ",\"working_set\":{\"path\":\"%s/%s\",\"record\":false}", t.dir,
			cases[i].file);
		cleanup_free char *target = scene_format("/v1/events?restore=%s", id);
		struct harness_reply r;

		ck_assert_uint_eq(round_of(&t, id, members, t.habit, false), HABIT);
		harness_http(t.scene.d.socket, "GET", target, NULL, &r);
		ck_assert_msg(strstr(r.body, "\"working-set-ignored\"") &&
			      strstr(r.body, cases[i].detail), "%s: %s", cases[i].file, r.body);
		harness_reply_fini(&r);
	}
	story_close(&t);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("habits");
	TCase *t = tcase_create("habits");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, recorded_and_replayed);
	tcase_add_test(t, all_of_it_with_the_set_first);
	tcase_add_test(t, replay_on_request);
	tcase_add_test(t, habits_change);
	tcase_add_test(t, replayed_pages_are_let_go_of);
	tcase_add_test(t, long_lives_do_not_swell_it);
	tcase_add_test(t, pause_ends_it);
	tcase_add_test(t, half_a_recording_is_none);
	tcase_add_test(t, successor_replays);
	tcase_add_loop_test(t, supervisor_is_away, 0, 2);
	tcase_add_test(t, export_and_import);
	tcase_add_test(t, tenants_share_nothing);
	tcase_add_test(t, damaged_set);
	tcase_add_test(t, sets_that_are_no_good);
	suite_add_tcase(s, t);
	return s;
}
