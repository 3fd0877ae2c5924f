/* test_http_conns_places - when all places are taken: whose connection makes room, and for whom */
#include <string.h>
#include <sys/resource.h>

#include "tests/fakes/http/httpd.h"

#define GREEDY 65534
#define MODEST 65533

static void open_all(const struct http_limits *limits, int *fds, const uid_t *uids, size_t n)
{
	httpd_start(limits);
	for (size_t i = 0; i < n; i++) {
		fds[i] = client_dial_as(uids[i]);
		WAIT_FOR(http_stats(srv.http).connections == i + 1);
	}
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close_fd(&fds[i]);
	httpd_stop();
}

/* Whose connection goes when the next user comes: an index of uids, or NOBODY, who is refused. */
#define NOBODY -1
static const struct {
	const char *name;
	uid_t uids[4], next;
	int goes;
} places[] = {
	{"most", {MODEST, GREEDY, GREEDY, GREEDY}, 65532, 1},
	{"most, first", {GREEDY, GREEDY, GREEDY, MODEST}, 65532, 0},
	{"most, later", {GREEDY, MODEST, MODEST, MODEST}, 65532, 1},
	{"one each", {65529, 65530, 65531, 65532}, MODEST, 0},
	{"one and three", {MODEST, GREEDY, GREEDY, GREEDY}, MODEST, 1},
	{"two and two", {MODEST, MODEST, GREEDY, GREEDY}, MODEST, NOBODY},
	{"its own", {MODEST, GREEDY, GREEDY, GREEDY}, GREEDY, NOBODY},
	{"all its own", {GREEDY, GREEDY, GREEDY, GREEDY}, GREEDY, NOBODY},
};

/* Silent connections keep nobody out who has fewer. */
START_TEST(place_of_another)
{
	struct http_limits limits = http_limits_default();
	int fds[5];

	if (geteuid())
		return;
	limits.connections = 4;
	open_all(&limits, fds, places[_i].uids, 4);
	fds[4] = client_dial_as(places[_i].next);
	if (places[_i].goes == NOBODY) {
		WAIT_FOR(http_stats(srv.http).refused == 1);
		ck_assert(client_is_closed(fds[4]));
	} else {
		client_expect_served(fds[4]);
		ck_assert_uint_eq(http_stats(srv.http).refused, 0);
	}
	ck_assert_uint_eq(http_stats(srv.http).cut, places[_i].goes != NOBODY);
	ck_assert_uint_eq(http_stats(srv.http).connections, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_msg(client_is_closed(fds[i]) == (i == places[_i].goes), "%s: %d",
			      places[_i].name, i);
	close_all(fds, 5);
}
END_TEST

/* One that was used since has waited less long. */
START_TEST(place_of_the_idlest)
{
	static const uid_t uids[] = {GREEDY, GREEDY, GREEDY};
	struct http_limits limits = http_limits_default();
	int fds[4];

	if (geteuid())
		return;
	limits.connections = 3;
	open_all(&limits, fds, uids, 3);
	client_expect_served(fds[0]);
	fds[3] = client_dial_as(MODEST);
	client_expect_served(fds[3]);
	ck_assert(!client_is_closed(fds[0]));
	ck_assert(client_is_closed(fds[1]));
	client_expect_served(fds[2]);
	close_all(fds, 4);
}
END_TEST

/* What is being done for a client is not interrupted, */
START_TEST(place_of_none_that_is_held)
{
	struct http_limits limits = http_limits_default();
	int fds[3];

	if (geteuid())
		return;
	limits.connections = 2;
	httpd_start(&limits);
	fds[0] = client_hold_as(GREEDY);
	fds[1] = client_hold_as(GREEDY);
	/* Longer than a client may take to read its answer. */
	httpd_run_ms(1100);
	fds[2] = client_dial_as(MODEST);
	WAIT_FOR(http_stats(srv.http).refused == 1);
	ck_assert_uint_eq(srv.gone, 0);
	httpd_release();
	ck_assert_int_eq(client_hear(fds[1])->status, 200);
	close_all(fds, 3);
}
END_TEST

/* but a client that does not read its answer is as good as idle, after a while. */
START_TEST(place_of_one_that_reads_nothing)
{
	struct http_limits limits = http_limits_default();
	uint64_t begin = now_us();
	int fds[2], next = -1;

	if (geteuid())
		return;
	limits.connections = 2;
	limits.unsent_bytes_per_uid = SIZE_MAX;
	httpd_start(&limits);
	for (int i = 0; i < 2; i++) {
		fds[i] = client_dial_as(GREEDY);
		client_say(fds[i], "GET /big HTTP/1.1\r\n\r\n");
	}
	WAIT_FOR(srv.requests == 2);
	for (size_t n = 1; !http_stats(srv.http).cut; n++) {
		close_fd(&next);
		next = client_dial_as(MODEST);
		WAIT_FOR(http_stats(srv.http).accepted == n + 2);
	}
	ck_assert_uint_ge(now_us() - begin, 1000 * 1000);
	client_expect_served(next);
	close_fd(&next);
	close_all(fds, 2);
}
END_TEST

/* ---- whose request is served first ---- */

#define BURN_MS 300

static struct {
	uid_t by[16];
	size_t n;
} served;

/* Takes as much of our time as counts. */
static void burn(struct http_request *req, void *arg)
{
	uint64_t end = now_us() + BURN_MS * 1000;

	(void)arg;
	while (strcmp(http_path(req), "/burn") == 0 && now_us() < end)
		;
	served.by[served.n++] = http_peer(req)->uid;
	http_reply(req, 200, "text/plain", "done", 4);
}

static void ask(int fd, const char *path)
{
	char text[64];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n\r\n", path);
	client_say(fd, text);
}

/* Who has taken much of our time waits for those who have not, also with a new connection. */
START_TEST(busy_user_comes_later)
{
	const uid_t busy = _i ? HTTPD_PRIVILEGED : GREEDY;
	struct http_limits limits = http_limits_default();
	int fds[3];

	if (geteuid())
		return;
	served.n = 0;
	httpd_serve(&limits, burn, NULL);
	fds[0] = client_dial_as(busy);
	ask(fds[0], "/burn");
	WAIT_FOR(served.n == 1);
	ck_assert_int_eq(client_hear(fds[0])->status, 200);
	fds[1] = client_dial_as(busy);
	fds[2] = client_dial_as(MODEST);
	WAIT_FOR(http_stats(srv.http).connections == 3);
	/* What it was admitted with is through. */
	httpd_turn();
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		ask(fds[i], "/");
	WAIT_FOR(served.n == 4);
	ck_assert_uint_eq(served.by[1], _i ? busy : MODEST);
	close_all(fds, ARRAY_LEN(fds));
}
END_TEST

/* A quarter of the cap may be beyond it for a moment, and its descriptors are all that is needed. */
START_TEST(burst_beyond_the_cap)
{
	enum { CAP = 16, BURST = CAP / 4, SPARE = 4 };
	struct http_limits limits = http_limits_default();
	int fds[CAP + 5 * BURST];
	struct rlimit lim;

	limits.connections = CAP;
	httpd_start(&limits);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = client_dial();
		if (i < CAP)
			WAIT_FOR(http_stats(srv.http).connections == i + 1);
	}
	lim = harness_limit_fds(BURST + SPARE);
	for (int i = 0; i < 100; i++)
		httpd_turn();
	ck_assert_uint_eq(http_stats(srv.http).accepted, ARRAY_LEN(fds));
	ck_assert_uint_eq(http_stats(srv.http).refused, 5 * BURST);
	ck_assert_uint_eq(http_stats(srv.http).connections, CAP);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &lim), 0);
	close_all(fds, ARRAY_LEN(fds));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("http_conns places");
	TCase *tc = tcase_create("places");

	tcase_add_loop_test(tc, place_of_another, 0, ARRAY_LEN(places));
	tcase_add_test(tc, place_of_the_idlest);
	tcase_add_test(tc, place_of_none_that_is_held);
	tcase_add_test(tc, place_of_one_that_reads_nothing);
	tcase_add_loop_test(tc, busy_user_comes_later, 0, 2);
	tcase_add_test(tc, burst_beyond_the_cap);
	suite_add_tcase(suite, tc);
	return suite;
}
