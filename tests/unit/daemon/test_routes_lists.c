/* test_routes_lists - whose restores and events a caller sees, and ids that several tenants have */
#include "daemon/routes.h"

#include <string.h>

#include "daemon/caller.h"
#include "tests/support/apikit.h"

#define MINE "/v1/restores/mine"

static char *dir;

static void make_dir(void)
{
	dir = harness_tmpdir();
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

/* ---- lists and streams ---- */

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

static void expect_listed(uid_t uid, const char *query, size_t mine, size_t roots)
{
	char target[128];
	struct reply *r;

	snprintf(target, sizeof(target), "/v1/restores%s", query);
	r = apikit_ask(uid, "GET", target, NULL);
	ck_assert_int_eq(r->status, 200);
	ck_assert_msg(count(r->body, "\"id\":\"mine\"") == mine &&
			      count(r->body, "\"id\":\"roots\"") == roots &&
			      count(r->body, "\"id\":") == mine + roots,
		      "uid %u: %s", uid, r->body);
}

START_TEST(test_list)
{
	struct apikit k;

	apikit_start_tenants(&k, dir);
	expect_listed(0, "", 1, 1);
	expect_listed(0, "?tenant=" APIKIT_TENANT, 1, 0);
	expect_listed(0, "?tenant=" CALLER_DEFAULT_TENANT, 0, 1);
	expect_listed(APIKIT_OWNER, "", 1, 0);
	expect_listed(APIKIT_OWNER, "?tenant=" APIKIT_TENANT, 1, 0);
	expect_listed(APIKIT_OWNER, "?tenant=" CALLER_DEFAULT_TENANT, 0, 0);
	expect_listed(APIKIT_OTHER, "", 0, 0);
	expect_listed(APIKIT_OTHER, "?tenant=" APIKIT_TENANT, 0, 0);
	/* What one may not see ends no page. */
	expect_listed(APIKIT_OWNER, "?limit=1", 1, 0);
	ck_assert_ptr_nonnull(
		strstr(apikit_ask(APIKIT_OWNER, "GET", "/v1/restores?limit=1", NULL)->body,
		       "\"next_page_token\":null"));
	ck_assert_ptr_nonnull(strstr(apikit_ask(0, "GET", "/v1/restores?limit=1", NULL)->body,
				     "\"next_page_token\":\"mine/" APIKIT_TENANT "\""));
	apikit_stop(&k);
}
END_TEST

static void expect_events(uid_t uid, const char *query, size_t mine, size_t roots)
{
	char text[128];
	const char *all;
	int fd = apikit_dial(uid);

	snprintf(text, sizeof(text), "GET /v1/events%s HTTP/1.0\r\n\r\n", query);
	client_say(fd, text);
	all = client_hear_all(fd);
	ck_assert_msg(count(all, "\"restore\":\"mine\"") == mine &&
			      count(all, "\"restore\":\"roots\"") == roots &&
			      count(all, "\"seq\":") == mine + roots,
		      "uid %u: %s", uid, all);
}

static void expect_refused(uid_t uid, const char *target, int status, const char *text)
{
	struct reply *r = apikit_ask(uid, "GET", target, NULL);

	ck_assert_msg(r->status == status && strstr(r->body, text), "uid %u, %s: %s", uid, target,
		      r->text);
}

START_TEST(test_events)
{
	struct apikit k;

	apikit_start_tenants(&k, dir);
	expect_events(0, "", 1, 1);
	expect_events(0, "?restore=mine", 1, 0);
	expect_events(APIKIT_OWNER, "", 1, 0);
	expect_events(APIKIT_OWNER, "?restore=roots", 0, 0);
	expect_events(APIKIT_OTHER, "", 0, 0);
	expect_events(APIKIT_OTHER, "?restore=mine", 0, 0);
	expect_events(0, "?tenant=" APIKIT_TENANT, 1, 0);
	expect_events(APIKIT_OBSERVER, "?tenant=" CALLER_DEFAULT_TENANT, 0, 1);
	expect_events(0, "?tenant=nobody", 0, 0);
	expect_events(APIKIT_OWNER, "?tenant=" APIKIT_TENANT, 1, 0);
	expect_refused(APIKIT_OWNER, "/v1/events?tenant=other", 404, "there is no tenant other");
	expect_refused(APIKIT_OWNER, "/v1/events?tenant=none", 404, "there is no tenant none");
	apikit_stop(&k);
}
END_TEST

/* ---- one id of several tenants ---- */

static void expect_tenant(uid_t uid, const char *query, const char *tenant)
{
	cleanup_free char *want = scene_format("\"tenant\":\"%s\"", tenant);
	cleanup_free char *target = scene_format(MINE "%s", query);
	struct reply *r = apikit_ask(uid, "GET", target, NULL);

	ck_assert_msg(r->status == 200 && strstr(r->body, want), "uid %u, %s: %s", uid, target,
		      r->text);
}

/* As another tenant, and the one that admins act for, take the id of "mine" for their own. */
static void take_id(struct apikit *k, const char *key, const char *tenant)
{
	struct restore *r = xcalloc(1, sizeof(*r));

	restore_init(r, &k->sup->host);
	r->rec = (struct restore_record){.state = STATE_ENDED, .released = true};
	snprintf(r->rec.key, sizeof(r->rec.key), "%s", key);
	snprintf(r->rec.id, sizeof(r->rec.id), "mine");
	snprintf(r->rec.tenant, sizeof(r->rec.tenant), "%s", tenant);
	r->rec.spec = strdup("{}");
	r->slot.state = SLOT_OVER;
	table_insert(&k->sup->table, r);
}

START_TEST(test_one_id)
{
	struct apikit k;

	apikit_start_tenants(&k, dir);
	expect_tenant(0, "", APIKIT_TENANT);
	take_id(&k, "k1", "other");
	expect_tenant(APIKIT_OWNER, "", APIKIT_TENANT);
	expect_tenant(APIKIT_OWNER, "?tenant=" APIKIT_TENANT, APIKIT_TENANT);
	expect_refused(APIKIT_OWNER, MINE "?tenant=other", 404, "there is no restore mine");
	expect_refused(APIKIT_OWNER, MINE "?tenant=nobody", 404, "there is no restore mine");
	expect_tenant(APIKIT_OTHER, "", "other");
	/* Who sees both has to say which one. */
	expect_refused(0, MINE, 400, "tenants other and " APIKIT_TENANT " have a restore mine");
	expect_refused(APIKIT_OBSERVER, MINE, 400, "tenant: is missing");
	expect_tenant(0, "?tenant=other", "other");
	expect_tenant(APIKIT_OBSERVER, "?tenant=" APIKIT_TENANT, APIKIT_TENANT);
	expect_refused(0, MINE "?tenant=../x", 400, "tenant: is not a tenant's name");
	/* Nobody takes an admin's own from it. */
	take_id(&k, "k2", CALLER_DEFAULT_TENANT);
	expect_tenant(0, "", CALLER_DEFAULT_TENANT);
	expect_refused(APIKIT_OBSERVER, MINE, 400, "tenant: is missing");
	apikit_stop(&k);
}
END_TEST

#define OWNERS "mine/" APIKIT_TENANT

/* Page by page, also where a page ends between two of one id. */
START_TEST(test_pages_of_one_id)
{
	static const char *const tokens[] = {"", "mine/default", "mine/other", OWNERS,
					     "roots/default"};
	struct apikit k;

	apikit_start_tenants(&k, dir);
	take_id(&k, "k1", "other");
	take_id(&k, "k2", CALLER_DEFAULT_TENANT);
	for (size_t i = 0; i + 1 < ARRAY_LEN(tokens); i++) {
		bool last = i + 2 == ARRAY_LEN(tokens);
		cleanup_free char *target = scene_format("/v1/restores?limit=1%s%s",
							 i ? "&page_token=" : "", tokens[i]);
		cleanup_free char *next = last ? strdup("\"next_page_token\":null")
					       : scene_format("\"next_page_token\":\"%s\"",
							      tokens[i + 1]);
		struct reply *r = apikit_ask(0, "GET", target, NULL);

		ck_assert_msg(strstr(r->body, next), "%s: %s", target, r->text);
	}
	expect_refused(0, "/v1/restores?page_token=mine", 400, "page_token: is not one of ours");
	expect_refused(0, "/v1/restores?page_token=mine/", 400, "page_token");
	expect_refused(0, "/v1/restores?page_token=/other", 400, "page_token");
	apikit_stop(&k);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("routes");
	TCase *tc = tcase_create("lists");

	tcase_add_unchecked_fixture(tc, make_dir, remove_dir);
	/* Only root can ask as other users. */
	if (geteuid() == 0) {
		tcase_add_test(tc, test_list);
		tcase_add_test(tc, test_events);
		tcase_add_test(tc, test_one_id);
		tcase_add_test(tc, test_pages_of_one_id);
	}
	suite_add_tcase(suite, tc);
	return suite;
}
