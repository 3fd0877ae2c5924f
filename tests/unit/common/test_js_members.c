/* test_js_members - members of an object: taken strictly, and added */
#include "common/js.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/runner.h"

enum getter { STRING, U64, BOOL, OBJECT, ARRAY, DURATION };

struct get_case {
	enum getter getter;
	const char *value; /* JSON; NULL: absent */
	const char *says;  /* NULL: good */
};

static const struct get_case get_cases[] = {
	{STRING, "\"\"", NULL},
	{STRING, "\"12345678\"", NULL},
	{STRING, "\"123456789\"", "p.k: is longer than 8 bytes"},
	{STRING, "\"a\\u0000b\"", "p.k: must not contain a NUL"},
	{STRING, "1", "p.k: must be a string"},
	{STRING, "null", "p.k: must be a string"},
	{STRING, "true", "p.k: must be a string"},
	{STRING, "{}", "p.k: must be a string"},
	{STRING, "[\"a\"]", "p.k: must be a string"},
	{STRING, NULL, "p.k: is missing"},
	{U64, "0", NULL},
	{U64, "2", NULL},
	{U64, "18446744073709551614", NULL},
	{U64, "18446744073709551615", "p.k: must be from 0 to 18446744073709551614"},
	{U64, "-1", "p.k: must be from 0 to 18446744073709551614"},
	{U64, "-9223372036854775808", "p.k: must be from 0 to"},
	{U64, "3.0", "p.k: must be an integer"},
	{U64, "3e0", "p.k: must be an integer"},
	{U64, "\"3\"", "p.k: must be an integer"},
	{U64, "\"12x\"", "p.k: must be an integer"},
	{U64, "true", "p.k: must be an integer"},
	{U64, "null", "p.k: must be an integer"},
	{U64, "[3]", "p.k: must be an integer"},
	{U64, NULL, "p.k: is missing"},
	{BOOL, "true", NULL},
	{BOOL, "1", "p.k: must be true or false"},
	{BOOL, "\"true\"", "p.k: must be true or false"},
	{BOOL, "null", "p.k: must be true or false"},
	{BOOL, NULL, "p.k: is missing"},
	{OBJECT, "{}", NULL},
	{OBJECT, "[]", "p.k: must be an object"},
	{OBJECT, "null", "p.k: must be an object"},
	{OBJECT, "\"{}\"", "p.k: must be an object"},
	{OBJECT, NULL, "p.k: is missing"},
	{ARRAY, "[]", NULL},
	{ARRAY, "[1,2,3]", NULL},
	{ARRAY, "[1,2,3,4]", "p.k: has more than 3 elements"},
	{ARRAY, "{}", "p.k: must be an array"},
	{ARRAY, "null", "p.k: must be an array"},
	{ARRAY, NULL, "p.k: is missing"},
	{DURATION, "\"2s\"", NULL},
	{DURATION, "\"2001ms\"", "p.k: must be at most 2000 ms"},
	{DURATION, "\"2\"", "p.k: must be a duration"},
	{DURATION, "\"2 s\"", "p.k: must be a duration"},
	{DURATION, "\"00000000000000002s\"", "p.k: is longer than 16 bytes"},
	{DURATION, "2", "p.k: must be a string"},
	{DURATION, NULL, "p.k: is missing"},
};

struct got {
	const char *string;
	uint64_t u64;
	bool flag;
	struct json_object *o;
};

static int call_getter(enum getter getter, struct json_object *o, struct got *got, bool *have,
		       struct err *err)
{
	const struct js_at at = {o, "p"};

	switch (getter) {
	case STRING:
		return js_string(at, "k", 8, &got->string, have, err);
	case U64:
		return js_u64(at, "k", UINT64_MAX - 1, &got->u64, have, err);
	case BOOL:
		return js_bool(at, "k", &got->flag, have, err);
	case OBJECT:
		return js_object(at, "k", &got->o, have, err);
	case ARRAY:
		return js_array(at, "k", 3, &got->o, have, err);
	case DURATION:
		return js_duration(at, "k", 2000, &got->u64, have, err);
	}
	return -1;
}

static struct json_object *with_value(const char *value)
{
	char text[128];
	struct err err = {0};
	struct json_object *o;

	snprintf(text, sizeof(text), value ? "{\"other\":0,\"k\":%s}" : "{\"other\":0}", value);
	o = js_parse(text, strlen(text), false, &err);
	ck_assert_msg(o != NULL, "%s: %s", text, err.msg);
	return o;
}

START_TEST(test_getters)
{
	const struct get_case *c = &get_cases[_i];
	cleanup_json struct json_object *o = with_value(c->value);
	const struct got none = {.u64 = 7};
	struct got got;
	struct err err = {0};
	bool have = !c->value;
	int rc;

	memcpy(&got, &none, sizeof(got));
	rc = call_getter(c->getter, o, &got, NULL, &err);
	if (c->says) {
		ck_assert_msg(rc == -1, "%s: accepted", c->value);
		ck_assert_int_eq(err.code, ERR_INVALID);
		ck_assert_msg(strncmp(err.msg, c->says, strlen(c->says)) == 0, "%s: says \"%s\"",
			      c->value, err.msg);
		ck_assert_msg(memcmp(&got, &none, sizeof(got)) == 0, "%s: touched", c->value);
	} else {
		ck_assert_msg(rc == 0, "%s: %s", c->value, err.msg);
		ck_assert_msg(memcmp(&got, &none, sizeof(got)) != 0, "%s: not given", c->value);
	}

	/* Not required: absence is no error, a wrong value still is. */
	rc = call_getter(c->getter, o, &got, &have, &err);
	ck_assert_int_eq(rc, c->says && c->value ? -1 : 0);
	if (rc == 0)
		ck_assert_int_eq(have, c->value != NULL);
}
END_TEST

START_TEST(test_elements)
{
	static const char text[] = "{\"a\":[\"one\",2,\"a\\u0000\"],\"n\":[7,\"7\"]}";
	struct err err = {0};
	cleanup_json struct json_object *o = js_parse(text, strlen(text), false, &err);
	const struct js_at at = {o, ""};
	struct js_at a = {.path = "p.a"};
	char path[JS_PATH_MAX];
	const char *s = NULL;
	uint64_t u = 0;

	ck_assert_int_eq(js_array(at, "a", 3, &a.o, NULL, &err), 0);
	ck_assert_int_eq(js_string_at(a, 0, 3, &s, &err), 0);
	ck_assert_str_eq(s, "one");
	ck_assert_int_eq(js_string_at(a, 0, 2, &s, &err), -1);
	ck_assert_str_eq(err.msg, "p.a[0]: is longer than 2 bytes");
	ck_assert_int_eq(js_string_at(a, 1, 3, &s, &err), -1);
	ck_assert_str_eq(err.msg, "p.a[1]: must be a string");
	ck_assert_int_eq(js_string_at((struct js_at){a.o, "a"}, 2, 3, &s, &err), -1);
	ck_assert_str_eq(err.msg, "a[2]: must not contain a NUL");
	ck_assert_int_eq(js_string_at((struct js_at){a.o, "a"}, 3, 3, &s, &err), -1);
	ck_assert_str_eq(err.msg, "a[3]: must be a string");

	ck_assert_int_eq(js_array(at, "n", 2, &a.o, NULL, &err), 0);
	a = js_into((struct js_at){o, "p"}, "n", a.o, path);
	ck_assert_int_eq(js_u64_at(a, 0, 7, &u, &err), 0);
	ck_assert_uint_eq(u, 7);
	ck_assert_int_eq(js_u64_at(a, 0, 6, &u, &err), -1);
	ck_assert_str_eq(err.msg, "p.n[0]: must be from 0 to 6");
	ck_assert_int_eq(js_u64_at(a, 1, 7, &u, &err), -1);
	ck_assert_str_eq(err.msg, "p.n[1]: must be an integer");
	ck_assert_int_eq(js_u64_at(a, 2, 7, &u, &err), -1);
	ck_assert_str_eq(err.msg, "p.n[2]: must be an integer");
	ck_assert_str_eq(js_into((struct js_at){a.o, ""}, "n", a.o, path).path, "n");
}
END_TEST

START_TEST(test_getter_values)
{
	static const char text[] = "{\"s\":\"x\",\"u\":18446744073709551615,\"f\":false,"
				   "\"d\":\"90s\"}";
	struct err err = {0};
	cleanup_json struct json_object *o = js_parse(text, strlen(text), false, &err);
	cleanup_json struct json_object *neg = js_parse("{\"n\":-1}", 8, false, &err);
	const struct js_at at = {o, ""};
	const char *s = NULL;
	bool flag = true;
	uint64_t u = 0;

	ck_assert_int_eq(js_string(at, "s", 1, &s, NULL, &err), 0);
	ck_assert_str_eq(s, "x");
	ck_assert_int_eq(js_u64(at, "u", UINT64_MAX, &u, NULL, &err), 0);
	ck_assert(u == UINT64_MAX);
	ck_assert_int_eq(js_bool(at, "f", &flag, NULL, &err), 0);
	ck_assert(!flag);
	ck_assert_int_eq(js_duration(at, "d", 90000, &u, NULL, &err), 0);
	ck_assert_uint_eq(u, 90000);

	/* json-c would make it 0, which is in range. */
	ck_assert_int_eq(js_u64((struct js_at){neg, ""}, "n", UINT64_MAX, &u, NULL, &err), -1);
	ck_assert_str_eq(err.msg, "n: must be from 0 to 18446744073709551615");

	/* At the top there is no dot. */
	ck_assert_int_eq(js_bool(at, "s", &flag, NULL, &err), -1);
	ck_assert_str_eq(err.msg, "s: must be true or false");
}
END_TEST

START_TEST(test_known)
{
	static const char *const keys[] = {"a", "bc", NULL};
	static const char text[] = "{\"bc\":1,\"a\":2}", strange[] = "{\"a\":1,\"b\\u001b\":2}";
	struct err err = {0};
	cleanup_json struct json_object *good = js_parse(text, strlen(text), false, &err);
	cleanup_json struct json_object *bad = js_parse(strange, strlen(strange), false, &err);

	ck_assert_int_eq(js_known((struct js_at){good, ""}, keys, &err), 0);
	ck_assert_int_eq(js_known((struct js_at){bad, "p.q"}, keys, &err), -1);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_str_eq(err.msg, "p.q.b?: unknown field");
	ck_assert_int_eq(js_known((struct js_at){bad, ""}, keys, &err), -1);
	ck_assert_str_eq(err.msg, "b?: unknown field");
}
END_TEST

START_TEST(test_builders)
{
	cleanup_json struct json_object *o = json_object_new_object(), *again = NULL;
	struct err err = {0};
	const char *text;

	js_add_string(o, "s", "a\"\n\xc3\xa4");
	js_add_string(o, "none", NULL);
	js_add_string(o, "bad", "x\xff\xc3y\xe2\x82");
	js_add_u64(o, "u", UINT64_MAX);
	js_add_bool(o, "b", true);
	js_add_time(o, "t", INT64_C(1767323045678));
	js_add_time(o, "second", 1000);
	js_add_time(o, "never", 0);
	js_add_time(o, "before", -1);
	js_add_time(o, "beyond", INT64_MAX);
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	ck_assert_str_eq(text, "{\"s\":\"a\\\"\\n\xc3\xa4\",\"none\":null,"
			       "\"bad\":\"x\xef\xbf\xbd\xef\xbf\xbdy\xef\xbf\xbd\xef\xbf\xbd\","
			       "\"u\":18446744073709551615,\"b\":true,"
			       "\"t\":\"2026-01-02T03:04:05.678Z\","
			       "\"second\":\"1970-01-01T00:00:01.000Z\",\"never\":null,"
			       "\"before\":null,\"beyond\":\"292278994-08-17T07:12:55.807Z\"}");
	again = js_parse(text, strlen(text), false, &err);
	ck_assert_msg(again != NULL, "%s", err.msg);
	ck_assert(json_object_equal(o, again));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("js_members");
	TCase *t = tcase_create("members");

	tcase_add_loop_test(t, test_getters, 0, ARRAY_LEN(get_cases));
	tcase_add_test(t, test_elements);
	tcase_add_test(t, test_getter_values);
	tcase_add_test(t, test_known);
	tcase_add_test(t, test_builders);
	suite_add_tcase(s, t);
	return s;
}
