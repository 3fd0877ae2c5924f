/*
 * Habits through deaths, on other hosts, among tenants; and sets that are no good.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/habits.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"

/* ---- deaths ---- */

START_TEST(half_a_recording_is_none)
{
	struct habits t;
	struct stage s;

	habits_open(&t, "");
	habits_begin(&s, &t, "died", HABITS_NONE, t.working_set);
	habits_touch(&s);
	stage_tell(&s, "POST", "/restart-worker", NULL);
	habits_await(&s, "off");
	scene_vmm_go(&s.vmm);
	stage_check(&s, stage_hears(&s, "verified 2048"), "it does not touch the rest");
	s.worker = (pid_t)0x7fffffff; /* none: it has another one */
	habits_finish(&s);
	habits_none(&t, "died", "none is stored");
	habits_events(&t, "died", "recovered", "working-set");
	habits_close(&t);
}
END_TEST

/* A successor goes on with the replay: it is given the set again. */
START_TEST(successor_replays)
{
	struct habits t;
	struct stage s;

	habits_open(&t, "");
	habits_round(&t, "first", HABITS_NONE, t.working_set, false);
	habits_begin(&s, &t, "died", HABITS_NONE, t.working_set);
	stage_tell(&s, "POST", "/restart-worker", NULL);
	stage_tell(&s, "PUT", "/prefetch", "{\"mode\":\"working-set\"}");
	stage_check(&s, harness_wait(habits_is_replayed, &s, SCENE_MS), "it is not replayed");
	habits_touch(&s);
	s.worker = (pid_t)0x7fffffff;
	ck_assert_uint_eq(habits_finish(&s), 0);
	habits_close(&t);
}
END_TEST

static void supervisor_comes_back(struct habits *t)
{
	harness_daemon_start(&t->scene.d, NULL);
	respawn_await_event(&t->scene, "alone", "adopted", 1);
}

static void finish_alone(struct habits *t, struct stage *s)
{
	habits_await(s, "recorded");
	habits_finish(s);
	habits_check(t, "alone", WSET_MEMBER, 1);
	habits_events(t, "alone", "working-set-recorded", NULL);
	habits_close(t);
}

/* A recording goes on, whoever is there to be told. */
START_TEST(supervisor_comes_back_in_time)
{
	struct habits t;
	struct stage s;

	habits_open(&t, "");
	habits_begin(&s, &t, "alone", HABITS_NONE, t.working_set);
	habits_touch(&s);
	scene_kill(&t.scene);
	supervisor_comes_back(&t);
	stage_tell(&s, "POST", "/pause", NULL);
	finish_alone(&t, &s);
}
END_TEST

static bool is_past(void *arg)
{
	const uint64_t *until_us = arg;

	return now_us() > *until_us;
}

/* False: the host was too busy, the window was over before the supervisor was gone. */
static bool leave_alone(struct habits *t, struct stage *s, uint64_t window_ms)
{
	uint64_t began_us = now_us(), over_us;
	bool in_time;

	habits_begin(s, t, "alone", HABITS_NONE, t->working_set);
	over_us = now_us() + window_ms * 1000;
	habits_touch(s);
	scene_kill(&t->scene);
	in_time = now_us() - began_us < window_ms * 1000;
	if (in_time)
		ck_assert(harness_wait(is_past, &over_us, (int)window_ms + HARNESS_MS));
	supervisor_comes_back(t);
	return in_time;
}

/* What was learnt while there was no supervisor is told to the next one. */
START_TEST(supervisor_is_away)
{
	uint64_t window_ms = 500;
	struct habits t;
	struct stage s;

	habits_open_window(&t, window_ms);
	while (!leave_alone(&t, &s, window_ms)) {
		habits_finish(&s);
		habits_close(&t);
		window_ms *= 4;
		habits_open_window(&t, window_ms);
	}
	finish_alone(&t, &s);
}
END_TEST

/* ---- other hosts, other tenants ---- */

static char *export_set(const struct habits *t, const char *id)
{
	char *file = scene_format("%s/exported-%s", t->dir, id);
	cleanup_free char *line = scene_format("exec " TEST_BUILD
					       "/ctl/uffdctl -S %s working-set %s "
					       ">%s",
					       t->scene.d.socket, id, file);
	const char *const argv[] = {"sh", "-c", line, NULL};
	struct harness_output out;
	struct harness_reply r;
	char bytes[8192];
	int fd;

	harness_run(argv, &out);
	ck_assert_msg(out.code == 0, "%s", out.err);
	harness_output_fini(&out);
	habits_file(t, id, &r);
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
	struct habits here, there;

	habits_open(&here, "");
	habits_open(&there, "");
	habits_round(&here, "a", HABITS_NONE, here.working_set, false);
	file = export_set(&here, "a");
	no_record = scene_format(HABITS_REPLAY
				 ",\"working_set\":{\"path\":\"%s\",\"record\":false}",
				 file);
	ck_assert_uint_eq(habits_round(&there, "b", no_record, there.working_set, false), 0);
	habits_none(&there, "b", "none is stored");
	record = scene_format(HABITS_REPLAY ",\"working_set\":{\"path\":\"%s\"}", file);
	ck_assert_uint_le(habits_round(&there, "c", record, there.working_set, false),
			  HABITS_PAGES / 8);
	/* By now it needs nobody's file any more. */
	habits_check(&there, "c", WSET_MEMBER, 2);
	ck_assert_uint_le(habits_round(&there, "d", HABITS_REPLAY, there.working_set, false),
			  HABITS_PAGES / 8);
	habits_close(&there);
	habits_close(&here);
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
	struct habits t;
	struct stage s;
	struct stat st;
	cleanup_free char *own = NULL;

	if (geteuid() != 0)
		return;
	habits_open(&t, ",\"socket_mode\":\"0666\"");
	habits_round(&t, "roots", HABITS_NONE, t.working_set, false);
	act_as(65534);
	s = (struct stage){.scene = &t.scene, .id = "theirs"};
	stage_create(&s, t.snapshot, HABITS_REPLAY ",\"peer\":{\"uid\":0}");
	habits_none(&t, "theirs", "none is stored");
	habits_none(&t, "roots", "there is no restore");
	act_as(0);
	stage_start(&s, t.image, "--only 9+5");
	stage_check(&s, stage_hears(&s, "touched 5"), "it does not touch");
	ck_assert_uint_eq(habits_finish(&s), 5);
	habits_check(&t, "roots", WSET_MEMBER, 1);
	own = scene_format("%s/working-sets/uid-65534", t.scene.d.state);
	ck_assert_int_eq(stat(own, &st), 0);
	habits_close(&t);
}
END_TEST

/* ---- what is no good ---- */

static void damage_stored(const struct habits *t)
{
	cleanup_free char *line =
		scene_format("printf x | dd of=$(echo %s/working-sets/default/*-4k) "
			     "bs=1 seek=90 conv=notrunc",
			     t->scene.d.state);
	const char *const argv[] = {"sh", "-c", line, NULL};
	struct harness_output out;

	harness_run(argv, &out);
	ck_assert_msg(out.code == 0, "%s", out.err);
	harness_output_fini(&out);
}

START_TEST(damaged_set)
{
	struct harness_reply r;
	struct habits t;

	habits_open(&t, "");
	habits_round(&t, "first", HABITS_NONE, t.working_set, false);
	damage_stored(&t);
	habits_none(&t, "first", "wrong checksum");
	ck_assert_uint_eq(habits_round(&t, "second", HABITS_REPLAY, t.working_set, false),
			  HABITS_PAGES);
	harness_http(t.scene.d.socket, "GET", "/v1/events?restore=second", NULL, &r);
	ck_assert_ptr_nonnull(strstr(r.body, "\"working-set-ignored\""));
	ck_assert_ptr_nonnull(strstr(r.body, "the stored working set: the working set is damaged"));
	harness_reply_fini(&r);
	habits_check(&t, "second", WSET_MEMBER, 1);
	habits_close(&t);
}
END_TEST

/* The restore goes on, with every byte right. */
/* clang-format off */
static const struct {
	const char *file, *detail;
} no_good[] = {
	{"other", "of another snapshot"},
	{"nothing", "No such file"},
	{"fifo", "not a regular file"},
	{"s/" SCENE_IMAGE, "no working-set file"},
	{"s", "not a regular file"},
};
/* clang-format on */

START_TEST(sets_that_are_no_good)
{
	cleanup_free char *other = NULL, *fifo = NULL;
	struct wset set;
	cleanup_free void *bytes = NULL;
	struct habits t;
	struct err err;
	size_t len;

	habits_open(&t, "");
	other = scene_format("%s/other", t.dir);
	fifo = scene_format("%s/fifo", t.dir);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	habits_round(&t, "first", HABITS_NONE, "7", false);
	set = habits_set(&t, "first");
	set.key.id[3] ^= 1;
	ck_assert_int_eq(wset_file_encode(&set, &bytes, &len, &err), 0);
	scene_write(other, bytes, len);
	wset_fini(&set);
	for (size_t i = 0; i < ARRAY_LEN(no_good); i++) {
		cleanup_free char *id = scene_format("bad-%zu", i);
		cleanup_free char *members =
			scene_format(HABITS_NONE
				     ",\"working_set\":{\"path\":\"%s/%s\",\"record\":false}",
				     t.dir, no_good[i].file);
		cleanup_free char *target = scene_format("/v1/events?restore=%s", id);
		struct harness_reply r;

		ck_assert_uint_eq(habits_round(&t, id, members, t.working_set, false),
				  HABITS_PAGES);
		harness_http(t.scene.d.socket, "GET", target, NULL, &r);
		ck_assert_msg(strstr(r.body, "\"working-set-ignored\"") &&
				      strstr(r.body, no_good[i].detail),
			      "%s: %s", no_good[i].file, r.body);
		harness_reply_fini(&r);
	}
	habits_close(&t);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("habits away");
	TCase *t = tcase_create("habits");

	tcase_add_test(t, half_a_recording_is_none);
	tcase_add_test(t, successor_replays);
	tcase_add_test(t, supervisor_comes_back_in_time);
	tcase_add_test(t, supervisor_is_away);
	tcase_add_test(t, export_and_import);
	tcase_add_test(t, tenants_share_nothing);
	tcase_add_test(t, damaged_set);
	tcase_add_test(t, sets_that_are_no_good);
	suite_add_tcase(s, t);
	return s;
}
