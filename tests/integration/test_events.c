/* test_events - events: in order, filtered, followed (also by uffdctl), trimmed, kept over a restart */
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/support/runner.h"
#include "tests/support/scene.h"

#define RESTORES "/v1/restores"
#define EVENTS "/v1/events"
#define EVENT_MEMBERS 6
/* Housekeeping and heartbeats come every ten seconds. */

/* --- reading --- */

/* All events of a query as an array, owned by the caller; every one is complete and in order. */
static struct json_object *events(const struct scene *s, const char *query)
{
	cleanup_free char *target = scene_format(EVENTS "%s", query);
	struct json_object *array = json_object_new_array();
	struct harness_reply r;
	uint64_t last = 0;

	harness_http(s->d.socket, "GET", target, NULL, &r);
	ck_assert_int_eq(r.status, 200);
	ck_assert_str_eq(r.content_type, "application/x-ndjson");
	for (char *rest = r.body, *line; (line = strsep(&rest, "\n")) && *line;) {
		struct err err;
		struct json_object *o = js_parse(line, strlen(line), false, &err);

		ck_assert_msg(o && rest, "%s: %s", err.msg, line);
		ck_assert_int_eq(json_object_object_length(o), EVENT_MEMBERS);
		ck_assert_msg(scene_number(o, "seq") > last, "after %llu: %s",
			      (unsigned long long)last, line);
		ck_assert_uint_eq(strlen(scene_text(o, "time")),
				  strlen("2026-01-01T00:00:00.000Z"));
		ck_assert(json_object_is_type(scene_member(o, "data"), json_type_object));
		last = scene_number(o, "seq");
		json_object_array_add(array, o);
	}
	harness_reply_fini(&r);
	return array;
}

static uint64_t seq_at(struct json_object *array, size_t i)
{
	return scene_number(json_object_array_get_idx(array, i), "seq");
}

static uint64_t last_seq(const struct scene *s)
{
	cleanup_json struct json_object *all = events(s, "");
	size_t n = json_object_array_length(all);

	return n ? seq_at(all, n - 1) : 0;
}

static void check_types(const struct scene *s, const char *id, const char *want)
{
	cleanup_free char *types = scene_events(s, id);

	ck_assert_msg(strcmp(types, want) == 0, "%s: %s, not %s", id, types, want);
}

/* A whole life, as an orchestrator would lead it. */
static void live_once(const struct scene *s, const char *id)
{
	cleanup_free char *base = scene_format(RESTORES "/%s", id);
	cleanup_free char *pause = scene_format("%s/pause", base);
	cleanup_free char *resume = scene_format("%s/resume", base);
	cleanup_free char *prefetch = scene_format("%s/prefetch", base);
	cleanup_free char *complete = scene_format("%s?for=complete&wait=60s", base);
	struct scene_vmm vmm;

	scene_create(s, id, SCENE_SNAPSHOT, "\"prefetch\":{\"mode\":\"none\"}");
	scene_vmm_start(&vmm, s, id, "--hold-before --hold");
	scene_reach(s, id, "serving", "");
	scene_tell(s, 200, "POST", pause, NULL);
	scene_tell(s, 200, "POST", pause, NULL);
	scene_tell(s, 200, "POST", resume, NULL);
	scene_tell(s, 200, "POST", resume, NULL);
	scene_tell(s, 200, "PUT", prefetch, "{\"mode\":\"all\"}");
	scene_tell(s, 200, "GET", complete, NULL);
	scene_vmm_go(&vmm);
	scene_vmm_right(&vmm);
	scene_reach(s, id, "ended", "vmm-exited");
}
#define LIFE "created connected paused resumed prefetch complete ended "

START_TEST(test_order_and_filters)
{
	struct scene s = {0};
	struct json_object *all, *some;
	uint64_t before;
	size_t n;

	scene_open(&s);
	before = last_seq(&s);
	live_once(&s, "a");
	scene_create(&s, "b", SCENE_SNAPSHOT, "\"tenant\":\"red\"");
	scene_delete(&s, "b", "");
	check_types(&s, "a", LIFE);
	check_types(&s, "b", "created ended ");
	check_types(&s, "c", "");
	all = events(&s, "");
	n = json_object_array_length(all);
	/* No gaps: what was written is what is shown. */
	for (size_t i = 1; i < n; i++)
		ck_assert_uint_eq(seq_at(all, i), seq_at(all, i - 1) + 1);
	ck_assert_uint_eq(seq_at(all, n - 1), before + 9);
	ck_assert_str_eq(scene_text(json_object_array_get_idx(all, n - 1), "tenant"), "red");
	for (size_t i = 0; i <= n; i++) {
		cleanup_free char *query = scene_format("?after=%zu", i);

		some = events(&s, query);
		ck_assert_uint_eq(json_object_array_length(some), n - i);
		if (i < n)
			ck_assert_uint_eq(seq_at(some, 0), i + 1);
		json_object_put(some);
	}
	some = events(&s, "?after=9000000000&follow=0");
	ck_assert_uint_eq(json_object_array_length(some), 0);
	json_object_put(some);
	json_object_put(all);
	scene_close(&s);
}
END_TEST

#define OF_DEFAULT(type, id) "\"type\":\"" type "\",\"tenant\":\"default\",\"restore\":\"" id "\""

START_TEST(test_follow)
{
	struct scene s = {0};
	cleanup_free char *query = NULL;
	int all, one, late;
	char *text;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	query = scene_format(EVENTS "?follow=1&after=%llu", (unsigned long long)last_seq(&s));
	all = scene_dial(&s, EVENTS "?follow=1");
	one = scene_dial(&s, EVENTS "?follow=true&restore=b");
	late = scene_dial(&s, query);
	text = scene_hear(all, "\"restore\":\"a\"");
	ck_assert_ptr_nonnull(strstr(text, "\"type\":\"created\""));
	free(text);
	/* What happens while the streams are open comes down all of them that asked for it. */
	scene_create(&s, "b", SCENE_SNAPSHOT, NULL);
	scene_delete(&s, "a", "");
	scene_delete(&s, "b", "");
	free(scene_hear(all, OF_DEFAULT("ended", "b")));
	text = scene_hear(one, "\"type\":\"ended\"");
	ck_assert_msg(strstr(text, "\"type\":\"created\"") && !strstr(text, "\"restore\":\"a\""),
		      "%s", text);
	free(text);
	text = scene_hear(late, OF_DEFAULT("ended", "b"));
	ck_assert_msg(!strstr(text, OF_DEFAULT("created", "a")) &&
			      strstr(text, OF_DEFAULT("created", "b")) &&
			      strstr(text, OF_DEFAULT("ended", "a")),
		      "%s", text);
	free(text);
	close(all);
	close(one);
	close(late);
	scene_close(&s);
}
END_TEST

struct order {
	struct scene *s;
	int rate; /* another one each time: what is as it was makes no event */
};

/* Refused as long as its worker has not read what it was told before. */
static bool is_ordered(void *arg)
{
	struct order *o = arg;
	cleanup_free char *body = scene_format("{\"rate_bytes_per_s\":%d}", o->rate);
	struct harness_reply r;
	int status = harness_http(o->s->d.socket, "PUT", RESTORES "/a/prefetch", body, &r);

	ck_assert_msg(status == 200 || status == 503, "%d: %s", status, r.body);
	harness_reply_fini(&r);
	return status == 200;
}

/* More than a turn of the stream, its queue and the socket hold: nothing is lost. */
START_TEST(test_follow_slowly)
{
	enum { ORDERS = 2000 };
	struct scene s = {.config = "\"http_queue_bytes\":4096,\"http_stall\":\"1h\""};
	cleanup_free char *needle = NULL;
	cleanup_free char *text = NULL;
	struct order order = {.s = &s, .rate = 1 << 20};
	const char *line;
	uint64_t first, seq;
	int fd;

	scene_open(&s);
	first = last_seq(&s) + 1;
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	fd = scene_dial(&s, EVENTS "?follow=1&restore=a");
	for (int i = 0; i < ORDERS; i++, order.rate++)
		ck_assert(harness_wait(is_ordered, &order, SCENE_MS));
	needle = scene_format("{\"seq\":%llu,", (unsigned long long)(first + ORDERS));
	text = scene_hear(fd, needle);
	line = text;
	for (seq = first; seq <= first + ORDERS; seq++) {
		line = strstr(line, "{\"seq\":");
		ck_assert_ptr_nonnull(line);
		line += strlen("{\"seq\":");
		ck_assert_uint_eq(strtoull(line, NULL, 10), seq);
	}
	close(fd);
	scene_delete(&s, "a", "");
	scene_close(&s);
}
END_TEST

/* --- what takes its time --- */

static bool is_trimmed(void *arg)
{
	struct harness_reply r;
	bool gone = harness_http(((struct scene *)arg)->d.socket, "GET", EVENTS "?after=0", NULL,
				 &r) == 410;

	harness_reply_fini(&r);
	return gone;
}

START_TEST(test_heartbeat_and_trimming)
{
	struct scene s = {.config = "\"event_retention_count\":3"};
	struct json_object *kept;
	int fd;

	scene_open(&s);
	live_once(&s, "a");
	fd = scene_dial(&s, EVENTS "?follow=1&restore=nobody");
	/* Somebody who reads on from where he was must hear that there is a hole. */
	ck_assert(harness_wait(is_trimmed, &s, SCENE_MS));
	scene_refused(&s, "GET", EVENTS "?after=0", NULL, ERR_TRIMMED, "events up to 6 are no");
	scene_refused(&s, "GET", EVENTS "?after=5&follow=1", NULL, ERR_TRIMMED, "follow from 6");
	kept = events(&s, "?after=6");
	ck_assert_uint_eq(json_object_array_length(kept), 3);
	ck_assert_uint_eq(seq_at(kept, 0), 7);
	json_object_put(kept);
	/* Without a place there is no hole. */
	kept = events(&s, "");
	ck_assert_uint_eq(json_object_array_length(kept), 3);
	json_object_put(kept);
	free(scene_hear(fd, "\r\n{}\n\r\n"));
	close(fd);
	scene_close(&s);
}
END_TEST

/* --- over a restart --- */

static bool is_adopted(void *arg)
{
	cleanup_free char *types = scene_events(arg, "b");

	return strstr(types, "adopted ") != NULL;
}

static void check_adopted(struct scene *s)
{
	ck_assert(harness_wait(is_adopted, s, SCENE_MS));
	check_types(s, "b", "created adopted ");
}

START_TEST(test_state_survives)
{
	struct scene s = {0};
	struct json_object *before, *after;
	uint64_t last;

	scene_open(&s);
	live_once(&s, "a");
	scene_create(&s, "b", SCENE_SNAPSHOT, "\"tenant\":\"red\",\"on_failure\":\"hold\"");
	before = scene_show(&s, "a");
	last = last_seq(&s);
	scene_stop(&s);
	harness_daemon_start(&s.d, NULL);
	after = scene_show(&s, "a");
	ck_assert_str_eq(scene_text(after, "state"), "ended");
	ck_assert_str_eq(scene_text(after, "reason"), "vmm-exited");
	ck_assert_str_eq(scene_text(after, "ended_at"), scene_text(before, "ended_at"));
	ck_assert_uint_eq(scene_number(after, "revision"), scene_number(before, "revision"));
	json_object_put(before);
	json_object_put(after);
	check_types(&s, "a", LIFE);
	/* Nobody has come for this one yet: it waits on. */
	check_adopted(&s);
	after = scene_show(&s, "b");
	ck_assert_str_eq(scene_text(after, "state"), "waiting");
	ck_assert_str_eq(scene_text(after, "on_failure"), "hold");
	json_object_put(after);
	ck_assert_uint_eq(last_seq(&s), last + 1);
	scene_refused(&s, "PUT", RESTORES "/a", "{\"snapshot\":{\"dir\":\"/x\"}}", ERR_CONFLICT,
		      "restore a exists");
	live_once(&s, "c");
	check_types(&s, "c", LIFE);
	ck_assert_uint_eq(last_seq(&s), last + 8);
	scene_delete(&s, "b", "");
	scene_close(&s);
}
END_TEST

/* After a crash: what was waiting waits on, and the numbers go on. */
START_TEST(test_state_survives_a_crash)
{
	struct scene s = {0};
	uint64_t last;

	scene_open(&s);
	live_once(&s, "a");
	scene_create(&s, "b", SCENE_SNAPSHOT, NULL);
	last = last_seq(&s);
	scene_kill(&s);
	harness_daemon_start(&s.d, NULL);
	check_types(&s, "a", LIFE);
	check_adopted(&s);
	ck_assert_uint_eq(last_seq(&s), last + 1);
	scene_delete(&s, "b", "");
	live_once(&s, "c");
	scene_close(&s);
}
END_TEST

/* --- uffdctl --- */

/* uffdctl events --follow; what it prints comes out of *ret_out. */
static pid_t follow(const struct scene *s, int *ret_out)
{
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], STDOUT_FILENO);
		execl(TEST_BUILD "/ctl/uffdctl", "uffdctl", "-S", s->d.socket, "-o", "json",
		      "events", "--follow", NULL);
		_exit(127);
	}
	close(fds[1]);
	*ret_out = fds[0];
	return pid;
}

/* The text has all that the daemon has, in order, once. */
static void check_all(const struct scene *s, const char *text)
{
	cleanup_json struct json_object *all = events(s, "");
	size_t n = json_object_array_length(all);

	for (size_t i = 0; i < n; i++) {
		text = strstr(text, "{\"seq\":");
		ck_assert_msg(text, "event %zu of %zu is missing", i, n);
		text += strlen("{\"seq\":");
		ck_assert_uint_eq(strtoull(text, NULL, 10), seq_at(all, i));
	}
	ck_assert_ptr_null(strstr(text, "{\"seq\":"));
}

/* The daemon is restarted beneath it, in good order or not: no event is lost or doubled. */
START_TEST(test_uffdctl_goes_on)
{
	struct scene s = {0};
	cleanup_free char *first = NULL, *second = NULL, *text = NULL;
	int out, status;
	pid_t pid;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	pid = follow(&s, &out);
	first = scene_hear(out, OF_DEFAULT("created", "a"));
	(_i ? scene_kill : scene_stop)(&s);
	harness_daemon_start(&s.d, NULL);
	scene_create(&s, "b", SCENE_SNAPSHOT, NULL);
	scene_delete(&s, "a", "");
	scene_delete(&s, "b", "");
	second = scene_hear(out, OF_DEFAULT("ended", "b"));
	ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
	text = scene_format("%s%s", first, second);
	check_all(&s, text);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(out);
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_events");
	TCase *tc = tcase_create("events");

	tcase_add_test(tc, test_order_and_filters);
	tcase_add_test(tc, test_follow);
	tcase_add_test(tc, test_follow_slowly);
	tcase_add_test(tc, test_heartbeat_and_trimming);
	tcase_add_test(tc, test_state_survives);
	tcase_add_test(tc, test_state_survives_a_crash);
	tcase_add_loop_test(tc, test_uffdctl_goes_on, 0, 2);
	suite_add_tcase(suite, tc);
	return suite;
}
