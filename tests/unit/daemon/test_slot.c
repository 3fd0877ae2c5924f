/* test_slot - the place of a worker: every state with every event, and whole lives */
#include "daemon/slot.h"

#include <check.h>
#include <string.h>

#include "tests/support/runner.h"

#define S ((uint64_t)1000 * 1000)

/*
 * A column for each event: the state that follows, and what is to be done. "-": refused.
 * States by their first letters: E empty, D deferred, C creating, L loading, R ready,
 * P replacing, p replacing loader, A awaited, X lost, V leaving, O over.
 */
static const char letters[] = "EDCLRPpAXVO";

/* clang-format off */
static const struct {
	char state;
	const char *follows; /* a letter for each event */
} grid[] = {
	/*     take up, assign, abandon, loaded, load failed, replace, await, cut, back, exited,
	 *     release, release alone */
	{'E', "-L----A-REVO"},
	{'D', "E---------VO"},
	{'C', "---R-----CVO"},
	{'L', "--ERXp-A-EVO"},
	{'R', "-----P-A-EVO"},
	{'P', "-----P-A-EVO"},
	{'p', "---PXp-A-EVO"},
	{'A', "--------REVO"},
	{'X', "---------XVO"},
	{'V', "---------O--"},
	{'O', "------------"},
};
/* clang-format on */

static enum slot_state state_of(char letter)
{
	return (enum slot_state)(strchr(letters, letter) - letters);
}

START_TEST(test_grid)
{
	ck_assert_uint_eq(ARRAY_LEN(grid), SLOT_STATE_COUNT);
	for (int e = 0; e < SLOT_EVENT_COUNT; e++) {
		char next = grid[_i].follows[e];
		struct slot s = {.state = state_of(grid[_i].state)};
		enum slot_state before = s.state;
		enum slot_action action = slot_event(&s, (enum slot_event)e);

		ck_assert_msg((action == SLOT_REFUSE) == (next == '-'), "%s: %s is %s",
			      slot_state_name(before), slot_event_name((enum slot_event)e),
			      next == '-' ? "taken" : "refused");
		ck_assert_msg(s.state == (next == '-' ? before : state_of(next)),
			      "%s: %s leads to %s", slot_state_name(before),
			      slot_event_name((enum slot_event)e), slot_state_name(s.state));
	}
	ck_assert_uint_eq(strlen(grid[_i].follows), SLOT_EVENT_COUNT);
}
END_TEST

/* Only the end of a worker asks for something, and each kind of end for something else. */
/* clang-format off */
static const struct {
	char state;
	enum slot_action action;
} ends[] = {
	{'E', SLOT_SUCCEED}, {'D', SLOT_REFUSE}, {'C', SLOT_FAIL_CREATION}, {'L', SLOT_SUCCEED},
	{'R', SLOT_SUCCEED}, {'P', SLOT_SUCCEED_UNCOUNTED}, {'p', SLOT_SUCCEED_UNCOUNTED},
	{'A', SLOT_SUCCEED}, {'X', SLOT_LOOK}, {'V', SLOT_FINISH}, {'O', SLOT_REFUSE},
};
/* clang-format on */

START_TEST(test_end)
{
	struct slot s = {.state = state_of(ends[_i].state)};

	ck_assert_int_eq(slot_event(&s, SLOT_EXITED), ends[_i].action);
	for (int e = 0; e < SLOT_EVENT_COUNT; e++) {
		s.state = state_of(ends[_i].state);
		if (e != SLOT_EXITED)
			ck_assert_int_le(slot_event(&s, (enum slot_event)e), SLOT_NOTHING);
	}
}
END_TEST

/* Released for good: no event brings a restore back. */
START_TEST(test_over_is_over)
{
	struct slot s = {.state = SLOT_READY};

	ck_assert(slot_is_ready(&s) && !slot_is_released(&s));
	slot_event(&s, SLOT_RELEASE);
	ck_assert(slot_is_released(&s) && !slot_is_ready(&s));
	for (int e = 0; e < SLOT_EVENT_COUNT; e++)
		slot_event(&s, (enum slot_event)e);
	ck_assert_int_eq(s.state, SLOT_OVER);
	ck_assert(slot_is_released(&s));
}
END_TEST

/* Before it has loaded it is no one to talk to, even while it is being killed. */
START_TEST(test_ready_and_loading)
{
	for (size_t i = 0; i < strlen(letters); i++) {
		struct slot s = {.state = (enum slot_state)i};

		ck_assert_int_eq(slot_is_ready(&s), strchr("RP", letters[i]) != NULL);
		ck_assert_int_eq(slot_is_loading(&s), strchr("Lp", letters[i]) != NULL);
	}
}
END_TEST

START_TEST(test_deaths)
{
	struct slot s = {.state = SLOT_READY};

	for (int i = 0; i < 3; i++)
		ck_assert(!slot_died(&s, 100 * S + (uint64_t)i, 10 * S, 3));
	ck_assert(slot_died(&s, 110 * S, 10 * S, 3));
	/* The window begins anew with the first death behind it. */
	ck_assert(!slot_died(&s, 110 * S + 1, 10 * S, 3));
	ck_assert_uint_eq(s.deaths, 1);
	ck_assert(slot_died(&s, 111 * S, 10 * S, 1));
	ck_assert(slot_died(&(struct slot){0}, 5 * S, 10 * S, 0));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("slot");
	TCase *tc = tcase_create("table");

	tcase_add_loop_test(tc, test_grid, 0, ARRAY_LEN(grid));
	tcase_add_loop_test(tc, test_end, 0, ARRAY_LEN(ends));
	tcase_add_test(tc, test_over_is_over);
	tcase_add_test(tc, test_ready_and_loading);
	tcase_add_test(tc, test_deaths);
	suite_add_tcase(suite, tc);
	return suite;
}
