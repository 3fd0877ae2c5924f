/* test_routes - each row of the API by each kind of caller, and what rights are worth */
#include "daemon/routes.h"

#include <string.h>
#include <sys/stat.h>

#include "daemon/caller.h"
#include "daemon/pace.h"
#include "tests/support/apikit.h"

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

/* ---- every row ---- */

#define MINE "/v1/restores/mine"
#define TENANT "/v1/tenants/" APIKIT_TENANT
#define STREAM (-200) /* a reply without a length, so that it is read in another way */

/* By whom a row is asked. */
enum who { ADMIN, OBSERVER, OWNER, OTHER, OUTSIDER, WHO_COUNT };

static const uid_t uids[WHO_COUNT] = {0, APIKIT_OBSERVER, APIKIT_OWNER, APIKIT_OTHER,
				      APIKIT_OUTSIDER};

/*
 * What is 404 for the owner is so for its own reason: there is no recording. Who is not the owner
 * makes a restore of its own with PUT, whose snapshot is not there.
 */
/* clang-format off */
static const struct {
	const char *method, *target, *body;
	enum route_right right;
	int status[WHO_COUNT];
} rows[] = {
	{"GET", "/healthz", NULL, RIGHT_ANYBODY, {200, 200, 200, 200, 200}},
	{"GET", "/readyz", NULL, RIGHT_ANYBODY, {200, 200, 200, 200, 200}},
	{"GET", "/version", NULL, RIGHT_ANYBODY, {200, 200, 200, 200, 200}},
	{"GET", "/v1/events", NULL, RIGHT_SEE_TENANT, {STREAM, STREAM, STREAM, STREAM, 403}},
	{"GET", "/v1/status", NULL, RIGHT_SEE_HOST, {200, 200, 403, 403, 403}},
	{"GET", "/v1/tenants", NULL, RIGHT_SEE_TENANT, {200, 200, 200, 200, 403}},
	{"GET", TENANT, NULL, RIGHT_SEE_THE_TENANT, {200, 200, 200, 404, 403}},
	{"PUT", TENANT, "{}", RIGHT_ADMIN, {409, 403, 403, 403, 403}},
	{"DELETE", TENANT, NULL, RIGHT_ADMIN, {409, 403, 403, 403, 403}},
	{"GET", "/v1/restores", NULL, RIGHT_SEE_TENANT, {200, 200, 200, 200, 403}},
	{"POST", "/v1/restores", "{}", RIGHT_NEW_RESTORE, {400, 403, 400, 400, 403}},
	{"PUT", MINE, APIKIT_BODY, RIGHT_NEW_RESTORE, {422, 403, 200, 422, 403}},
	{"GET", MINE, NULL, RIGHT_SEE_RESTORE, {200, 200, 200, 404, 403}},
	{"DELETE", MINE, NULL, RIGHT_STOP_RESTORE, {200, 403, 200, 404, 403}},
	{"PUT", MINE "/prefetch", "{}", RIGHT_CHANGE_RESTORE, {409, 403, 409, 404, 403}},
	{"GET", MINE "/pages", NULL, RIGHT_SEE_RESTORE, {409, 409, 409, 404, 403}},
	{"GET", MINE "/working-set", NULL, RIGHT_SEE_RESTORE, {404, 404, 404, 404, 403}},
	{"POST", MINE "/pause", NULL, RIGHT_CHANGE_RESTORE, {409, 403, 409, 404, 403}},
	{"POST", MINE "/resume", NULL, RIGHT_CHANGE_RESTORE, {409, 403, 409, 404, 403}},
	{"POST", MINE "/restart-worker", NULL, RIGHT_CHANGE_RESTORE, {409, 403, 409, 404, 403}},
};
/* clang-format on */

static bool is_of_restore(size_t i)
{
	return rows[i].right >= RIGHT_SEE_RESTORE;
}

/* The path of the row with the names that are used here in place of {id} and {name}. */
static void fill_in(const char *path, char *ret, size_t len)
{
	const char *hole = strchr(path, '{');

	if (hole)
		snprintf(ret, len, "%.*s%s%s", (int)(hole - path), path,
			 hole[1] == 'i' ? "mine" : APIKIT_TENANT, strchr(hole, '}') + 1);
	else
		snprintf(ret, len, "%s", path);
}

/* A row of the table is a row here, in the same order: whoever adds one says what it is worth. */
START_TEST(test_rows_are_all_here)
{
	const struct route *r;
	size_t i = 0;

	for (; (r = routes_at(i)); i++) {
		char target[64];

		ck_assert_msg(i < ARRAY_LEN(rows), "%s %s has no row here", r->method, r->path);
		fill_in(r->path, target, sizeof(target));
		ck_assert_str_eq(rows[i].method, r->method);
		ck_assert_str_eq(rows[i].target, target);
		ck_assert_msg(rows[i].right == r->right, "%s %s: right %d, not %d", r->method,
			      target, r->right, rows[i].right);
		ck_assert_msg(!is_of_restore(i) || strstr(r->path, "{id}"), "%s", r->path);
		ck_assert_int_eq(!!rows[i].body, r->body);
	}
	ck_assert_uint_eq(i, ARRAY_LEN(rows));
}
END_TEST

static void expect_row(size_t i, enum who who)
{
	bool sees = who != OTHER && who != OUTSIDER;
	struct reply *r;

	if (rows[i].status[who] == STREAM)
		return;
	r = apikit_ask(uids[who], rows[i].method, rows[i].target, rows[i].body);
	ck_assert_msg(r->status == rows[i].status[who], "%s %s by uid %u: %s", rows[i].method,
		      rows[i].target, uids[who], r->text);
	/* That of a caller who may see it has another reason. */
	ck_assert_msg(!sees || !strstr(r->body, "there is no restore"), "%s", r->text);
	/* Who may not see a restore gets nothing of it. */
	ck_assert_msg(sees || strstr(rows[i].target, APIKIT_TENANT) ||
			      !strstr(r->body, APIKIT_TENANT),
		      "%s", r->text);
	ck_assert_msg(who != OUTSIDER || r->status == 200 ||
			      strstr(r->body, "belongs to no tenant"),
		      "%s", r->text);
}

START_TEST(test_row)
{
	struct apikit k;

	apikit_start_tenants(&k, dir);
	for (enum who who = 0; who < WHO_COUNT; who++)
		expect_row(_i, who);
	apikit_stop(&k);
}
END_TEST

/* With one name for all restores, and without the head: that has the time. */
static char *anonymous(const struct reply *r, const char *id)
{
	char *text = strdup(r->body), *at;

	ck_assert_ptr_nonnull(text);
	while ((at = strstr(text, id)))
		memset(at, '*', strlen(id));
	return text;
}

/* Another tenant's restore is answered as one that does not exist: to the byte. */
START_TEST(test_row_of_unknown_id)
{
	cleanup_free char *other = NULL, *unknown = NULL;
	char target[64];
	struct reply *r;
	struct apikit k;
	bool create = rows[_i].right == RIGHT_NEW_RESTORE;

	if (strncmp(rows[_i].target, MINE, strlen(MINE)) != 0)
		return;
	apikit_start_tenants(&k, dir);
	r = apikit_ask(APIKIT_OTHER, rows[_i].method, rows[_i].target, rows[_i].body);
	other = anonymous(r, "mine");
	snprintf(target, sizeof(target), "/v1/restores/none%s", rows[_i].target + strlen(MINE));
	for (int admin = 0; admin < 2; admin++) {
		free(unknown);
		r = apikit_ask(admin ? 0 : APIKIT_OTHER, rows[_i].method, target, rows[_i].body);
		unknown = anonymous(r, "none");
		ck_assert_int_eq(r->status, create ? 422 : 404);
		ck_assert_str_eq(unknown, other);
	}
	ck_assert(create || strstr(unknown, "\"detail\":\"there is no restore ****\""));
	apikit_stop(&k);
}
END_TEST

/* ---- what a right is worth, by rows that are not in the table ---- */

static size_t called;
static const void *given;

static int note_plain(struct api_request *c, struct err *err)
{
	(void)c;
	(void)err;
	called++;
	return 0;
}

static int note_tenant(struct api_request *c, const char *tenant, struct err *err)
{
	given = tenant;
	return note_plain(c, err);
}

static int note_restore(struct api_request *c, struct restore *l, struct err *err)
{
	given = l;
	return note_plain(c, err);
}

/* Whom the kernel would name; no other users are needed for these. */
static struct caller caller_of(const struct tenants *ts, uid_t uid)
{
	struct sock_peer peer = {.uid = uid, .gid = uid};
	struct caller caller;

	caller_resolve(ts, &peer, &caller);
	return caller;
}

/* 0, or the code of the error, negative; then the handler was not called. */
static int try_right(const struct route *r, struct apikit *k, uid_t uid, const char *id)
{
	const struct caller caller = caller_of(&k->sup->host.tenants, uid);
	struct pace pace = {0};
	struct api_request c = {.sup = k->sup, .commands = &pace};
	struct err err = {.msg = ""};
	size_t before = called;
	int rc;

	given = NULL;
	snprintf(c.id, sizeof(c.id), "%s", id);
	rc = routes_call(r, &caller, &c, &err);
	pace_fini(&pace);
	ck_assert_uint_eq(called, before + (rc == 0));
	ck_assert_int_eq(rc != 0, err.msg[0] != '\0');
	/* The tenant that is given lives as long as the caller does. */
	if (given && r->right == RIGHT_SEE_TENANT)
		ck_assert_ptr_eq(given, caller.tenant);
	return rc ? -(int)err.code : 0;
}

START_TEST(test_rights_to_a_restore)
{
	static const struct route r = {
		"GET", "/{id}", RIGHT_SEE_RESTORE, {.of_restore = note_restore}, NULL, false};
	static const struct route change = {
		"GET", "/{id}", RIGHT_CHANGE_RESTORE, {.of_restore = note_restore}, NULL, false};
	struct apikit k;

	apikit_start_tenants(&k, dir);
	ck_assert_int_eq(try_right(&r, &k, 0, "mine"), 0);
	ck_assert_ptr_eq(given, supervisor_find(k.sup, "mine", NULL));
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OWNER, "mine"), 0);
	ck_assert_ptr_eq(given, supervisor_find(k.sup, "mine", NULL));
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OTHER, "mine"), -ERR_NOTFOUND);
	ck_assert_int_eq(try_right(&r, &k, 0, "none"), -ERR_NOTFOUND);
	ck_assert_int_eq(try_right(&r, &k, 0, ""), -ERR_NOTFOUND);
	ck_assert_int_eq(try_right(&r, &k, 0, "roots"), 0);
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OWNER, "roots"), -ERR_NOTFOUND);
	/* An observer sees all of them, and is told that it may not change them. */
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OBSERVER, "roots"), 0);
	ck_assert_int_eq(try_right(&change, &k, APIKIT_OBSERVER, "roots"), -ERR_DENIED);
	ck_assert_int_eq(try_right(&change, &k, APIKIT_OBSERVER, "none"), -ERR_NOTFOUND);
	ck_assert_int_eq(try_right(&change, &k, APIKIT_OTHER, "mine"), -ERR_NOTFOUND);
	ck_assert_int_eq(try_right(&change, &k, APIKIT_OWNER, "mine"), 0);
	ck_assert_int_eq(try_right(&change, &k, 0, "mine"), 0);
	ck_assert_int_eq(try_right(&change, &k, APIKIT_OUTSIDER, "mine"), -ERR_DENIED);
	apikit_stop(&k);
}
END_TEST

START_TEST(test_other_rights)
{
	static const struct route forgotten = {.method = "GET",
					       .path = "/",
					       .handle.plain = note_plain};
	struct route r = {"GET", "/", RIGHT_ADMIN, {.plain = note_plain}, NULL, false};
	struct apikit k;

	apikit_start_tenants(&k, dir);
	ck_assert_int_eq(try_right(&r, &k, 0, ""), 0);
	ck_assert_int_eq(try_right(&r, &k, geteuid(), ""), 0);
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OBSERVER, ""), -ERR_DENIED);
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OWNER, ""), -ERR_DENIED);
	r.right = RIGHT_SEE_HOST;
	ck_assert_int_eq(try_right(&r, &k, 0, ""), 0);
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OBSERVER, ""), 0);
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OWNER, ""), -ERR_DENIED);
	r.right = RIGHT_ANYBODY;
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OUTSIDER, ""), 0);
	r.right = RIGHT_SEE_THE_TENANT;
	r.handle.of_tenant = note_tenant;
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OWNER, APIKIT_TENANT), 0);
	ck_assert_str_eq(given, APIKIT_TENANT);
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OTHER, APIKIT_TENANT), -ERR_NOTFOUND);
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OBSERVER, APIKIT_TENANT), 0);
	r.right = RIGHT_SEE_TENANT;
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OUTSIDER, ""), -ERR_DENIED);
	ck_assert_int_eq(try_right(&r, &k, 0, ""), 0);
	ck_assert_ptr_null(given);
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OBSERVER, ""), 0);
	ck_assert_ptr_null(given);
	ck_assert_int_eq(try_right(&r, &k, APIKIT_OWNER, ""), 0);
	ck_assert_ptr_nonnull(given);
	/* Not even an admin. */
	ck_assert_int_eq(try_right(&forgotten, &k, 0, ""), -ERR_DENIED);
	apikit_stop(&k);
}
END_TEST

/* clang-format off */
static const struct {
	uid_t uid;
	const char *body, *given; /* given NULL: refused */
	enum err_code code;
} new_restores[] = {
	{APIKIT_OWNER, "{}", APIKIT_TENANT, 0},
	{APIKIT_OWNER, "{\"tenant\":null}", NULL, ERR_INVALID},
	{APIKIT_OWNER, "{\"tenant\":\"" APIKIT_TENANT "\"}", APIKIT_TENANT, 0},
	{APIKIT_OWNER, "{\"tenant\":\"" CALLER_DEFAULT_TENANT "\"}", NULL, ERR_DENIED},
	{APIKIT_OTHER, "{\"tenant\":\"" APIKIT_TENANT "\"}", NULL, ERR_DENIED},
	{APIKIT_OWNER, "{\"tenant\":\"\"}", NULL, ERR_INVALID},
	{APIKIT_OWNER, "{\"tenant\":\"../x\"}", NULL, ERR_INVALID},
	{APIKIT_OWNER, "{\"tenant\":1}", NULL, ERR_INVALID},
	{0, "{}", CALLER_DEFAULT_TENANT, 0},
	{0, "{\"tenant\":\"" APIKIT_TENANT "\"}", APIKIT_TENANT, 0},
	{0, "{\"tenant\":\"../x\"}", NULL, ERR_INVALID},
};
/* clang-format on */

/* Whom a new restore is for is decided before the handler sees the request. */
START_TEST(test_right_to_new_restore)
{
	static const struct route r = {
		"PUT", "/{id}", RIGHT_NEW_RESTORE, {.of_tenant = note_tenant}, NULL, true};
	const char *text = new_restores[_i].body;
	const struct tenants users = {.each_user = true};
	const struct caller caller = caller_of(&users, new_restores[_i].uid);
	struct err err = {.msg = ""};
	cleanup_json struct json_object *body = js_parse(text, strlen(text), false, &err);
	struct api_request c = {.body = body};

	called = 0;
	if (routes_call(&r, &caller, &c, &err)) {
		ck_assert_ptr_null(new_restores[_i].given);
		ck_assert_msg(err.msg[0] && err.code == new_restores[_i].code, "%s", err.msg);
		ck_assert_uint_eq(called, 0);
	} else {
		ck_assert_ptr_nonnull(new_restores[_i].given);
		ck_assert_str_eq(given, new_restores[_i].given);
		ck_assert_uint_eq(called, 1);
	}
}
END_TEST

/* ---- before the right ---- */

/* In this order, whatever else is wrong: route, id, parameters, body, right. */
START_TEST(test_order_of_checks)
{
	static const struct {
		const char *method, *target, *body, *want;
		int status;
	} cases[] = {
		{"GET", "/v1/nothing?colour=red", "{}", "there is nothing at /v1/nothing", 404},
		{"BREW", "/v1/status", NULL, "", 501},
		{"PATCH", "/v1/restores/-?colour=red", "{}",
		 "PATCH is not a method of /v1/restores/-, these are: PUT, GET, DELETE", 405},
		{"GET", "/v1/restores/-?colour=red", "{}", "id: must be 1 to 63 of", 400},
		{"GET", "/v1/restores/none?colour=red", "{}",
		 "colour: is not a parameter of /v1/restores/{id}", 400},
		{"GET", "/v1/restores/none", "{}", "GET /v1/restores/{id} takes no body", 400},
		{"PUT", "/v1/restores/none/prefetch", "{", "body: ", 400},
		{"PUT", "/v1/restores/none/prefetch", "{\"mode\":7}", "no restore none", 404},
		{"GET", "/v1/restores/none?wait=x", NULL, "there is no restore none", 404},
		{"GET", "/v1/restores/roots?wait=x&for=x", NULL, "wait: must be", 400},
		{"GET", "/v1/restores/roots?for=x", NULL, "for: must be a state", 400},
	};
	struct apikit k;

	apikit_start_tenants(&k, dir);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct reply *r = apikit_ask(geteuid(), cases[i].method, cases[i].target,
					     cases[i].body);

		ck_assert_msg(r->status == cases[i].status && strstr(r->body, cases[i].want),
			      "%s %s: %s", cases[i].method, cases[i].target, r->text);
		if (r->status == 405)
			ck_assert_ptr_nonnull(strstr(r->text, "\r\nAllow: PUT, GET, DELETE\r\n"));
	}
	apikit_stop(&k);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("routes");
	TCase *tc = tcase_create("rights");

	tcase_add_unchecked_fixture(tc, make_dir, remove_dir);
	tcase_add_test(tc, test_rows_are_all_here);
	tcase_add_test(tc, test_rights_to_a_restore);
	tcase_add_test(tc, test_other_rights);
	tcase_add_loop_test(tc, test_right_to_new_restore, 0, ARRAY_LEN(new_restores));
	tcase_add_test(tc, test_order_of_checks);
	/* Only root can ask as somebody else. */
	if (geteuid() == 0) {
		tcase_add_loop_test(tc, test_row, 0, ARRAY_LEN(rows));
		tcase_add_loop_test(tc, test_row_of_unknown_id, 0, ARRAY_LEN(rows));
	}
	suite_add_tcase(suite, tc);
	return suite;
}
