/* test_phase - what is expected of a worker, for all that a restore knows */
#include "daemon/phase.h"

#include <check.h>

#include "tests/support/runner.h"

static const struct {
	enum slot_state slot;
	enum restore_state state;
	enum phase phase;
} rows[] = {
	{SLOT_CREATING, STATE_WAITING, PHASE_CREATING},
	{SLOT_LOADING, STATE_WAITING, PHASE_SUCCEEDING},
	{SLOT_LOADING, STATE_RECOVERING, PHASE_SUCCEEDING},
	{SLOT_LOADING, STATE_FAILED, PHASE_SUCCEEDING},
	{SLOT_REPLACING_LOADER, STATE_RECOVERING, PHASE_SUCCEEDING},
	{SLOT_READY, STATE_WAITING, PHASE_WAITING},
	{SLOT_READY, STATE_SERVING, PHASE_SERVING},
	{SLOT_READY, STATE_FAILED, PHASE_FAILED},
	{SLOT_REPLACING, STATE_SERVING, PHASE_SERVING},
	/* Nothing else counts once it is over. */
	{SLOT_LEAVING, STATE_ENDED, PHASE_OVER},
	{SLOT_LEAVING, STATE_FAILED, PHASE_OVER},
	{SLOT_LEAVING, STATE_WAITING, PHASE_OVER},
	{SLOT_OVER, STATE_FAILED, PHASE_OVER},
	{SLOT_LOST, STATE_FAILED, PHASE_OVER},
};

START_TEST(test_row)
{
	struct restore l = {.slot.state = rows[_i].slot, .rec.state = rows[_i].state};

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
