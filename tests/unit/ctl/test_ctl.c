/* What the verbs share: options and environment, requests, what is printed, exit codes. */
#include "ctl/ctl.h"

#include <check.h>
#include <string.h>

#include "common/js.h"
#include "common/proto.h"
#include "tests/support/ctlkit.h"
#include "tests/support/runner.h"

/* ---- options and environment ---- */

START_TEST(begins_empty)
{
	static char *words[] = {(char *)"uffdctl", NULL};
	struct ctl ctl;

	memset(&ctl, 0xff, sizeof(ctl));
	ctl_init(&ctl, 1, words);
	ck_assert_ptr_null(ctl.client.path);
	ck_assert_ptr_null(ctl.client.problem);
	ck_assert_ptr_null(ctl.verb);
	ck_assert(!ctl.json && !ctl.quiet && !ctl.colour);
	ck_assert_ptr_eq(ctl.args.argv, words);
	ck_assert_ptr_eq(ctl.args.global, ctl_options);
	ck_assert_ptr_null(ctl_global(&ctl, "quiet"));
	ck_assert_ptr_null(ctl_option(&ctl, "quiet"));
	ctl_fini(&ctl);
}
END_TEST

/* Also what is freed here is found by the leak check of the sanitizer. */
START_TEST(end_frees_the_problem)
{
	struct ctlkit_line line;

	ctlkit_read(&line, "list", CTLKIT_NOWHERE);
	line.ctl.client.problem = json_object_new_object();
	ctlkit_line_fini(&line);
	ck_assert_ptr_null(line.ctl.client.problem);
}
END_TEST

START_TEST(socket_by_option_environment_default)
{
	static const struct {
		const char *line, *env, *path;
	} cases[] = {
		{"list", NULL, PROTO_DEFAULT_SOCKET},
		{"list", "", PROTO_DEFAULT_SOCKET},
		{"list", "/env", "/env"},
		{"-S /opt list", "/env", "/opt"},
		{"list --socket /opt", NULL, "/opt"},
		/* The verb's own option is another socket. */
		{"create --snapshot /s --socket /uffd", "/env", "/env"},
		{"create --snapshot /s --socket /uffd -S /opt", "/env", "/opt"},
	};
	struct ctlkit_line line;

	ctlkit_read(&line, cases[_i].line, "");
	if (cases[_i].env)
		setenv(PROTO_SOCKET_ENV, cases[_i].env, 1);
	else
		unsetenv(PROTO_SOCKET_ENV);
	ctl_settle(&line.ctl);
	ck_assert_str_eq(line.ctl.client.path, cases[_i].path);
	ctlkit_line_fini(&line);
}
END_TEST

START_TEST(options_of_the_verb_and_of_all)
{
	struct ctlkit_line line;

	ctlkit_read(&line, "-S /control create --snapshot /s --socket /uffd -q", "");
	ck_assert_str_eq(ctl_global(&line.ctl, "socket"), "/control");
	ck_assert_str_eq(ctl_option(&line.ctl, "socket"), "/uffd");
	ck_assert_str_eq(ctl_option(&line.ctl, "snapshot"), "/s");
	ck_assert_ptr_null(ctl_global(&line.ctl, "snapshot"));
	ck_assert_str_eq(ctl_global(&line.ctl, "quiet"), "");
	ck_assert_ptr_null(ctl_option(&line.ctl, "quiet"));
	ck_assert_ptr_null(ctl_option(&line.ctl, "id"));
	ctlkit_line_fini(&line);
}
END_TEST

START_TEST(how_to_print)
{
	static const struct {
		const char *line;
		bool json, quiet;
	} cases[] = {
		{"list", false, false},          {"list -o table", false, false},
		{"list -o json", true, false},   {"-q list", false, true},
		{"-q list -o json", true, true},
	};
	struct ctlkit_line line;

	ctlkit_read(&line, cases[_i].line, "");
	ctl_settle(&line.ctl);
	ck_assert_int_eq(line.ctl.json, cases[_i].json);
	ck_assert_int_eq(line.ctl.quiet, cases[_i].quiet);
	ctlkit_line_fini(&line);
}
END_TEST

START_TEST(colour_on_terminals)
{
	static const struct {
		int terminal;
		const char *no_color;
		bool colour;
	} cases[] = {
		{STDOUT_FILENO, NULL, true},
		{STDOUT_FILENO, "", true},
		{STDOUT_FILENO, "1", false},
		{STDERR_FILENO, NULL, false},
		{0, NULL, false},
	};
	struct capture c = {.terminal = cases[_i].terminal};
	struct ctlkit_line line;

	ctlkit_read(&line, "list", "");
	if (cases[_i].no_color)
		setenv("NO_COLOR", cases[_i].no_color, 1);
	capture_begin(&c);
	ctl_settle(&line.ctl);
	capture_end(&c);
	ck_assert_int_eq(line.ctl.colour, cases[_i].colour);
	capture_fini(&c);
	ctlkit_line_fini(&line);
}
END_TEST

/* ---- errors ---- */

static void check_error(int code, int code_should, const struct capture *c, const char *err)
{
	ck_assert_int_eq(code, code_should);
	ck_assert_str_eq(c->err, err);
	ck_assert_str_eq(c->out, "");
}

/* clang-format off */
static const struct {
	bool json;
	const char *problem; /* of the daemon, or NULL */
	const char *printed;
} failures[] = {
	{false, NULL, "uffdctl: ours \\x1b[2J (wrong-state)\n"},
	{true, NULL, OWN_PROBLEM(409, "wrong-state", "Not possible in this state",
				 "ours \\u001b[2J")},
	{false, PROBLEM(404, "not-found", "theirs"), "uffdctl: theirs (not-found)\n"},
	{true, PROBLEM(404, "not-found", "theirs"), PROBLEM(404, "not-found", "theirs") "\n"},
	/* Its own words are all that is known of a code of another release. */
	{false, PROBLEM(409, "new\\u0007word", "a\\u009bb\\nc"),
	 "uffdctl: a\\x9bb\\x0ac (new\\x07word)\n"},
	{false, "{\"code\":\"not-found\"}", "uffdctl: ours \\x1b[2J (not-found)\n"},
	{false, "{\"detail\":\"theirs\"}", "uffdctl: theirs (wrong-state)\n"},
	{false, "{\"detail\":7,\"code\":[]}", "uffdctl: ours \\x1b[2J (wrong-state)\n"},
	{true, "{\"more\":\"\\u007f\"}", "{\"more\":\"\\u007f\"}\n"},
};
/* clang-format on */

START_TEST(failure)
{
	struct ctl ctl = {.json = failures[_i].json};
	struct capture c = {.terminal = 0};
	struct err err;
	int code;

	if (failures[_i].problem) {
		ctl.client.problem = json_tokener_parse(failures[_i].problem);
		ck_assert_ptr_nonnull(ctl.client.problem);
	}
	err_set(&err, ERR_STATE, "ours \033[2J");
	capture_begin(&c);
	code = ctl_fail(&ctl, &err);
	capture_end(&c);
	check_error(code, 6, &c, failures[_i].printed);
	capture_fini(&c);
	client_fini(&ctl.client);
}
END_TEST

/* Scripts rely on these numbers. */
START_TEST(exit_codes)
{
	static const struct {
		enum err_code error;
		int code;
	} codes[] = {
		{ERR_INVALID, CTL_REFUSED},
		{ERR_METHOD, CTL_REFUSED},
		{ERR_TRIMMED, CTL_REFUSED},
		{ERR_TOOBIG, CTL_REFUSED},
		{ERR_PATH, CTL_REFUSED},
		{ERR_QUOTA, CTL_REFUSED},
		{ERR_SYSTEM, CTL_REFUSED},
		{ERR_PEER, CTL_REFUSED},
		{ERR_NOSPACE, CTL_REFUSED},
		{ERR_SNAPSHOT, CTL_REFUSED},
		{ERR_NOTFOUND, 3},
		{ERR_TIMEOUT, 4},
		{ERR_UNREADY, CTL_UNREADY},
		{ERR_CONFLICT, 6},
		{ERR_PAUSED, 6},
		{ERR_STATE, 6},
		{ERR_DENIED, 7},
	};

	ck_assert_uint_eq(ARRAY_LEN(codes), ERR_COUNT);
	ck_assert_int_eq(CTL_REFUSED, 1);
	ck_assert_int_eq(CTL_UNREADY, 5);
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		for (int json = 0; json <= 1; json++) {
			struct ctl ctl = {.json = json};
			struct capture c = {.terminal = 0};
			struct err err;
			int code;

			err_set(&err, codes[i].error, "no");
			capture_begin(&c);
			code = ctl_fail(&ctl, &err);
			capture_end(&c);
			capture_fini(&c);
			ck_assert_msg(code == codes[i].code, "%s: %d", err_name(err.code), code);
		}
	}
}
END_TEST

START_TEST(usage)
{
	static const struct {
		const char *verb, *printed;
	} cases[] = {
		{NULL, "uffdctl: no \\x1b[2J\nSee: uffdctl --help\n"},
		{"list", "uffdctl list: no \\x1b[2J\nSee: uffdctl list --help\n"},
	};
	/* People have mistyped something, whatever is wanted on stdout. */
	struct ctl ctl = {.verb = cases[_i].verb, .json = true};
	struct capture c = {.terminal = 0};
	struct err err;
	int code;

	err_set(&err, ERR_INVALID, "no \033[2J");
	capture_begin(&c);
	code = ctl_usage(&ctl, &err);
	capture_end(&c);
	check_error(code, 2, &c, cases[_i].printed);
	capture_fini(&c);
}
END_TEST

/* ---- requests ---- */

static int call(const struct canned_reply *script, struct json_object **ret, struct err *err)
{
	struct client_request req = {"GET", "/x"};
	struct ctl ctl = {.client.path = CTLKIT_NOWHERE};
	struct canned server;
	int rc;

	if (script)
		canned_start(&server, script);
	if (script)
		ctl.client.path = server.socket;
	rc = ctl_call(&ctl, &req, ret, err);
	if (script)
		free(canned_stop(&server));
	client_fini(&ctl.client);
	return rc;
}

START_TEST(answer)
{
	const struct canned_reply script[] = {{200, VM1}, {0}};
	cleanup_json struct json_object *reply = NULL, *should = json_tokener_parse(VM1);
	struct err err;

	ck_assert_msg(call(script, &reply, &err) == 0, "%s", err.msg);
	ck_assert(json_object_equal(reply, should));
}
END_TEST

START_TEST(no_answer)
{
	/* clang-format off */
	static const struct {
		struct canned_reply script[2]; /* none: no daemon */
		enum err_code code;
		const char *says;
	} cases[] = {
		{{{200, "ok", CANNED_LENGTH, "text/plain"}}, ERR_PEER, "uffdd's answer is not JSON"},
		{{{204, ""}}, ERR_PEER, "uffdd's answer is not JSON"},
		{{{404, PROBLEM(404, "not-found", "D")}}, ERR_NOTFOUND, "D"},
		{{{0}}, ERR_UNREADY, "is uffdd running?"},
	};
	/* clang-format on */
	struct json_object *reply = NULL;
	struct err err;

	ck_assert_int_eq(call(cases[_i].script[0].status ? cases[_i].script : NULL, &reply, &err),
			 -1);
	ck_assert_msg(err.code == cases[_i].code, "%s", err.msg);
	ck_assert_msg(strncmp(err.msg, cases[_i].says, strlen(cases[_i].says)) == 0, "%s", err.msg);
	/* The caller has nothing to free. */
	ck_assert_ptr_null(reply);
}
END_TEST

/* Says what it was given. */
static void print_form(FILE *out, struct json_object *o, bool colour)
{
	fprintf(out, "%s %s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
		colour ? "coloured" : "plain");
}

/* clang-format off */
static const struct {
	bool json, quiet, colour;
	const char *restore, *printed;
} prints[] = {
	{false, false, false, VM1, VM1 " plain\n"},
	{false, false, true, VM1, VM1 " coloured\n"},
	{true, false, true, VM1, VM1 "\n"},
	{true, true, false, VM1, VM1 "\n"},
	{false, true, true, VM1, "vm1\n"},
	{false, true, false, "{\"id\":\"a\\u001bb\"}", "a\\x1bb\n"},
	{false, true, false, "{\"id\":7}", "-\n"},
	{true, false, false, "{}", "{}\n"},
};
/* clang-format on */

START_TEST(three_forms)
{
	cleanup_json struct json_object *o = json_tokener_parse(prints[_i].restore);
	struct ctl ctl = {
		.json = prints[_i].json,
		.quiet = prints[_i].quiet,
		.colour = prints[_i].colour,
	};
	struct capture c = {.terminal = 0};

	capture_begin(&c);
	ctl_print(&ctl, o, print_form);
	capture_end(&c);
	ck_assert_str_eq(c.out, prints[_i].printed);
	ck_assert_str_eq(c.err, "");
	capture_fini(&c);
}
END_TEST

START_TEST(ask_and_print)
{
	static const struct {
		struct canned_reply script[2];
		int code;
		const char *out, *err;
	} cases[] = {
		{{{200, VM1}}, 0, VM1 " plain\n", ""},
		{{{404, PROBLEM(404, "not-found", "D")}}, 3, "", "uffdctl: D (not-found)\n"},
	};
	struct client_request req = {"GET", "/x"};
	struct capture c = {.terminal = 0};
	struct canned server;
	struct ctl ctl = {.client.path = server.socket};
	int code;

	canned_start(&server, cases[_i].script);
	capture_begin(&c);
	code = ctl_show(&ctl, &req, print_form);
	capture_end(&c);
	free(canned_stop(&server));
	ck_assert_int_eq(code, cases[_i].code);
	ck_assert_str_eq(c.out, cases[_i].out);
	ck_assert_str_eq(c.err, cases[_i].err);
	capture_fini(&c);
	client_fini(&ctl.client);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("ctl");
	TCase *tcase = tcase_create("ctl");

	tcase_add_test(tcase, begins_empty);
	tcase_add_test(tcase, end_frees_the_problem);
	tcase_add_loop_test(tcase, socket_by_option_environment_default, 0, 7);
	tcase_add_test(tcase, options_of_the_verb_and_of_all);
	tcase_add_loop_test(tcase, how_to_print, 0, 5);
	tcase_add_loop_test(tcase, colour_on_terminals, 0, 5);
	tcase_add_loop_test(tcase, failure, 0, ARRAY_LEN(failures));
	tcase_add_test(tcase, exit_codes);
	tcase_add_loop_test(tcase, usage, 0, 2);
	tcase_add_test(tcase, answer);
	tcase_add_loop_test(tcase, no_answer, 0, 4);
	tcase_add_loop_test(tcase, three_forms, 0, ARRAY_LEN(prints));
	tcase_add_loop_test(tcase, ask_and_print, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}
