/* What was recorded, byte for byte, and never on a terminal. */
#include "ctl/working_set.h"

#include <check.h>
#include <string.h>

#include "tests/support/ctlkit.h"
#include "tests/support/runner.h"

#define ASK "GET /v1/restores/vm1/working-set\n"
#define BYTES "application/octet-stream"

/* clang-format off */
static const struct ctlkit_case cases[] = {
	{"working-set vm1", {{200, "uffdwset\n\n ", CANNED_LENGTH, BYTES}}, 0, "uffdwset\n\n ", NULL,
	 ASK},
	/* There is one form only. */
	{"working-set vm1 --tenant t1", {{200, "x", CANNED_LENGTH, BYTES}}, 0, "x", NULL,
	 "GET /v1/restores/vm1/working-set?tenant=t1\n"},
	{"working-set vm1 -o json", {{200, "x", CANNED_CHUNKED, BYTES}}, 0, "x", NULL, ASK},
	{"working-set vm1", {{200, "", CANNED_LENGTH, BYTES}}, 1, NULL,
	 "uffdctl: uffdd's answer is no working set (bad-peer)\n", ASK},
	{"working-set vm1", {{200, VM1}}, 1, NULL,
	 "uffdctl: uffdd's answer is no working set (bad-peer)\n", ASK},
	{"working-set vm1 -o json", {{200, VM1}}, 1, NULL,
	 OWN_PROBLEM(502, "bad-peer", "The VMM broke the protocol",
		     "uffdd's answer is no working set"), ASK},
	{"working-set vm1", {{404, PROBLEM(404, "not-found", "none yet")}}, 3, NULL,
	 "uffdctl: none yet (not-found)\n", ASK},
	/* Half a working set is none. */
	{"working-set vm1", {{200, "HTTP/1.1 200 OK\r\nContent-Type: " BYTES "\r\n"
				   "Content-Length: 9\r\n\r\nuffd", CANNED_RAW}}, 5, NULL,
	 "uffdctl: uffdd hung up in the middle of its answer; try again (not-ready)\n", ASK},
	{"working-set vm1", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},
};
/* clang-format on */

START_TEST(answers)
{
	ctlkit_check(&cases[_i]);
}
END_TEST

START_TEST(bytes_as_they_are_stored)
{
	static const char bytes[] = "uffdwset\0\xff\033[2J\r\n\0";
	const struct canned_reply script[] = {{200, bytes, CANNED_LENGTH, BYTES,
					       .len = sizeof(bytes)},
					      {0}};
	struct ctlkit k = {.line = "working-set vm1", .script = script};

	ctlkit_run(&k);
	ck_assert_msg(k.code == 0, "%s", k.printed.err);
	ck_assert_uint_eq(k.printed.out_len, sizeof(bytes));
	ck_assert_mem_eq(k.printed.out, bytes, sizeof(bytes));
	ck_assert_str_eq(k.printed.err, "");
	ctlkit_fini(&k);
}
END_TEST

/* No daemon is even asked. */
START_TEST(no_bytes_to_a_terminal)
{
	struct ctlkit k = {.line = "working-set vm1", .printed.terminal = STDOUT_FILENO};

	ctlkit_run(&k);
	ck_assert_int_eq(k.code, 2);
	ck_assert_str_eq(k.printed.err,
			 "uffdctl working-set: a working set is no text: redirect stdout to a "
			 "file\nSee: uffdctl working-set --help\n");
	ck_assert_str_eq(k.printed.out, "");
	ctlkit_fini(&k);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("working_set");
	TCase *tcase = tcase_create("working_set");

	tcase_add_loop_test(tcase, answers, 0, ARRAY_LEN(cases));
	tcase_add_test(tcase, bytes_as_they_are_stored);
	tcase_add_test(tcase, no_bytes_to_a_terminal);
	suite_add_tcase(suite, tcase);
	return suite;
}
