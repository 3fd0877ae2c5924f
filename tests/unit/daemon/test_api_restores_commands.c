/* test_api_restores_commands - commands to one restore: when each is answered, and how */
#include "daemon/api_restores.h"

#include <event2/event.h>
#include <signal.h>
#include <string.h>

#include "tests/support/apikit.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define HOLD ON_DEMAND ",\"on_failure\":\"hold\""

static void kill_worker(const struct restore *r, int signal)
{
	ck_assert_int_eq(kill((pid_t)r->rec.worker_pid, signal), 0);
}

static void check_number(struct json_object *o, const char *path, uint64_t want)
{
	ck_assert_msg(scene_number(o, path) == want, "%s is not %ju: %s", path, (uintmax_t)want,
		      json_object_to_json_string(o));
}

static void check_flag(struct json_object *o, const char *path, bool want)
{
	ck_assert_msg(scene_flag(o, path) == want, "%s: %s", path, json_object_to_json_string(o));
}

/* ---- the deadline of a request that is held ---- */

#define ODD_S 271 /* nothing else waits as long */

struct search {
	event_callback_fn fn; /* of the event; NULL: of the one that is due in about ODD_S */
	struct event *found;
	size_t n;
};

static time_t seconds_left(const struct event *e)
{
	struct timeval at, now;

	if (event_get_fd(e) >= 0 || !event_pending(e, EV_TIMEOUT, &at))
		return -1;
	event_base_gettimeofday_cached(apikit.base, &now);
	evutil_timersub(&at, &now, &at);
	return at.tv_sec;
}

static int look_at(const struct event_base *base, const struct event *e, void *arg)
{
	struct search *s = arg;
	time_t left = seconds_left(e);

	(void)base;
	if (s->fn ? event_get_callback(e) != s->fn : left > ODD_S || left < ODD_S - 100)
		return 0;
	s->found = (struct event *)(uintptr_t)e;
	s->n++;
	return 0;
}

static struct event *find_deadline(event_callback_fn fn)
{
	struct search s = {.fn = fn};

	event_base_foreach_event(apikit.base, look_at, &s);
	ck_assert_uint_le(s.n, 1);
	return s.found;
}

/* What is called at the deadlines of requests; @suffix: one that is held. */
static event_callback_fn learn_deadline(const char *suffix)
{
	cleanup_free char *odd = scene_format("%s&wait=%ds", suffix, ODD_S);
	int fd = apikit_hold("GET", odd);
	struct event *e = find_deadline(NULL);
	event_callback_fn fn;

	ck_assert_ptr_nonnull(e);
	fn = event_get_callback(e);
	close(fd);
	WAIT_FOR(!find_deadline(fn));
	return fn;
}

/* The only request that is held may wait for @s seconds: they are over. */
static void end_time(event_callback_fn fn, time_t s)
{
	struct event *e = find_deadline(fn);

	ck_assert_ptr_nonnull(e);
	ck_assert_int_le(seconds_left(e), s);
	event_active(e, EV_TIMEOUT, 0);
}

static void hear_problem(int fd, enum err_code code, const char *detail)
{
	apikit_check_problem(client_hear(fd), code, detail);
	close(fd);
}

/* ---- delete ---- */

START_TEST(test_stop)
{
	struct restore *r = apikit_create(&apikit, "a", ON_DEMAND);

	apikit_refused("DELETE", "/a?kill=perhaps", NULL, ERR_INVALID, "kill: must be true or");
	apikit_refused("DELETE", "/a?grace=301s", NULL, ERR_INVALID, "at most 300s");
	apikit_refused("DELETE", "/a?grace=x&kill=x", NULL, ERR_INVALID, "grace: must be");
	ck_assert_int_eq(r->rec.state, STATE_WAITING);
	/* Stopping again is answered alike. */
	for (int i = 0; i < 2; i++) {
		cleanup_json struct json_object *o = apikit_object(200, "DELETE", "/a?grace=300s",
								   NULL);

		apikit_check_text(o, "id", "a");
		apikit_check_text(o, "state", "ended");
		apikit_check_text(o, "reason", "stopped");
		ck_assert(restore_released(r));
	}
}
END_TEST

/* A guest that needs pages is not left alone: not at once, and not when a grace is over. */
START_TEST(test_stop_refused)
{
	cleanup_json struct json_object *o = NULL;
	cleanup_free char *detail = NULL;
	struct scene_vmm vmm;
	struct restore *r = apikit_serve(&apikit, &vmm, "a", HOLD, "--hold-before");

	detail = scene_format("restore a: the VMM (pid %d) lives and its guest still needs pages; "
			      "end it first, or stop with kill",
			      (int)vmm.pid);
	apikit_refused("DELETE", "/a", NULL, ERR_STATE, detail);
	apikit_refused("DELETE", "/a?kill=false&grace=1ms", NULL, ERR_STATE, detail);
	o = apikit_object(200, "DELETE", "/a?kill=true", NULL);
	apikit_check_text(o, "state", "ended");
	apikit_check_text(o, "reason", "killed");
	ck_assert(restore_released(r));
	ck_assert_int_eq(scene_vmm_end(&vmm), 128 + SIGKILL);
	close_fd(&vmm.out);
}
END_TEST

/* The VMM ends by itself, within its grace. */
START_TEST(test_stop_in_grace)
{
	struct scene_vmm vmm;
	struct restore *r = apikit_serve(&apikit, &vmm, "a", HOLD, "--hold-before");
	int fd = apikit_hold("DELETE", "/a?grace=300s");
	struct json_object *o;

	scene_vmm_kill(&vmm);
	o = apikit_hear(fd);
	apikit_check_text(o, "state", "ended");
	apikit_check_text(o, "reason", "stopped");
	ck_assert(restore_released(r));
	json_object_put(o);
}
END_TEST

/* The time of the worker to leave counts from the end of the grace. */
START_TEST(test_stop_takes_too_long)
{
	struct scene_vmm vmm;
	event_callback_fn fn;
	int fd;

	apikit_serve(&apikit, &vmm, "a", HOLD, "--hold-before");
	fn = learn_deadline("/a?for=failed");
	fd = apikit_hold("DELETE", "/a?grace=200s");
	ck_assert_int_gt(seconds_left(find_deadline(fn)), 200);
	end_time(fn, 200 + 32);
	hear_problem(fd, ERR_STATE, ") lives; end it first, or stop with kill");
	apikit_finish(supervisor_find(apikit.sup, "a", NULL), &vmm);
}
END_TEST

/* ---- prefetch ---- */

/* clang-format off */
static const struct {
	const char *body, *mode;
	uint64_t rate, resident;
	bool held;
} prefetches[] = {
	/* A member that is absent stays as it was. */
	{"{\"rate_bytes_per_s\":5}", "none", 5, 0, false},
	{"{\"max_resident_bytes\":7}", "none", 5, 7, false},
	{"{\"paused\":true}", "none", 5, 7, true},
	{"{\"mode\":\"all\"}", "all", 5, 7, true},
	{"{}", "all", 5, 7, true},
	{"{\"mode\":\"none\",\"rate_bytes_per_s\":0,\"max_resident_bytes\":0,\"paused\":false}",
	 "none", 0, 0, false},
	{"{\"rate_bytes_per_s\":9223372036854775807,\"max_resident_bytes\":9223372036854775807}",
	 "none", INT64_MAX, INT64_MAX, false},
	{"{\"mode\":\"working-set\"}", "working-set", INT64_MAX, INT64_MAX, false},
};

static const struct {
	const char *body, *detail;
} bad_prefetches[] = {
	{"{\"mode\":\"some\"}", "mode: must be none, working-set or all"},
	{"{\"mode\":\"\"}", "mode: must be none, working-set or all"},
	{"{\"mode\":7}", "mode: "},
	{"{\"mode\":\"none of those that are known here\"}", "mode: "},
	{"{\"colour\":1}", "colour"},
	{"{\"rate_bytes_per_s\":-1}", "rate_bytes_per_s: "},
	{"{\"rate_bytes_per_s\":9223372036854775808}", "rate_bytes_per_s: "},
	{"{\"max_resident_bytes\":9223372036854775808}", "max_resident_bytes: "},
	{"{\"paused\":1}", "paused: "},
};
/* clang-format on */

START_TEST(test_prefetch)
{
	struct scene_vmm vmm;
	struct restore *r = apikit_serve(&apikit, &vmm, "a", ON_DEMAND, "--hold-before");
	uint64_t revision;

	for (size_t i = 0; i < ARRAY_LEN(bad_prefetches); i++)
		apikit_refused("PUT", "/a/prefetch", bad_prefetches[i].body, ERR_INVALID,
			       bad_prefetches[i].detail);
	for (size_t i = 0; i < ARRAY_LEN(prefetches); i++) {
		cleanup_json struct json_object *o = apikit_object(200, "PUT", "/a/prefetch",
								   prefetches[i].body);

		apikit_check_text(o, "prefetch.mode", prefetches[i].mode);
		check_number(o, "prefetch.rate_bytes_per_s", prefetches[i].rate);
		check_number(o, "prefetch.max_resident_bytes", prefetches[i].resident);
		ck_assert_int_eq(r->rec.prefetch_held, prefetches[i].held);
		if (prefetches[i].held && strcmp(prefetches[i].mode, "all") == 0)
			apikit_check_text(o, "prefetch.state", "paused");
		/* Said again it is no change, and no event. */
		revision = r->rec.revision;
		json_object_put(apikit_object(200, "PUT", "/a/prefetch", prefetches[i].body));
		ck_assert_uint_eq(r->rec.revision, revision);
	}
	apikit_refused("PUT", "/roots/prefetch", "{}", ERR_STATE, "restore roots is ended");
	apikit_finish(r, &vmm);
}
END_TEST

/* ---- pause, resume ---- */

START_TEST(test_pause)
{
	static const struct {
		const char *suffix;
		bool paused;
	} steps[] = {
		{"/a/resume", false}, {"/a/pause", true},   {"/a/pause", true},
		{"/a/resume", false}, {"/a/resume", false},
	};
	struct scene_vmm vmm;
	struct restore *r = apikit_serve(&apikit, &vmm, "a", ON_DEMAND, "--hold-before");

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		cleanup_json struct json_object *o = apikit_object(200, "POST", steps[i].suffix,
								   NULL);

		check_flag(o, "paused", steps[i].paused);
		apikit_check_text(o, "state", "serving");
		if (steps[i].paused)
			apikit_refused("PUT", "/a/prefetch", "{}", ERR_PAUSED, "resume it first");
	}
	apikit_refused("POST", "/roots/pause", NULL, ERR_STATE, "restore roots is ended");
	apikit_refused("POST", "/roots/resume", NULL, ERR_STATE, "restore roots is ended");
	apikit_finish(r, &vmm);
}
END_TEST

/* The worker says nothing until the time is over, or until the guest has ended. */
START_TEST(test_pause_fails)
{
	struct scene_vmm vmm;
	struct restore *r = apikit_serve(&apikit, &vmm, "a", ON_DEMAND, "--hold-before");
	event_callback_fn fn = learn_deadline("/a?for=failed");
	int fd;

	kill_worker(r, SIGSTOP);
	fd = apikit_hold("POST", "/a/pause");
	end_time(fn, 30);
	hear_problem(fd, ERR_TIMEOUT, "restore a is serving and did not pause");
	fd = apikit_hold("POST", "/a/pause");
	scene_vmm_kill(&vmm);
	hear_problem(fd, ERR_STATE, "restore a is ended and did not pause");
	kill_worker(r, SIGCONT);
	apikit_finish(r, NULL);
}
END_TEST

/* ---- another worker ---- */

START_TEST(test_restart)
{
	struct scene_vmm vmm;
	struct restore *r = apikit_serve(&apikit, &vmm, "a", ON_DEMAND, "--hold-before");

	for (unsigned i = 1; i <= 2; i++) {
		uint32_t before = r->rec.worker_pid;
		cleanup_json struct json_object *o = apikit_object(200, "POST", "/a/restart-worker",
								   NULL);

		check_number(o, "worker.restarts", i);
		ck_assert_uint_ne(scene_number(o, "worker.pid"), before);
		apikit_check_text(o, "state", "serving");
		ck_assert_int_eq(r->slot.state, SLOT_READY);
	}
	apikit_refused("POST", "/roots/restart-worker", NULL, ERR_STATE, "no worker to replace");
	apikit_finish(r, &vmm);
}
END_TEST

/*
 * The guest ends, most often before the successor serves: the request is answered all the same. On a
 * busy host one turn of the loop may see the whole restart.
 */
START_TEST(test_restart_of_what_ends)
{
	struct scene_vmm vmm;
	struct restore *r = apikit_serve(&apikit, &vmm, "a", ON_DEMAND, "--hold-before");
	int fd = apikit_dial(geteuid());

	client_say(fd, "POST /v1/restores/a/restart-worker HTTP/1.1\r\n\r\n");
	WAIT_FOR(r->slot.state != SLOT_READY || r->rec.worker_restarts);
	scene_vmm_kill(&vmm);
	json_object_put(apikit_hear(fd));
	WAIT_FOR(r->rec.state == STATE_ENDED);
	apikit_finish(r, NULL);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("api restores commands");
	TCase *tc = tcase_create("commands");

	tcase_add_unchecked_fixture(tc, apikit_make_dir, apikit_remove_dir);
	tcase_add_checked_fixture(tc, apikit_begin, apikit_end);
	tcase_add_test(tc, test_stop);
	tcase_add_test(tc, test_stop_refused);
	tcase_add_test(tc, test_stop_in_grace);
	tcase_add_test(tc, test_stop_takes_too_long);
	tcase_add_test(tc, test_prefetch);
	tcase_add_test(tc, test_pause);
	tcase_add_test(tc, test_pause_fails);
	tcase_add_test(tc, test_restart);
	tcase_add_test(tc, test_restart_of_what_ends);
	suite_add_tcase(suite, tc);
	return suite;
}
