/* test_waits - long polls, clients that leave early, and stops */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "common/sock.h"
#include "tests/support/runner.h"
#include "tests/support/scene.h"

#define RESTORES "/v1/restores"
#define BODY "{\"snapshot\":{\"dir\":\"" SCENE_SNAPSHOT "\"}}"
/* Of a wait or grace that something else is to end: as long as the daemon takes. */
#define LONG "300s"
#define LONG_MS 300000

/* --- long polls --- */

/* It took that long at least, and it was not the end of a LONG time that ended it. */
static void check_late(uint64_t since_us, uint64_t min_ms)
{
	uint64_t ms = (now_us() - since_us) / 1000;

	ck_assert_msg(ms >= min_ms && ms < LONG_MS, "took %llu ms", (unsigned long long)ms);
}

START_TEST(test_wait_for_a_state)
{
	struct scene s = {0};
	struct scene_vmm vmm;
	uint64_t start;
	int fd;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, "\"prefetch\":{\"mode\":\"none\"}");
	/* On time-out it answers with what is. */
	start = now_us();
	scene_tell(&s, 200, "GET", RESTORES "/a?for=serving&wait=300ms", NULL);
	check_late(start, 300);
	scene_reach(&s, "a", "waiting", "");
	/* As soon as the VMM is there. */
	start = now_us();
	fd = scene_dial(&s, RESTORES "/a?for=serving&wait=" LONG);
	scene_vmm_start(&vmm, &s, "a", "--hold-before --hold");
	free(scene_hear(fd, "\"state\":\"serving\""));
	close(fd);
	check_late(start, 0);
	/* Complete is no state, but can be waited for. */
	fd = scene_dial(&s, RESTORES "/a?for=complete&wait=" LONG);
	scene_vmm_go(&vmm);
	free(scene_hear(fd, "\"complete\":true"));
	close(fd);
	/* The end of a VMM is the end of all of these waits. */
	start = now_us();
	fd = scene_dial(&s, RESTORES "/a?for=recovering&wait=" LONG);
	scene_vmm_right(&vmm);
	free(scene_hear(fd, "\"state\":\"ended\""));
	close(fd);
	check_late(start, 0);
	scene_reach(&s, "a", "ended", "vmm-exited");
	/* What can never be again is answered at once. */
	start = now_us();
	scene_tell(&s, 200, "GET", RESTORES "/a?for=serving&wait=" LONG, NULL);
	scene_tell(&s, 200, "GET", RESTORES "/a?for=complete&wait=" LONG, NULL);
	check_late(start, 0);
	scene_close(&s);
}
END_TEST

START_TEST(test_wait_in_vain)
{
	struct scene s = {0};
	uint64_t start;
	char *text;
	int fd;

	scene_open(&s);
	start = now_us();
	scene_create(&s, "a", SCENE_SNAPSHOT, "\"connect_timeout\":\"200ms\"");
	fd = scene_dial(&s, RESTORES "/a?for=serving&wait=" LONG);
	text = scene_hear(fd, NULL);
	close(fd);
	check_late(start, 200);
	ck_assert_msg(strstr(text, "\"state\":\"failed\"") && strstr(text, "connect_timeout"), "%s",
		      text);
	free(text);
	scene_close(&s);
}
END_TEST

/* --- clients that leave --- */

/* Sends a request and hangs up without reading. */
static void ask_and_leave(const struct scene *s, const char *method, const char *target,
			  const char *body, size_t body_sent)
{
	cleanup_free char *request =
		scene_format("%s %s HTTP/1.1\r\nHost: u\r\nContent-Length: %zu\r\n\r\n%.*s", method,
			     target, strlen(body), (int)body_sent, body);
	struct err err;
	int fd;

	ck_assert_msg(sock_connect(s->d.socket, SOCK_STREAM, &fd, &err) == 0, "%s", err.msg);
	ck_assert_int_gt(send(fd, request, strlen(request), MSG_NOSIGNAL), 0);
	close(fd);
}

static bool is_waiting(void *arg)
{
	struct harness_reply r;
	bool there = harness_http(((struct scene *)arg)->d.socket, "GET", RESTORES "/gone", NULL,
				  &r) == 200;

	harness_reply_fini(&r);
	return there;
}

START_TEST(test_clients_that_leave)
{
	struct scene s = {0};
	int fds[8];

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = scene_dial(&s, RESTORES "/a?for=serving&wait=" LONG);
	/* One is closed while its poll is held, the other when it is answered. */
	for (size_t i = 0; i < ARRAY_LEN(fds) / 2; i++)
		close(fds[i]);
	for (size_t i = 0; i < strlen(BODY); i += 10)
		ask_and_leave(&s, "PUT", RESTORES "/half", BODY, i);
	/* A whole request counts, though nobody waits for the answer any more. */
	ask_and_leave(&s, "PUT", RESTORES "/gone", BODY, strlen(BODY));
	ck_assert(harness_wait(is_waiting, &s, SCENE_MS));
	scene_delete(&s, "gone", "");
	scene_refused(&s, "GET", RESTORES "/half", NULL, ERR_NOTFOUND, "no restore half");
	scene_delete(&s, "a", "");
	for (size_t i = ARRAY_LEN(fds) / 2; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	scene_close(&s);
}
END_TEST

/* --- stops --- */

START_TEST(test_delete_is_idempotent)
{
	struct scene s = {0};
	struct scene_vmm vmm;

	scene_open(&s);
	scene_create(&s, "waiting", SCENE_SNAPSHOT, NULL);
	scene_create(&s, "served", SCENE_SNAPSHOT, NULL);
	scene_vmm_start(&vmm, &s, "served", "--hold");
	scene_reach(&s, "served", "serving", "");
	for (int i = 0; i < 3; i++) {
		scene_delete(&s, "waiting", "");
		scene_reach(&s, "waiting", "ended", "stopped");
	}
	scene_vmm_right(&vmm);
	for (int i = 0; i < 3; i++) {
		/* Until this is known, a stop is one of a guest that lives. */
		scene_reach(&s, "served", "ended", "vmm-exited");
		scene_delete(&s, "served", "?kill=true&grace=1s");
	}
	scene_reach(&s, "served", "ended", "vmm-exited");
	scene_close(&s);
}
END_TEST

/* What becomes of a guest that still needs pages is for on_failure to say. */
START_TEST(test_delete_of_a_guest_that_needs_pages)
{
	static const struct {
		const char *failure, *query;
		bool refused;
		int code; /* of the VMM; a poisoned one exits with 149 */
		const char *reason;
	} cases[] = {
		{"kill", "", false, 128 + SIGKILL, "stopped"},
		{"kill", "?kill=true", false, 128 + SIGKILL, "killed"},
		{"hold", "", true, 128 + SIGKILL, "killed"},
		{"hold", "?grace=100ms", true, 128 + SIGKILL, "killed"},
		{"poison", "", false, 149, "stopped"},
	};
	struct scene s = {0};

	scene_open(&s);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_free char *id = scene_format("%s-%zu", cases[i].failure, i);
		cleanup_free char *target = scene_format(RESTORES "/%s%s", id, cases[i].query);
		cleanup_free char *more =
			scene_format("\"prefetch\":{\"mode\":\"none\"},\"on_failure\":\"%s\"",
				     cases[i].failure);
		struct scene_vmm vmm;
		int code;

		scene_create(&s, id, SCENE_SNAPSHOT, more);
		scene_vmm_start(&vmm, &s, id, "--hold-before");
		scene_reach(&s, id, "serving", "");
		if (cases[i].refused) {
			scene_refused(&s, "DELETE", target, NULL, ERR_STATE,
				      "end it first, or stop with kill");
			scene_reach(&s, id, "serving", "");
			ck_assert_msg(scene_vmm_lives(&vmm), "%s%s", id, cases[i].query);
			scene_delete(&s, id, "?kill=true");
		} else {
			scene_tell(&s, 200, "DELETE", target, NULL);
		}
		scene_reach(&s, id, "ended", cases[i].reason);
		if (cases[i].code == 149)
			scene_vmm_go(&vmm);
		code = scene_vmm_end(&vmm);
		ck_assert_msg(code == cases[i].code, "%s: the VMM ended with %d", id, code);
		close_fd(&vmm.out);
	}
	scene_close(&s);
}
END_TEST

/* A complete guest goes on by itself: what it touches afterwards is there. */
START_TEST(test_delete_of_a_complete_guest)
{
	struct scene s = {0};
	struct scene_vmm vmm;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, "\"on_failure\":\"hold\"");
	scene_vmm_start(&vmm, &s, "a", "--hold-before");
	scene_tell(&s, 200, "GET", RESTORES "/a?for=complete&wait=" LONG, NULL);
	scene_delete(&s, "a", "");
	scene_reach(&s, "a", "ended", "stopped");
	scene_at_rest(&s);
	scene_vmm_go(&vmm);
	scene_vmm_right(&vmm);
	scene_close(&s);
}
END_TEST

/* The grace ends when the VMM does, not when its time is over. */
START_TEST(test_grace)
{
	struct scene s = {0};
	struct scene_vmm vmm;
	uint64_t start;

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, "\"prefetch\":{\"mode\":\"none\"}");
	scene_vmm_start(&vmm, &s, "a", "--hold");
	scene_vmm_await(&vmm, "holding");
	start = now_us();
	close_fd(&vmm.in);
	scene_delete(&s, "a", "?grace=" LONG);
	check_late(start, 0);
	scene_vmm_right(&vmm);
	scene_reach(&s, "a", "ended", "");
	scene_close(&s);
}
END_TEST

START_TEST(test_what_a_state_does_not_allow)
{
	struct scene s = {0};

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	scene_refused(&s, "POST", RESTORES "/a/pause", NULL, ERR_STATE, "a is waiting");
	scene_refused(&s, "POST", RESTORES "/a/resume", NULL, ERR_STATE, "a is waiting");
	scene_refused(&s, "GET", RESTORES "/a/pages", NULL, ERR_STATE, "a is waiting");
	scene_tell(&s, 200, "PUT", RESTORES "/a/prefetch", "{\"mode\":\"none\"}");
	scene_delete(&s, "a", "");
	scene_refused(&s, "POST", RESTORES "/a/pause", NULL, ERR_STATE, "a is ended");
	scene_refused(&s, "POST", RESTORES "/a/resume", NULL, ERR_STATE, "a is ended");
	scene_refused(&s, "GET", RESTORES "/a/pages", NULL, ERR_STATE, "a is ended");
	scene_refused(&s, "PUT", RESTORES "/a/prefetch", "{}", ERR_STATE, "a is ended");
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_waits");
	TCase *tc = tcase_create("waits");

	tcase_add_test(tc, test_wait_for_a_state);
	tcase_add_test(tc, test_wait_in_vain);
	tcase_add_test(tc, test_clients_that_leave);
	tcase_add_test(tc, test_delete_is_idempotent);
	tcase_add_test(tc, test_delete_of_a_guest_that_needs_pages);
	tcase_add_test(tc, test_delete_of_a_complete_guest);
	tcase_add_test(tc, test_grace);
	tcase_add_test(tc, test_what_a_state_does_not_allow);
	suite_add_tcase(suite, tc);
	return suite;
}
