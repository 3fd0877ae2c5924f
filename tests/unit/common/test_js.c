/* test_js - which texts are parsed, and what is said of the others */
#include "common/js.h"
#include "common/jscan.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/runner.h"

/* A literal with its length, so that NULs inside count. */
#define T(text) text, sizeof(text) - 1

struct parse_case {
	const char *name, *text;
	size_t len;
	const char *says; /* part of the error text; NULL: it is good */
};

/* clang-format off */
static const struct parse_case parse_cases[] = {
	/* what json-c takes in its strictest mode */
	{"single-quoted key", T("{'a':1}"), "double quotes"},
	{"NaN", T("{\"a\":NaN}"), "\"NaN\" is no value"},
	{"Infinity", T("{\"a\":Infinity}"), "\"Infinity\" is no value"},
	{"-Infinity", T("{\"a\":-Infinity}"), "\"-Infinity\" is no value"},
	{"duplicate key", T("{\"a\":1,\"a\":2}"), "duplicate key \"a\""},
	{"duplicate key, same value", T("{\"a\":1,\"a\":1}"), "duplicate key \"a\""},
	{"duplicate key, nested", T("{\"x\":[{\"b\":{}},{\"b\":{},\"b\":1}]}"), "key \"b\""},
	{"duplicate key, escaped", T("{\"a\":1,\"\\u0061\":2}"), "duplicate key \"a\""},
	{"duplicate key after an object", T("{\"a\":{\"b\":1},\"a\":2}"), "duplicate key \"a\""},
	{"duplicate in what is overwritten", T("{\"a\":{\"b\":1,\"b\":2}}"), "key \"b\""},
	{"duplicate empty key", T("{\"\":1,\"\":2}"), "duplicate key \"\""},
	{"above 64 bits", T("{\"a\":18446744073709551616}"), "does not fit into 64 bits"},
	{"below 64 bits", T("{\"a\":-9223372036854775809}"), "does not fit into 64 bits"},
	{"far above", T("{\"a\":99999999999999999999999999}"), "does not fit into 64 bits"},
	{"double overflow", T("{\"a\":1e999}"), "does not fit into 64 bits"},
	{"NUL escaped in a key", T("{\"a\\u0000b\":1}"), "key \"a\" contains a NUL"},
	{"raw newline in a string", T("{\"a\":\"x\ny\"}"), "raw control character"},
	{"raw tab in a string", T("{\"a\":\"x\ty\"}"), "raw control character"},
	{"raw NUL in a string", T("{\"a\":\"x\0y\"}"), "raw control character"},
	{"raw control in a key", T("{\"a\x01\":1}"), "raw control character"},
	{"incomplete", T("{\"a\":1"), "ends too early"},
	{"incomplete string", T("{\"a"), "ends too early"},
	{"incomplete word", T("{\"a\":tr"), "ends too early"},
	{"empty", T(""), "ends too early"},
	{"blanks only", T(" \n\t"), "ends too early"},

	/* what json-c refuses by itself; it must stay so */
	{"trailing characters", T("{} x"), "something follows"},
	{"second object", T("{}{}"), "something follows"},
	{"trailing NUL", T("{}\0"), "something follows"},
	{"closing twice", T("{}}"), "something follows"},
	{"trailing comma", T("{\"a\":1,}"), "bad JSON"},
	{"trailing comma in an array", T("{\"a\":[1,]}"), "bad JSON"},
	{"comma alone", T("{,}"), "bad JSON"},
	{"two commas", T("{\"a\":1,,\"b\":2}"), "bad JSON"},
	{"no comma", T("{\"a\":1 \"b\":2}"), "bad JSON"},
	{"no colon", T("{\"a\" 1}"), "bad JSON"},
	{"no value", T("{\"a\":}"), "bad JSON"},
	{"no key", T("{:1}"), "bad JSON"},
	{"number as key", T("{1:1}"), "bad JSON"},
	{"bare key", T("{a:1}"), "\"a\" is no value"},
	{"colon in an array", T("{\"a\":[\"b\":1]}"), "bad JSON"},
	{"TRUE", T("{\"a\":TRUE}"), "\"TRUE\" is no value"},
	{"Null", T("{\"a\":Null}"), "\"Null\" is no value"},
	{"nan", T("{\"a\":nan}"), "\"nan\" is no value"},
	{"single-quoted value", T("{\"a\":'x'}"), "double quotes"},
	{"leading zero", T("{\"a\":01}"), "\"01\" is no value"},
	{"leading plus", T("{\"a\":+1}"), "\"+1\" is no value"},
	{"minus alone", T("{\"a\":-}"), "\"-\" is no value"},
	{"point first", T("{\"a\":.5}"), "\".5\" is no value"},
	{"point last", T("{\"a\":1.}"), "\"1.\" is no value"},
	{"exponent without digits", T("{\"a\":1e+}"), "\"1e+\" is no value"},
	{"hexadecimal", T("{\"a\":0x10}"), "\"0x10\" is no value"},
	{"endless number", T("{\"a\":1.000000000000000000000000000000000000000000000000000000000000"
			     "0000000000000000}"), "number too long"},
	{"unknown escape", T("{\"a\":\"\\x\"}"), "bad JSON"},
	{"wrong bracket", T("{\"a\":[1}"), "expected ']'"},
	{"wrong brace", T("{\"a\":1]"), "expected '}'"},
	{"comment", T("{\"a\":1 /* c */}"), "comments are not allowed"},
	{"line comment", T("{\"a\":1 // c\n}"), "comments are not allowed"},
	{"form feed as blank", T("{\f}"), "unexpected character"},
	{"raw NUL as blank", T("{\0}"), "unexpected character"},
	{"byte order mark", T("\xef\xbb\xbf{}"), "expected an object"},

	/* top level */
	{"array", T("[1]"), "expected an object"},
	{"string", T("\"a\""), "expected an object"},
	{"number", T("1"), "expected an object"},
	{"null", T("null"), "expected an object"},
	{"closing first", T("}"), "expected an object"},

	/* Unicode */
	{"stray continuation byte", T("{\"a\":\"\x80\"}"), "not UTF-8"},
	{"truncated sequence", T("{\"a\":\"\xc3\"}"), "not UTF-8"},
	{"overlong slash", T("{\"a\":\"\xc0\xaf\"}"), "not UTF-8"},
	{"overlong, 3 bytes", T("{\"a\":\"\xe0\x80\xaf\"}"), "not UTF-8"},
	{"overlong, 4 bytes", T("{\"a\":\"\xf0\x80\x80\xaf\"}"), "not UTF-8"},
	{"surrogate in UTF-8", T("{\"a\":\"\xed\xa0\x80\"}"), "not UTF-8"},
	{"beyond U+10FFFF", T("{\"a\":\"\xf4\x90\x80\x80\"}"), "not UTF-8"},
	{"byte f5", T("{\"a\":\"\xf5\x80\x80\x80\"}"), "not UTF-8"},
	{"byte ff", T("{\"a\":\"\xff\"}"), "not UTF-8"},
	{"bad UTF-8 in a key", T("{\"\xc3(\":1}"), "not UTF-8"},
	{"high surrogate alone", T("{\"a\":\"\\ud800\"   }"), "half a surrogate"},
	{"low surrogate alone", T("{\"a\":\"\\udc00\\udc00\"}"), "half a surrogate"},
	{"two high surrogates", T("{\"a\":\"\\ud800\\ud800\"}"), "half a surrogate"},
	{"surrogates as two keys", T("{\"\\ud800\":1,\"\\ud801\":2}"), "half a surrogate"},
	{"hex digits", T("{\"a\":\"\\u00g0\"}"), "four hexadecimal digits"},
	{"sign in hex digits", T("{\"a\":\"\\u+041\"}"), "four hexadecimal digits"},

	{"no members", T("{}"), NULL},
	{"blanks around", T(" \r\n\t{ \"a\" : 1 } \r\n"), NULL},
	{"all types", T("{\"a\":[1,-1,0,-0,1.5,1e3,1E-3,true,false,null,\"s\",{},[]]}"), NULL},
	{"largest integers", T("{\"a\":[18446744073709551615,-9223372036854775808]}"), NULL},
	{"escapes", T("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\"}"), NULL},
	{"NUL escaped in a value", T("{\"a\":\"x\\u0000y\"}"), NULL},
	{"structure inside strings", T("{\"a{[]},:'//\":\"}]{,:'/*x*/\"}"), NULL},
	{"same key on different levels", T("{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":1}]}"),
	 NULL},
	{"surrogate pair", T("{\"a\":\"\\ud83d\\ude00\"}"), NULL},
	{"UTF-8 of every length", T("{\"\xc3\xa4\":\"\xe2\x82\xac\xf0\x9f\x98\x80\"}"), NULL},
	{"UTF-8 borders",
	 T("{\"a\":\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80"
	   "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"}"), NULL},
};
/* clang-format on */

START_TEST(test_parse)
{
	const struct parse_case *c = &parse_cases[_i];
	struct err err = {.msg = "untouched"};
	cleanup_json struct json_object *o = js_parse(c->text, c->len, false, &err);

	if (!c->says) {
		ck_assert_msg(o != NULL, "%s: %s", c->name, err.msg);
		ck_assert_str_eq(err.msg, "untouched");
		return;
	}
	ck_assert_msg(o == NULL, "%s: accepted", c->name);
	ck_assert_msg(err.code == ERR_INVALID, "%s: code %d", c->name, (int)err.code);
	ck_assert_msg(strstr(err.msg, c->says) != NULL, "%s: says \"%s\"", c->name, err.msg);
	ck_assert_msg(strchr(err.msg, '\n') == NULL, "%s: more than a line", c->name);
}
END_TEST

START_TEST(test_place)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"{\"a\":NaN}", "line 1, column 6:"},
		{"{\n  \"a\": 1,\n  \"a\": 2\n}", "line 3, column 3:"},
		{"{\n\n} x", "line 3, column 3:"},
		{"x", "line 1, column 1:"},
		{"/* a\n b */ {\n // c\n \"k\": nan }", "line 4, column 7:"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};

		ck_assert(!js_parse(cases[i].text, strlen(cases[i].text), true, &err));
		ck_assert_msg(strstr(err.msg, cases[i].says) != NULL, "%zu: %s", i, err.msg);
	}
}
END_TEST

/* A stranger's key reaches logs and terminals through the error text. */
START_TEST(test_key_is_shown_harmless)
{
	static const char text[] = "{\"\\u001b[2Jx\\n\\u00e4\":1,\"\\u001b[2Jx\\n\\u00e4\":2}";
	char longer[1200];
	struct err err = {0};

	ck_assert(!js_parse(text, strlen(text), false, &err));
	ck_assert_msg(strstr(err.msg, "duplicate key \"?[2Jx?") != NULL, "%s", err.msg);
	for (const char *p = err.msg; *p; p++)
		ck_assert_msg(*p >= 0x20 && *p <= 0x7e, "byte %02x in the text", (unsigned char)*p);

	snprintf(longer, sizeof(longer), "{\"%0500d\":1,\"%0500d\":1}", 0, 0);
	ck_assert(!js_parse(longer, strlen(longer), false, &err));
	ck_assert_uint_lt(strlen(err.msg), 200);
}
END_TEST

static struct json_object *nested(int levels, bool arrays, struct err *err)
{
	char text[1024] = "{\"a\":";
	size_t len = strlen(text);

	for (int i = 1; i < levels; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, arrays ? "[" : "{\"a\":");
	len += (size_t)snprintf(text + len, sizeof(text) - len, "1");
	for (int i = 1; i < levels; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, arrays ? "]" : "}");
	len += (size_t)snprintf(text + len, sizeof(text) - len, "}");
	return js_parse(text, len, false, err);
}

START_TEST(test_depth)
{
	for (int arrays = 0; arrays < 2; arrays++) {
		struct err err = {0};
		cleanup_json struct json_object *deepest = nested(JS_DEPTH_MAX, arrays, &err);

		ck_assert_msg(deepest != NULL, "%d levels: %s", JS_DEPTH_MAX, err.msg);
		ck_assert(!nested(JS_DEPTH_MAX + 1, arrays, &err));
		ck_assert_msg(strstr(err.msg, "deeper than 16") != NULL, "%s", err.msg);
		ck_assert(!nested(100, arrays, &err));
	}
}
END_TEST

START_TEST(test_size)
{
	struct err err = {0};

	/* Refused by its length alone: there are not that many bytes to read. */
	ck_assert(!js_parse("{}", (size_t)JS_TEXT_MAX + 1, false, &err));
	ck_assert_int_eq(err.code, ERR_TOOBIG);
	ck_assert(!js_parse("{}", SIZE_MAX, true, &err));
	ck_assert_int_eq(err.code, ERR_TOOBIG);
}
END_TEST

START_TEST(test_comments)
{
	static const struct parse_case cases[] = {
		{"block", T("/* a */{/**/\"a\"/*\n*/:1/***/}/* b */"), NULL},
		{"line", T("// a\n{\"a\":1 // b\n}// c"), NULL},
		{"inside strings", T("{\"a\":\"// x /* y */\",\"b/*\":\"\\\"//\"}"), NULL},
		{"quote inside a comment", T("{/* \" */\"a\":1 // \"\n}"), NULL},
		{"line comment in a block", T("{/* // */\"a\":1}"), NULL},
		{"block in a line comment", T("{// /* \n\"a\":1}"), NULL},
		{"still no duplicates", T("{\"a\":1,/**/\"a\":1}"), "duplicate key"},
		{"still no trailing comma", T("{\"a\":1,/**/}"), "bad JSON"},
		{"still no single quotes", T("{'a':1}"), "double quotes"},
		{"no end", T("{} /* x"), "the comment has no end"},
		{"no end, star shared", T("{} /*/"), "the comment has no end"},
		{"does not join words", T("{\"a\":tr/**/ue}"), "\"tr\" is no value"},
		{"does not join numbers", T("{\"a\":1/**/2}"), "bad JSON"},
		{"slash alone", T("{\"a\":1}/"), "something follows"},
		{"hash", T("{\"a\":1 # x\n}"), "unexpected character"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		cleanup_json struct json_object *o = js_parse(cases[i].text, cases[i].len, true,
							      &err);

		ck_assert_msg((o != NULL) == !cases[i].says, "%s: %s", cases[i].name, err.msg);
		if (cases[i].says)
			ck_assert_msg(strstr(err.msg, cases[i].says) != NULL, "%s: says \"%s\"",
				      cases[i].name, err.msg);
	}
}
END_TEST

START_TEST(test_comments_keep_strings)
{
	static const char text[] = "{\"a\":\"/* x */ // \\\"y\"}";
	struct err err = {0};
	cleanup_json struct json_object *o = js_parse(text, strlen(text), true, &err);
	const char *s = NULL;

	ck_assert(o != NULL);
	ck_assert_int_eq(js_string((struct js_at){o, ""}, "a", 100, &s, NULL, &err), 0);
	ck_assert_str_eq(s, "/* x */ // \"y");
}
END_TEST

#define ARRIVES                                                             \
	"[ {\"a\\u00e4\xe2\x82\xac\":\"\\ud83d\\ude00\\\\\\\"\", \"b\" : [" \
	"true,false,null,-1.5e+3,0,18446744073709551615]}, {} ]"
static const char *const arriving[] = {" " ARRIVES " ", " {\"c\": " ARRIVES " ,\"d\":0} "};

/* Whatever arrives of a good text is never called wrong, and the whole is parsed. */
START_TEST(test_arrives)
{
	const char *text = arriving[_i];
	const size_t whole = strlen(text) - 1;
	struct err err = {.msg = "untouched"};

	for (size_t len = 0; len <= strlen(text); len++) {
		/* A copy of exactly this size, so that a sanitizer sees a read behind it. */
		cleanup_free char *copy = memcpy(xcalloc(1, len ? len : 1), text, len);
		bool more = false;
		cleanup_json struct json_object *o = js_parse_arriving(copy, len, &more, &err);

		ck_assert_msg((o != NULL) == (len >= whole), "%zu of %zu: %s", len, whole, err.msg);
		ck_assert_msg(more == (len < whole), "%zu of %zu", len, whole);
	}
	ck_assert_str_eq(err.msg, "untouched");
}
END_TEST

START_TEST(test_arriving_bad)
{
	static const struct parse_case cases[] = {
		{"word", T("GET / HTTP/1.1\r\n"), "expected an array"},
		{"grammar", T("[{,"), "bad JSON"},
		{"grammar, later cut", T("[1,,"), "bad JSON"},
		{"duplicate", T("[{\"a\":1,\"a\""), "duplicate key"},
		{"trailing", T("[][]"), "something follows"},
		{"trailing, behind an object", T("{}["), "something follows"},
		{"grammar of an object", T("{\"a\",\"b\""), "bad JSON"},
		{"bracket of the other kind", T("{\"a\":1]"), "expected '}'"},
		{"depth", T("[[[[[[[[[[[[[[[[["), "deeper than 16"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {0};
		bool more = true;

		ck_assert_msg(!js_parse_arriving(cases[i].text, cases[i].len, &more, &err), "%s",
			      cases[i].name);
		ck_assert_msg(!more, "%s: more", cases[i].name);
		ck_assert_msg(strstr(err.msg, cases[i].says) != NULL, "%s: says \"%s\"",
			      cases[i].name, err.msg);
	}
}
END_TEST

/* Cheap pseudo-random numbers, the same in every run. */
static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* Whatever is accepted is printed as something that is accepted and means the same. */
START_TEST(test_mutations)
{
	static const char seed[] = "{\"a\":[1,-2.5,\"x\\u00e4\\n\",{\"b\":null,"
				   "\"c\":{}}],\"d\":true,"
				   "\"e\":18446744073709551615,\"f\":\"/*//\\\\\"}";
	static const char bytes[] = "{}[]:,\"\\'/*01.-+eEaubnulltruefalseNI \n\xc3\xa4";
	uint32_t state = 1;
	int accepted = 0;

	for (int i = 0; i < 8000; i++) {
		char text[sizeof(seed)];
		struct err err = {0};
		cleanup_json struct json_object *o = NULL, *again = NULL;
		const char *printed;

		memcpy(text, seed, sizeof(seed));
		for (uint32_t n = next_random(&state) % 3 + 1; n > 0; n--)
			text[next_random(&state) % strlen(seed)] =
				bytes[next_random(&state) % (sizeof(bytes) - 1)];
		o = js_parse(text, strlen(text), i % 2, &err);
		if (!o) {
			ck_assert_int_eq(err.code, ERR_INVALID);
			continue;
		}
		accepted++;
		printed = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
		again = js_parse(printed, strlen(printed), false, &err);
		ck_assert_msg(again != NULL, "%s from %s: %s", printed, text, err.msg);
		ck_assert_msg(json_object_equal(o, again), "%s from %s", printed, text);
	}
	ck_assert_int_gt(accepted, 100);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("js");
	TCase *t = tcase_create("parse");

	tcase_add_loop_test(t, test_parse, 0, ARRAY_LEN(parse_cases));
	tcase_add_test(t, test_place);
	tcase_add_test(t, test_key_is_shown_harmless);
	tcase_add_test(t, test_depth);
	tcase_add_test(t, test_size);
	tcase_add_test(t, test_comments);
	tcase_add_test(t, test_comments_keep_strings);
	tcase_add_loop_test(t, test_arrives, 0, ARRAY_LEN(arriving));
	tcase_add_test(t, test_arriving_bad);
	tcase_add_test(t, test_mutations);
	suite_add_tcase(s, t);
	return s;
}
