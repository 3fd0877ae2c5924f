/* runner - main() of every Check program: TAP under make check, plain text by hand */
#include "tests/runner.h"

int main(void)
{
	Suite *suite = test_suite();
	SRunner *runner;
	int failed;

	if (!suite)
		return 0;
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
