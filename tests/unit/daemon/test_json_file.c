/* test_json_file - JSON files of the operator: what is read, and what is refused */
#include "daemon/json_file.h"

#include <string.h>
#include <sys/stat.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define MAX 64

static char *dir, *file; /* owned */

static void make_dir(void)
{
	dir = harness_tmpdir();
	ck_assert_int_gt(asprintf(&file, "%s/x.json", dir), 0);
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
	free(file);
}

static void no_file(void)
{
	unlink(file);
}

static void write_text(const char *text)
{
	FILE *f = fopen(file, "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void refused(const char *path, enum err_code code, const char *says)
{
	struct json_object *o = (struct json_object *)dir;
	struct err err = {.msg = ""};

	ck_assert_int_eq(json_file_read(path, MAX, &o, &err), -1);
	ck_assert_ptr_null(o);
	ck_assert_int_eq(err.code, code);
	ck_assert_msg(strstr(err.msg, says) != NULL, "%s", err.msg);
}

START_TEST(test_read)
{
	cleanup_json struct json_object *o = NULL;
	struct err err = {.msg = ""};

	write_text("/* why */ {\"a\": 1}\n");
	ck_assert_msg(json_file_read(file, MAX, &o, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(json_object_get_int(json_object_object_get(o, "a")), 1);
}
END_TEST

START_TEST(test_as_large_as_may_be)
{
	cleanup_json struct json_object *o = NULL;
	struct err err = {.msg = ""};
	char text[MAX + 1];

	snprintf(text, sizeof(text), "{}%*s", MAX - 2, "");
	write_text(text);
	ck_assert_msg(json_file_read(file, MAX, &o, &err) == 0, "%s", err.msg);
	ck_assert_ptr_nonnull(o);
}
END_TEST

START_TEST(test_none)
{
	struct json_object *o = (struct json_object *)dir;
	struct err err = {.msg = ""};

	ck_assert_int_eq(json_file_read(file, MAX, &o, &err), 0);
	ck_assert_ptr_null(o);
}
END_TEST

START_TEST(test_refused)
{
	cleanup_free char *below = NULL;
	char text[MAX + 2];

	write_text("[]");
	refused(file, ERR_INVALID, "line 1, column 1");
	write_text("{\"a\":\n}");
	refused(file, ERR_INVALID, "line 2, column 1");
	refused(dir, ERR_PATH, "is not a regular file");
	ck_assert_int_gt(asprintf(&below, "%s/x", file), 0);
	refused(below, ERR_SYSTEM, "cannot open it");
	snprintf(text, sizeof(text), "{}%*s", MAX - 1, "");
	write_text(text);
	refused(file, ERR_TOOBIG, "is larger than 64 bytes");
	unlink(file);
	ck_assert_int_eq(mkfifo(file, 0600), 0);
	refused(file, ERR_PATH, "is not a regular file");
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("json_file");
	TCase *t = tcase_create("json_file");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_checked_fixture(t, no_file, no_file);
	tcase_add_test(t, test_read);
	tcase_add_test(t, test_as_large_as_may_be);
	tcase_add_test(t, test_none);
	tcase_add_test(t, test_refused);
	suite_add_tcase(s, t);
	return s;
}
