/* The verb tenant: its words, its tables, and the definition that set makes of the one before. */
#include "ctl/tenant.h"

#include <check.h>
#include <string.h>

#include "tests/support/ctlkit.h"
#include "tests/support/runner.h"

#define LIST "GET /v1/tenants?limit=1000"
#define ACME "/v1/tenants/acme"
#define GET "GET " ACME "\n"
#define DELETE "DELETE " ACME "\n"
#define PUT(body) GET "PUT " ACME " " body "\n"

#define TENANT(name, origin, definition, usage) \
	"{\"name\":\"" name "\",\"origin\":\"" origin "\"," definition ",\"usage\":{" usage "}}"
#define DEFINITION(uids, gids, share, budgets)                              \
	"\"uids\":[" uids "],\"gids\":[" gids "],\"prefetch_share\":" share \
	",\"budgets\":{" budgets "}"
#define USED(budget, used, limit) "\"" budget "\":{\"used\":" used ",\"limit\":" limit "}"

#define PLAIN DEFINITION("1000,1001", "27", "1", "\"restores\":100")
#define OLD TENANT("acme", "api", PLAIN, USED("restores", "3", "100"))
#define NEW TENANT("acme", "api", DEFINITION("7", "", "2", ""), USED("restores", "0", "9"))
#define SHOWN_NEW                                                           \
	"name             acme\norigin           api\nuids             7\n" \
	"gids             -\nprefetch_share   2\nrestores         0 of 9\n"

#define NOT_FOUND                                                \
	{                                                        \
		404, PROBLEM(404, "not-found", "no tenant acme") \
	}
#define SAID_NOT_FOUND "uffdctl: no tenant acme (not-found)\n"
#define USAGE(text) "uffdctl tenant: " text "\nSee: uffdctl tenant --help\n"
#define NO_ID(word) \
	USAGE("\"" word "\" is no id: letters, digits, \".\", \"_\" and \"-\", at most 63")
#define HEAD "NAME  ORIGIN  UIDS  GIDS  SHARE  RESTORES\n"

/* clang-format off */
static const struct ctlkit_case cases[] = {
	/* list: what is missing, what is long, and what a terminal should not see */
	{"tenant list", {{200, PART("", "null")}}, 0, HEAD, NULL, LIST "\n"},
	{"tenant list",
	 {{200, PART(OLD "," TENANT("uid-5", "implicit", DEFINITION("1,2,3,4", "1,2,3,4,5", "12", ""),
				    USED("other", "1", "2") "," USED("restores", "12", "1024"))
		     "," "{\"name\":\"a\\u001b[2J\",\"origin\":null,\"uids\":[],\"gids\":[\"\\u0007\"],"
		     "\"usage\":{\"restores\":{}}},{}", "null")}}, 0,
	 "NAME      ORIGIN    UIDS       GIDS       SHARE  RESTORES\n"
	 "acme      api       1000,1001  27             1     3/100\n"
	 "uid-5     implicit  1,2,3,4    1,2,3,4,…     12   12/1024\n"
	 "a\\x1b[2J  -         -          \\x07           -       -/-\n"
	 "-         -         -          -              -         -\n", NULL, LIST "\n"},
	{"tenant list -q", {{200, PART(OLD ",{\"name\":\"a\\u001bb\"},{}", "null")}}, 0,
	 "acme\na\\x1bb\n-\n", NULL, LIST "\n"},
	{"tenant list -o json", {{200, PART(OLD, "\"p/2\"")}, {200, PART(NEW, "null")}}, 0,
	 PART(OLD "," NEW, "null") "\n", NULL, LIST "\n" LIST "&page_token=p%2F2\n"},
	{"tenant list", {{200, PART(OLD, "\"x\"")}, {403, PROBLEM(403, "denied", "no")}}, 7, NULL,
	 "uffdctl: no (denied)\n", LIST "\n" LIST "&page_token=x\n"},
	{"tenant list", {{200, "{\"items\":{}}"}}, 1, NULL,
	 "uffdctl: uffdd's answer has no list of tenants (bad-peer)\n", LIST "\n"},
	{"tenant list", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},

	/* show: budgets by the names that the daemon gives them */
	{"tenant show acme",
	 {{200, TENANT("acme", "file", DEFINITION("1,2,3,4,5", "", "3", "\"x\":1"),
		       USED("a.b", "1", "2") "," USED("a_budget_of_the_future", "0", "1073741824")
		       ",\"\\u0007\":{\"used\":1},\"n\":null")}}, 0,
	 "name             acme\norigin           file\nuids             1 2 3 4 5\n"
	 "gids             -\nprefetch_share   3\n"
	 "a.b              1 of 2\na_budget_of_the_future 0 of 1073741824\n"
	 "\\x07                1 of -\n", NULL, GET},
	{"tenant show acme", {{200, "{\"name\":\"a\\u001b\",\"gids\":\"all\\u0007\",\"usage\":7,"
			     "\"more\":1}"}}, 0,
	 "name             a\\x1b\ngids             all\\x07\n", NULL, GET},
	{"tenant show acme",
	 {{200, "{\"name\":\"a\",\"cgroup\":{\"path\":\"/c/a\\u001b\",\"memory_bytes\":4096,"
		"\"memory_limit_bytes\":null,\"anon_bytes\":0,\"file_bytes\":1048576,\"pids\":null}}"}},
	 0, "name             a\ncgroup           /c/a\\x1b\ncgroup.memory    4 KiB\n"
	 "cgroup.anon      0 B\ncgroup.file      1 MiB\n", NULL, GET},
	{"tenant show acme -o json", {{200, OLD}}, 0, OLD "\n", NULL, GET},
	{"tenant show acme -q", {{200, OLD}}, 0, "acme\n", NULL, GET},
	{"tenant show acme", {NOT_FOUND}, 3, NULL, SAID_NOT_FOUND, GET},
	{"tenant show acme", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},

	/* set: of what is there, only what is named changes */
	{"tenant set acme --uid 7", {{200, OLD}, {200, NEW}}, 0, SHOWN_NEW, NULL,
	 PUT("{" DEFINITION("7", "27", "1", "\"restores\":100") "}")},
	{"tenant set acme --uid 4294967294 --uid 0", {{200, OLD}, {200, NEW}}, 0, SHOWN_NEW, NULL,
	 PUT("{" DEFINITION("4294967294,0", "27", "1", "\"restores\":100") "}")},
	{"tenant set acme --gid 8 --gid 9", {{200, OLD}, {200, NEW}}, 0, SHOWN_NEW, NULL,
	 PUT("{" DEFINITION("1000,1001", "8,9", "1", "\"restores\":100") "}")},
	{"tenant set acme --no-uids --gid 8", {{200, OLD}, {200, NEW}}, 0, SHOWN_NEW, NULL,
	 PUT("{" DEFINITION("", "8", "1", "\"restores\":100") "}")},
	{"tenant set acme --no-gids --uid 8", {{200, OLD}, {200, NEW}}, 0, SHOWN_NEW, NULL,
	 PUT("{" DEFINITION("8", "", "1", "\"restores\":100") "}")},
	{"tenant set acme --prefetch-share 5", {{200, OLD}, {200, NEW}}, 0, SHOWN_NEW, NULL,
	 PUT("{" DEFINITION("1000,1001", "27", "5", "\"restores\":100") "}")},
	{"tenant set acme --budget restores=7 --budget a.b=2K", {{200, OLD}, {200, NEW}}, 0,
	 SHOWN_NEW, NULL,
	 PUT("{" DEFINITION("1000,1001", "27", "1", "\"restores\":7,\"a.b\":2048") "}")},
	{"tenant set acme --budget a.b=1", {{200, OLD}, {200, NEW}}, 0, SHOWN_NEW, NULL,
	 PUT("{" DEFINITION("1000,1001", "27", "1", "\"restores\":100,\"a.b\":1") "}")},
	{"tenant set acme --budget restores=default --budget x=default", {{200, OLD}, {200, NEW}}, 0,
	 SHOWN_NEW, NULL, PUT("{" DEFINITION("1000,1001", "27", "1", "") "}")},
	/* What a newer daemon defines stays, too. */
	{"tenant set acme --uid 7",
	 {{200, TENANT("acme", "api", "\"label\":{\"x\":null}", USED("a", "1", "2"))}, {200, NEW}}, 0,
	 SHOWN_NEW, NULL, PUT("{\"label\":{\"x\":null},\"uids\":[7]}")},
	{"tenant set acme --budget x=0", {{200, "{\"budgets\":null}"}, {200, NEW}}, 0, SHOWN_NEW,
	 NULL, PUT("{\"budgets\":{\"x\":0}}")},
	{"tenant set acme --budget x=0", {{200, "{\"budgets\":[7]}"}, {200, NEW}}, 0, SHOWN_NEW,
	 NULL, PUT("{\"budgets\":{\"x\":0}}")},
	/* What it has is no part of it. */
	{"tenant set acme --uid 7", {{200, "{\"gids\":[1],\"cgroup\":{\"pids\":1}}"}, {200, NEW}}, 0,
	 SHOWN_NEW, NULL, PUT("{\"gids\":[1],\"uids\":[7]}")},
	/* None is there yet: the definition has what is named. */
	{"tenant set acme --no-uids", {NOT_FOUND, {201, NEW}}, 0, SHOWN_NEW, NULL,
	 PUT("{\"uids\":[]}")},
	{"tenant set acme --gid 3 --prefetch-share 0 --budget x=1G", {NOT_FOUND, {201, NEW}}, 0,
	 SHOWN_NEW, NULL,
	 PUT("{\"gids\":[3],\"prefetch_share\":0,\"budgets\":{\"x\":1073741824}}")},
	{"tenant set acme --uid 7 -o json", {NOT_FOUND, {201, NEW}}, 0, NEW "\n", NULL,
	 PUT("{\"uids\":[7]}")},
	{"tenant set acme --uid 7 -q", {NOT_FOUND, {201, NEW}}, 0, "acme\n", NULL,
	 PUT("{\"uids\":[7]}")},
	/* Refused, then or later. */
	{"tenant set acme --uid 7", {{403, PROBLEM(403, "denied", "no")}}, 7, NULL,
	 "uffdctl: no (denied)\n", GET},
	{"tenant set acme --uid 7", {{200, "ok", CANNED_LENGTH, "text/plain"}}, 1, NULL,
	 "uffdctl: uffdd's answer is not JSON (bad-peer)\n", GET},
	{"tenant set acme --uid 7", {NOT_FOUND, {403, PROBLEM(403, "denied", "admins only")}}, 7,
	 NULL, "uffdctl: admins only (denied)\n", PUT("{\"uids\":[7]}")},
	{"tenant set acme --uid 7",
	 {{200, "{\"uids\":[]}"}, {409, PROBLEM(409, "exists-different", "7 is of other")}}, 6, NULL,
	 "uffdctl: 7 is of other (exists-different)\n", PUT("{\"uids\":[7]}")},
	{"tenant set acme --uid 7", {{200, "{}"}, {409, PROBLEM(409, "wrong-state", "in the file")}},
	 6, NULL, "uffdctl: in the file (wrong-state)\n", PUT("{\"uids\":[7]}")},
	{"tenant set acme --budget x=1", {NOT_FOUND, {400, PROBLEM(400, "invalid", "no budget x")}}, 1,
	 NULL, "uffdctl: no budget x (invalid)\n", PUT("{\"budgets\":{\"x\":1}}")},
	{"tenant set acme --uid 7", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},

	/* rm */
	{"tenant rm acme", {{200, OLD}}, 0, "acme\n", NULL, DELETE},
	{"tenant rm acme -q", {{200, OLD}}, 0, "acme\n", NULL, DELETE},
	{"tenant rm acme -o json", {{200, OLD}}, 0, OLD "\n", NULL, DELETE},
	{"tenant rm acme", {NOT_FOUND}, 3, NULL, SAID_NOT_FOUND, DELETE},
	{"tenant rm acme", {{409, PROBLEM(409, "wrong-state", "it has live restores")}}, 6, NULL,
	 "uffdctl: it has live restores (wrong-state)\n", DELETE},
	{"tenant rm acme", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},

	/* Words and options that do not fit; the daemon is not asked. */
	{"tenant", {{0}}, 2, NULL, USAGE("list, show, set or rm is missing"), NULL},
	{"tenant lis\033t", {{0}}, 2, NULL,
	 USAGE("list, show, set or rm is wanted, not \"lis\\x1bt\""), NULL},
	{"tenant ''", {{0}}, 2, NULL, USAGE("list, show, set or rm is wanted, not \"\""), NULL},
	{"tenant list acme", {{0}}, 2, NULL, USAGE("\"acme\" is one argument too many"), NULL},
	{"tenant show", {{0}}, 2, NULL, USAGE("NAME is missing"), NULL},
	{"tenant set --uid 7", {{0}}, 2, NULL, USAGE("NAME is missing"), NULL},
	{"tenant rm", {{0}}, 2, NULL, USAGE("NAME is missing"), NULL},
	{"tenant show acme b", {{0}}, 2, NULL, USAGE("\"b\" is one argument too many"), NULL},
	{"tenant set acme b --uid 7", {{0}}, 2, NULL, USAGE("\"b\" is one argument too many"), NULL},
	{"tenant rm acme b", {{0}}, 2, NULL, USAGE("\"b\" is one argument too many"), NULL},
	{"tenant show ../acme", {{0}}, 2, NULL, NO_ID("../acme"), NULL},
	{"tenant set '' --uid 7", {{0}}, 2, NULL, NO_ID(""), NULL},
	{"tenant rm a/b", {{0}}, 2, NULL, NO_ID("a/b"), NULL},
	{"tenant set acme", {{0}}, 2, NULL,
	 USAGE("--uid, --gid, --no-uids, --no-gids, --prefetch-share or --budget is missing"), NULL},
	{"tenant set acme -q", {{0}}, 2, NULL,
	 USAGE("--uid, --gid, --no-uids, --no-gids, --prefetch-share or --budget is missing"), NULL},
	{"tenant set acme --uid 7 --no-uids", {{0}}, 2, NULL,
	 USAGE("give only one of --uid and --no-uids"), NULL},
	{"tenant set acme --no-gids --gid 7", {{0}}, 2, NULL,
	 USAGE("give only one of --gid and --no-gids"), NULL},
	{"tenant set acme --budget x=1 --budget y=1 --budget x=default", {{0}}, 2, NULL,
	 USAGE("--budget gives x twice"), NULL},
	{"tenant list --no-gids", {{0}}, 2, NULL, USAGE("--no-gids goes with set only"), NULL},
	{"tenant show acme --budget x=1", {{0}}, 2, NULL, USAGE("--budget goes with set only"), NULL},
	{"tenant rm acme --prefetch-share 1", {{0}}, 2, NULL,
	 USAGE("--prefetch-share goes with set only"), NULL},
};
/* clang-format on */

START_TEST(rows)
{
	ctlkit_check(&cases[_i]);
}
END_TEST

#define NAME_63 "n23456789012345678901234567890123456789012345678901234567890123"

#define BUDGET_WANTS \
	"--budget wants NAME=N, such as restores=100 or bytes=1G, or NAME=default, not "
/* clang-format off */
static const struct {
	const char *word, *says; /* NULL: it is taken */
} values[] = {
	{"--uid=4294967294", NULL},
	{"--uid=4294967295", "--uid wants a user number, not \"4294967295\""},
	{"--uid=root", "--uid wants a user number, not \"root\""},
	{"--gid=4294967294", NULL},
	{"--gid=4294967295", "--gid wants a group number, not \"4294967295\""},
	{"--gid=", "--gid wants a group number, not \"\""},
	{"--no-uids=1", "--no-uids takes no value"},
	{"--no-gids=1", "--no-gids takes no value"},
	{"--prefetch-share=9223372036854775807", NULL},
	{"--prefetch-share=1K", "--prefetch-share wants a number, not \"1K\""},
	{"--budget=" NAME_63 "=0", NULL},
	{"--budget=" NAME_63 "4=0", BUDGET_WANTS "\"" NAME_63 "4=0\""},
	{"--budget=a=200M", NULL},
	{"--budget=a=default", NULL},
	{"--budget=a=", BUDGET_WANTS "\"a=\""},
	{"--budget=a=1T", BUDGET_WANTS "\"a=1T\""},
	{"--budget=a=defaults", BUDGET_WANTS "\"a=defaults\""},
	{"--budget=a=-1", BUDGET_WANTS "\"a=-1\""},
	{"--budget=a", BUDGET_WANTS "\"a\""},
	/* What comes behind the end of the word does not count. */
	{"--budget=a\0" "1", BUDGET_WANTS "\"a\""},
	{"--budget==1", BUDGET_WANTS "\"=1\""},
	{"--budget=a/b=1", BUDGET_WANTS "\"a/b=1\""},
	{"--budget=", BUDGET_WANTS "\"\""},
};
/* clang-format on */

START_TEST(values_of_options)
{
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		char *argv[] = {(char *)(uintptr_t) "uffdctl", (char *)(uintptr_t)values[i].word,
				NULL};
		struct err err = {.msg = ""};
		struct args args;
		int rc;

		args_init(&args, 2, argv, ctl_options);
		rc = args_rest(&args, tenant_options, &err);
		args_fini(&args);
		ck_assert_msg(rc == (values[i].says ? -1 : 0) &&
				      strcmp(err.msg, values[i].says ? values[i].says : "") == 0,
			      "%s: %d %s", values[i].word, rc, err.msg);
	}
}
END_TEST

/* One option may be given twice, another may not. */
START_TEST(repeated)
{
	static const struct {
		const char *option, *value;
		bool may;
	} options[] = {
		{"--uid", "1", true},
		{"--gid", "1", true},
		{"--budget", "a=1", true},
		{"--prefetch-share", "1", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		char *option = (char *)(uintptr_t)options[i].option;
		char *value = (char *)(uintptr_t)options[i].value;
		char *argv[] = {option, option, value, option, value, NULL};
		struct err err = {.msg = ""};
		struct args args;
		int rc;

		args_init(&args, 5, argv, ctl_options);
		rc = args_rest(&args, tenant_options, &err);
		args_fini(&args);
		ck_assert_msg(rc == (options[i].may ? 0 : -1), "%s: %s", option, err.msg);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("tenant");
	TCase *tcase = tcase_create("tenant");

	tcase_add_loop_test(tcase, rows, 0, ARRAY_LEN(cases));
	tcase_add_test(tcase, values_of_options);
	tcase_add_test(tcase, repeated);
	suite_add_tcase(suite, tcase);
	return suite;
}
