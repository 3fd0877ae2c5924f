/* test_api_restores - creating, listing and getting restores: each answer, and when it comes */
#include "daemon/api_restores.h"

#include <ctype.h>
#include <event2/event.h>
#include <signal.h>
#include <string.h>
#include <uuid/uuid.h>

#include "daemon/caller.h"
#include "daemon/timer.h"
#include "tests/support/apikit.h"

#define RESTORES "/v1/restores"
#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"

/* ---- create ---- */

START_TEST(test_put)
{
	cleanup_free char *body = scene_body(SCENE_SNAPSHOT, NULL);
	cleanup_free char *other = scene_body(SCENE_SNAPSHOT, "\"on_failure\":\"hold\"");
	cleanup_json struct json_object *made = apikit_object(201, "PUT", "/a", body);
	cleanup_json struct json_object *found = apikit_object(200, "PUT", "/a", body);

	apikit_check_text(made, "id", "a");
	apikit_check_text(made, "state", "waiting");
	apikit_check_text(made, "mem_backend.backend_path",
			  supervisor_find(apikit.sup, "a", NULL)->rec.socket_path);
	ck_assert(json_object_equal(made, found));
	apikit_refused("PUT", "/a", other, ERR_CONFLICT,
		       "restore a exists with a different request");
	apikit_finish(supervisor_find(apikit.sup, "a", NULL), NULL);
}
END_TEST

START_TEST(test_post)
{
	cleanup_free char *body = scene_body(SCENE_SNAPSHOT, NULL);
	char ids[2][UUID_STR_LEN];
	uuid_t uuid;

	for (int i = 0; i < 2; i++) {
		cleanup_json struct json_object *o = apikit_object(201, "POST", "", body);

		snprintf(ids[i], sizeof(ids[i]), "%s", scene_text(o, "id"));
		ck_assert_int_eq(uuid_parse(ids[i], uuid), 0);
		ck_assert_int_eq(uuid_type(uuid), UUID_TYPE_DCE_RANDOM);
		for (const char *c = ids[i]; *c; c++)
			ck_assert_msg(!isupper(*c), "%s", ids[i]);
	}
	ck_assert_str_ne(ids[0], ids[1]);
	for (int i = 0; i < 2; i++)
		apikit_finish(supervisor_find(apikit.sup, ids[i], NULL), NULL);
}
END_TEST

/* Nothing is left of a create that fails, by its text, its time or its snapshot. */
START_TEST(test_create_fails)
{
	static const char colour[] = "{\"snapshot\":{\"dir\":\"/x\"},\"colour\":1}";
	static const char nowhere[] = "{\"snapshot\":{\"dir\":\"/nowhere/at/all\"}}";

	apikit_refused("PUT", "/a", "{}", ERR_INVALID, "snapshot: is missing");
	apikit_refused("PUT", "/a", colour, ERR_INVALID, "colour");
	apikit_refused("POST", "", colour, ERR_INVALID, "colour");
	apikit_refused("PUT", "/a", nowhere, ERR_PATH, "/nowhere/at/all");
	apikit_refused("POST", "", nowhere, ERR_PATH, "/nowhere/at/all");
	apikit.sup->host.conf.connect_timeout_max_ms = 1000;
	apikit_refused("PUT", "/a", nowhere, ERR_INVALID, "connect_timeout_max");
	ck_assert_uint_eq(apikit.sup->table.n, 2);
}
END_TEST

/* The client leaves before the answer: the restore is created all the same. */
START_TEST(test_creator_leaves)
{
	cleanup_free char *body = scene_body(SCENE_SNAPSHOT, NULL);
	cleanup_free char *text = scene_format("PUT " RESTORES "/a HTTP/1.1\r\nContent-Length: %zu"
					       "\r\n\r\n%s",
					       strlen(body), body);
	int fd = apikit_dial(geteuid());
	struct restore *r;

	client_say(fd, text);
	WAIT_FOR(table_find(&apikit.sup->table, "a", NULL));
	r = table_find(&apikit.sup->table, "a", NULL);
	ck_assert_int_eq(kill((pid_t)r->rec.worker_pid, SIGSTOP), 0);
	/* However long the machine takes, the worker is not late. */
	timer_drop(&r->hold.load_by);
	/* It may have been stopped before it executed, with a copy of our end. */
	shutdown(fd, SHUT_RDWR);
	close(fd);
	WAIT_FOR(TAILQ_EMPTY(&r->creators));
	ck_assert_int_eq(kill((pid_t)r->rec.worker_pid, SIGCONT), 0);
	WAIT_FOR(supervisor_find(apikit.sup, "a", NULL));
	json_object_put(apikit_object(200, "PUT", "/a", body));
	apikit_finish(r, NULL);
}
END_TEST

/* No more requests may be held: the client is told, and the restore is created all the same. */
START_TEST(test_creator_not_held)
{
	cleanup_free char *body = scene_body(SCENE_SNAPSHOT, NULL);
	struct restore *r;

	apikit_stop(&apikit);
	apikit.conf.http_held_per_uid = 0;
	apikit_start(&apikit);
	apikit_refused("PUT", "/a", body, ERR_QUOTA,
		       "too many requests wait already; restore a is being created, ask for it");
	r = table_find(&apikit.sup->table, "a", NULL);
	ck_assert_ptr_nonnull(r);
	ck_assert(TAILQ_EMPTY(&r->creators));
	WAIT_FOR(supervisor_find(apikit.sup, "a", NULL));
	json_object_put(apikit_object(200, "PUT", "/a", body));
	/* Nor may this request wait; but what it asks for is done. */
	json_object_put(apikit_object(202, "DELETE", "/a", NULL));
	WAIT_FOR(restore_released(r));
}
END_TEST

/* ---- list ---- */

/* clang-format off */
static const struct {
	const char *query, *ids, *token; /* token: NULL: none */
} lists[] = {
	{"", "mine new roots ", NULL},
	{"?limit=3", "mine new roots ", NULL},
	{"?limit=2", "mine new ", "new/" CALLER_DEFAULT_TENANT},
	{"?limit=1", "mine ", "mine/" APIKIT_TENANT},
	{"?limit=1000", "mine new roots ", NULL},
	{"?page_token=mine/" APIKIT_TENANT, "new roots ", NULL},
	{"?limit=1&page_token=mine/" APIKIT_TENANT, "new ", "new/" CALLER_DEFAULT_TENANT},
	/* There need be no restore of that name any more. */
	{"?page_token=n/a", "new roots ", NULL},
	{"?page_token=roots/" CALLER_DEFAULT_TENANT, "", NULL},
	{"?state=ended", "mine roots ", NULL},
	/* A token names what was listed, and nothing that lies between. */
	{"?state=ended&limit=1", "mine ", "mine/" APIKIT_TENANT},
	{"?state=waiting", "new ", NULL},
	{"?state=serving", "", NULL},
	{"?tenant=" CALLER_DEFAULT_TENANT "&limit=1", "new ", "new/" CALLER_DEFAULT_TENANT},
	/* What does not fit is no next page. */
	{"?state=waiting&limit=1", "new ", NULL},
	{"?tenant=" APIKIT_TENANT, "mine ", NULL},
	{"?tenant=" CALLER_DEFAULT_TENANT, "new roots ", NULL},
	{"?tenant=" CALLER_DEFAULT_TENANT "&state=ended", "roots ", NULL},
	{"?tenant=nobody", "", NULL},
};

static const struct {
	const char *query, *detail;
} bad_lists[] = {
	{"?state=lost", "state: there is no state of that name"},
	{"?state=", "state: there is no state of that name"},
	{"?tenant=a/b", "tenant: is not a tenant's name"},
	{"?tenant=", "tenant: is not a tenant's name"},
	{"?page_token=-", "page_token: is not one of ours"},
	{"?page_token=mine", "page_token: is not one of ours"},
	{"?page_token=mine/a/b", "page_token: is not one of ours"},
	{"?page_token=", "page_token: is not one of ours"},
	{"?limit=0", "limit: must be a number from 1 to 1000"},
	{"?limit=1001", "limit: must be a number from 1 to 1000"},
};
/* clang-format on */

static void check_list(const char *query, const char *want, const char *token)
{
	cleanup_json struct json_object *o = apikit_object(200, "GET", query, NULL);
	struct json_object *items = scene_member(o, "items");
	char ids[256] = "";

	for (size_t i = 0, n = 0; i < json_object_array_length(items); i++) {
		struct json_object *item = json_object_array_get_idx(items, i);

		n += (size_t)snprintf(ids + n, sizeof(ids) - n, "%s ", scene_text(item, "id"));
		/* Each item is the whole object. */
		apikit_check_text(item, "mem_backend.backend_type", "Uffd");
	}
	ck_assert_msg(strcmp(ids, want) == 0, "%s: %s, not %s", query, ids, want);
	apikit_check_text(o, "next_page_token", token ? token : "");
	ck_assert_int_eq(!scene_member(o, "next_page_token"), !token);
}

START_TEST(test_list)
{
	struct restore *r = apikit_create(&apikit, "new",
					  "\"tenant\":\"" CALLER_DEFAULT_TENANT "\"");

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		check_list(lists[i].query, lists[i].ids, lists[i].token);
	for (size_t i = 0; i < ARRAY_LEN(bad_lists); i++)
		apikit_refused("GET", bad_lists[i].query, NULL, ERR_INVALID, bad_lists[i].detail);
	apikit_finish(r, NULL);
}
END_TEST

/* ---- get ---- */

/* clang-format off */
static const struct {
	const char *suffix, *state;
} gets[] = {
	{"/new", "waiting"},
	{"/roots", "ended"},
	/* A time alone, or a goal alone, holds nothing. */
	{"/new?wait=300s", "waiting"},
	{"/new?for=serving", "waiting"},
	{"/new?for=complete", "waiting"},
	{"/new?for=ended&wait=0s", "waiting"},
	/* The goal is reached already. */
	{"/new?for=waiting&wait=300s", "waiting"},
	{"/roots?for=ended&wait=300s", "ended"},
	/* The goal cannot be reached any more. */
	{"/roots?for=serving&wait=300s", "ended"},
	{"/roots?for=complete&wait=300s", "ended"},
};

static const struct {
	const char *suffix, *detail;
} bad_gets[] = {
	{"/new?wait=301s", "wait: must be a duration such as 500ms or 30s, at most 300s"},
	{"/new?wait=x", "wait: must be a duration"},
	{"/new?for=lost", "for: must be a state or \\\"complete\\\""},
	{"/new?for=", "for: must be a state or \\\"complete\\\""},
	{"/new?for=lost&wait=x", "wait: must be a duration"},
};
/* clang-format on */

START_TEST(test_get)
{
	struct restore *r = apikit_create(&apikit, "new", NULL);

	for (size_t i = 0; i < ARRAY_LEN(gets); i++) {
		cleanup_json struct json_object *o = apikit_object(200, "GET", gets[i].suffix,
								   NULL);

		apikit_check_text(o, "state", gets[i].state);
		ck_assert_int_eq(strncmp(gets[i].suffix + 1, scene_text(o, "id"),
					 strlen(scene_text(o, "id"))),
				 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad_gets); i++)
		apikit_refused("GET", bad_gets[i].suffix, NULL, ERR_INVALID, bad_gets[i].detail);
	apikit_finish(r, NULL);
}
END_TEST

/* Each is answered when its goal is reached, and not before. */
START_TEST(test_get_waits)
{
	struct restore *r = apikit_create(&apikit, "a", ON_DEMAND);
	int serving = apikit_hold("GET", "/a?for=serving&wait=300s");
	int complete = apikit_hold("GET", "/a?for=complete&wait=300s");
	int over = apikit_hold("GET", "/a?for=failed&wait=300s");
	struct json_object *o;
	struct scene_vmm vmm;

	scene_vmm_start_at(&vmm, r->rec.socket_path, APIKIT_IMAGE, "--hold-before");
	o = apikit_hear(serving);
	apikit_check_text(o, "state", "serving");
	ck_assert(!scene_flag(o, "complete"));
	json_object_put(o);
	json_object_put(apikit_object(200, "PUT", "/a/prefetch", "{\"mode\":\"all\"}"));
	o = apikit_hear(complete);
	apikit_check_text(o, "state", "serving");
	ck_assert(scene_flag(o, "complete"));
	json_object_put(o);
	apikit_finish(r, &vmm);
	/* An ended restore cannot fail any more. */
	o = apikit_hear(over);
	apikit_check_text(o, "state", "ended");
	json_object_put(o);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("api restores");
	TCase *tc = tcase_create("create, list, get");

	tcase_add_unchecked_fixture(tc, apikit_make_dir, apikit_remove_dir);
	tcase_add_checked_fixture(tc, apikit_begin, apikit_end);
	tcase_add_test(tc, test_put);
	tcase_add_test(tc, test_post);
	tcase_add_test(tc, test_create_fails);
	tcase_add_test(tc, test_creator_leaves);
	tcase_add_test(tc, test_creator_not_held);
	tcase_add_test(tc, test_list);
	tcase_add_test(tc, test_get);
	tcase_add_test(tc, test_get_waits);
	suite_add_tcase(suite, tc);
	return suite;
}
