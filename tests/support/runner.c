/* runner - main() of every Check program: TAP under make check, plain text by hand */
#include "tests/support/runner.h"

#include <stdlib.h>

/* Seconds. A test that hangs ends at last; its own waits (HARNESS_MS) end before and say why. */
#define TEST_HANGS "600"

TCase *runner_case(Suite *suite, const char *name, SFun begin, SFun end)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, begin, end);
	suite_add_tcase(suite, tc);
	return tc;
}

int main(void)
{
	Suite *suite;
	SRunner *runner;
	int failed;

	/* Read by tcase_create(); Check's own 4 s would fail what is merely slow. */
	setenv("CK_DEFAULT_TIMEOUT", TEST_HANGS, 0);
	suite = test_suite();
	if (!suite)
		return 0;
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
