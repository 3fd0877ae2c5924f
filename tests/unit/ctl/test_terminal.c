/* test_terminal - what a terminal would obey, or hide, is shown as a code */
#include "ctl/terminal.h"

#include <string.h>

#include "common/js.h"
#include "tests/support/runner.h"

/* ---- text ---- */

static const struct {
	const char *text, *want;
} texts[] = {
	{"", ""},
	{"plain ~", "plain ~"},
	{"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7"},
	{"a\nb\tc\r", "a\\x0ab\\x09c\\x0d"},
	{"\033[31mred\x7f", "\\x1b[31mred\\x7f"},
	{"C1: \xc2\x9b", "C1: \\x9b"},
	{"soft\xc2\xadhyphen", "soft\\xadhyphen"},
	/* U+202E: what follows is shown from right to left. */
	{"user\xe2\x80\xaetxt.exe", "user\\u202etxt.exe"},
	{"\xe2\x81\xa6isolate\xe2\x81\xa9", "\\u2066isolate\\u2069"},
	{"\xd8\x9cmark", "\\u061cmark"},
	{"zero\xe2\x80\x8bwidth", "zero\\u200bwidth"},
	{"line\xe2\x80\xa8separator", "line\\u2028separator"},
	{"\xef\xbb\xbfmark", "\\ufeffmark"},
	{"tag \xf3\xa0\x81\x81", "tag \\U000e0041"},
	/* Not UTF-8. */
	{"\x9b\xff", "\\x9b\\xff"},
	{"cut \xe2\x80", "cut \\xe2\\x80"},
	{"\xc0\x9b", "\\xc0\\x9b"},
};

static char *printed(void (*print)(FILE *out, const void *what), const void *what)
{
	char *ret = NULL;
	size_t len;
	FILE *out = open_memstream(&ret, &len);

	print(out, what);
	fclose(out);
	return ret;
}

static void print_text(FILE *out, const void *what)
{
	terminal_text(out, what);
}

START_TEST(test_text)
{
	cleanup_free char *got = printed(print_text, texts[_i].text);

	ck_assert_str_eq(got, texts[_i].want);
}
END_TEST

/* ---- JSON ---- */

static const struct {
	const char *text, *want;
} objects[] = {
	{"{\"a\":\"/b\\n\",\"c\":[1,true,null]}", "{\"a\":\"/b\\n\",\"c\":[1,true,null]}\n"},
	{"{\"a\":\"\\u001b\\u007f\\u009b\"}", "{\"a\":\"\\u001b\\u007f\\u009b\"}\n"},
	{"{\"\xe2\x80\xae\":\"\xe2\x81\xa6\xc3\xa9\"}", "{\"\\u202e\":\"\\u2066\xc3\xa9\"}\n"},
	{"{\"a\":\"\xf3\xa0\x81\x81\"}", "{\"a\":\"\\udb40\\udc41\"}\n"},
};

static void print_json(FILE *out, const void *what)
{
	terminal_json(out, (struct json_object *)what);
}

/* It is still the same object. */
START_TEST(test_json)
{
	struct err err = {.msg = ""};
	cleanup_json struct json_object *o = NULL, *again = NULL;
	cleanup_free char *got = NULL;

	o = js_parse(objects[_i].text, strlen(objects[_i].text), false, &err);
	ck_assert_msg(o, "%s", err.msg);
	got = printed(print_json, o);
	ck_assert_str_eq(got, objects[_i].want);
	again = js_parse(got, strlen(got), false, &err);
	ck_assert_msg(again && json_object_equal(o, again), "%s", got);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("terminal");
	TCase *tc = tcase_create("printed");

	tcase_add_loop_test(tc, test_text, 0, ARRAY_LEN(texts));
	tcase_add_loop_test(tc, test_json, 0, ARRAY_LEN(objects));
	suite_add_tcase(suite, tc);
	return suite;
}
