/* test_status - what the daemon says of itself: that it lives, is ready, which it is, and how full */
#include "daemon/status.h"

#include <config.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/utsname.h>

#include "common/js.h"
#include "daemon/descriptors.h"
#include "tests/support/apikit.h"

static char *dir;
static struct apikit k;

static void begin(void)
{
	dir = harness_tmpdir();
	apikit_prepare(&k, dir);
	apikit_start(&k);
}

static void end(void)
{
	apikit_stop(&k);
	harness_rmtree(dir);
	free(dir);
}

static struct json_object *ask(const char *target)
{
	struct reply *r = apikit_ask(geteuid(), "GET", target, NULL);
	struct err err = {.msg = ""};
	struct json_object *o;

	ck_assert_msg(r->status == 200, "%s: %s", target, r->text);
	o = js_parse(r->body, strlen(r->body), false, &err);
	ck_assert_msg(o != NULL, "%s: %s", r->body, err.msg);
	return o;
}

/* The JSON text of a member of a member, or of it alone. Static storage. */
static const char *member(struct json_object *o, const char *name, const char *inner)
{
	ck_assert_msg(json_object_object_get_ex(o, name, &o), "no %s", name);
	if (inner)
		ck_assert_msg(json_object_object_get_ex(o, inner, &o), "no %s.%s", name, inner);
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
}

static uint64_t number(struct json_object *o, const char *name, const char *inner)
{
	return strtoull(member(o, name, inner), NULL, 10);
}

START_TEST(test_healthz)
{
	ck_assert_str_eq(apikit_ask(geteuid(), "GET", "/healthz", NULL)->body,
			 "{\"status\":\"ok\"}");
}
END_TEST

/* By an operator's shell, as long as it is open. */
static sqlite3 *lock_store(void)
{
	cleanup_free char *path = NULL;
	sqlite3 *db;

	ck_assert_int_gt(asprintf(&path, "%s/uffdd.db", k.conf.state_dir), 0);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

/* While changes wait for the store it lives, and is not ready. */
START_TEST(test_readyz)
{
	sqlite3 *shell;

	ck_assert_str_eq(apikit_ask(geteuid(), "GET", "/readyz", NULL)->body,
			 "{\"status\":\"ready\"}");
	shell = lock_store();
	restore_changed(supervisor_find(k.sup, "roots", NULL), "a-test", NULL);
	WAIT_FOR(apikit_ask(geteuid(), "GET", "/readyz", NULL)->status == 503);
	ck_assert_int_eq(apikit_ask(geteuid(), "GET", "/healthz", NULL)->status, 200);
	ck_assert_int_eq(sqlite3_close(shell), SQLITE_OK);
	WAIT_FOR(apikit_ask(geteuid(), "GET", "/readyz", NULL)->status == 200);
}
END_TEST

START_TEST(test_version)
{
	cleanup_json struct json_object *o = ask("/version");
	cleanup_free char *kernel = NULL;
	struct utsname un;

	uname(&un);
	ck_assert_int_gt(asprintf(&kernel, "\"%s\"", un.release), 0);
	ck_assert_str_eq(member(o, "version", NULL), "\"" PACKAGE_VERSION "\"");
	ck_assert_str_eq(member(o, "api", NULL), "[\"v1\"]");
	ck_assert_str_eq(member(o, "kernel", NULL), kernel);
	ck_assert_ptr_nonnull(strstr(member(o, "libevent", NULL), event_get_version()));
	ck_assert_ptr_nonnull(strstr(member(o, "sqlite", NULL), sqlite3_libversion()));
}
END_TEST

/* Of each state there is a number, also where it is none. */
START_TEST(test_restores)
{
	cleanup_json struct json_object *before = ask("/v1/status"), *after = NULL;
	struct restore *r = supervisor_find(k.sup, "roots", NULL);

	ck_assert_str_eq(member(before, "restores", NULL),
			 "{\"waiting\":0,\"serving\":0,\"recovering\":0,\"ended\":2,\"failed\":0}");
	r->rec.state = STATE_SERVING;
	after = ask("/v1/status");
	ck_assert_str_eq(member(after, "restores", NULL),
			 "{\"waiting\":0,\"serving\":1,\"recovering\":0,\"ended\":1,\"failed\":0}");
	r->rec.state = STATE_ENDED;
}
END_TEST

START_TEST(test_descriptors)
{
	uint64_t used = descriptors_used();
	cleanup_json struct json_object *before = ask("/v1/status"), *after = NULL;
	int more[3];

	/* The client is there in both, and gone in between. */
	WAIT_FOR(descriptors_used() == used);
	ck_assert_uint_eq(number(before, "descriptors", "limit"), descriptors_limit());
	ck_assert_uint_eq(number(before, "descriptors", "per_restore"), DESCRIPTORS_PER_RESTORE);
	ck_assert_uint_eq(number(before, "descriptors", "waiting"), 0);
	ck_assert_uint_gt(number(before, "descriptors", "free"), ARRAY_LEN(more));
	for (size_t i = 0; i < ARRAY_LEN(more); i++)
		more[i] = dup(0);
	after = ask("/v1/status");
	ck_assert_uint_eq(number(after, "descriptors", "used"),
			  number(before, "descriptors", "used") + ARRAY_LEN(more));
	ck_assert_uint_eq(number(after, "descriptors", "free"),
			  number(before, "descriptors", "free") - ARRAY_LEN(more));
	for (size_t i = 0; i < ARRAY_LEN(more); i++)
		close(more[i]);
}
END_TEST

/* Too few are none. */
START_TEST(test_no_descriptors)
{
	cleanup_json struct json_object *o = NULL;
	struct rlimit before, few;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){DESCRIPTORS_MIN, before.rlim_max};
	few.rlim_cur /= 2;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_lt(capacity_left(&k.sup->capacity), 0);
	o = ask("/v1/status");
	ck_assert_uint_eq(number(o, "descriptors", "free"), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}
END_TEST

/* Those that have ended are not told of any more. */
START_TEST(test_strays)
{
	const struct sock_peer lives = {.pid = getpid(), .uid = 5}, ended = {.pid = 1 << 23};
	cleanup_json struct json_object *none = ask("/v1/status"), *o = NULL;
	cleanup_free char *expected = NULL;

	ck_assert_str_eq(member(none, "strays", NULL), "[]");
	strays_note(&k.sup->strays, "a", &ended, "it was");
	strays_note(&k.sup->strays, "b", &lives, "it is");
	o = ask("/v1/status");
	ck_assert_int_gt(asprintf(&expected,
				  "[{\"key\":\"b\",\"pid\":%d,\"uid\":5,\"why\":\"it is\"}]",
				  (int)getpid()),
			 0);
	ck_assert_str_eq(member(o, "strays", NULL), expected);
	ck_assert_uint_eq(number(o, "strays_count", NULL), 1);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("status");
	TCase *tc = tcase_create("status");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_healthz);
	tcase_add_test(tc, test_readyz);
	tcase_add_test(tc, test_version);
	tcase_add_test(tc, test_restores);
	tcase_add_test(tc, test_descriptors);
	tcase_add_test(tc, test_no_descriptors);
	tcase_add_test(tc, test_strays);
	suite_add_tcase(suite, tc);
	return suite;
}
