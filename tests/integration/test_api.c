/* test_api - every route of the API: what is answered, what is refused, and how */
#include <pthread.h>
#include <string.h>
#include <uuid/uuid.h>

#include "tests/support/runner.h"
#include "tests/support/scene.h"

#define RESTORES "/v1/restores"
#define SNAPSHOT_BYTES ((uint64_t)1 << 20)
#define BODY "{\"snapshot\":{\"dir\":\"" SCENE_SNAPSHOT "\"}}"

/* --- routes --- */

static const struct route {
	const char *method, *target;
	bool body;
} routes[] = {
	{"GET", "/healthz", false},
	{"GET", "/readyz", false},
	{"GET", "/version", false},
	{"GET", "/v1/events", false},
	{"GET", RESTORES, false},
	{"POST", RESTORES, true},
	{"PUT", RESTORES "/a", true},
	{"GET", RESTORES "/a", false},
	{"DELETE", RESTORES "/a", false},
	{"PUT", RESTORES "/a/prefetch", true},
	{"GET", RESTORES "/a/pages", false},
	{"POST", RESTORES "/a/pause", false},
	{"POST", RESTORES "/a/resume", false},
};

START_TEST(test_of_the_daemon)
{
	struct scene s = {0};
	struct json_object *o;

	scene_open(&s);
	o = scene_ask(&s, 200, "GET", "/healthz", NULL);
	ck_assert_str_eq(scene_text(o, "status"), "ok");
	json_object_put(o);
	o = scene_ask(&s, 200, "GET", "/readyz", NULL);
	ck_assert_str_eq(scene_text(o, "status"), "ready");
	json_object_put(o);
	o = scene_ask(&s, 200, "GET", "/version", NULL);
	ck_assert_str_eq(json_object_get_string(
				 json_object_array_get_idx(scene_member(o, "api"), 0)),
			 "v1");
	ck_assert_int_eq(strncmp(scene_text(o, "libevent"), "2.", 2), 0);
	ck_assert_int_eq(strncmp(scene_text(o, "sqlite"), "3.", 2), 0);
	ck_assert_uint_gt(strlen(scene_text(o, "version")), 0);
	ck_assert_uint_gt(strlen(scene_text(o, "kernel")), 0);
	json_object_put(o);
	scene_close(&s);
}
END_TEST

static void check_method(const struct scene *s, const char *method, const char *target,
			 const char *allow)
{
	cleanup_free char *line = scene_format("\r\nAllow: %s\r\n", allow);
	cleanup_free char *what = scene_format("%s %s", method, target);
	struct harness_reply r;

	harness_http(s->d.socket, method, target, NULL, &r);
	scene_check_problem(&r, what, ERR_METHOD, allow);
	ck_assert_msg(strstr(r.head, line) != NULL, "%s: no %s in %s", what, line, r.head);
	harness_reply_fini(&r);
}

START_TEST(test_what_is_not_there)
{
	/* clang-format off */
	static const char *const nowhere[] = {
		"/", "/v1", "/v1/", RESTORES "/", RESTORES "/a/", RESTORES "/a/b/c", "/v2/restores",
		RESTORES "/a/stats", RESTORES "/a%2fpages/b", "/healthz/", "/v1/restoresa",
	};
	/* clang-format on */
	struct scene s = {0};

	scene_open(&s);
	for (size_t i = 0; i < ARRAY_LEN(nowhere); i++)
		scene_refused(&s, "GET", nowhere[i], NULL, ERR_NOTFOUND, "there is nothing at");
	check_method(&s, "DELETE", RESTORES, "GET, POST");
	check_method(&s, "PATCH", RESTORES "/a", "PUT, GET, DELETE");
	check_method(&s, "GET", RESTORES "/a/pause", "POST");
	check_method(&s, "DELETE", RESTORES "/a/prefetch", "PUT");
	check_method(&s, "POST", "/healthz", "GET");
	scene_refused(&s, "GET", RESTORES "/b", NULL, ERR_NOTFOUND, "there is no restore b");
	scene_refused(&s, "DELETE", RESTORES "/b", NULL, ERR_NOTFOUND, "no restore b");
	scene_refused(&s, "PUT", RESTORES "/b/prefetch", "{}", ERR_NOTFOUND, "no restore b");
	scene_refused(&s, "GET", RESTORES "/b/pages", NULL, ERR_NOTFOUND, "no restore b");
	scene_refused(&s, "POST", RESTORES "/b/pause", NULL, ERR_NOTFOUND, "no restore b");
	scene_refused(&s, "POST", RESTORES "/b/resume", NULL, ERR_NOTFOUND, "no restore b");
	scene_refused(&s, "GET", RESTORES "/b?for=serving&wait=9s", NULL, ERR_NOTFOUND, "b");
	scene_close(&s);
}
END_TEST

START_TEST(test_every_route_is_strict)
{
	struct scene s = {0};

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		const struct route *r = &routes[i];
		cleanup_free char *target = scene_format("%s?colour=red", r->target);
		cleanup_free char *twice = scene_format("%s?for=ended&for=ended", r->target);
		cleanup_free char *nul = scene_format("%s%%00", r->target);

		scene_refused(&s, r->method, target, r->body ? BODY : NULL, ERR_INVALID,
			      "colour: is not a parameter");
		scene_refused(&s, r->method, twice, NULL, ERR_INVALID,
			      "for: the parameter comes twice");
		scene_refused(&s, r->method, nul, NULL, ERR_INVALID, "has a NUL");
		if (!r->body)
			scene_refused(&s, r->method, r->target, "{}", ERR_INVALID, "takes no body");
	}
	/* Nothing of this has touched it. */
	scene_reach(&s, "a", "waiting", "");
	scene_delete(&s, "a", "");
	scene_close(&s);
}
END_TEST

START_TEST(test_parameters)
{
	static const struct {
		const char *target, *detail;
	} cases[] = {
		{RESTORES "?limit=0", "limit: must be a number from 1 to"},
		{RESTORES "?limit=1001", "limit: must be a number"},
		{RESTORES "?limit=-1", "limit: must be a number"},
		{RESTORES "?limit=1x", "limit: must be a number"},
		{RESTORES "?limit=", "limit: must be a number"},
		{RESTORES "?limit=99999999999999999999", "limit: must be a number"},
		{RESTORES "?state=lost", "state: "},
		{RESTORES "?tenant=a/b", "tenant: "},
		{RESTORES "?page_token=%20", "page_token: "},
		{RESTORES "/a?for=lost", "for: must be a state or \"complete\""},
		{RESTORES "/a?for=serving&wait=5", "wait: must be a duration"},
		{RESTORES "/a?for=serving&wait=301s", "wait: must be a duration"},
		{RESTORES "/a/pages?offset=x", "offset: "},
		{RESTORES "/a/pages?limit=50001", "limit: "},
		{"/v1/events?after=x", "after: "},
		{"/v1/events?follow=yes", "follow: must be true or false"},
		{"/v1/events?restore=-", "restore: is not an id"},
		{RESTORES "/-a", "id: must be 1 to 63 of"},
		{RESTORES "/a%20b", "id: must be"},
		{RESTORES "/0123456789012345678901234567890123456789012345678901234567890123",
		 "id: must be"},
	};
	struct scene s = {0};

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		scene_refused(&s, "GET", cases[i].target, NULL, ERR_INVALID, cases[i].detail);
	scene_refused(&s, "DELETE", RESTORES "/a?kill=perhaps", NULL, ERR_INVALID, "kill: must be");
	scene_refused(&s, "DELETE", RESTORES "/a?grace=1d", NULL, ERR_INVALID, "grace: must be");
	scene_reach(&s, "a", "waiting", "");
	scene_delete(&s, "a", "");
	scene_close(&s);
}
END_TEST

/* --- bodies --- */

#define SNAP "\"snapshot\":{\"dir\":\"/x\"}"
/* clang-format off */
static const struct {
	const char *body, *detail;
} bad_bodies[] = {
	{"", "body: "},
	{"[]", "body: "},
	{"{", "body: "},
	{"{} {}", "body: "},
	{"{}", "snapshot: is missing"},
	{"{" SNAP ",\"colour\":1}", "colour"},
	{"{\"snapshot\":{\"dir\":\"/x\",\"colour\":1}}", "snapshot.colour"},
	{"{" SNAP ",\"socket\":{\"colour\":1}}", "socket.colour"},
	{"{" SNAP ",\"peer\":{\"gid\":1}}", "peer.gid"},
	{"{" SNAP ",\"snapshot\":{\"dir\":\"/x\"}}", "snapshot"},
	{"{\"snapshot\":\"/x\"}", "snapshot: "},
	{"{\"snapshot\":{\"dir\":7}}", "snapshot.dir: "},
	{"{\"snapshot\":{\"dir\":null}}", "snapshot.dir: "},
	{"{\"snapshot\":{\"dir\":\"x\"}}", "snapshot.dir: must be an absolute path"},
	{"{\"snapshot\":{\"dir\":\"/x\",\"memory\":[\"/y\"]}}", "snapshot: must have exactly"},
	{"{\"snapshot\":{\"header\":\"/x\"}}", "snapshot.layers: is missing"},
	{"{\"snapshot\":{\"memory\":[]}}", "snapshot.memory: "},
	{"{\"snapshot\":{\"memory\":[\"/x\",7]}}", "snapshot.memory[1]: "},
	{"{" SNAP ",\"tenant\":\"a b\"}", "tenant: "},
	{"{" SNAP ",\"peer\":{\"uid\":-1}}", "peer.uid: "},
	{"{" SNAP ",\"peer\":{\"uid\":4294967295}}", "peer.uid: "},
	{"{" SNAP ",\"peer\":{\"uid\":1.0}}", "peer.uid: "},
	{"{" SNAP ",\"peer\":{\"uid\":\"0\"}}", "peer.uid: "},
	{"{" SNAP ",\"socket\":{\"mode\":\"0888\"}}", "socket.mode: "},
	{"{" SNAP ",\"socket\":{\"mode\":660}}", "socket.mode: "},
	{"{" SNAP ",\"socket\":{\"path\":\"x\"}}", "socket.path: must be an absolute path"},
	{"{" SNAP ",\"prefetch\":{\"mode\":\"some\"}}", "prefetch.mode: must be one of"},
	{"{" SNAP ",\"prefetch\":{\"rate_bytes_per_s\":18446744073709551616}}", "body: "},
	{"{" SNAP ",\"prefetch\":{\"rate_bytes_per_s\":9223372036854775808}}",
	 "prefetch.rate_bytes_per_s: "},
	{"{" SNAP ",\"connect_timeout\":30}", "connect_timeout: "},
	{"{" SNAP ",\"connect_timeout\":\"30\"}", "connect_timeout: "},
	{"{" SNAP ",\"connect_timeout\":\"1ms\"}", "connect_timeout: "},
	{"{" SNAP ",\"connect_timeout\":\"61m\"}", "connect_timeout: "},
	{"{" SNAP ",\"connect_timeout\":\"32s\"}", "connect_timeout_max"},
	{"{" SNAP ",\"when_complete\":\"go\"}", "when_complete: must be one of"},
	{"{" SNAP ",\"on_failure\":\"cry\"}", "on_failure: must be one of"},
	{"{" SNAP ",\"on_failure\":NaN}", "body: "},
	{"{'snapshot':{\"dir\":\"/x\"}}", "body: "},
	{"{\"a\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}", "body: "},
};
/* clang-format on */

START_TEST(test_bodies)
{
	struct scene s = {.config = "\"connect_timeout_max\":\"31s\""};

	scene_open(&s);
	for (size_t i = 0; i < ARRAY_LEN(bad_bodies); i++) {
		scene_refused(&s, "PUT", RESTORES "/a", bad_bodies[i].body, ERR_INVALID,
			      bad_bodies[i].detail);
		scene_refused(&s, "POST", RESTORES, bad_bodies[i].body, ERR_INVALID,
			      bad_bodies[i].detail);
	}
	scene_refused(&s, "GET", RESTORES "/a", NULL, ERR_NOTFOUND, "no restore a");
	scene_close(&s);
}
END_TEST

START_TEST(test_prefetch_bodies)
{
	static const struct {
		const char *body, *detail;
	} cases[] = {
		{"", "body: "},
		{"{\"mode\":\"some\"}", "mode: "},
		{"{\"mode\":7}", "mode: "},
		{"{\"rate\":7}", "rate"},
		{"{\"rate_bytes_per_s\":-1}", "rate_bytes_per_s: "},
		{"{\"max_resident_bytes\":-1}", "max_resident_bytes: "},
		{"{\"zero_pages\":true}", "zero_pages"},
		{"{\"paused\":\"yes\"}", "paused: "},
		{"{\"paused\":true,\"paused\":false}", "paused"},
	};
	struct scene s = {0};

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		scene_refused(&s, "PUT", RESTORES "/a/prefetch", cases[i].body, ERR_INVALID,
			      cases[i].detail);
	scene_delete(&s, "a", "");
	scene_close(&s);
}
END_TEST

/* These two are refused before a body is looked at: by the HTTP library, in HTML. */
START_TEST(test_too_large)
{
	struct scene s = {.config = "\"http_body_bytes\":4096,\"http_header_bytes\":2048"};
	cleanup_free char *blanks = scene_format("%5000s", "");
	cleanup_free char *target = scene_format(RESTORES "?tenant=%03000d", 0);
	struct harness_reply r;

	scene_open(&s);
	harness_http(s.d.socket, "PUT", RESTORES "/a", blanks, &r);
	ck_assert_int_eq(r.status, 413);
	ck_assert_str_ne(r.content_type, "application/problem+json");
	harness_reply_fini(&r);
	harness_http(s.d.socket, "GET", target, NULL, &r);
	ck_assert_int_eq(r.status, 400);
	ck_assert_str_ne(r.content_type, "application/problem+json");
	harness_reply_fini(&r);
	harness_http(s.d.socket, "BREW", "/healthz", NULL, &r);
	ck_assert_int_eq(r.status, 501);
	harness_reply_fini(&r);
	scene_tell(&s, 200, "GET", "/healthz", NULL);
	scene_close(&s);
}
END_TEST

/* --- create --- */

START_TEST(test_put)
{
	struct scene s = {0};
	struct json_object *first, *again;

	scene_open(&s);
	first = scene_ask(&s, 201, "PUT", RESTORES "/a", BODY);
	ck_assert_str_eq(scene_text(first, "state"), "waiting");
	ck_assert_str_eq(scene_text(first, "tenant"), "default");
	ck_assert_str_eq(scene_text(first, "mem_backend.backend_type"), "Uffd");
	ck_assert_str_eq(scene_text(first, "mem_backend.backend_path"),
			 scene_text(first, "socket.path"));
	ck_assert_uint_eq(scene_number(first, "memory.size_bytes"), SNAPSHOT_BYTES);
	ck_assert_ptr_null(scene_member(first, "vmm"));
	/* Defaults spelled out are the same request; so is another order. */
	for (int i = 0; i < 20; i++)
		scene_tell(&s, 200, "PUT", RESTORES "/a", BODY);
	again = scene_ask(&s, 200, "PUT", RESTORES "/a",
			  "{\"connect_timeout\":\"30000ms\",\"prefetch\":{\"mode\":\"all\"},"
			  "\"snapshot\":{\"dir\":\"" SCENE_SNAPSHOT "\"}}");
	ck_assert(json_object_equal(first, again));
	scene_refused(&s, "PUT", RESTORES "/a",
		      "{\"on_failure\":\"hold\",\"snapshot\":{\"dir\":\"" SCENE_SNAPSHOT "\"}}",
		      ERR_CONFLICT, "restore a exists with a different request");
	scene_delete(&s, "a", "");
	/* An id stays taken while its restore is listed. */
	scene_tell(&s, 200, "PUT", RESTORES "/a", BODY);
	scene_reach(&s, "a", "ended", "stopped");
	json_object_put(first);
	json_object_put(again);
	scene_close(&s);
}
END_TEST

START_TEST(test_put_of_what_cannot_be_served)
{
	struct scene s = {0};
	struct json_object *o;

	scene_open(&s);
	scene_refused(&s, "PUT", RESTORES "/bad", "{\"snapshot\":{\"dir\":\"/nowhere/at/all\"}}",
		      ERR_PATH, "/nowhere/at/all");
	scene_refused(&s, "GET", RESTORES "/bad", NULL, ERR_NOTFOUND, "no restore bad");
	scene_refused(&s, "POST", RESTORES, "{\"snapshot\":{\"memory\":[\"/nowhere/base.mem\"]}}",
		      ERR_PATH, "/nowhere/base.mem");
	o = scene_ask(&s, 200, "GET", RESTORES, NULL);
	ck_assert_uint_eq(json_object_array_length(scene_member(o, "items")), 1); /* warm-up */
	json_object_put(o);
	scene_at_rest(&s);
	/* The id is free again. */
	scene_tell(&s, 201, "PUT", RESTORES "/bad", BODY);
	scene_delete(&s, "bad", "");
	scene_close(&s);
}
END_TEST

#define RACERS 8

struct racer {
	pthread_t id;
	const struct scene *s;
	const char *target;
	int status;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	struct harness_reply reply;

	harness_http(r->s->d.socket, "PUT", r->target, BODY, &reply);
	r->status = reply.status;
	harness_reply_fini(&reply);
	return NULL;
}

/* All of them get the restore, one of them has made it. */
START_TEST(test_concurrent_puts)
{
	struct scene s = {0};

	scene_open(&s);
	for (int round = 0; round < 10; round++) {
		cleanup_free char *id = scene_format("r%d", round);
		cleanup_free char *target = scene_format(RESTORES "/%s", id);
		struct racer racers[RACERS];
		int created = 0, found = 0;

		for (size_t i = 0; i < RACERS; i++) {
			racers[i] = (struct racer){.s = &s, .target = target};
			pthread_create(&racers[i].id, NULL, race, &racers[i]);
		}
		for (size_t i = 0; i < RACERS; i++) {
			pthread_join(racers[i].id, NULL);
			created += racers[i].status == 201;
			found += racers[i].status == 200;
		}
		ck_assert_msg(created == 1 && found == RACERS - 1, "%d created, %d found", created,
			      found);
		scene_delete(&s, id, "");
	}
	scene_close(&s);
}
END_TEST

START_TEST(test_post)
{
	struct scene s = {0};
	struct json_object *one, *two;
	uuid_t uuid;

	scene_open(&s);
	one = scene_ask(&s, 201, "POST", RESTORES, BODY);
	two = scene_ask(&s, 201, "POST", RESTORES, BODY);
	ck_assert_int_eq(uuid_parse(scene_text(one, "id"), uuid), 0);
	ck_assert_int_eq(uuid_parse(scene_text(two, "id"), uuid), 0);
	ck_assert_str_ne(scene_text(one, "id"), scene_text(two, "id"));
	scene_delete(&s, scene_text(one, "id"), "");
	scene_delete(&s, scene_text(two, "id"), "");
	json_object_put(one);
	json_object_put(two);
	scene_close(&s);
}
END_TEST

/* --- list --- */

/* The ids of one page behind each other; *ret_token is the next page's, "" at the end. */
static char *list(const struct scene *s, const char *query, char *ret_token, size_t len)
{
	cleanup_free char *target = scene_format(RESTORES "?%s", query);
	cleanup_json struct json_object *o = scene_ask(s, 200, "GET", target, NULL);
	struct json_object *items = scene_member(o, "items");
	char *ids = scene_format("%s", "");

	for (size_t i = 0; i < json_object_array_length(items); i++) {
		cleanup_free char *before = ids;

		ids = scene_format("%s%s ", before,
				   scene_text(json_object_array_get_idx(items, i), "id"));
	}
	if (ret_token)
		snprintf(ret_token, len, "%s", scene_text(o, "next_page_token"));
	return ids;
}

static void check_list(const struct scene *s, const char *query, const char *want)
{
	cleanup_free char *ids = list(s, query, NULL, 0);

	ck_assert_msg(strcmp(ids, want) == 0, "%s: \"%s\", not \"%s\"", query, ids, want);
}

START_TEST(test_list)
{
	static const char *const pages[] = {"0-warm-up a ", "b c ", "d e ", "f g "};
	struct scene s = {0};
	char token[64] = "";

	scene_open(&s);
	for (const char *id = "gfedcba"; *id; id++) {
		const char name[] = {*id, '\0'};

		scene_create(&s, name, SCENE_SNAPSHOT,
			     *id < 'd' ? "\"tenant\":\"blue\"" : "\"tenant\":\"red\"");
	}
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		cleanup_free char *query = scene_format("limit=2%s%s", *token ? "&page_token=" : "",
							token);
		cleanup_free char *ids = list(&s, query, token, sizeof(token));

		ck_assert_str_eq(ids, pages[i]);
		ck_assert_int_eq(!*token, i + 1 == ARRAY_LEN(pages));
	}
	scene_delete(&s, "b", "");
	check_list(&s, "tenant=blue", "a b c ");
	check_list(&s, "state=waiting", "a c d e f g ");
	check_list(&s, "state=ended", "0-warm-up b ");
	check_list(&s, "tenant=blue&state=ended", "b ");
	check_list(&s, "tenant=blue&state=waiting&limit=1&page_token=a/blue", "c ");
	check_list(&s, "tenant=green", "");
	check_list(&s, "page_token=zzz/z", "");
	for (const char *id = "acdefg"; *id; id++) {
		const char name[] = {*id, '\0'};

		scene_delete(&s, name, "");
	}
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_api");
	TCase *tc = tcase_create("requests");

	tcase_add_test(tc, test_of_the_daemon);
	tcase_add_test(tc, test_what_is_not_there);
	tcase_add_test(tc, test_every_route_is_strict);
	tcase_add_test(tc, test_parameters);
	tcase_add_test(tc, test_bodies);
	tcase_add_test(tc, test_prefetch_bodies);
	tcase_add_test(tc, test_too_large);
	tcase_add_test(tc, test_put);
	tcase_add_test(tc, test_put_of_what_cannot_be_served);
	tcase_add_test(tc, test_concurrent_puts);
	tcase_add_test(tc, test_post);
	tcase_add_test(tc, test_list);
	suite_add_tcase(suite, tc);
	return suite;
}
