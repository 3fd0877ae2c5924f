/* test_api_tenants - tenants over the API: made, changed, listed, removed, and what follows */
#include "daemon/api_tenants.h"

#include <string.h>
#include <unistd.h>

#include "daemon/tenant_cgroup.h"
#include "tests/support/apikit.h"

#define TENANTS "/v1/tenants"
#define NOTHING_SET "\"gids\":[],\"snapshot_roots\":[],\"prefetch_share\":1,\"budgets\":{}"
#define USAGE(used, limit) "\"usage\":{\"restores\":{\"used\":" #used ",\"limit\":" #limit "},"

static const char *ask(uid_t uid, int status, const char *method, const char *suffix,
		       const char *body)
{
	cleanup_free char *target = scene_format(TENANTS "%s", suffix);
	struct reply *r = apikit_ask(uid, method, target, body);

	ck_assert_msg(r->status == status, "%s %s: %s", method, target, r->text);
	return r->body;
}

static void answers(int status, const char *method, const char *suffix, const char *body,
		    const char *want)
{
	const char *text = ask(geteuid(), status, method, suffix, body);

	/* Other budgets than that of restores follow. */
	ck_assert_msg(strncmp(text, want, strlen(want)) == 0, "%s", text);
}

static void refused(const char *method, const char *suffix, const char *body, enum err_code code,
		    const char *detail)
{
	cleanup_free char *target = scene_format(TENANTS "%s", suffix);

	apikit_check_problem(apikit_ask(geteuid(), method, target, body), code, detail);
}

START_TEST(test_life)
{
	answers(201, "PUT", "/red", "{\"uids\":[7],\"budgets\":{\"restores\":3}}",
		"{\"name\":\"red\",\"origin\":\"api\",\"uids\":[7],\"gids\":[],"
		"\"snapshot_roots\":[],\"prefetch_share\":1,\"budgets\":{\"restores\":3}," USAGE(
			0, 3));
	/* The whole of it is replaced. */
	answers(200, "PUT", "/red", "{}",
		"{\"name\":\"red\",\"origin\":\"api\",\"uids\":[]," NOTHING_SET "," USAGE(0, 1024));
	answers(200, "GET", "/red", NULL,
		"{\"name\":\"red\",\"origin\":\"api\",\"uids\":[]," NOTHING_SET "," USAGE(0, 1024));
	answers(200, "DELETE", "/red", NULL,
		"{\"name\":\"red\",\"origin\":\"api\",\"uids\":[]," NOTHING_SET "," USAGE(0, 1024));
	refused("GET", "/red", NULL, ERR_NOTFOUND, "there is no tenant red");
	refused("DELETE", "/red", NULL, ERR_NOTFOUND, "there is no tenant red");
}
END_TEST

START_TEST(test_refused)
{
	ask(0, 201, "PUT", "/red", "{\"uids\":[7]}");
	refused("PUT", "/blue", "{\"uids\":[7]}", ERR_CONFLICT, "uids: 7 acts for tenant red");
	refused("PUT", "/blue", "{\"uids\":7}", ERR_INVALID, "uids: must be an array");
	refused("PUT", "/blue", "{\"usage\":{}}", ERR_INVALID, "usage: ");
	refused("PUT", "/-", "{}", ERR_INVALID, "name: must be 1 to 63 of");
	refused("GET", "?limit=0", NULL, ERR_INVALID, "limit: must be");
	refused("GET", "?page_token=-", NULL, ERR_INVALID, "page_token: is not one of ours");
}
END_TEST

/* What nothing here could enforce is not promised; without a limit that is said. */
START_TEST(test_cgroup)
{
	const char *text;

	refused("PUT", "/red", "{\"budgets\":{\"cgroup_pids\":9}}", ERR_STATE,
		"tenant red: cgroup_pids: no cgroup limits workers on this host");
	refused("GET", "/red", NULL, ERR_NOTFOUND, "there is no tenant red");
	text = ask(0, 201, "PUT", "/red", "{\"budgets\":{\"cgroup_pids\":0}}");
	ck_assert_msg(strstr(text, "\"cgroup_memory_bytes\":{\"used\":null,\"limit\":null},"
				   "\"cgroup_pids\":{\"used\":null,\"limit\":null}}") &&
			      strstr(text, "\"cgroup\":null}"),
		      "%s", text);
}
END_TEST

/* What the kernel counts is shown for one tenant; a list of them would take long. */
START_TEST(test_cgroup_is_shown)
{
	struct tenant_cgroup nowhere = {.path = "/x", .dir = -1};

	apikit.sup->host.cgroup = &nowhere;
	ask(0, 201, "PUT", "/red", "{}");
	ck_assert_ptr_nonnull(strstr(ask(0, 200, "GET", "/red", NULL),
				     "\"path\":\"/x/red\",\"memory_bytes\":null,"));
	ck_assert_ptr_null(strstr(ask(0, 200, "GET", "", NULL), "\"cgroup\":"));
	ck_assert_ptr_nonnull(strstr(ask(0, 200, "DELETE", "/red", NULL), "\"cgroup\":{"));
	apikit.sup->host.cgroup = NULL;
}
END_TEST

/* Those that only have restores are there, too. */
START_TEST(test_implicit)
{
	answers(200, "GET", "/" APIKIT_TENANT, NULL,
		"{\"name\":\"" APIKIT_TENANT "\",\"origin\":\"implicit\",\"uids\":[]," NOTHING_SET
		"," USAGE(0, 1024));
	refused("DELETE", "/" APIKIT_TENANT, NULL, ERR_NOTFOUND, "there is no tenant");
}
END_TEST

START_TEST(test_live_restores)
{
	struct restore *r = supervisor_find(apikit.sup, "roots", NULL);

	ask(0, 201, "PUT", "/default", "{\"budgets\":{\"restores\":1}}");
	r->rec.state = STATE_SERVING;
	ck_assert_ptr_nonnull(strstr(ask(0, 200, "GET", "/default", NULL), USAGE(1, 1)));
	refused("DELETE", "/default", NULL, ERR_STATE, "has 1 live restores: end them first");
	/* And the budget holds, for an admin, too. */
	apikit_refused("PUT", "/more", APIKIT_BODY, ERR_QUOTA,
		       "tenant default has all of its budget of 1 restores");
	r->rec.state = STATE_ENDED;
	ask(0, 200, "DELETE", "/default", NULL);
}
END_TEST

/* The names in the order in which they are listed. */
static void lists(const char *query, const char *want)
{
	cleanup_json struct json_object *o = NULL;
	char names[256] = "";
	struct json_object *items;
	const char *text = ask(0, 200, "GET", query, NULL);
	struct err err;

	o = js_parse(text, strlen(text), false, &err);
	items = scene_member(o, "items");
	for (size_t i = 0; i < json_object_array_length(items); i++) {
		size_t used = strlen(names);

		snprintf(names + used, sizeof(names) - used, "%s ",
			 scene_text(json_object_array_get_idx(items, i), "name"));
	}
	snprintf(names + strlen(names), sizeof(names) - strlen(names), "| %s",
		 scene_text(o, "next_page_token"));
	ck_assert_str_eq(names, want);
}

START_TEST(test_list)
{
	ask(0, 201, "PUT", "/zebra", "{}");
	ask(0, 201, "PUT", "/ant", "{}");
	lists("", "ant default " APIKIT_TENANT " zebra | ");
	lists("?limit=2", "ant default | default");
	lists("?limit=2&page_token=default", APIKIT_TENANT " zebra | ");
	lists("?page_token=zebra", "| ");
	ask(0, 201, "PUT", "/default", "{}");
	lists("", "ant default " APIKIT_TENANT " zebra | ");
}
END_TEST

START_TEST(test_own_only)
{
	const char *text;

	ask(0, 201, "PUT", "/red", "{\"uids\":[4242]}");
	text = ask(APIKIT_OWNER, 200, "GET", "", NULL);
	ck_assert_msg(strstr(text, "\"name\":\"red\"") && !strstr(text, "\"name\":\"default\"") &&
			      strstr(text, "\"next_page_token\":null"),
		      "%s", text);
	ask(APIKIT_OWNER, 200, "GET", "/red", NULL);
	ask(APIKIT_OWNER, 404, "GET", "/default", NULL);
	/* As what is not there at all. */
	ask(APIKIT_OWNER, 404, "GET", "/none", NULL);
	/* What was the user's own is another tenant's now. */
	ck_assert_int_eq(apikit_ask(APIKIT_OWNER, "GET", "/v1/restores/mine", NULL)->status, 404);
	ask(0, 200, "DELETE", "/red", NULL);
	ck_assert_int_eq(apikit_ask(APIKIT_OWNER, "GET", "/v1/restores/mine", NULL)->status, 200);
}
END_TEST

static int pause_by(uid_t uid)
{
	return apikit_ask(uid, "POST", "/v1/restores/mine/pause", NULL)->status;
}

/* A tenant's commands are counted, whatever becomes of them; stops and admins are not. */
START_TEST(test_commands)
{
	const char *tenant = "/" APIKIT_TENANT;

	ask(0, 201, "PUT", tenant, "{\"uids\":[4242],\"budgets\":{\"commands_per_s\":1}}");
	ck_assert_int_eq(pause_by(APIKIT_OWNER), 409);
	WAIT_FOR(pause_by(APIKIT_OWNER) == 429);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(pause_by(0), 409);
	WAIT_FOR(pause_by(APIKIT_OWNER) == 409);
	ask(0, 200, "PUT", tenant, "{\"uids\":[4242],\"budgets\":{\"commands_per_s\":0}}");
	apikit_check_problem(apikit_ask(APIKIT_OWNER, "PUT", "/v1/restores/mine/prefetch", "{}"),
			     ERR_QUOTA, "has its budget of 0 commands_per_s");
	ck_assert_int_eq(apikit_ask(APIKIT_OWNER, "GET", "/v1/restores/mine", NULL)->status, 200);
	ck_assert_int_eq(apikit_ask(APIKIT_OWNER, "DELETE", "/v1/restores/mine", NULL)->status,
			 200);
	ck_assert_ptr_nonnull(strstr(ask(0, 200, "GET", tenant, NULL),
				     "\"commands_per_s\":{\"used\":null,\"limit\":0}"));
}
END_TEST

/* ---- events ---- */

START_TEST(test_events)
{
	const char *text;
	int fd;

	ask(0, 201, "PUT", "/red", "{}");
	ask(0, 200, "PUT", "/red", "{}");
	ask(0, 200, "DELETE", "/red", NULL);
	fd = apikit_dial(0);
	client_say(fd, "GET /v1/events?after=2 HTTP/1.0\r\n\r\n");
	text = client_hear_all(fd);
	ck_assert_msg(strstr(text, "\"type\":\"tenant-set\",\"tenant\":\"\",\"restore\":\"\","
				   "\"data\":{\"tenant\":\"red\",\"by_uid\":0}") &&
			      strstr(text, "\"type\":\"tenant-removed\""),
		      "%s", text);
}
END_TEST

static struct heard heard;

/* A stream does not outlive the right to it; others go on. */
START_TEST(test_streams)
{
	static const char follow[] = "GET /v1/events?follow=1&after=0 HTTP/1.1\r\n\r\n";
	int lost = apikit_dial(APIKIT_OWNER), kept = apikit_dial(0);

	client_say(lost, follow);
	client_say(kept, follow);
	WAIT_FOR(client_hears(kept, &heard, "\"restore\":\"mine\""));
	ask(0, 201, "PUT", "/red", "{\"uids\":[4242]}");
	client_expect_closed(lost);
	WAIT_FOR(client_hears(kept, &heard, "\"type\":\"tenant-set\""));
	close(kept);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("api_tenants");
	TCase *t = tcase_create("api_tenants");

	tcase_add_unchecked_fixture(t, apikit_make_dir, apikit_remove_dir);
	tcase_add_checked_fixture(t, apikit_begin, apikit_end);
	tcase_add_test(t, test_life);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_cgroup);
	tcase_add_test(t, test_cgroup_is_shown);
	tcase_add_test(t, test_implicit);
	tcase_add_test(t, test_live_restores);
	tcase_add_test(t, test_list);
	tcase_add_test(t, test_events);
	/* Only root can ask as somebody else. */
	if (geteuid() == 0) {
		tcase_add_test(t, test_own_only);
		tcase_add_test(t, test_commands);
		tcase_add_test(t, test_streams);
	}
	suite_add_tcase(s, t);
	return s;
}
