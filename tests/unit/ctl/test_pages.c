/* Page states in parts: one list, whatever its parts are. */
#include "ctl/pages.h"

#include <check.h>
#include <string.h>

#include "tests/support/ctlkit.h"
#include "tests/support/runner.h"

#define ASK "GET /v1/restores/vm1/pages?offset="
#define RUN(offset, length, state) \
	"{\"offset\":" #offset ",\"length\":" #length ",\"state\":\"" state "\"}"
#define RUNS(exact, runs, next) \
	"{\"page_bytes\":4096,\"exact\":" #exact ",\"runs\":[" runs "],\"next_offset\":" #next "}"
#define LAG \
	"uffdctl: these states may lag; between \"uffdctl pause vm1\" and resume they are exact\n"
#define WHY(exact, why, next) \
	"{\"exact\":" #exact ",\"inexact\":" why ",\"runs\":[],\"next_offset\":" #next "}"

/* clang-format off */
static const struct ctlkit_case cases[] = {
	{"pages vm1", {{200, RUNS(true, RUN(0, 4096, "present") "," RUN(4096, 8192, "absent"), null)}},
	 0, "0 4096 present\n4096 8192 absent\n", NULL, ASK "0\n"},
	{"pages vm1", {{200, RUNS(true, RUN(0, 4096, "present"), 4096)}, {200, RUNS(true, "", 8192)},
		       {200, RUNS(true, RUN(8192, 4096, "zeroed"), null)}}, 0,
	 "0 4096 present\n8192 4096 zeroed\n", NULL, ASK "0\n" ASK "4096\n" ASK "8192\n"},
	{"pages vm1", {{200, "{\"exact\":true,\"runs\":[]}"}}, 0, NULL, NULL, ASK "0\n"},
	{"pages vm1", {{200, "{\"exact\":true,\"runs\":[{},{\"offset\":18446744073709551615,"
			     "\"length\":\"4\",\"state\":\"\\u001b[2J\"},7]}"}}, 0,
	 "0 0 -\n18446744073709551615 0 \\x1b[2J\n0 0 -\n", NULL, ASK "0\n"},

	/* JSON: one document with the members of the first part. */
	{"pages vm1 -o json", {{200, RUNS(true, RUN(0, 4096, "present"), null)}}, 0,
	 "{\"page_bytes\":4096,\"runs\":[" RUN(0, 4096, "present") "],\"exact\":true,"
	 "\"next_offset\":null}\n", NULL, ASK "0\n"},
	{"pages vm1 -o json",
	 {{200, "{\"a\\\"\\u007f\":null,\"exact\":true,\"next_offset\":4096,\"b\":{\"c\":\"\\u009b\"},"
		"\"runs\":[{\"x\":1},{\"y\":2}]}"},
	  {200, "{\"other\":1,\"exact\":true,\"runs\":[{\"offset\":\"4096\"}]}"}}, 0,
	 "{\"a\\\"\\u007f\":null,\"b\":{\"c\":\"\\u009b\"},\"runs\":[{\"x\":1},{\"y\":2},"
	 "{\"offset\":\"4096\"}],\"exact\":true,\"next_offset\":null}\n", NULL,
	 ASK "0\n" ASK "4096\n"},

	/* One part that may lag makes a list that may lag. */
	{"pages vm1", {{200, RUNS(false, "", 4096)}, {200, RUNS(true, "", null)}}, 0, NULL, LAG,
	 ASK "0\n" ASK "4096\n"},
	{"pages vm1", {{200, RUNS(true, "", 4096)}, {200, RUNS(false, "", null)}}, 0, NULL, LAG,
	 ASK "0\n" ASK "4096\n"},
	{"pages vm1", {{200, "{\"runs\":[]}"}}, 0, NULL, LAG, ASK "0\n"},
	{"pages vm1 -o json", {{200, RUNS(false, "", 4096)}, {200, RUNS(true, "", null)}}, 0,
	 "{\"page_bytes\":4096,\"runs\":[],\"exact\":false,\"next_offset\":null}\n", NULL,
	 ASK "0\n" ASK "4096\n"},
	{"pages vm1", {{200, WHY(false, "\"the first\"", 4096)},
		       {200, WHY(false, "\"the second\"", null)}}, 0, NULL,
	 "uffdctl: these states may lag: the first\n", ASK "0\n" ASK "4096\n"},
	{"pages vm1", {{200, WHY(false, "null", 4096)}, {200, WHY(true, "\"the second\"", null)}},
	 0, NULL, "uffdctl: these states may lag: the second\n", ASK "0\n" ASK "4096\n"},
	{"pages vm1", {{200, WHY(false, "\"no\\u001b[2J\\n\"", null)}}, 0, NULL,
	 "uffdctl: these states may lag: no\\x1b[2J\\x0a\n", ASK "0\n"},
	{"pages vm1", {{200, WHY(true, "\"no matter\"", null)}}, 0, NULL, NULL, ASK "0\n"},

	/* What goes wrong. */
	{"pages vm1", {{200, "{\"runs\":{}}"}}, 1, NULL,
	 "uffdctl: uffdd's answer has no runs of pages (bad-peer)\n", ASK "0\n"},
	{"pages vm1 -o json", {{200, "{}"}}, 1, NULL,
	 OWN_PROBLEM(502, "bad-peer", "The VMM broke the protocol",
		     "uffdd's answer has no runs of pages"), ASK "0\n"},
	{"pages vm1", {{200, RUNS(true, "", 0)}}, 1, NULL,
	 "uffdctl: uffdd goes round in circles at offset 0 (bad-peer)\n", ASK "0\n"},
	{"pages vm1", {{200, RUNS(true, "", "4096")}}, 1, NULL,
	 "uffdctl: uffdd goes round in circles at offset 0 (bad-peer)\n", ASK "0\n"},
	{"pages vm1", {{200, RUNS(true, RUN(0, 8192, "absent"), 8192)},
		       {200, RUNS(true, "", 8192)}}, 1, "0 8192 absent\n",
	 "uffdctl: uffdd goes round in circles at offset 8192 (bad-peer)\n",
	 ASK "0\n" ASK "8192\n"},
	{"pages vm1", {{200, RUNS(true, RUN(0, 8192, "absent"), 8192)},
		       {404, PROBLEM(404, "not-found", "no restore vm1")}}, 3, "0 8192 absent\n",
	 "uffdctl: no restore vm1 (not-found)\n", ASK "0\n" ASK "8192\n"},
	{"pages vm1", {{200, "ok", CANNED_LENGTH, "text/plain"}}, 1, NULL,
	 "uffdctl: uffdd's answer is not JSON (bad-peer)\n", ASK "0\n"},
	{"pages vm1", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},
};
/* clang-format on */

START_TEST(parts)
{
	ctlkit_check(&cases[_i]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("pages");
	TCase *tcase = tcase_create("pages");

	tcase_add_loop_test(tcase, parts, 0, ARRAY_LEN(cases));
	suite_add_tcase(suite, tcase);
	return suite;
}
