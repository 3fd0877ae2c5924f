/*
 * runner - what a Check program exports
 *
 * test_suite() returns the suite, or NULL after printing "1..0 # SKIP reason". Its
 * cases set no timeout: the runner gives all of them the same.
 */
#ifndef UFFDD_TESTS_RUNNER_H
#define UFFDD_TESTS_RUNNER_H

#include <check.h>

Suite *test_suite(void);
/* A new case of @suite, with a fixture for each test. */
TCase *runner_case(Suite *suite, const char *name, SFun begin, SFun end);

#endif
