/* test_roles - three tenants, an observer, an admin and an outsider at each route of a daemon */
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/runner.h"
#include "tests/support/scene.h"

#define TENANTS_FILE                                                       \
	"{\"admins\":{\"uids\":[64001]},\"observers\":{\"gids\":[64002]}," \
	"\"tenants\":{\"red\":{\"uids\":[64003]},\"blue\":{\"gids\":[64014]}}}"

enum role { ADMIN, OBSERVER, RED, BLUE, GREEN, OUTSIDER, ROLES };

/* Green is made over the API. Blue acts by a group that is not its first. */
static const struct {
	const char *name;
	uid_t uid;
	gid_t more;
} roles[ROLES] = {
	{"an admin", 64001, 64001}, {"an observer", 64002, 64002}, {"red", 64003, 64003},
	{"blue", 64004, 64014},     {"green", 64005, 64005},       {"an outsider", 64006, 64006},
};

/* The kernel notes the effective user and groups when a socket is connected. */
static void act_as(enum role role)
{
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setgroups(1, &roles[role].more), 0);
	ck_assert_int_eq(setegid(roles[role].uid), 0);
	ck_assert_int_eq(seteuid(roles[role].uid), 0);
}

static void act_as_root(void)
{
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setegid(0), 0);
}

/* ---- what each row is worth ---- */

enum worth { ANYBODY, SEES_HOST, SEES_LIST, SEES, CHANGES, ADMINS };

/* *: a restore or a tenant. Bodies and queries that change nothing, whoever may. */
static const struct {
	const char *method, *target, *body;
	enum worth worth;
} rows[] = {
	{"GET", "/healthz", NULL, ANYBODY},
	{"GET", "/readyz", NULL, ANYBODY},
	{"GET", "/version", NULL, ANYBODY},
	{"GET", "/v1/events", NULL, SEES_LIST},
	{"GET", "/v1/status", NULL, SEES_HOST},
	{"GET", "/v1/tenants", NULL, SEES_LIST},
	{"GET", "/v1/tenants/*", NULL, SEES},
	{"PUT", "/v1/tenants/*", "{\"uids\":[-1]}", ADMINS},
	{"GET", "/v1/restores", NULL, SEES_LIST},
	{"GET", "/v1/restores/*", NULL, SEES},
	{"GET", "/v1/restores/*/pages", NULL, SEES},
	{"GET", "/v1/restores/*/working-set", NULL, SEES},
	{"DELETE", "/v1/restores/*?grace=x", NULL, CHANGES},
	{"PUT", "/v1/restores/*/prefetch", "{\"mode\":\"x\"}", CHANGES},
	{"POST", "/v1/restores/*/pause", NULL, CHANGES},
	{"POST", "/v1/restores/*/resume", NULL, CHANGES},
};

enum answer { DONE, DENIED, UNKNOWN }; /* DONE: the handler was asked */

static enum answer answer_for(const struct harness_reply *r)
{
	if (r->status == 403)
		return DENIED;
	return strstr(r->body, "\"detail\":\"there is no ") ? UNKNOWN : DONE;
}

/* @owner: whose thing is asked about; OUTSIDER: nobody's, it is not there. */
static enum answer expected(size_t row, enum role role, enum role owner)
{
	bool sees = role == ADMIN || role == OBSERVER || role == owner;

	if (rows[row].worth == ANYBODY)
		return DONE;
	if (role == OUTSIDER)
		return DENIED;
	switch (rows[row].worth) {
	case SEES_HOST:
		return role == ADMIN || role == OBSERVER ? DONE : DENIED;
	case SEES:
		return sees && owner != OUTSIDER ? DONE : UNKNOWN;
	case CHANGES:
		if (!sees || owner == OUTSIDER)
			return UNKNOWN;
		return role == OBSERVER ? DENIED : DONE;
	case ADMINS:
		return role == ADMIN ? DONE : DENIED;
	default:
		return DONE;
	}
}

static void check_row(const struct scene *s, size_t row, enum role role, enum role owner)
{
	const char *name = owner == OUTSIDER ? "nobody" : roles[owner].name;
	const char *pattern = rows[row].target, *star = pattern + strcspn(pattern, "*");
	cleanup_free char *target = scene_format("%.*s%s%s", (int)(star - pattern), pattern,
						 *star ? name : "", *star ? star + 1 : "");
	struct harness_reply r;

	harness_http(s->d.socket, rows[row].method, target, rows[row].body, &r);
	ck_assert_msg(answer_for(&r) == expected(row, role, owner), "%s, %s %s: %d: %s",
		      roles[role].name, rows[row].method, target, r.status, r.body);
	harness_reply_fini(&r);
}

static void check_all(const struct scene *s)
{
	for (enum role role = 0; role < ROLES; role++) {
		act_as(role);
		for (size_t row = 0; row < ARRAY_LEN(rows); row++)
			for (enum role owner = RED; owner <= OUTSIDER; owner++)
				check_row(s, row, role, owner);
	}
	act_as_root();
}

/* ---- the host ---- */

static char snapshot[256];

static void open_host(struct scene *s)
{
	s->config = "\"socket_mode\":\"0666\"";
	s->d.tenants = TENANTS_FILE;
	scene_open(s);
	/* Where everybody can read it. */
	snprintf(snapshot, sizeof(snapshot), "%s/public", s->d.dir);
	scene_copy_dir(SCENE_SNAPSHOT, snapshot);
	act_as(ADMIN);
	scene_tell(s, 201, "PUT", "/v1/tenants/green", "{\"uids\":[64005]}");
	for (enum role role = RED; role <= GREEN; role++) {
		act_as(role);
		scene_create(s, roles[role].name, snapshot, NULL);
	}
	act_as_root();
}

static void close_host(struct scene *s)
{
	for (enum role role = RED; role <= GREEN; role++)
		scene_delete(s, roles[role].name, "");
	scene_close(s);
}

/* Also after a restart, with what the store knows. */
START_TEST(test_every_row)
{
	struct scene s = {0};

	open_host(&s);
	check_all(&s);
	scene_kill(&s);
	harness_daemon_start(&s.d, NULL);
	check_all(&s);
	close_host(&s);
}
END_TEST

static size_t count_of(const struct scene *s, const char *target)
{
	cleanup_json struct json_object *o = scene_ask(s, 200, "GET", target, NULL);

	return json_object_array_length(scene_member(o, "items"));
}

START_TEST(test_lists_and_creates)
{
	cleanup_free char *body = NULL, *for_blue = NULL;
	struct scene s = {0};

	open_host(&s);
	body = scene_body(snapshot, NULL);
	for_blue = scene_body(snapshot, "\"tenant\":\"blue\"");
	act_as(RED);
	ck_assert_uint_eq(count_of(&s, "/v1/restores"), 1);
	ck_assert_uint_eq(count_of(&s, "/v1/tenants"), 1);
	scene_refused(&s, "PUT", "/v1/restores/x", for_blue, ERR_DENIED,
		      "may act for tenant \"red\" only, not \"blue\"");
	act_as(OBSERVER);
	ck_assert_uint_eq(count_of(&s, "/v1/restores?state=waiting"), 3);
	ck_assert_uint_eq(count_of(&s, "/v1/tenants"), 4);
	scene_refused(&s, "PUT", "/v1/restores/x", body, ERR_DENIED, "may change nothing");
	act_as(OUTSIDER);
	scene_refused(&s, "PUT", "/v1/restores/x", body, ERR_DENIED,
		      "uid 64006 belongs to no tenant");
	act_as_root();
	close_host(&s);
}
END_TEST

/* From its next request on a user has the rights that it has now. */
START_TEST(test_tenant_goes)
{
	struct scene s = {0};

	open_host(&s);
	act_as(ADMIN);
	scene_refused(&s, "DELETE", "/v1/tenants/green", NULL, ERR_STATE, "1 live restores");
	scene_tell(&s, 200, "PUT", "/v1/tenants/green", "{}");
	act_as(GREEN);
	scene_refused(&s, "GET", "/v1/restores/green", NULL, ERR_DENIED, "belongs to no tenant");
	act_as(ADMIN);
	scene_delete(&s, "green", "");
	scene_tell(&s, 200, "DELETE", "/v1/tenants/green", NULL);
	scene_tell(&s, 201, "PUT", "/v1/tenants/new", "{\"uids\":[64005]}");
	act_as(GREEN);
	scene_refused(&s, "GET", "/v1/restores/green", NULL, ERR_NOTFOUND, "no restore green");
	act_as_root();
	scene_delete(&s, "red", "");
	scene_delete(&s, "blue", "");
	scene_close(&s);
}
END_TEST

/* A budget holds for the tenant, whoever acts for it, and goes on holding. */
START_TEST(test_budget)
{
	cleanup_free char *body = NULL;
	struct scene s = {0};

	open_host(&s);
	body = scene_body(snapshot, "\"tenant\":\"green\"");
	scene_tell(&s, 200, "PUT", "/v1/tenants/green",
		   "{\"uids\":[64005],\"budgets\":{\"restores\":2}}");
	act_as(GREEN);
	scene_create(&s, "g2", snapshot, NULL);
	scene_refused(&s, "PUT", "/v1/restores/g3", body, ERR_QUOTA,
		      "all of its budget of 2 restores");
	act_as(ADMIN);
	scene_refused(&s, "PUT", "/v1/restores/g3", body, ERR_QUOTA,
		      "all of its budget of 2 restores");
	act_as_root();
	scene_kill(&s);
	harness_daemon_start(&s.d, NULL);
	scene_refused(&s, "PUT", "/v1/restores/g3", body, ERR_QUOTA,
		      "all of its budget of 2 restores");
	scene_delete(&s, "g2", "");
	scene_tell(&s, 201, "PUT", "/v1/restores/g3", body);
	scene_delete(&s, "g3", "");
	close_host(&s);
}
END_TEST

/* What a snapshot would cost is found out before it is paid. */
START_TEST(test_budget_of_snapshots)
{
	static const struct {
		const char *budget, *says;
	} costs[] = {
		{"header_entries", " entries, and 1 are left of the tenant's budget"},
		{"files", " files, and 1 are left of the tenant's budget"},
		{"page_map_bytes", " page_map_bytes, and 1 are left of the tenant's budget"},
		{"guest_bytes", " guest_bytes, and 1 are left of the budget of tenant green"},
	};
	cleanup_free char *body = NULL;
	struct scene s = {0};

	open_host(&s);
	body = scene_body(snapshot, "\"tenant\":\"green\"");
	scene_delete(&s, "green", "");
	for (size_t i = 0; i < ARRAY_LEN(costs); i++) {
		cleanup_free char *tenant =
			scene_format("{\"uids\":[64005],\"budgets\":{\"%s\":1}}", costs[i].budget);

		scene_tell(&s, 200, "PUT", "/v1/tenants/green", tenant);
		scene_refused(&s, "PUT", "/v1/restores/g", body, ERR_QUOTA, costs[i].says);
	}
	/* Another's is not touched by that, and one's own is there again. */
	scene_tell(&s, 200, "PUT", "/v1/tenants/green", "{\"uids\":[64005]}");
	act_as(GREEN);
	scene_create(&s, "again", snapshot, NULL);
	scene_delete(&s, "again", "");
	act_as_root();
	close_host(&s);
}
END_TEST

/* An admin's creates for a tenant are beneath its roots, too. */
START_TEST(test_snapshot_roots)
{
	cleanup_free char *tenant = NULL, *inside = NULL, *outside = NULL, *link = NULL;
	cleanup_free char *within = NULL, *out = NULL, *linked = NULL;
	struct scene s = {0};

	open_host(&s);
	scene_delete(&s, "green", "");
	inside = scene_format("%s/green", s.d.dir);
	outside = scene_format("%s/green-too", s.d.dir);
	link = scene_format("%s/link", inside);
	scene_copy_dir(snapshot, inside);
	scene_copy_dir(snapshot, outside);
	ck_assert_int_eq(symlink(outside, link), 0);
	tenant = scene_format("{\"uids\":[64005],\"snapshot_roots\":[\"%s\"]}", inside);
	scene_tell(&s, 200, "PUT", "/v1/tenants/green", tenant);
	within = scene_body(inside, "\"tenant\":\"green\"");
	out = scene_body(outside, "\"tenant\":\"green\"");
	linked = scene_body(link, "\"tenant\":\"green\"");
	for (int i = 0; i < 2; i++) {
		const char *id = i ? "by-root" : "by-green";
		cleanup_free char *target = scene_format("/v1/restores/%s", id);

		if (i == 0)
			act_as(GREEN);
		else
			act_as_root();
		scene_refused(&s, "PUT", target, out, ERR_DENIED, "snapshot_roots");
		scene_refused(&s, "PUT", target, linked, ERR_DENIED, "snapshot_roots");
		scene_tell(&s, 201, "PUT", target, within);
		scene_delete(&s, id, "");
	}
	close_host(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite;
	TCase *tc;

	if (geteuid() != 0) {
		puts("1..0 # SKIP only root can act as other users");
		return NULL;
	}
	suite = suite_create("story_roles");
	tc = tcase_create("roles");
	tcase_add_test(tc, test_every_row);
	tcase_add_test(tc, test_lists_and_creates);
	tcase_add_test(tc, test_tenant_goes);
	tcase_add_test(tc, test_budget);
	tcase_add_test(tc, test_budget_of_snapshots);
	tcase_add_test(tc, test_snapshot_roots);
	suite_add_tcase(suite, tc);
	return suite;
}
