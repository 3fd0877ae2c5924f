/* test_request - what a restore was asked for, while it is there and when only its row is left */
#include "daemon/request.h"

#include <string.h>

#include "daemon/json_view.h"
#include "daemon/store.h"
#include "daemon/usage.h"
#include "tests/support/restorekit.h"

#define MEMBERS "\"working_set\":{\"path\":\"/recorded\"},\"on_failure\":\"hold\""

static struct restorekit k;
static char *text; /* owned: the request as it was */

/* Stored, and over. */
static void begin(void)
{
	restorekit_open(&k, MEMBERS);
	text = strdup(k.r->rec.spec);
	ck_assert_ptr_nonnull(text);
	restore_changed(k.r, "created", NULL);
	restore_end(k.r, "stopped");
}

static void end(void)
{
	free(text);
	restorekit_close(&k);
}

static void check_request(void)
{
	struct err err = {.msg = ""};
	struct request q;

	ck_assert_msg(request_open(k.r, &q, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(q.text, text);
	ck_assert_ptr_nonnull(strstr(q.spec->path, "/snapshot"));
	ck_assert_str_eq(q.spec->wset_path, "/recorded");
	request_close(&q);
	request_close(&q);
	ck_assert_uint_eq(request_bytes(k.r), strlen(text));
}

START_TEST(test_in_memory)
{
	struct request q;
	struct err err;

	check_request();
	ck_assert_int_eq(request_open(k.r, &q, &err), 0);
	ck_assert(q.text == k.r->rec.spec && q.spec == &k.r->spec);
	request_close(&q);
	ck_assert_str_eq(k.r->rec.spec, text);
	check_request();
}
END_TEST

/* Nothing of it takes memory any more, and it can be read as before, also twice. */
START_TEST(test_in_the_store)
{
	request_leave_to_store(k.r);
	ck_assert(!k.r->rec.spec && !k.r->spec.path && !k.r->spec.wset_path);
	check_request();
	check_request();
	ck_assert_int_eq(k.r->spec.on_failure, FAILURE_HOLD);
	request_leave_to_store(k.r);
	check_request();
}
END_TEST

/* A change that is stored later does not overwrite it. */
START_TEST(test_row_is_written_again)
{
	request_leave_to_store(k.r);
	restore_changed(k.r, "once-more", NULL);
	ck_assert_str_eq(restorekit_events(&k), "created ended once-more ");
	check_request();
}
END_TEST

START_TEST(test_no_row)
{
	struct err err = {.msg = ""};
	struct request q;

	request_leave_to_store(k.r);
	ck_assert_int_eq(store_forget(k.store, "r", &err), 0);
	ck_assert_int_eq(request_open(k.r, &q, &err), -1);
	ck_assert_int_eq(err.code, ERR_NOTFOUND);
}
END_TEST

/* As an operator's shell may leave it. */
START_TEST(test_bad_row)
{
	struct err err = {.msg = ""};
	struct request q;

	free(k.r->rec.spec);
	k.r->rec.spec = strdup("{\"snapshot\":7}");
	restore_changed(k.r, "worse", NULL);
	request_leave_to_store(k.r);
	ck_assert_int_eq(request_open(k.r, &q, &err), -1);
	ck_assert_int_eq(err.code, ERR_SYSTEM);
	ck_assert_msg(strstr(err.msg, "row of restore r: snapshot"), "%s", err.msg);
}
END_TEST

static char *view(void)
{
	cleanup_json struct json_object *o = json_view_restore(k.r);

	return strdup(json_object_to_json_string(o));
}

/* Whoever asks sees no difference, but where the row is gone. */
START_TEST(test_view)
{
	cleanup_free char *before = view(), *after = NULL, *without = NULL;
	struct err err;

	ck_assert(strstr(before, "/snapshot") && strstr(before, "recorded"));
	request_leave_to_store(k.r);
	after = view();
	ck_assert_str_eq(after, before);
	ck_assert_int_eq(store_forget(k.store, "r", &err), 0);
	without = view();
	ck_assert_ptr_nonnull(strstr(without, "\"snapshot\": null"));
}
END_TEST

/* What it takes of the tenant's budget: once in the store instead of twice in memory. */
START_TEST(test_usage)
{
	struct table t = {0};
	struct usage before, after;

	table_insert(&t, k.r);
	usage_count(&t, NULL, "t", &before);
	request_leave_to_store(k.r);
	usage_count(&t, NULL, "t", &after);
	ck_assert_uint_eq(before.of[BUDGET_RECORD_BYTES] - after.of[BUDGET_RECORD_BYTES],
			  strlen(text));
	ck_assert_uint_eq(after.of[BUDGET_RECORD_BYTES], sizeof(struct restore) + strlen(text));
	table_fini(&t);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("request");
	TCase *tc = tcase_create("request");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_in_memory);
	tcase_add_test(tc, test_in_the_store);
	tcase_add_test(tc, test_row_is_written_again);
	tcase_add_test(tc, test_no_row);
	tcase_add_test(tc, test_bad_row);
	tcase_add_test(tc, test_view);
	tcase_add_test(tc, test_usage);
	suite_add_tcase(suite, tc);
	return suite;
}
