/* test_jscan - what the scan refuses before json-c sees it, where, and what is left to json-c */
#include "common/jscan.h"

#include <signal.h>
#include <string.h>

#include "tests/support/runner.h"

/* A literal with its length, so that NULs inside count. */
#define T(text) text, sizeof(text) - 1
#define UNTOUCHED "untouched"
#define X8 "xxxxxxxx"
#define X62 X8 X8 X8 X8 X8 X8 X8 "xxxxxx"

static struct json_tokener *tok;

static void begin(void)
{
	tok = jscan_need(json_tokener_new_ex(JS_DEPTH_MAX + 1));
}

static void end(void)
{
	json_tokener_free(tok);
}

/* The text is a copy of exactly this size, so that a sanitizer sees a read behind the end. */
static enum jscan scan(const char *text, size_t len, char open, size_t *ret_end, struct err *err)
{
	cleanup_free char *copy = memcpy(xcalloc(1, len ? len : 1), text, len);

	*err = (struct err){.code = ERR_COUNT, .msg = UNTOUCHED};
	return jscan_text(copy, len, open, tok, ret_end, err);
}

/* ---- what the whole is ---- */

/* clang-format off */
static const struct {
	const char *text;
	size_t len;
	char open;
	enum jscan want;
	size_t end;
} results[] = {
	{T("{}"), '{', JSCAN_OK, 2},
	{T("{}"), 0, JSCAN_OK, 2},
	{T("[]"), 0, JSCAN_OK, 2},
	/* The end of the value does not include the blanks behind the value. */
	{T(" \t\r\n{ } \t\r\n"), '{', JSCAN_OK, 7},
	{T("  [ {} , {\"a\":[1]} ] "), 0, JSCAN_OK, 20},
	{T("{\"a\":\"}\\\"}\"}"), '{', JSCAN_OK, 12},
	/* The end is missing, and nothing is known to be wrong. */
	{T(""), '{', JSCAN_MORE, 0},
	{T(" \n"), 0, JSCAN_MORE, 0},
	{T("{"), '{', JSCAN_MORE, 0},
	{T("[[]"), 0, JSCAN_MORE, 0},
	{T("[\"a"), 0, JSCAN_MORE, 0},
	{T("[\"a\\"), 0, JSCAN_MORE, 0},
	{T("[\"a\\\""), 0, JSCAN_MORE, 0},
	{T("[\"\xe2\x82"), 0, JSCAN_MORE, 0},
	{T("[tru"), 0, JSCAN_MORE, 0},
	{T("[12"), 0, JSCAN_MORE, 0},
	{T("[\"\\u00e"), 0, JSCAN_MORE, 0},
	{T("[\"\\ud83d"), 0, JSCAN_MORE, 0},
	{T("[\"\\ud83d\\"), 0, JSCAN_MORE, 0},
	{T("[\"\\ud83d\\ude0"), 0, JSCAN_MORE, 0},
	{T("[-"), 0, JSCAN_MORE, 0},
	{T("[0."), 0, JSCAN_MORE, 0},
	{T("[1e"), 0, JSCAN_MORE, 0},
	{T("[1E-"), 0, JSCAN_MORE, 0},
	{T("[1e308"), 0, JSCAN_MORE, 0},
	{T("[\"\\uD"), 0, JSCAN_MORE, 0},
	{T("[\"\\ud83d\\u"), 0, JSCAN_MORE, 0},
	{T("[\"\\ud83d\\uD"), 0, JSCAN_MORE, 0},
	/* It may become 18446744073709551616e-1. */
	{T("[18446744073709551616"), 0, JSCAN_MORE, 0},
	/* Left to json-c. */
	{T("{\"a\" 1}"), '{', JSCAN_OK, 7},
	{T("{\"a\":1 \"b\":2}"), '{', JSCAN_OK, 13},
	{T("{:,:1}"), '{', JSCAN_OK, 6},
	{T("[1 2]"), 0, JSCAN_OK, 5},
	{T("[{} \"a\"]"), 0, JSCAN_OK, 8},
	{T("[\"\\x\"]"), 0, JSCAN_OK, 6},
};
/* clang-format on */

START_TEST(test_result)
{
	struct err err;
	size_t end = 0;
	enum jscan rc = scan(results[_i].text, results[_i].len, results[_i].open, &end, &err);

	ck_assert_msg(rc == results[_i].want, "%s: %d: %s", results[_i].text, (int)rc, err.msg);
	ck_assert_str_eq(err.msg, UNTOUCHED);
	ck_assert_int_eq(err.code, ERR_COUNT);
	if (rc == JSCAN_OK)
		ck_assert_uint_eq(end, results[_i].end);
}
END_TEST

#define WHOLE                                                                                 \
	"[{\"k\\u00e4\xe2\x82\xac\xf0\x9f\x98\x80\":\"\\ud83d\\ude00\\\\\\\"/\",\"b\":[true," \
	"-0.5E+3]},null]"

/* Any beginning of a good text wants more, until the value is whole. */
START_TEST(test_every_beginning)
{
	struct err err;
	size_t end = 0;

	for (size_t len = 0; len < strlen(WHOLE); len++) {
		enum jscan rc = scan(WHOLE, len, 0, &end, &err);

		ck_assert_msg(rc == JSCAN_MORE, "%zu bytes: %d: %s", len, (int)rc, err.msg);
		ck_assert_str_eq(err.msg, UNTOUCHED);
	}
	ck_assert_int_eq(scan(WHOLE, strlen(WHOLE), 0, &end, &err), JSCAN_OK);
	ck_assert_uint_eq(end, strlen(WHOLE));
}
END_TEST

/* ---- what is refused, and where ---- */

/* clang-format off */
static const struct {
	const char *text;
	size_t len;
	char open;
	const char *says; /* behind "bad JSON at " */
} refusals[] = {
	{T("[]"), '{', "line 1, column 1: expected an object"},
	{T("\n x"), '{', "line 2, column 2: expected an object"},
	{T("\"a\""), 0, "line 1, column 1: expected an array or an object"},
	{T("{} {"), '{', "line 1, column 4: something follows the end"},
	{T("[]\n\n,"), 0, "line 3, column 1: something follows the end"},
	/* keys */
	{T("{\"a\":1,\n \"a\":2}"), '{', "line 2, column 2: duplicate key \"a\""},
	{T("{\"a\":{\"c\":[{\"b\":1}]},\"a\""), '{', "line 1, column 22: duplicate key \"a\""},
	{T("[{\"a\":[\"x\",[]],\"a\""), 0, "line 1, column 16: duplicate key \"a\""},
	{T("{\"\\u0061\":\"a\",\"a\""), '{', "line 1, column 15: duplicate key \"a\""},
	{T("{\"a\x7f\xc3\xa4\":1,\"a\x7f\xc3\xa4\""), '{',
	 "line 1, column 11: duplicate key \"a???\""},
	{T("{\"a\\u0000b\":1}"), '{', "line 1, column 2: key \"a\" contains a NUL"},
	{T("{\"\\x\":1}"), '{', "line 1, column 2: malformed key"},
	{T("{'a'"), '{', "line 1, column 2: strings take double quotes"},
	/* strings */
	{T("[\"a\n"), 0, "line 1, column 4: raw control character in a string, write \\u000a"},
	{T("[\"\x1f\""), 0, "line 1, column 3: raw control character in a string, write \\u001f"},
	{T("[\"\0\""), 0, "line 1, column 3: raw control character in a string, write \\u0000"},
	{T("[\"a\xff"), 0, "line 1, column 4: not UTF-8"},
	{T("{\"\x80\":1}"), '{', "line 1, column 3: not UTF-8"},
	{T("[\"\\u00x0"), 0, "line 1, column 3: \\u needs four hexadecimal digits"},
	{T("[\"\\u 041"), 0, "line 1, column 3: \\u needs four hexadecimal digits"},
	{T("[\"\\x41\\ux"), 0, "line 1, column 7: \\u needs four hexadecimal digits"},
	{T("[\"\\u00g"), 0, "line 1, column 3: \\u needs four hexadecimal digits"},
	{T("[\"\\udc"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\udfff"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ud83dx"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ud83d\\n"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ud83d\\u0"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ud83d\\udb"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ud83d\\ue"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ude00\\ude00"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\udfffxx"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ud800x\""), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\udbff\\n"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ud83d\\u0041"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ud83d\\udbff"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ud83d\\ue000"), 0, "line 1, column 3: half a surrogate pair"},
	{T("[\"\\ud83d\\uDe0g"), 0, "line 1, column 9: \\u needs four hexadecimal digits"},
	/* words */
	{T("[True]"), 0, "line 1, column 2: \"True\" is no value"},
	{T("[tru]"), 0, "line 1, column 2: \"tru\" is no value"},
	{T("[NaN]"), 0, "line 1, column 2: \"NaN\" is no value"},
	{T("[1.e5]"), 0, "line 1, column 2: \"1.e5\" is no value"},
	{T("[1e]"), 0, "line 1, column 2: \"1e\" is no value"},
	{T("[1e5.0]"), 0, "line 1, column 2: \"1e5.0\" is no value"},
	{T("[-]"), 0, "line 1, column 2: \"-\" is no value"},
	{T("[.5]"), 0, "line 1, column 2: \".5\" is no value"},
	{T("[00]"), 0, "line 1, column 2: \"00\" is no value"},
	{T("[--1]"), 0, "line 1, column 2: \"--1\" is no value"},
	{T("[1,18446744073709551616]"), 0,
	 "line 1, column 4: 18446744073709551616 does not fit into 64 bits"},
	{T("[-9223372036854775809]"), 0,
	 "line 1, column 2: -9223372036854775809 does not fit into 64 bits"},
	{T("[-1e309]"), 0, "line 1, column 2: -1e309 does not fit into 64 bits"},
	{T("[" X62 "xx"), 0, "line 1, column 2: number too long"},
	/* the same, where nothing that may follow makes it right */
	{T("[True"), 0, "line 1, column 2: \"True\" is no value"},
	{T("[trx"), 0, "line 1, column 2: \"trx\" is no value"},
	{T("[nulll"), 0, "line 1, column 2: \"nulll\" is no value"},
	{T("[+"), 0, "line 1, column 2: \"+\" is no value"},
	{T("[--"), 0, "line 1, column 2: \"--\" is no value"},
	{T("[.5"), 0, "line 1, column 2: \".5\" is no value"},
	{T("[-01"), 0, "line 1, column 2: \"-01\" is no value"},
	{T("[1.e"), 0, "line 1, column 2: \"1.e\" is no value"},
	{T("[1e+-"), 0, "line 1, column 2: \"1e+-\" is no value"},
	{T("[1e5."), 0, "line 1, column 2: \"1e5.\" is no value"},
	{T("[1e309"), 0, "line 1, column 2: 1e309 does not fit into 64 bits"},
	{T("[\f]"), 0, "line 1, column 2: unexpected character"},
	{T("[\0]"), 0, "line 1, column 2: unexpected character"},
	{T("[\xc3\xa4]"), 0, "line 1, column 2: unexpected character"},
	{T("[1 /* c */]"), 0, "line 1, column 4: comments are not allowed here"},
	/* ends */
	{T("[1}"), 0, "line 1, column 3: expected ']'"},
	{T("{\"a\":[]]"), '{', "line 1, column 8: expected '}'"},
	{T("[1,]"), 0, "line 1, column 4: nothing follows the last comma"},
	{T("{\"a\":\n1,\n}"), '{', "line 3, column 1: nothing follows the last comma"},
	{T("{,}"), '{', "line 1, column 3: nothing follows the last comma"},
};
/* clang-format on */

START_TEST(test_refusal)
{
	struct err err;
	char want[256];
	size_t end;

	snprintf(want, sizeof(want), "bad JSON at %s", refusals[_i].says);
	ck_assert_msg(scan(refusals[_i].text, refusals[_i].len, refusals[_i].open, &end, &err) ==
			      JSCAN_BAD,
		      "%s: taken", refusals[_i].text);
	ck_assert_str_eq(err.msg, want);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_int_eq(err.sys, 0);
}
END_TEST

/* ---- what is taken ---- */

/* clang-format off */
static const char *const taken[] = {
	/* A name is taken once in each object, and is free everywhere else. */
	"{\"a\":{\"a\":{\"a\":\"a\"}},\"b\":[{\"a\":1},{\"a\":1}],\"c\":\"a\"}",
	"[\"a\",\"a\",{\"a\":\"a\",\"b\":\"a\"},\"a\"]",
	"[{\"a\":[\"a\",\"a\"]},{\"a\":0}]",
	"{\"a\":\"x\\u0000y\",\"\":0}",
	/* numbers */
	"[0,-0,10,0.0,-0.5,1e5,1E+5,1.25e-05,0e0,true,false,null]",
	"[18446744073709551615,-9223372036854775808,1e308,-1.7976931348623157e308]",
	/* characters */
	"[\"\\u0000\\uD7FF\\ue000\\uFFFF\\ud800\\udc00\\udbff\\udfff\\uABCD\\uef01\"]",
	"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t \x7f'/*//,:[]{}\"]",
	" [ \r\n\t1 \r\n\t, \r\n\t2 \r\n\t] ",
};
/* clang-format on */

START_TEST(test_taken)
{
	struct err err;
	size_t end = 0;

	ck_assert_msg(scan(taken[_i], strlen(taken[_i]), 0, &end, &err) == JSCAN_OK, "%s: %s",
		      taken[_i], err.msg);
	ck_assert_uint_eq(end, strlen(taken[_i]) - (taken[_i][0] == ' '));
}
END_TEST

/* ---- bounds ---- */

/* @n brackets of each kind; the text is static. */
static enum jscan scan_nested(size_t n, bool objects, struct err *err)
{
	static char text[256];
	size_t len = 0, end;

	for (size_t i = 0; i < n; i++)
		len += (size_t)sprintf(text + len, objects && i ? "\"a\":{" : objects ? "{" : "[");
	for (size_t i = 0; i < n; i++)
		text[len++] = objects ? '}' : ']';
	return scan(text, len, 0, &end, err);
}

START_TEST(test_depth)
{
	bool objects = _i;
	struct err err;

	ck_assert_msg(scan_nested(JS_DEPTH_MAX, objects, &err) == JSCAN_OK, "%s", err.msg);
	ck_assert_int_eq(scan_nested(JS_DEPTH_MAX + 1, objects, &err), JSCAN_BAD);
	ck_assert_str_eq(err.msg, objects ? "bad JSON at line 1, column 81: nested deeper than 16 "
					    "levels"
					  : "bad JSON at line 1, column 17: nested deeper than 16 "
					    "levels");
}
END_TEST

/* Only containers that are open count. */
START_TEST(test_many_in_a_row)
{
	static const char many[] = "[[],{},[],{},[],{},[],{},[],{},[],{},[],{},[],{},[],{},[{}]]";
	struct err err;
	size_t end = 0;

	ck_assert_msg(scan(many, strlen(many), 0, &end, &err) == JSCAN_OK, "%s", err.msg);
	ck_assert_uint_eq(end, strlen(many));
}
END_TEST

/* The longest number has 63 bytes. */
START_TEST(test_longest_word)
{
	char text[80];
	struct err err;
	size_t end;

	snprintf(text, sizeof(text), "[0.%061d]", 1);
	ck_assert_msg(scan(text, strlen(text), 0, &end, &err) == JSCAN_OK, "%s", err.msg);
	snprintf(text, sizeof(text), "[0.%062d]", 1);
	ck_assert_int_eq(scan(text, strlen(text), 0, &end, &err), JSCAN_BAD);
	ck_assert_str_eq(err.msg, "bad JSON at line 1, column 2: number too long");
}
END_TEST

/* The tokener may come from any other text, also from a text that broke off in a key. */
START_TEST(test_tokener_again)
{
	static const char *const bad[] = {"{\"\\x\":1}", "{\"a\":1,\"a\":1}", "{\"\\u12"};
	static const char good[] = "{\"a\":1,\"b\":1}";
	struct err err;
	size_t end;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_int_ne(scan(bad[i], strlen(bad[i]), '{', &end, &err), JSCAN_OK);
		ck_assert_msg(scan(good, strlen(good), '{', &end, &err) == JSCAN_OK, "%s", err.msg);
		json_tokener_parse_ex(tok, "[\"half of", -1);
		ck_assert_msg(scan(good, strlen(good), '{', &end, &err) == JSCAN_OK, "%s", err.msg);
	}
}
END_TEST

/* ---- error texts ---- */

/* clang-format off */
static const struct {
	const char *text;
	size_t pos;
	const char *place;
} places[] = {
	{"", 0, "line 1, column 1"},
	{"abc", 2, "line 1, column 3"},
	{"abc", 3, "line 1, column 4"},
	{"a\nb", 1, "line 1, column 2"},
	{"a\nb", 2, "line 2, column 1"},
	{"a\nbc\n\nd", 7, "line 4, column 2"},
	{"\r\n\r\nx", 4, "line 3, column 1"},
};
/* clang-format on */

START_TEST(test_place)
{
	struct err err = {.code = ERR_COUNT, .sys = 7};
	char want[128];

	snprintf(want, sizeof(want), "bad JSON at %s: 7 is wrong", places[_i].place);
	ck_assert_int_eq(jscan_err(places[_i].text, places[_i].pos, &err, "%d is %s", 7, "wrong"),
			 -1);
	ck_assert_str_eq(err.msg, want);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_int_eq(err.sys, 0);
}
END_TEST

/* The place stands in front, so a long text does not push the place out. */
START_TEST(test_long_error)
{
	static const char head[] = "bad JSON at line 1, column 1: 0000";
	struct err err;

	jscan_err("x", 0, &err, "%0400d", 0);
	ck_assert_int_eq(strncmp(err.msg, head, strlen(head)), 0);
	ck_assert_uint_lt(strlen(err.msg), 200);
}
END_TEST

/* clang-format off */
static const struct {
	const char *text, *shown;
} shows[] = {
	{"", ""},
	{"plain ~", "plain ~"},
	{"\x1b[2J\n\x7f\x01\x1f", "?[2J????"},
	{"\xc3\xa4\x80\xff", "????"},
	{X62 "y", X62 "y"},
	{X62 "yz", X62 "y"},
	{X62 X62 X62, X62 "x"},
};
/* clang-format on */

START_TEST(test_shown)
{
	struct {
		char buf[JSCAN_SHOWN_MAX], guard;
	} to = {.guard = 'g'};

	memset(to.buf, '#', sizeof(to.buf));
	ck_assert_ptr_eq(jscan_shown(to.buf, shows[_i].text), to.buf);
	ck_assert_str_eq(to.buf, shows[_i].shown);
	ck_assert_int_eq(to.guard, 'g');
}
END_TEST

/* ---- memory ---- */

START_TEST(test_need)
{
	int there;

	ck_assert_ptr_eq(jscan_need(&there), &there);
}
END_TEST

START_TEST(test_need_aborts)
{
	jscan_need(NULL);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("jscan");
	TCase *t = tcase_create("text");

	tcase_add_checked_fixture(t, begin, end);
	tcase_add_loop_test(t, test_result, 0, ARRAY_LEN(results));
	tcase_add_test(t, test_every_beginning);
	tcase_add_loop_test(t, test_refusal, 0, ARRAY_LEN(refusals));
	tcase_add_loop_test(t, test_taken, 0, ARRAY_LEN(taken));
	tcase_add_loop_test(t, test_depth, 0, 2);
	tcase_add_test(t, test_many_in_a_row);
	tcase_add_test(t, test_longest_word);
	tcase_add_test(t, test_tokener_again);
	suite_add_tcase(s, t);
	t = tcase_create("parts");
	tcase_add_loop_test(t, test_place, 0, ARRAY_LEN(places));
	tcase_add_test(t, test_long_error);
	tcase_add_loop_test(t, test_shown, 0, ARRAY_LEN(shows));
	tcase_add_test(t, test_need);
	tcase_add_test_raise_signal(t, test_need_aborts, SIGABRT);
	suite_add_tcase(s, t);
	return s;
}
