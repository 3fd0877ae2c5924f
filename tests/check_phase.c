/* check_phase - what is expected of a worker, for all that a restore knows */
#include "daemon/phase.h"

#include <check.h>

#include "tests/runner.h"

static const struct {
	bool released, hopeless, creating, ready;
	enum restore_state state;
	enum phase phase;
} rows[] = {
	{false, false, true, false, STATE_WAITING, PHASE_CREATING},
	{false, false, false, false, STATE_WAITING, PHASE_SUCCEEDING},
	{false, false, false, false, STATE_RECOVERING, PHASE_SUCCEEDING},
	{false, false, false, false, STATE_FAILED, PHASE_SUCCEEDING},
	{false, false, false, true, STATE_WAITING, PHASE_WAITING},
	{false, false, false, true, STATE_SERVING, PHASE_SERVING},
	{false, false, false, true, STATE_FAILED, PHASE_FAILED},
	/* Nothing else counts once it is over. */
	{true, false, false, true, STATE_ENDED, PHASE_OVER},
	{true, false, false, true, STATE_FAILED, PHASE_OVER},
	{true, false, false, false, STATE_FAILED, PHASE_OVER},
	{true, false, true, false, STATE_WAITING, PHASE_OVER},
	{false, true, false, false, STATE_FAILED, PHASE_OVER},
	{false, true, false, true, STATE_FAILED, PHASE_OVER},
};

START_TEST(test_row)
{
	struct live l = {
		.released = rows[_i].released,
		.hopeless = rows[_i].hopeless,
		.creating = rows[_i].creating,
		.ready = rows[_i].ready,
		.rec.state = rows[_i].state,
	};

	ck_assert_str_eq(phase_name(phase_of(&l)), phase_name(rows[_i].phase));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("phase");
	TCase *tc = tcase_create("rows");

	tcase_add_loop_test(tc, test_row, 0, ARRAY_LEN(rows));
	suite_add_tcase(suite, tc);
	return suite;
}
