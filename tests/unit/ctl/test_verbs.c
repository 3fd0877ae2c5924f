/* The table of verbs, and the verbs that have no file of their own. */
#include "config.h"
#include "ctl/verbs.h"

#include <check.h>
#include <string.h>

#include "ctl/create.h"
#include "ctl/events.h"
#include "ctl/pages.h"
#include "ctl/tenant.h"
#include "ctl/wait.h"
#include "ctl/working_set.h"
#include "tests/support/ctlkit.h"
#include "tests/support/runner.h"

#define LIST "GET /v1/restores?limit=1000"
#define ONE "/v1/restores/vm1"
#define READY "{\"ready\":true}"
#define NO_TIME "{\"detail\":\"slow\",\"code\":\"timeout\"}"
#define STATUS_ASKED "GET /readyz\n" LIST "\nGET /v1/status\n"
#define NOT_FOUND                                               \
	{                                                       \
		404, PROBLEM(404, "not-found", "no such thing") \
	}
#define SAID_NOT_FOUND "uffdctl: no such thing (not-found)\n"
#define NOT_JSON                                       \
	{                                              \
		200, "ok", CANNED_LENGTH, "text/plain" \
	}
#define SAID_NOT_JSON "uffdctl: uffdd's answer is not JSON (bad-peer)\n"

#define NO_STATES "waiting      0\nserving      0\nrecovering   0\nended        0\nfailed       0\n"
#define STRAYS                                                               \
	"[{\"key\":\"vm1\",\"pid\":77,\"uid\":5,\"why\":\"it \\u001b[2J\"}," \
	"{\"key\":\"v\\u0007\",\"pid\":78,\"why\":\"so\"},{}]"
#define DESCRIPTORS(waiting, share)                                                         \
	"\"descriptors\":{\"used\":1000,\"limit\":1024,\"free\":12,\"per_restore\":" #share \
	",\"waiting\":" #waiting "}"

/* clang-format off */
static const struct ctlkit_case cases[] = {
	/* list */
	{"list", {{200, PART(VM1, "null")}}, 0,
	 "ID   TENANT  STATE    RESIDENT  SIZE  FAULTS  PREFETCH  AGE\n"
	 "vm1  t1      serving         -     -       -  -           -\n", NULL, LIST "\n"},
	{"list -q", {{200, PART(VM1 ",{\"id\":\"a\\u001bb\"},{}", "null")}}, 0,
	 "vm1\na\\x1bb\n-\n", NULL, LIST "\n"},
	{"list -o json", {{200, "{\"items\":[" VM1 "]}"}}, 0, PART(VM1, "null") "\n", NULL,
	 LIST "\n"},
	{"list --tenant t1", {{200, PART("", "null")}}, 0,
	 "ID  TENANT  STATE  RESIDENT  SIZE  FAULTS  PREFETCH  AGE\n", NULL, LIST "&tenant=t1\n"},
	{"list -q --state ended", {{200, PART("", "null")}}, 0, NULL, NULL, LIST "&state=ended\n"},
	/* Parts, each with the token of the one before and the same filter. */
	{"list -o json --state serving --tenant t1",
	 {{200, PART(VM1, "\"p/2\"")}, {200, PART("", "\"3&\"")}, {200, PART(VM1 "," VM2, "null")}},
	 0, PART(VM1 "," VM1 "," VM2, "null") "\n", NULL,
	 LIST "&tenant=t1&state=serving\n"
	 LIST "&tenant=t1&state=serving&page_token=p%2F2\n"
	 LIST "&tenant=t1&state=serving&page_token=3%26\n"},
	{"list -q", {{200, PART(VM1, "\"\"")}}, 0, "vm1\n", NULL, LIST "\n"},
	{"list -q", {{200, PART(VM1, "7")}}, 0, "vm1\n", NULL, LIST "\n"},
	/* Half a list is none. */
	{"list", {{200, PART(VM1, "\"x\"")}, NOT_FOUND}, 3, NULL, SAID_NOT_FOUND,
	 LIST "\n" LIST "&page_token=x\n"},
	{"list", {{200, PART(VM1, "\"x\"")}, {200, "{\"items\":{}}"}}, 1, NULL,
	 "uffdctl: uffdd's answer has no list of restores (bad-peer)\n",
	 LIST "\n" LIST "&page_token=x\n"},
	{"list", {NOT_JSON}, 1, NULL, SAID_NOT_JSON, LIST "\n"},
	{"list", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},

	/* status: ready, states, and what an administrator may see */
	{"status", {{200, READY}, {200, PART(VM1 "," VM1 "," VM2, "null")}, NOT_FOUND}, 0,
	 "ready        yes\n"
	 "waiting      0\nserving      2\nrecovering   0\nended        1\nfailed       0\n", NULL,
	 STATUS_ASKED},
	/* An older daemon says "ok"; states of a newer one. */
	{"status", {{200, "ok", CANNED_LENGTH, "text/plain"},
		    {200, PART(RESTORE("a", "odd", "") "," RESTORE("b", "more.odd", "") ","
			       RESTORE("c", "more.odd", "") "," RESTORE("d", "thirteen_long", "")
			       "," RESTORE("e", "\\u0007", "") ",{}", "null")},
		    {200, "{}"}}, 0,
	 "ready        yes\n" NO_STATES
	 "odd          1\nmore.odd     2\nthirteen_long 1\n\\x07            1\n", NULL,
	 STATUS_ASKED},
	{"status", {{200, READY}, {200, PART("", "null")},
		    {200, "{" DESCRIPTORS(7, 5) ",\"strays_count\":3,\"strays\":" STRAYS "}"}}, 0,
	 "ready        yes\n" NO_STATES "descriptors  1000 of 1024, room for 2 restores\n"
	 "no room      7 restores wait for descriptors\nnot adopted  3\n"
	 "  pid 77, key vm1: it \\x1b[2J\n  pid 78, key v\\x07: so\n"
	 "  pid 0, key -: -\n", NULL, STATUS_ASKED},
	{"status", {{200, READY}, {200, PART("", "null")},
		    {200, "{" DESCRIPTORS(0, 0) ",\"strays\":[]}"}}, 0,
	 "ready        yes\n" NO_STATES "descriptors  1000 of 1024, room for 12 restores\n"
	 "not adopted  0\n", NULL, STATUS_ASKED},
	{"status", {{200, READY}, {200, PART("", "null")}, {200, "{\"strays\":{}}"}}, 0,
	 "ready        yes\n" NO_STATES, NULL, STATUS_ASKED},
	{"status -o json", {{200, READY}, {200, PART(VM1 ",{}", "\"2\"")}, {200, PART(VM1, "null")},
			    {200, "{\"more\":1," DESCRIPTORS(0, 4) ",\"strays_count\":3,"
				  "\"strays\":[{}]}"}}, 0,
	 "{\"ready\":true,\"restores\":{\"waiting\":0,\"serving\":2,\"recovering\":0,\"ended\":0,"
	 "\"failed\":0}," DESCRIPTORS(0, 4) ",\"strays_count\":3,\"strays\":[{}]}\n", NULL,
	 "GET /readyz\n" LIST "\n" LIST "&page_token=2\nGET /v1/status\n"},
	/* A daemon that is not ready still has restores. */
	{"status", {{503, PROBLEM(503, "not-ready", "draining")}, {200, PART(VM1, "null")},
		    NOT_FOUND}, 5,
	 "ready        no\n"
	 "waiting      0\nserving      1\nrecovering   0\nended        0\nfailed       0\n",
	 "uffdctl: draining (not-ready)\n", STATUS_ASKED},
	{"status -o json", {{504, NO_TIME}, {200, PART("", "null")}, NOT_FOUND}, 4,
	 "{\"ready\":false,\"restores\":{\"waiting\":0,\"serving\":0,\"recovering\":0,\"ended\":0,"
	 "\"failed\":0}}\n", NO_TIME "\n", STATUS_ASKED},
	{"status", {{200, READY}, NOT_FOUND}, 3, NULL, SAID_NOT_FOUND, "GET /readyz\n" LIST "\n"},
	{"status", {{200, "", CANNED_RAW}}, 5, NULL,
	 "uffdctl: uffdd hung up without an answer; try again (not-ready)\n", "GET /readyz\n"},
	{"status", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},

	/* show, pause, resume, restart-worker */
	{"show vm1", {{200, VM1}}, 0,
	 "id               vm1\ntenant           t1\nstate            serving\n", NULL,
	 "GET " ONE "\n"},
	{"show vm1 --tenant t1", {{200, VM1}}, 0,
	 "id               vm1\ntenant           t1\nstate            serving\n", NULL,
	 "GET " ONE "?tenant=t1\n"},
	{"show vm1", {NOT_FOUND}, 3, NULL, SAID_NOT_FOUND, "GET " ONE "\n"},
	{"pause vm1", {{200, RESTORE("vm1", "serving", ",\"paused\":true")}}, 0,
	 "vm1 serving paused\n", NULL, "POST " ONE "/pause\n"},
	{"pause vm1 --tenant t1", {{200, RESTORE("vm1", "serving", ",\"paused\":true")}}, 0,
	 "vm1 serving paused\n", NULL, "POST " ONE "/pause?tenant=t1\n"},
	{"pause vm1", {{409, PROBLEM(409, "paused", "p")}}, 6, NULL, "uffdctl: p (paused)\n",
	 "POST " ONE "/pause\n"},
	{"resume vm1", {{200, VM1}}, 0, "vm1 serving\n", NULL, "POST " ONE "/resume\n"},
	{"restart-worker vm1", {{200, RESTORE("vm1", "recovering", "")}}, 0, "vm1 recovering\n",
	 NULL, "POST " ONE "/restart-worker\n"},

	/* stop */
	{"stop vm1", {{200, RESTORE("vm1", "ended", "")}}, 0, "vm1 ended\n", NULL,
	 "DELETE " ONE "\n"},
	{"stop vm1 --kill", {{200, VM1}}, 0, "vm1 serving\n", NULL, "DELETE " ONE "?kill=true\n"},
	{"stop vm1 --kill --tenant t1 --grace 1s", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "DELETE " ONE "?tenant=t1&grace=1s&kill=true\n"},
	{"stop vm1 --grace 0s", {{200, VM1}}, 0, "vm1 serving\n", NULL, "DELETE " ONE "?grace=0s\n"},
	{"stop vm1 --kill --grace 24h", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "DELETE " ONE "?grace=24h&kill=true\n"},
	{"stop vm1 vm2 -q --kill", {{200, VM1}, {200, VM2}}, 0, "vm1\nvm2\n", NULL,
	 "DELETE " ONE "?kill=true\nDELETE /v1/restores/vm2?kill=true\n"},
	/* Of several the others are stopped, too; of one its own code tells why it was not. */
	{"stop vm1", {NOT_FOUND}, 3, NULL, SAID_NOT_FOUND, "DELETE " ONE "\n"},
	{"stop vm1 vm2 vm3", {NOT_FOUND, {200, VM2}, NOT_FOUND}, 9, "vm2 ended\n",
	 SAID_NOT_FOUND SAID_NOT_FOUND,
	 "DELETE " ONE "\nDELETE /v1/restores/vm2\nDELETE /v1/restores/vm3\n"},
	{"stop vm1 vm2 vm3", {{200, VM1}, {200, "", CANNED_RAW}, {200, VM2}}, 9,
	 "vm1 serving\nvm2 ended\n",
	 "uffdctl: uffdd hung up without an answer; try again (not-ready)\n",
	 "DELETE " ONE "\nDELETE /v1/restores/vm2\nDELETE /v1/restores/vm3\n"},
	{"stop vm1 vm2", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},
	{"stop vm1", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},

	/* prefetch */
	{"prefetch vm1 all --tenant t1", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "PUT " ONE "/prefetch?tenant=t1 {\"mode\":\"all\"}\n"},
	{"prefetch vm1 none", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "PUT " ONE "/prefetch {\"mode\":\"none\"}\n"},
	{"prefetch vm1 working-set --rate 0", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "PUT " ONE "/prefetch {\"mode\":\"working-set\",\"rate_bytes_per_s\":0}\n"},
	{"prefetch vm1 all --rate 2K --max-resident 1M", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "PUT " ONE "/prefetch {\"mode\":\"all\",\"rate_bytes_per_s\":2048,"
	 "\"max_resident_bytes\":1048576}\n"},
	{"prefetch vm1 pause", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "PUT " ONE "/prefetch {\"paused\":true}\n"},
	{"prefetch vm1 resume --rate 5", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "PUT " ONE "/prefetch {\"paused\":false,\"rate_bytes_per_s\":5}\n"},
	{"prefetch vm1 --rate 1G", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "PUT " ONE "/prefetch {\"rate_bytes_per_s\":1073741824}\n"},
	{"prefetch vm1 --max-resident 0", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "PUT " ONE "/prefetch {\"max_resident_bytes\":0}\n"},
	{"prefetch vm1", {{0}}, 2, NULL,
	 "uffdctl prefetch: none, working-set, all, pause, resume, --rate or --max-resident is "
	 "missing\nSee: uffdctl prefetch --help\n", NULL},
	{"prefetch vm1 some --rate 1", {{0}}, 2, NULL,
	 "uffdctl prefetch: none, working-set, all, pause or resume is wanted, not \"some\"\n"
	 "See: uffdctl prefetch --help\n", NULL},
	{"prefetch vm1 all", {{409, PROBLEM(409, "wrong-state", "it is over")}}, 6, NULL,
	 "uffdctl: it is over (wrong-state)\n", "PUT " ONE "/prefetch {\"mode\":\"all\"}\n"},

	/* version: ours in any case */
	{"version", {{200, "{\"version\":\"0.2.0\",\"api\":[\"v1\",\"v2\"]}"}}, 0,
	 "uffdctl " PACKAGE_VERSION "\nuffdd 0.2.0 (api v1 v2)\n", NULL, "GET /version\n"},
	{"version -o json", {{200, "{\"version\":\"0.2.0\"}"}}, 0,
	 "{\"client\":\"" PACKAGE_VERSION "\",\"server\":{\"version\":\"0.2.0\"}}\n", NULL,
	 "GET /version\n"},
	{"version", {NOT_FOUND}, 3, "uffdctl " PACKAGE_VERSION "\n", SAID_NOT_FOUND,
	 "GET /version\n"},
	{"version -o json", {NOT_FOUND}, 3,
	 "{\"client\":\"" PACKAGE_VERSION "\",\"server\":null}\n",
	 PROBLEM(404, "not-found", "no such thing") "\n", "GET /version\n"},
	{"version", {NOT_JSON}, 1, "uffdctl " PACKAGE_VERSION "\n", SAID_NOT_JSON,
	 "GET /version\n"},
};
/* clang-format on */

START_TEST(verbs)
{
	ctlkit_check(&cases[_i]);
}
END_TEST

/* ---- lists without end ---- */

#define PARTS_MAX 10000 /* of a list */

/* The longest token goes back to the daemon; a longer one is not cut to fit. */
START_TEST(long_token)
{
	cleanup_free char *token = xcalloc(1, CLIENT_TOKEN_MAX + 2), *part = NULL;
	const struct canned_reply last = {200, PART("", "null")};
	struct canned_reply script[] = {{200, NULL}, {0}, {0}};
	struct ctlkit k = {.line = "list -q", .script = script};
	bool fits = _i == 0;

	memset(token, '/', CLIENT_TOKEN_MAX + (fits ? 0 : 1));
	ck_assert_int_gt(asprintf(&part, PART("", "\"%s\""), token), 0);
	script[0].body = part;
	if (fits)
		script[1] = last;
	ctlkit_run(&k);
	ck_assert_int_eq(k.code, fits ? 0 : 1);
	ck_assert_str_eq(k.printed.err, fits ? ""
					     : "uffdctl: uffdd's next_page_token is longer "
					       "than 1024 bytes (bad-peer)\n");
	if (fits)
		ck_assert_uint_eq(strlen(k.asked), strlen(LIST "\n" LIST "&page_token=\n") +
							   (size_t)3 * CLIENT_TOKEN_MAX);
	ctlkit_fini(&k);
}
END_TEST

START_TEST(endless_list)
{
	struct canned_reply *script = xcalloc(PARTS_MAX + 1, sizeof(*script));
	struct ctlkit k = {.line = "list", .script = script};

	for (size_t i = 0; i < PARTS_MAX; i++)
		script[i] = (struct canned_reply){200, PART("", "\"again\"")};
	ctlkit_run(&k);
	free(script);
	ck_assert_int_eq(k.code, 1);
	ck_assert_str_eq(k.printed.err, "uffdctl: uffdd's list has no end (bad-peer)\n");
	ck_assert_str_eq(k.printed.out, "");
	ctlkit_fini(&k);
}
END_TEST

/* ---- the table ---- */

/* clang-format off */
static const struct {
	const char *name;
	const struct args_option *options; /* of verbs with a file of their own */
	int (*run)(struct ctl *ctl);
	size_t min_words, max_words, ids;
} rows[] = {
	{"create", create_options, create_run, 0, 0, 0},
	{"list", NULL, NULL, 0, 0, 0},
	{"show", NULL, NULL, 1, 1, 1},
	{"wait", wait_options, wait_run, 1, 1, 1},
	{"stop", NULL, NULL, 1, SIZE_MAX, SIZE_MAX},
	{"prefetch", NULL, NULL, 1, 2, 1},
	{"pages", NULL, pages_run, 1, 1, 1},
	{"working-set", NULL, working_set_run, 1, 1, 1},
	{"events", events_options, events_run, 0, 1, 1},
	{"status", NULL, NULL, 0, 0, 0},
	{"version", NULL, NULL, 0, 0, 0},
	{"pause", NULL, NULL, 1, 1, 1},
	{"resume", NULL, NULL, 1, 1, 1},
	{"restart-worker", NULL, NULL, 1, 1, 1},
	{"tenant", tenant_options, tenant_run, 0, SIZE_MAX, 0},
};
/* clang-format on */

START_TEST(table)
{
	size_t n = 0;

	while (verbs_table[n].name)
		n++;
	ck_assert_uint_eq(n, ARRAY_LEN(rows));
	for (size_t i = 0; i < n; i++) {
		const struct verb *v = verbs_find(rows[i].name);

		ck_assert_ptr_eq(v, &verbs_table[i]);
		ck_assert_ptr_nonnull(v->run);
		ck_assert_uint_eq(v->min_words, rows[i].min_words);
		ck_assert_uint_eq(v->max_words, rows[i].max_words);
		ck_assert_uint_eq(v->ids, rows[i].ids);
		ck_assert(!rows[i].options || v->options == rows[i].options);
		ck_assert(!rows[i].run || v->run == rows[i].run);
	}
	ck_assert_ptr_null(verbs_find("top"));
	ck_assert_ptr_null(verbs_find("sho"));
	ck_assert_ptr_null(verbs_find("show "));
	ck_assert_ptr_null(verbs_find(""));
}
END_TEST

#define ID_63 "i23456789012345678901234567890123456789012345678901234567890123"

START_TEST(number_and_form_of_words)
{
	/* clang-format off */
	static const struct {
		const char *verb, *words[4];
		const char *says; /* NULL: they are in order */
	} words[] = {
		{"list", {NULL}, NULL},
		{"list", {"a"}, "\"a\" is one argument too many"},
		{"show", {NULL}, "ID is missing"},
		{"show", {"vm1"}, NULL},
		{"show", {"vm1", "b", "c"}, "\"b\" is one argument too many"},
		{"show", {ID_63}, NULL},
		{"show", {ID_63 "4"}, "\"" ID_63 "4\" is no id: letters, digits, \".\", \"_\" and "
				      "\"-\", at most 63"},
		{"show", {""}, "\"\" is no id: letters, digits, \".\", \"_\" and \"-\", at most 63"},
		{"stop", {NULL}, "ID is missing"},
		{"stop", {"a", "b", "c"}, NULL},
		{"stop", {"a", "b", "../c"}, "\"../c\" is no id: letters, digits, \".\", \"_\" and "
					     "\"-\", at most 63"},
		{"prefetch", {NULL}, "ID is missing"},
		/* The second word is no id. */
		{"prefetch", {"a", "/"}, NULL},
		{"events", {NULL}, NULL},
		{"events", {"a"}, NULL},
		{"events", {"a/"}, "\"a/\" is no id: letters, digits, \".\", \"_\" and \"-\", at "
				   "most 63"},
		{"events", {"a", "b"}, "\"b\" is one argument too many"},
	};
	/* clang-format on */
	const char *given[4];
	struct args args = {.words = given};
	struct err err = {.msg = ""};
	int rc;

	memcpy(given, words[_i].words, sizeof(given));
	while (args.nwords < ARRAY_LEN(given) && given[args.nwords])
		args.nwords++;
	rc = verbs_check(verbs_find(words[_i].verb), &args, &err);
	ck_assert_msg(rc == (words[_i].says ? -1 : 0), "%d %s", rc, err.msg);
	ck_assert_str_eq(err.msg, words[_i].says ? words[_i].says : "");
	ck_assert(rc == 0 || err.code == ERR_INVALID);
}
END_TEST

/* ---- help ---- */

static char *help_of(const struct verb *verb)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	ck_assert_ptr_nonnull(out);
	if (verb)
		verbs_help_one(out, verb);
	else
		verbs_help(out);
	ck_assert_int_eq(fclose(out), 0);
	return text;
}

/* Every option of a table, with its text. */
static void check_options(const char *help, const struct args_option *options)
{
	for (; options && options->name; options++) {
		cleanup_free char *name = NULL;

		ck_assert_int_gt(asprintf(&name, "--%s %s", options->name,
					  options->value ? options->value : ""),
				 0);
		ck_assert_msg(strstr(help, name) && strstr(help, options->help), "no %s in:\n%s",
			      name, help);
	}
}

START_TEST(help_of_all)
{
	cleanup_free char *help = help_of(NULL);
	const char *at = help;

	ck_assert_ptr_eq(strstr(help, "Usage: uffdctl [OPTION]... VERB ...\n\nTalks to uffdd"),
			 help);
	for (const struct verb *v = verbs_table; v->name; v++) {
		cleanup_free char *line = NULL;

		ck_assert_int_gt(asprintf(&line, "\n  %-14s %s\n", v->name, v->help), 0);
		at = strstr(at, line);
		ck_assert_msg(at, "no %s where it should be in:\n%s", v->name, help);
	}
	at = strstr(at, "\n\nOptions, before or after the verb:\n  -S, --socket PATH");
	ck_assert_ptr_nonnull(at);
	check_options(at, ctl_options);
	ck_assert_ptr_nonnull(
		strstr(at, "\n\n\"uffdctl VERB --help\" tells more about one verb.\n"));
}
END_TEST

START_TEST(help_of_one)
{
	const struct verb *v = &verbs_table[_i];
	cleanup_free char *help = help_of(v), *head = NULL;
	const char *own, *all = strstr(help, "\n\nOptions of every verb:\n  -S, --socket PATH");

	ck_assert_int_gt(asprintf(&head, "Usage: uffdctl %s%s%s%s\n\n%s\n", v->name,
				  v->options ? " [OPTION]..." : "", *v->operands ? " " : "",
				  v->operands, v->help),
			 0);
	ck_assert_msg(strncmp(help, head, strlen(head)) == 0, "%s", help);
	ck_assert_ptr_nonnull(all);
	check_options(all, ctl_options);
	own = strstr(help, "\n\nOptions:\n  -");
	ck_assert_int_eq(own && own < all, v->options != NULL);
	ck_assert_int_eq(strstr(help, "\nOptions:\n") != NULL, v->options != NULL);
	if (own)
		check_options(own, v->options);
}
END_TEST

/* As it stands, once: what the test above says in a general way. */
START_TEST(help_of_events)
{
	cleanup_free char *help = help_of(verbs_find("events"));
	const char *head =
		"Usage: uffdctl events [OPTION]... [ID]\n\n"
		"Print what has happened, to one restore or to all.\n\nOptions:\n"
		"  -f, --follow                    stay, and print what happens from now on\n"
		"  --after SEQ                     only events behind the one of that number\n"
		"  --tenant NAME                   only of that tenant\n\n"
		"Options of every verb:\n  -S, --socket PATH";

	ck_assert_msg(strncmp(help, head, strlen(head)) == 0, "%s", help);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("verbs");
	TCase *tcase = tcase_create("verbs"), *endless = tcase_create("endless");

	tcase_add_loop_test(tcase, verbs, 0, ARRAY_LEN(cases));
	tcase_add_loop_test(tcase, long_token, 0, 2);
	tcase_add_test(endless, endless_list);
	tcase_add_test(tcase, table);
	tcase_add_loop_test(tcase, number_and_form_of_words, 0, 17);
	tcase_add_test(tcase, help_of_all);
	tcase_add_loop_test(tcase, help_of_one, 0, ARRAY_LEN(rows));
	tcase_add_test(tcase, help_of_events);
	suite_add_tcase(suite, tcase);
	suite_add_tcase(suite, endless);
	return suite;
}
