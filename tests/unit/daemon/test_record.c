/* test_record - the state machine of one restore, edge by edge */
#include "daemon/record.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/support/runner.h"

/* Rows: from, columns: to, in the order of RESTORE_STATES. By hand, from the picture. */
/* clang-format off */
static const char *const edges[STATE_COUNT] = {
	/*                     w s r e f */
	[STATE_WAITING]    = "_X_XX",
	[STATE_SERVING]    = "__XXX",
	[STATE_RECOVERING] = "_X_XX",
	[STATE_ENDED]      = "_____",
	[STATE_FAILED]     = "_____",
};
/* clang-format on */

/* clang-format off */
static const char *const reach[STATE_COUNT] = {
	[STATE_WAITING]    = "XXXXX",
	[STATE_SERVING]    = "_XXXX",
	[STATE_RECOVERING] = "_XXXX",
	[STATE_ENDED]      = "___X_",
	[STATE_FAILED]     = "____X",
};
/* clang-format on */

#define PAIRS (STATE_COUNT * STATE_COUNT)
#define LEGAL 9

static bool legal(int pair)
{
	return edges[pair / STATE_COUNT][pair % STATE_COUNT] == 'X';
}

START_TEST(test_matrix)
{
	enum restore_state from = _i / STATE_COUNT, to = _i % STATE_COUNT;

	ck_assert_msg(record_may_move(from, to) == legal(_i), "edge %s -> %s",
		      proto_state_name(from), proto_state_name(to));
	ck_assert_msg(record_can_reach(from, to) == (reach[from][to] == 'X'), "reach %s -> %s",
		      proto_state_name(from), proto_state_name(to));
}
END_TEST

START_TEST(test_no_such_state)
{
	for (int s = 0; s <= STATE_COUNT; s++) {
		ck_assert(!record_may_move(STATE_NONE, s));
		ck_assert(!record_may_move(s, STATE_NONE));
		ck_assert(!record_can_reach(STATE_NONE, s));
		ck_assert(!record_can_reach(s, STATE_NONE));
	}
}
END_TEST

START_TEST(test_move)
{
	enum restore_state from = _i / STATE_COUNT, to = _i % STATE_COUNT;
	bool final = !proto_state_live(to);
	struct restore_record r = {.state = from, .revision = 41, .reason = "old"};

	if (!legal(_i))
		return;
	record_move(&r, to, "because", 1234);
	ck_assert_msg(r.state == to, "%s", proto_state_name(to));
	ck_assert_uint_eq(r.revision, 42);
	ck_assert_str_eq(r.reason, final ? "because" : "");
	ck_assert_int_eq(r.ended_ms, final ? 1234 : 0);
	ck_assert_int_eq(r.connected_ms, 0);
}
END_TEST

START_TEST(test_reason_bounded)
{
	struct restore_record r = {.state = STATE_SERVING};
	char text[2 * RESTORE_REASON_MAX];

	memset(text, 'r', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	record_move(&r, STATE_FAILED, text, 1);
	ck_assert_uint_eq(strlen(r.reason), RESTORE_REASON_MAX - 1);
	r = (struct restore_record){.state = STATE_SERVING};
	record_move(&r, STATE_ENDED, NULL, 1);
	ck_assert_str_eq(r.reason, "");
}
END_TEST

START_TEST(test_illegal_aborts)
{
	static const struct rlimit no_core = {0, 0};
	struct restore_record r = {0};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int nth = _i;
	int pair = 0;

	setrlimit(RLIMIT_CORE, &no_core);
	dup2(null, STDERR_FILENO);
	while (legal(pair) || nth-- > 0)
		pair++;
	ck_assert_int_lt(pair, PAIRS);
	r.state = pair / STATE_COUNT;
	record_move(&r, pair % STATE_COUNT, "no", 1);
}
END_TEST

START_TEST(test_fini_twice)
{
	struct restore_record r = {.spec = strdup("{}")};

	record_fini(&r);
	ck_assert_ptr_null(r.spec);
	record_fini(&r);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("restore");
	TCase *t = tcase_create("states");

	tcase_add_loop_test(t, test_matrix, 0, PAIRS);
	tcase_add_test(t, test_no_such_state);
	tcase_add_loop_test(t, test_move, 0, PAIRS);
	tcase_add_test(t, test_reason_bounded);
	tcase_add_loop_test_raise_signal(t, test_illegal_aborts, SIGABRT, 0, PAIRS - LEGAL);
	tcase_add_test(t, test_fini_twice);
	suite_add_tcase(s, t);
	return s;
}
