/* test_daemon - what keeps the daemon from starting, and a disk that fills up under it */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/support/runner.h"
#include "tests/support/scene.h"

#define RESTORES "/v1/restores"
#define BODY "{\"snapshot\":{\"dir\":\"" SCENE_SNAPSHOT "\"}}"

/* --- starting --- */

/* Runs a daemon that must not start, beside the scene's; its last words have @words in them. */
static void check_refuses(const struct scene *s, const char *run, const char *state,
			  const char *option, const char *words)
{
	cleanup_free char *config = scene_format("%s/uffdd.json", s->d.dir);
	const char *argv[] = {TEST_BUILD "/daemon/uffdd",
			      "--config",
			      config,
			      "--run-dir",
			      run,
			      "--state-dir",
			      state,
			      option,
			      NULL};
	struct harness_output o;

	harness_run(argv, &o);
	ck_assert_msg((o.code == 1 || o.code == 2) && strstr(o.err, words),
		      "exit %d: no \"%s\" in %s", o.code, words, o.err);
	harness_output_fini(&o);
}

START_TEST(test_bad_options)
{
	struct scene s = {0};
	cleanup_free char *run = NULL, *state = NULL, *file = NULL, *longest = NULL;
	struct stat st;

	scene_open(&s);
	run = scene_format("%s/run2", s.d.dir);
	state = scene_format("%s/state2", s.d.dir);
	file = scene_format("%s/uffdd.json", s.d.dir);
	longest = scene_format("%s/%0*d", s.d.dir, 95 - (int)strlen(s.d.dir) - 1, 0);
	check_refuses(&s, longest, state, NULL, "run-dir");
	check_refuses(&s, longest, state, NULL, "94");
	ck_assert_int_lt(stat(longest, &st), 0);
	check_refuses(&s, run, state, "--worker=/nowhere/worker", "/nowhere/worker");
	check_refuses(&s, run, state, "--max-restores=0", "max-restores");
	check_refuses(&s, run, state, "--colour=red", "--colour");
	check_refuses(&s, run, state, "--socket-group=no-such-group", "no-such-group");
	check_refuses(&s, file, state, NULL, file);
	check_refuses(&s, run, file, NULL, file);
	/* All that is wrong, and nothing is left of the attempts that would have been. */
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	scene_delete(&s, "a", "");
	scene_close(&s);
}
END_TEST

START_TEST(test_second_daemon)
{
	struct scene s = {0};
	cleanup_free char *run = NULL, *state = NULL, *pid = NULL, *map = NULL;
	struct scene_vmm waiting, served;

	scene_open(&s);
	run = scene_format("%s/run2", s.d.dir);
	state = scene_format("%s/state2", s.d.dir);
	pid = scene_format("(pid %d)", (int)s.d.pid);
	scene_create(&s, "waiting", SCENE_SNAPSHOT, NULL);
	scene_create(&s, "served", SCENE_SNAPSHOT, "\"prefetch\":{\"mode\":\"none\"}");
	map = scene_path(&s, "served", "maps");
	scene_vmm_start(&served, &s, "served", "--hold-before");
	scene_reach(&s, "served", "serving", "");
	check_refuses(&s, run, s.d.state, NULL, "uses this state directory");
	check_refuses(&s, run, s.d.state, NULL, pid);
	check_refuses(&s, s.d.run, s.d.state, NULL, "another uffdd");
	check_refuses(&s, s.d.run, state, NULL, "another uffdd");
	check_refuses(&s, s.d.run, state, NULL, s.d.run);
	/* The first one has not noticed: neither its sockets nor its page maps. */
	scene_vmm_start(&waiting, &s, "waiting", "");
	scene_vmm_right(&waiting);
	scene_tell(&s, 200, "GET", RESTORES "/served/pages", NULL);
	ck_assert_int_eq(access(map, F_OK), 0);
	scene_vmm_go(&served);
	scene_vmm_right(&served);
	scene_reach(&s, "waiting", "ended", "vmm-exited");
	scene_reach(&s, "served", "ended", "vmm-exited");
	scene_close(&s);
}
END_TEST

START_TEST(test_damaged_database)
{
	struct scene s = {0};
	cleanup_free char *path = NULL, *wal = NULL, *shm = NULL;
	char damage[8192], found[sizeof(damage)];
	struct stat st;
	int fd;

	scene_open(&s);
	path = scene_format("%s/uffdd.db", s.d.state);
	wal = scene_format("%s-wal", path);
	shm = scene_format("%s-shm", path);
	scene_stop(&s);
	ck_assert(access(wal, F_OK) < 0 && access(shm, F_OK) < 0);
	memset(damage, 'z', sizeof(damage));
	scene_write(path, damage, sizeof(damage));
	check_refuses(&s, s.d.run, s.d.state, NULL, "damaged");
	check_refuses(&s, s.d.run, s.d.state, NULL, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, sizeof(damage));
	ck_assert_int_eq(read(fd, found, sizeof(found)), sizeof(found));
	ck_assert_int_eq(memcmp(found, damage, sizeof(found)), 0);
	close(fd);
	/* The cure that it names. */
	ck_assert_int_eq(unlink(path), 0);
	harness_daemon_start(&s.d, NULL);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	scene_delete(&s, "a", "");
	scene_close(&s);
}
END_TEST

/* Of a daemon that was killed nothing stands in the way of the next. */
START_TEST(test_what_a_killed_daemon_leaves)
{
	struct scene s = {0};
	cleanup_free char *uffd = NULL;
	struct scene_vmm vmm;
	struct stat st;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	uffd = scene_path(&s, "a", "uffd");
	scene_kill(&s);
	ck_assert(lstat(s.d.socket, &st) == 0 && S_ISSOCK(st.st_mode));
	ck_assert(lstat(uffd, &st) == 0 && S_ISSOCK(st.st_mode));
	harness_daemon_start(&s.d, NULL);
	/* Its restore waits on, at the same socket. */
	scene_vmm_start(&vmm, &s, "a", "");
	scene_vmm_right(&vmm);
	scene_reach(&s, "a", "ended", "vmm-exited");
	ck_assert_int_lt(lstat(uffd, &st), 0);
	scene_close(&s);
}
END_TEST

/* --- a full disk --- */

/* Whatever room there is. */
static void fill(const char *path)
{
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	static const char block[4096];

	ck_assert_int_ge(fd, 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	ck_assert_int_eq(errno, ENOSPC);
}

/* A file system of 1 MiB under the daemon's database, that nobody else sees. */
static bool use_small_disk(struct scene *s)
{
	scene_stop(s);
	if (!harness_small_disk(s->d.state, "1m")) {
		harness_daemon_start(&s->d, NULL);
		return false;
	}
	harness_daemon_start(&s->d, NULL);
	scene_create(s, "first", SCENE_SNAPSHOT, NULL);
	scene_delete(s, "first", "");
	return true;
}

static bool is_ready(void *arg)
{
	struct harness_reply r;
	bool ready;

	harness_http(((struct scene *)arg)->d.socket, "GET", "/readyz", NULL, &r);
	ready = r.status == 200;
	harness_reply_fini(&r);
	return ready;
}

/* What has not begun does not begin. */
static void check_no_new_restore(const struct scene *s)
{
	scene_refused(s, "PUT", RESTORES "/b", BODY, ERR_NOSPACE, "no space left");
	scene_refused(s, "GET", RESTORES "/b", NULL, ERR_NOTFOUND, "no restore b");
}

/* What has begun goes on. */
static void check_restore_goes_on(const struct scene *s, struct scene_vmm *vmm)
{
	scene_tell(s, 200, "PUT", RESTORES "/a/prefetch", "{\"rate_bytes_per_s\":1000}");
	scene_refused(s, "GET", "/readyz", NULL, ERR_UNREADY, "changes wait for the store");
	scene_tell(s, 200, "GET", "/healthz", NULL);
	scene_vmm_go(vmm);
	scene_vmm_await(vmm, "holding");
	scene_tell(s, 200, "GET", RESTORES "/a?for=complete&wait=60s", NULL);
	scene_refused(s, "PUT", RESTORES "/b", BODY, ERR_NOSPACE, "no space left");
}

static void check_life(const struct scene *s)
{
	/* The set of pages that it touched first cannot be stored meanwhile. */
	static const char life[] =
		"created connected prefetch complete working-set-ignored paused ended ";
	cleanup_free char *types = scene_events(s, "a");

	ck_assert_str_eq(types, life);
}

/* It is in the store, not only in memory. */
static void check_life_after_restart(struct scene *s)
{
	scene_stop(s);
	harness_daemon_start(&s->d, NULL);
	scene_reach(s, "a", "ended", "vmm-exited");
	check_life(s);
}

START_TEST(test_full_disk)
{
	struct scene s = {0};
	cleanup_free char *filler = NULL;
	struct scene_vmm vmm;
	int follow;

	scene_open(&s);
	if (!use_small_disk(&s)) {
		scene_close(&s);
		return;
	}
	filler = scene_format("%s/filler", s.d.state);
	scene_create(&s, "a", SCENE_SNAPSHOT, "\"prefetch\":{\"mode\":\"none\"}");
	scene_vmm_start(&vmm, &s, "a", "--hold-before --hold");
	scene_reach(&s, "a", "serving", "");
	follow = scene_dial(&s, "/v1/events?follow=1&restore=a");
	free(scene_hear(follow, "\"connected\""));
	fill(filler);
	check_no_new_restore(&s);
	check_restore_goes_on(&s, &vmm);
	/* What is told late is told in order, also before what happens meanwhile. */
	ck_assert_int_eq(unlink(filler), 0);
	scene_tell(&s, 200, "POST", RESTORES "/a/pause", NULL);
	scene_vmm_right(&vmm);
	scene_reach(&s, "a", "ended", "vmm-exited");
	ck_assert(harness_wait(is_ready, &s, SCENE_MS));
	free(scene_hear(follow, "\"ended\""));
	close(follow);
	check_life(&s);
	scene_tell(&s, 201, "PUT", RESTORES "/b", BODY);
	scene_delete(&s, "b", "");
	scene_at_rest(&s);
	check_life_after_restart(&s);
	scene_stop(&s);
	ck_assert_int_eq(umount(s.d.state), 0);
	harness_rmtree(s.d.dir);
	free(s.config_text);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_daemon");
	TCase *tc = tcase_create("daemon");

	tcase_add_test(tc, test_bad_options);
	tcase_add_test(tc, test_second_daemon);
	tcase_add_test(tc, test_damaged_database);
	tcase_add_test(tc, test_what_a_killed_daemon_leaves);
	/* Only root may mount. */
	if (geteuid() == 0)
		tcase_add_test(tc, test_full_disk);
	suite_add_tcase(suite, tc);
	return suite;
}
