/* test_spec_json - the canonical object: it is parsed to the same spec, and tells two apart */
#include "common/spec.h"

#include <string.h>

#include "tests/support/runner.h"
#include "tests/support/speckit.h"

#define UUID_C "f8ebaa15-468c-4644-b447-af783a881b93"

static char *print(const struct spec *spec)
{
	cleanup_json struct json_object *o = spec_json(spec);

	return strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
								JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* The canonical text of a request that must be good. */
static char *canonical(const char *text)
{
	struct spec spec;
	struct err err = {0};
	char *out;

	ck_assert_msg(parse_text(text, &spec, &err) == 0, "%s: %s", text, err.msg);
	out = print(&spec);
	spec_fini(&spec);
	return out;
}

static void assert_same(const struct spec *a, const struct spec *b, const char *text)
{
	ck_assert_str_eq(a->tenant, b->tenant);
	ck_assert_msg(a->source == b->source, "%s", text);
	ck_assert_pstr_eq(a->path, b->path);
	ck_assert_uint_eq(a->nlayers, b->nlayers);
	for (size_t i = 0; i < a->nlayers; i++) {
		ck_assert_msg(uuid_compare(a->layers[i].build, b->layers[i].build) == 0, "%s",
			      text);
		ck_assert_str_eq(a->layers[i].path, b->layers[i].path);
	}
	ck_assert_str_eq(a->socket_path, b->socket_path);
	ck_assert_uint_eq(a->socket_mode, b->socket_mode);
	ck_assert_int_eq(a->have_socket_uid, b->have_socket_uid);
	ck_assert_int_eq(a->have_socket_gid, b->have_socket_gid);
	ck_assert_int_eq(a->have_peer_uid, b->have_peer_uid);
	ck_assert_uint_eq(a->socket_uid, b->socket_uid);
	ck_assert_uint_eq(a->socket_gid, b->socket_gid);
	ck_assert_uint_eq(a->peer_uid, b->peer_uid);
	ck_assert_uint_eq(a->peer_pid, b->peer_pid);
	ck_assert_int_eq(a->prefetch, b->prefetch);
	ck_assert_uint_eq(a->rate_bytes_per_s, b->rate_bytes_per_s);
	ck_assert_uint_eq(a->max_resident_bytes, b->max_resident_bytes);
	ck_assert_int_eq(a->zero_pages, b->zero_pages);
	ck_assert_uint_eq(a->connect_timeout_ms, b->connect_timeout_ms);
	ck_assert_int_eq(a->dense_diffs, b->dense_diffs);
	ck_assert_int_eq(a->record, b->record);
	ck_assert_pstr_eq(a->wset_path, b->wset_path);
	ck_assert_int_eq(a->when_complete, b->when_complete);
	ck_assert_int_eq(a->on_failure, b->on_failure);
}

static const char *const good[] = {
	"{" DIR "}",
	FULL,
	"{\"snapshot\":{\"header\":\"/h\",\"layers\":{}}}",
	"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"" UUID_C "\":\"/c\",\"" UPPER_A
	"\":\"/a\",\"" UUID_B "\":\"/b\"}}}",
	"{\"snapshot\":{\"memory\":[\"/base\"]}}",
	"{\"snapshot\":{\"memory\":[\"/z\",\"/y\",\"/x\",\"/z\"]}}",
	"{\"snapshot\":{\"memory\":[\"/b\",\"/d\"],\"dense_diffs\":true}}",
	"{\"snapshot\":{\"dir\":\"/with \\\"quotes\\\", \\\\, \\u00e4 \\u20ac \\ud83d\\ude00\"}}",
	"{\"snapshot\":{\"dir\":\"/\"}}",
	"{" DIR ",\"socket\":{}}",
	"{" DIR ",\"socket\":{\"path\":\"" SUN_107 "\"}}",
	"{" DIR ",\"socket\":{\"mode\":\"600\"}}",
	"{" DIR ",\"socket\":{\"mode\":\"00660\"}}",
	"{" DIR ",\"socket\":{\"mode\":\"0777\"}}",
	"{" DIR ",\"socket\":{\"uid\":0,\"gid\":0}}",
	"{" DIR ",\"socket\":{\"uid\":4294967294,\"gid\":4294967294}}",
	"{" DIR ",\"socket\":{\"gid\":5}}",
	"{" DIR ",\"peer\":{}}",
	"{" DIR ",\"peer\":{\"uid\":4294967294}}",
	"{" DIR ",\"peer\":{\"pid\":2147483647}}",
	"{" DIR ",\"peer\":{\"uid\":0,\"pid\":1}}",
	"{" DIR ",\"prefetch\":{}}",
	"{" DIR ",\"prefetch\":{\"mode\":\"all\"}}",
	"{" DIR ",\"prefetch\":{\"max_resident_bytes\":9223372036854775807}}",
	"{" DIR ",\"prefetch\":{\"zero_pages\":true}}",
	"{" DIR ",\"prefetch\":{\"mode\":\"working-set\"}}",
	"{" DIR ",\"prefetch\":{\"rate_bytes_per_s\":9223372036854775807}}",
	"{" DIR ",\"working_set\":{}}",
	"{" DIR ",\"working_set\":{\"path\":\"/\"}}",
	"{" DIR ",\"working_set\":{\"record\":true}}",
	"{" DIR ",\"connect_timeout\":\"100ms\"}",
	"{" DIR ",\"connect_timeout\":\"1h\"}",
	"{" DIR ",\"connect_timeout\":\"59999ms\"}",
	"{" DIR ",\"when_complete\":\"stay\",\"on_failure\":\"kill\"}",
	"{" DIR ",\"on_failure\":\"poison\"}",
	"{" DIR ",\"tenant\":\"a\"}",
};

START_TEST(test_round_trip)
{
	struct spec spec, again;
	struct err err = {.msg = "untouched"};
	cleanup_free char *text = NULL, *twice = NULL;

	ck_assert_msg(parse_text(good[_i], &spec, &err) == 0, "%s: %s", good[_i], err.msg);
	ck_assert_str_eq(err.msg, "untouched");
	text = print(&spec);
	ck_assert_msg(parse_text(text, &again, &err) == 0, "%s: %s", text, err.msg);
	assert_same(&spec, &again, text);
	twice = print(&again);
	ck_assert_str_eq(text, twice);
	spec_fini(&again);
	free(steal_ptr(&text));
	free(steal_ptr(&twice));

	/* The same with everything filled in, which is what the worker gets. */
	spec_resolve(&spec, "house", 1000, 1001);
	text = print(&spec);
	ck_assert_msg(parse_text(text, &again, &err) == 0, "%s: %s", text, err.msg);
	assert_same(&spec, &again, text);
	spec_resolve(&again, "other", 2000, 2001);
	assert_same(&spec, &again, text);
	spec_fini(&again);
	spec_fini(&spec);
}
END_TEST

/* The text that is stored, and that decides between 200 and 409: spelled out. */
START_TEST(test_canonical_text)
{
	static const char *const cases[][2] = {
		{"{" DIR "}",
		 "{" DIR ",\"socket\":{\"mode\":\"0660\"},\"peer\":{},"
		 "\"prefetch\":{\"mode\":\"all\",\"rate_bytes_per_s\":0},"
		 "\"working_set\":{\"record\":true},"
		 "\"connect_timeout\":\"30s\",\"when_complete\":\"stay\",\"on_failure\":\"kill\"}"},
		{FULL, FULL},
		/* As older releases wrote it, unless it is wished for. */
		{"{" DIR ",\"prefetch\":{\"zero_pages\":false,\"max_resident_bytes\":0}}",
		 "{" DIR ",\"socket\":{\"mode\":\"0660\"},\"peer\":{},"
		 "\"prefetch\":{\"mode\":\"all\",\"rate_bytes_per_s\":0},"
		 "\"working_set\":{\"record\":true},"
		 "\"connect_timeout\":\"30s\",\"when_complete\":\"stay\",\"on_failure\":\"kill\"}"},
		{"{" DIR ",\"prefetch\":{\"zero_pages\":true,\"max_resident_bytes\":1}}",
		 "{" DIR ",\"socket\":{\"mode\":\"0660\"},\"peer\":{},"
		 "\"prefetch\":{\"mode\":\"all\",\"rate_bytes_per_s\":0,"
		 "\"max_resident_bytes\":1,\"zero_pages\":true},"
		 "\"working_set\":{\"record\":true},"
		 "\"connect_timeout\":\"30s\",\"when_complete\":\"stay\",\"on_failure\":\"kill\"}"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_free char *text = canonical(cases[i][0]);

		ck_assert_str_eq(text, cases[i][1]);
	}
}
END_TEST

START_TEST(test_canonical_equality)
{
	/* clang-format off */
	static const struct {
		const char *a, *b;
		bool same;
	} cases[] = {
		{"{\"on_failure\":\"kill\"," DIR "}", "{" DIR "}", true},
		{"{" DIR ",\"prefetch\":{}}", "{" DIR ",\"prefetch\":{\"mode\":\"all\"}}", true},
		{"{" DIR ",\"working_set\":{}}", "{" DIR "}", true},
		{"{" DIR ",\"working_set\":{\"record\":false}}", "{" DIR "}", false},
		{"{" DIR ",\"working_set\":{\"path\":\"/w\"}}", "{" DIR "}", false},
		{"{" DIR ",\"connect_timeout\":\"30000ms\"}", "{" DIR "}", true},
		{"{" DIR ",\"connect_timeout\":\"1m\"}", "{" DIR ",\"connect_timeout\":\"60s\"}",
		 true},
		{"{" DIR ",\"socket\":{\"mode\":\"660\"}}", "{" DIR "}", true},
		{"{\"snapshot\":{\"dir\":\"\\/s\"}}", "{\"snapshot\":{\"d\\u0069r\":\"\\u002fs\"}}",
		 true},
		{"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"" UUID_A "\":\"/a\",\"" UUID_C
		 "\":\"/c\"}}}",
		 "{\"snapshot\":{\"layers\":{\"" UUID_C "\":\"/c\",\"" UPPER_A
		 "\":\"/a\"},\"header\":\"/h\"}}", true},
		{"{\"snapshot\":{\"memory\":[\"/a\",\"/b\"]}}",
		 "{\"snapshot\":{\"memory\":[\"/b\",\"/a\"]}}", false},
		{"{\"snapshot\":{\"memory\":[\"/s\"]}}", "{" DIR "}", false},
		{"{\"snapshot\":{\"memory\":[\"/a\"],\"dense_diffs\":false}}",
		 "{\"snapshot\":{\"memory\":[\"/a\"]}}", true},
		{"{\"snapshot\":{\"memory\":[\"/a\"],\"dense_diffs\":true}}",
		 "{\"snapshot\":{\"memory\":[\"/a\"]}}", false},
		{"{" DIR ",\"peer\":{\"uid\":0}}", "{" DIR "}", false},
		{"{" DIR ",\"peer\":{\"pid\":1}}", "{" DIR "}", false},
		{"{" DIR ",\"connect_timeout\":\"30001ms\"}", "{" DIR "}", false},
		{"{" DIR ",\"tenant\":\"a\"}", "{" DIR ",\"tenant\":\"b\"}", false},
		{"{" DIR ",\"socket\":{\"uid\":7}}", "{" DIR ",\"socket\":{\"gid\":7}}", false},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_free char *a = canonical(cases[i].a), *b = canonical(cases[i].b);

		ck_assert_msg((strcmp(a, b) == 0) == cases[i].same, "%s and %s", cases[i].a,
			      cases[i].b);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("spec_json");
	TCase *t = tcase_create("spec_json");

	tcase_add_loop_test(t, test_round_trip, 0, ARRAY_LEN(good));
	tcase_add_test(t, test_canonical_text);
	tcase_add_test(t, test_canonical_equality);
	suite_add_tcase(s, t);
	return s;
}
