/* Values out of objects that may be anything. */
#include "ctl/member.h"

#include <string.h>

#include "common/js.h"
#include "tests/support/runner.h"

#define KEY_63 "k23456789012345678901234567890123456789012345678901234567890123"

/* clang-format off */
static const char text[] =
	"{\"s\":\"word\",\"n\":7,\"big\":18446744073709551615,\"minus\":-1,\"half\":1.5,"
	"\"digits\":\"5\",\"yes\":true,\"no\":false,\"null\":null,\"list\":[{\"s\":\"in\"}],"
	"\"a\":{\"s\":\"deep\",\"b\":{\"s\":\"deeper\",\"n\":9,\"yes\":true}},"
	"\"a.s\":\"never\",\"" KEY_63 "\":1,\"" KEY_63 "4\":2}";

static const struct {
	const char *path, *at; /* at: as JSON; NULL: nothing is there */
	const char *string;
	uint64_t u64;
	bool yes;
} cases[] = {
	{"s", "\"word\"", "word", 0, false},
	{"n", "7", NULL, 7, false},
	{"big", "18446744073709551615", NULL, UINT64_MAX, false},
	{"minus", "-1", NULL, 0, false},
	{"half", "1.5", NULL, 0, false},
	{"digits", "\"5\"", "5", 0, false},
	{"yes", "true", NULL, 0, true},
	{"no", "false", NULL, 0, false},
	{"null", NULL, NULL, 0, false},
	{"missing", NULL, NULL, 0, false},
	{"list", "[{\"s\":\"in\"}]", NULL, 0, false},
	{"list.s", NULL, NULL, 0, false},
	{"a.s", "\"deep\"", "deep", 0, false},
	{"a.b.s", "\"deeper\"", "deeper", 0, false},
	{"a.b.n", "9", NULL, 9, false},
	{"a.b.yes", "true", NULL, 0, true},
	{"a.b.c", NULL, NULL, 0, false},
	{"a.missing.s", NULL, NULL, 0, false},
	{"a.b", "{\"s\":\"deeper\",\"n\":9,\"yes\":true}", NULL, 0, false},
	{"s.s", NULL, NULL, 0, false},
	{"null.s", NULL, NULL, 0, false},
	{KEY_63, "1", NULL, 1, false},
	/* No member of the API has such a name. */
	{KEY_63 "4", NULL, NULL, 0, false},
};
/* clang-format on */

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* What is called next finds no zeros by chance. */
static __attribute__((noinline)) void litter_stack(void)
{
	volatile char litter[4096];

	for (size_t i = 0; i < sizeof(litter); i++)
		litter[i] = 'x';
}

START_TEST(every_type)
{
	cleanup_json struct json_object *o = json_tokener_parse(text);

	ck_assert_ptr_nonnull(o);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *path = cases[i].path, *string, *json;
		struct json_object *at;

		litter_stack();
		at = member_at(o, path);
		string = member_string(o, path);
		json = at ? json_object_to_json_string_ext(at, JSON_C_TO_STRING_PLAIN) : NULL;
		ck_assert_msg(same(json, cases[i].at), "%s: %s", path, json ? json : "nothing");
		ck_assert_msg(same(string, cases[i].string), "%s: %s", path, string);
		ck_assert_msg(member_u64(o, path) == cases[i].u64, "%s: %llu", path,
			      (unsigned long long)member_u64(o, path));
		ck_assert_msg(member_true(o, path) == cases[i].yes, "%s", path);
	}
}
END_TEST

START_TEST(whole_object)
{
	cleanup_json struct json_object *o = json_tokener_parse("{}");

	ck_assert_ptr_eq(member_at(o, ""), o);
}
END_TEST

/* An answer that is missing has no members. */
START_TEST(no_object)
{
	cleanup_json struct json_object *number = json_object_new_int(5);

	ck_assert_ptr_null(member_at(NULL, "a.b"));
	ck_assert_ptr_null(member_at(NULL, ""));
	ck_assert_ptr_null(member_string(NULL, "a"));
	ck_assert_uint_eq(member_u64(NULL, "a"), 0);
	ck_assert(!member_true(NULL, "a"));
	ck_assert_ptr_null(member_at(number, "a"));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("member");
	TCase *tcase = tcase_create("member");

	tcase_add_test(tcase, every_type);
	tcase_add_test(tcase, whole_object);
	tcase_add_test(tcase, no_object);
	suite_add_tcase(suite, tcase);
	return suite;
}
