/* test_spec - what is taken of a create body, and what is said of a bad one */
#include "common/spec.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/runner.h"
#include "tests/support/speckit.h"

#define NIL "00000000-0000-0000-0000-000000000000"

/* clang-format off */
static const struct {
	const char *text, *says;
} bad[] = {
	{"{}", "snapshot: is missing"},
	{"{" DIR ",\"Tenant\":\"a\"}", "Tenant: unknown field"},
	{"{" DIR ",\"working-set\":{}}", "working-set: unknown field"},
	{"{" DIR ",\"id\":\"x\"}", "id: unknown field"},

	{"{" DIR ",\"tenant\":1}", "tenant: must be a string"},
	{"{" DIR ",\"tenant\":\"\"}", "tenant: must be letters"},
	{"{" DIR ",\"tenant\":\"../x\"}", "tenant: must be letters"},
	{"{" DIR ",\"tenant\":\"a\\u0000b\"}", "tenant: must not contain a NUL"},
	{"{" DIR ",\"tenant\":\"" NINE NINE NINE NINE NINE NINE NINE NINE "\"}",
	 "tenant: is longer than 63 bytes"},

	{"{\"snapshot\":\"/s\"}", "snapshot: must be an object"},
	{"{\"snapshot\":null}", "snapshot: must be an object"},
	{"{\"snapshot\":{}}", "snapshot: must have exactly one of"},
	{"{\"snapshot\":{\"dir\":\"/s\",\"x\":1}}", "snapshot.x: unknown field"},
	{"{\"snapshot\":{\"dir\":\"/s\",\"memory\":[\"/m\"]}}", "snapshot: must have exactly one"},
	{"{\"snapshot\":{\"dir\":\"/s\",\"header\":\"/h\"}}", "snapshot: must have exactly one"},
	{"{\"snapshot\":{\"dir\":\"/s\",\"layers\":{}}}", "snapshot: must have exactly one"},
	{"{\"snapshot\":{\"memory\":[\"/m\"],\"layers\":{}}}", "snapshot: must have exactly one"},
	{"{\"snapshot\":{\"dir\":1}}", "snapshot.dir: must be a string"},
	{"{\"snapshot\":{\"dir\":null}}", "snapshot.dir: must be a string"},
	{"{\"snapshot\":{\"dir\":\"\"}}", "snapshot.dir: must be an absolute path"},
	{"{\"snapshot\":{\"dir\":\"s/t\"}}", "snapshot.dir: must be an absolute path"},
	{"{\"snapshot\":{\"dir\":\"/s\\u0000\"}}", "snapshot.dir: must not contain a NUL"},

	{"{\"snapshot\":{\"header\":\"/h\"}}", "snapshot.layers: is missing"},
	{"{\"snapshot\":{\"layers\":{}}}", "snapshot.header: is missing"},
	{"{\"snapshot\":{\"header\":\"h\",\"layers\":{}}}", "snapshot.header: must be an absolute"},
	{"{\"snapshot\":{\"header\":1,\"layers\":{}}}", "snapshot.header: must be a string"},
	{"{\"snapshot\":{\"header\":\"/h\",\"layers\":[]}}", "snapshot.layers: must be an object"},
	{"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"x\":\"/a\"}}}",
	 "snapshot.layers: every key must be a build id"},
	{"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"\":\"/a\"}}}",
	 "snapshot.layers: every key must be a build id"},
	{"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"{" UUID_A "}\":\"/a\"}}}",
	 "snapshot.layers: every key must be a build id"},
	{"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"" UUID_A "0\":\"/a\"}}}",
	 "snapshot.layers: every key must be a build id"},
	{"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"g253401b-6878-4028-a7bb-56675dd433a3\":"
	 "\"/a\"}}}", "snapshot.layers: every key must be a build id"},
	{"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"" NIL "\":\"/a\"}}}",
	 "snapshot.layers: the nil build id"},
	{"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"" UUID_A "\":\"/a\",\"" UUID_B
	 "\":\"/b\",\"" UPPER_A "\":\"/a\"}}}",
	 "snapshot.layers: build id " UUID_A " is there twice"},
	{"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"" UUID_A "\":\"a\"}}}",
	 "snapshot.layers." UUID_A ": must be an absolute path"},
	{"{\"snapshot\":{\"header\":\"/h\",\"layers\":{\"" UUID_A "\":\"/a\",\"" UUID_B "\":{}}}}",
	 "snapshot.layers." UUID_B ": must be a string"},

	{"{\"snapshot\":{\"memory\":\"/m\"}}", "snapshot.memory: must be an array"},
	{"{\"snapshot\":{\"memory\":[\"/m\"],\"dense_diffs\":1}}",
	 "snapshot.dense_diffs: must be true or false"},
	{"{\"snapshot\":{\"dir\":\"/s\",\"dense_diffs\":false}}",
	 "snapshot.dense_diffs: goes with \"memory\" only"},
	{"{\"snapshot\":{\"dense_diffs\":true}}", "snapshot: must have exactly one"},
	{"{\"snapshot\":{\"memory\":[]}}", "snapshot.memory: must name at least one file"},
	{"{\"snapshot\":{\"memory\":[\"/m\",1]}}", "snapshot.memory[1]: must be a string"},
	{"{\"snapshot\":{\"memory\":[\"/m\",null]}}", "snapshot.memory[1]: must be a string"},
	{"{\"snapshot\":{\"memory\":[\"m\"]}}", "snapshot.memory[0]: must be an absolute path"},
	{"{\"snapshot\":{\"memory\":[\"/m\\u0000\"]}}",
	 "snapshot.memory[0]: must not contain a NUL"},

	{"{" DIR ",\"socket\":\"/x\"}", "socket: must be an object"},
	{"{" DIR ",\"socket\":{\"owner\":1}}", "socket.owner: unknown field"},
	{"{" DIR ",\"socket\":{\"path\":\"x.sock\"}}", "socket.path: must be an absolute path"},
	{"{" DIR ",\"socket\":{\"path\":\"\"}}", "socket.path: must be an absolute path"},
	{"{" DIR ",\"socket\":{\"path\":\"" SUN_108 "\"}}",
	 "socket.path: is longer than 107 bytes"},
	{"{" DIR ",\"socket\":{\"path\":\"/a\\u0000b\"}}", "socket.path: must not contain a NUL"},
	{"{" DIR ",\"socket\":{\"mode\":660}}", "socket.mode: must be a string"},
	{"{" DIR ",\"socket\":{\"mode\":\"\"}}", "socket.mode: must be octal"},
	{"{" DIR ",\"socket\":{\"mode\":\"66\"}}", "socket.mode: must be octal"},
	{"{" DIR ",\"socket\":{\"mode\":\"0680\"}}", "socket.mode: must be octal"},
	{"{" DIR ",\"socket\":{\"mode\":\"0o660\"}}", "socket.mode: must be octal"},
	{"{" DIR ",\"socket\":{\"mode\":\"660 \"}}", "socket.mode: must be octal"},
	{"{" DIR ",\"socket\":{\"mode\":\"1660\"}}", "socket.mode: must be octal"},
	{"{" DIR ",\"socket\":{\"mode\":\"0400\"}}", "socket.mode: must be octal"},
	{"{" DIR ",\"socket\":{\"mode\":\"0266\"}}", "socket.mode: must be octal"},
	{"{" DIR ",\"socket\":{\"uid\":-1}}", "socket.uid: must be from 0 to 4294967294"},
	{"{" DIR ",\"socket\":{\"uid\":4294967295}}", "socket.uid: must be from 0 to 4294967294"},
	{"{" DIR ",\"socket\":{\"uid\":4294967296}}", "socket.uid: must be from 0 to 4294967294"},
	{"{" DIR ",\"socket\":{\"uid\":\"root\"}}", "socket.uid: must be an integer"},
	{"{" DIR ",\"socket\":{\"gid\":4294967295}}", "socket.gid: must be from 0 to 4294967294"},
	{"{" DIR ",\"socket\":{\"gid\":1.5}}", "socket.gid: must be an integer"},

	{"{" DIR ",\"peer\":1}", "peer: must be an object"},
	{"{" DIR ",\"peer\":{\"gid\":1}}", "peer.gid: unknown field"},
	{"{" DIR ",\"peer\":{\"uid\":4294967295}}", "peer.uid: must be from 0 to 4294967294"},
	{"{" DIR ",\"peer\":{\"uid\":true}}", "peer.uid: must be an integer"},
	{"{" DIR ",\"peer\":{\"pid\":0}}", "peer.pid: must be from 1 to 2147483647"},
	{"{" DIR ",\"peer\":{\"pid\":2147483648}}", "peer.pid: must be from 0 to 2147483647"},
	{"{" DIR ",\"peer\":{\"pid\":null}}", "peer.pid: must be an integer"},

	{"{" DIR ",\"prefetch\":\"all\"}", "prefetch: must be an object"},
	{"{" DIR ",\"prefetch\":{\"rate\":1}}", "prefetch.rate: unknown field"},
	{"{" DIR ",\"prefetch\":{\"mode\":\"working_set\"}}",
	 "prefetch.mode: must be one of \"none\", \"working-set\", \"all\""},
	{"{" DIR ",\"prefetch\":{\"mode\":1}}", "prefetch.mode: must be a string"},
	{"{" DIR ",\"prefetch\":{\"rate_bytes_per_s\":-1}}",
	 "prefetch.rate_bytes_per_s: must be from 0 to 9223372036854775807"},
	{"{" DIR ",\"prefetch\":{\"rate_bytes_per_s\":9223372036854775808}}",
	 "prefetch.rate_bytes_per_s: must be from 0 to 9223372036854775807"},
	{"{" DIR ",\"prefetch\":{\"max_resident_bytes\":-1}}",
	 "prefetch.max_resident_bytes: must be from 0 to 9223372036854775807"},
	{"{" DIR ",\"prefetch\":{\"max_resident_bytes\":9223372036854775808}}",
	 "prefetch.max_resident_bytes: must be from 0 to 9223372036854775807"},
	{"{" DIR ",\"prefetch\":{\"zero_pages\":1}}", "prefetch.zero_pages: must be true or false"},
	{"{" DIR ",\"prefetch\":{\"rate_bytes_per_s\":\"1M\"}}",
	 "prefetch.rate_bytes_per_s: must be an integer"},

	{"{" DIR ",\"working_set\":true}", "working_set: must be an object"},
	{"{" DIR ",\"working_set\":{\"file\":\"/w\"}}", "working_set.file: unknown field"},
	{"{" DIR ",\"working_set\":{\"record\":1}}", "working_set.record: must be"},
	{"{" DIR ",\"working_set\":{\"path\":\"w\"}}",
	 "working_set.path: must be an absolute path"},
	{"{" DIR ",\"working_set\":{\"path\":null}}", "working_set.path: must be a string"},
	{"{" DIR ",\"working_set\":{\"path\":\"/a\\u0000b\"}}",
	 "working_set.path: must not contain a NUL"},

	{"{" DIR ",\"connect_timeout\":30}", "connect_timeout: must be a string"},
	{"{" DIR ",\"connect_timeout\":\"30\"}", "connect_timeout: must be a duration"},
	{"{" DIR ",\"connect_timeout\":\"99ms\"}", "connect_timeout: must be at least 100 ms"},
	{"{" DIR ",\"connect_timeout\":\"0s\"}", "connect_timeout: must be at least 100 ms"},
	{"{" DIR ",\"connect_timeout\":\"3601s\"}", "connect_timeout: must be at most 3600000 ms"},
	{"{" DIR ",\"when_complete\":\"leave\"}",
	 "when_complete: must be one of \"stay\", \"release\""},
	{"{" DIR ",\"when_complete\":null}", "when_complete: must be a string"},
	{"{" DIR ",\"on_failure\":\"\"}",
	 "on_failure: must be one of \"kill\", \"poison\", \"hold\""},
	{"{" DIR ",\"on_failure\":\"Kill\"}", "on_failure: must be one of"},
};
/* clang-format on */

START_TEST(test_bad)
{
	struct spec spec;
	struct err err = {0};

	ck_assert_msg(parse_text(bad[_i].text, &spec, &err) == -1, "%s: accepted", bad[_i].text);
	ck_assert_msg(err.code == ERR_INVALID, "%s", bad[_i].text);
	ck_assert_msg(strncmp(err.msg, bad[_i].says, strlen(bad[_i].says)) == 0, "%s: says \"%s\"",
		      bad[_i].text, err.msg);
}
END_TEST

START_TEST(test_not_an_object)
{
	cleanup_json struct json_object *array = json_object_new_array();
	struct json_object *const bodies[] = {NULL, array};

	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		struct spec spec;
		struct err err = {0};

		ck_assert_int_eq(spec_parse(bodies[i], &spec, &err), -1);
		ck_assert_int_eq(err.code, ERR_INVALID);
		spec_fini(&spec);
	}
}
END_TEST

START_TEST(test_values)
{
	struct spec spec;
	struct err err = {0};
	uuid_t a;

	ck_assert_int_eq(parse_text(FULL, &spec, &err), 0);
	ck_assert_str_eq(spec.tenant, "t1");
	ck_assert_int_eq(spec.source, SOURCE_HEADER);
	ck_assert_str_eq(spec.path, "/h");
	ck_assert_uint_eq(spec.nlayers, 2);
	uuid_parse(UUID_A, a);
	ck_assert_int_eq(uuid_compare(spec.layers[0].build, a), 0);
	ck_assert_str_eq(spec.layers[0].path, "/a");
	ck_assert_str_eq(spec.layers[1].path, "/b");
	ck_assert_str_eq(spec.socket_path, "/run/x.sock");
	ck_assert_uint_eq(spec.socket_mode, 0600);
	ck_assert(spec.have_socket_uid && spec.have_socket_gid && spec.have_peer_uid);
	ck_assert_uint_eq(spec.socket_uid, 123);
	ck_assert_uint_eq(spec.socket_gid, 100);
	ck_assert_uint_eq(spec.peer_uid, 124);
	ck_assert_int_eq(spec.prefetch, PREFETCH_NONE);
	ck_assert_uint_eq(spec.rate_bytes_per_s, 1048576);
	ck_assert(!spec.record);
	ck_assert_str_eq(spec.wset_path, "/w");
	ck_assert_uint_eq(spec.connect_timeout_ms, 1500);
	ck_assert_int_eq(spec.when_complete, COMPLETE_RELEASE);
	ck_assert_int_eq(spec.on_failure, FAILURE_HOLD);
	spec_fini(&spec);
	spec_fini(&spec);
	ck_assert_ptr_null(spec.path);
	ck_assert_ptr_null(spec.wset_path);
	ck_assert_ptr_null(spec.layers);
}
END_TEST

START_TEST(test_defaults)
{
	struct spec spec;
	struct err err = {0};

	ck_assert_int_eq(parse_text("{" DIR "}", &spec, &err), 0);
	ck_assert_str_eq(spec.tenant, "");
	ck_assert_int_eq(spec.source, SOURCE_DIR);
	ck_assert_str_eq(spec.path, "/s");
	ck_assert_str_eq(spec.socket_path, "");
	ck_assert_uint_eq(spec.socket_mode, 0660);
	ck_assert(!spec.have_socket_uid && !spec.have_socket_gid && !spec.have_peer_uid);
	ck_assert_int_eq(spec.prefetch, PREFETCH_ALL);
	ck_assert_uint_eq(spec.rate_bytes_per_s, 0);
	ck_assert(spec.record);
	ck_assert_ptr_null(spec.wset_path);
	ck_assert_uint_eq(spec.connect_timeout_ms, 30000);
	ck_assert_int_eq(spec.when_complete, COMPLETE_STAY);
	ck_assert_int_eq(spec.on_failure, FAILURE_KILL);
	spec_fini(&spec);
}
END_TEST

START_TEST(test_memory_keeps_order)
{
	struct spec spec;
	struct err err = {0};

	ck_assert_int_eq(parse_text("{\"snapshot\":{\"memory\":[\"/z\",\"/a\",\"/m\"]}}", &spec,
				    &err),
			 0);
	ck_assert_int_eq(spec.source, SOURCE_MEMORY);
	ck_assert_uint_eq(spec.nlayers, 3);
	ck_assert_str_eq(spec.layers[0].path, "/z");
	ck_assert_str_eq(spec.layers[1].path, "/a");
	ck_assert_str_eq(spec.layers[2].path, "/m");
	spec_fini(&spec);
}
END_TEST

START_TEST(test_resolve)
{
	static const struct {
		const char *text, *tenant;
		uint32_t socket_uid, socket_gid, peer_uid;
	} cases[] = {
		{"{" DIR "}", "house", 1000, 1001, 1000},
		{"{" DIR ",\"tenant\":\"mine\"}", "mine", 1000, 1001, 1000},
		{"{" DIR ",\"socket\":{\"uid\":5}}", "house", 5, 1001, 5},
		{"{" DIR ",\"socket\":{\"uid\":0,\"gid\":0}}", "house", 0, 0, 0},
		{"{" DIR ",\"socket\":{\"gid\":6}}", "house", 1000, 6, 1000},
		{"{" DIR ",\"peer\":{\"uid\":7}}", "house", 1000, 1001, 7},
		{"{" DIR ",\"socket\":{\"uid\":5},\"peer\":{\"uid\":0}}", "house", 5, 1001, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct spec spec;
		struct err err = {0};

		ck_assert_int_eq(parse_text(cases[i].text, &spec, &err), 0);
		spec_resolve(&spec, "house", 1000, 1001);
		ck_assert_msg(strcmp(spec.tenant, cases[i].tenant) == 0, "%s", cases[i].text);
		ck_assert_msg(spec.socket_uid == cases[i].socket_uid, "%s", cases[i].text);
		ck_assert_msg(spec.socket_gid == cases[i].socket_gid, "%s", cases[i].text);
		ck_assert_msg(spec.peer_uid == cases[i].peer_uid, "%s", cases[i].text);
		ck_assert(spec.have_socket_uid && spec.have_socket_gid && spec.have_peer_uid);
		spec_fini(&spec);
	}
}
END_TEST

START_TEST(test_path_limit)
{
	static char text[SPEC_PATH_MAX + 64], path[SPEC_PATH_MAX + 2];
	struct spec spec;
	struct err err = {0};

	for (size_t len = SPEC_PATH_MAX; len <= SPEC_PATH_MAX + 1; len++) {
		memset(path, 'x', len);
		path[0] = '/';
		path[len] = '\0';
		snprintf(text, sizeof(text), "{\"snapshot\":{\"dir\":\"%s\"}}", path);
		if (len == SPEC_PATH_MAX) {
			ck_assert_int_eq(parse_text(text, &spec, &err), 0);
			ck_assert_str_eq(spec.path, path);
			spec_fini(&spec);
		} else {
			ck_assert_int_eq(parse_text(text, &spec, &err), -1);
			ck_assert_str_eq(err.msg, "snapshot.dir: is longer than 4095 bytes");
		}
	}
}
END_TEST

/* @n layers, or flat files, in the reverse of their canonical order. */
static char *many(size_t n, bool memory)
{
	const size_t size = n * 64 + 128;
	char *text = xcalloc(1, size);
	size_t len = (size_t)snprintf(text, size, "{\"snapshot\":{%s",
				      memory ? "\"memory\":[" : "\"header\":\"/h\",\"layers\":{");

	for (size_t i = n; i > 0; i--) {
		if (!memory)
			len += (size_t)snprintf(text + len, size - len,
						"\"%08zx-0000-4000-8000-000000000000\":", i);
		len += (size_t)snprintf(text + len, size - len, "\"/%zu\"%s", i, i > 1 ? "," : "");
	}
	snprintf(text + len, size - len, memory ? "]}}" : "}}}");
	return text;
}

START_TEST(test_layers_limit)
{
	for (int memory = 0; memory < 2; memory++) {
		cleanup_free char *most = many(SPEC_LAYERS_MAX, memory);
		cleanup_free char *over = many(SPEC_LAYERS_MAX + 1, memory);
		struct spec spec;
		struct err err = {0};

		ck_assert_msg(parse_text(most, &spec, &err) == 0, "%s", err.msg);
		ck_assert_uint_eq(spec.nlayers, SPEC_LAYERS_MAX);
		ck_assert_str_eq(spec.layers[0].path, memory ? "/4096" : "/1");
		ck_assert_str_eq(spec.layers[SPEC_LAYERS_MAX - 1].path, memory ? "/1" : "/4096");
		spec_fini(&spec);
		ck_assert_int_eq(parse_text(over, &spec, &err), -1);
		ck_assert_str_eq(err.msg, memory ? "snapshot.memory: has more than 4096 elements"
						 : "snapshot.layers: has more than 4096 members");
	}
}
END_TEST

START_TEST(test_prefetch_names)
{
	enum spec_prefetch mode = PREFETCH_COUNT;

	ck_assert_int_eq(spec_prefetch_parse("none", &mode), 0);
	ck_assert_int_eq(mode, PREFETCH_NONE);
	ck_assert_int_eq(spec_prefetch_parse("working-set", &mode), 0);
	ck_assert_int_eq(mode, PREFETCH_WORKING_SET);
	ck_assert_int_eq(spec_prefetch_parse("all", &mode), 0);
	ck_assert_int_eq(mode, PREFETCH_ALL);
	ck_assert_int_eq(spec_prefetch_parse("", &mode), -1);
	ck_assert_int_eq(spec_prefetch_parse("working_set", &mode), -1);
	ck_assert_int_eq(mode, PREFETCH_ALL);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("spec");
	TCase *t = tcase_create("spec");

	tcase_add_loop_test(t, test_bad, 0, ARRAY_LEN(bad));
	tcase_add_test(t, test_not_an_object);
	tcase_add_test(t, test_values);
	tcase_add_test(t, test_defaults);
	tcase_add_test(t, test_memory_keeps_order);
	tcase_add_test(t, test_resolve);
	tcase_add_test(t, test_path_limit);
	tcase_add_test(t, test_layers_limit);
	tcase_add_test(t, test_prefetch_names);
	suite_add_tcase(s, t);
	return s;
}
