/* test_err - what a code is called outside, and what stands in an error text */
#include "common/err.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base.h"
#include "tests/support/runner.h"

#define FITS (sizeof(((struct err *)0)->msg) - 1)
#define GUARD "what lies behind"

/* A function that writes behind the struct is noticed without a sanitizer, too. */
static struct {
	struct err err;
	char guard[sizeof(GUARD)];
} e;

/* The struct is as the last failure left it: each function overwrites what it has to. */
static void begin(void)
{
	memset(&e.err, 'x', sizeof(e.err));
	memcpy(e.guard, GUARD, sizeof(GUARD));
}

static void end(void)
{
	ck_assert_str_eq(e.guard, GUARD);
}

/* @n times that character. Static storage. */
static const char *many(char c, size_t n)
{
	static char text[2 * FITS];

	ck_assert_uint_lt(n, sizeof(text));
	memset(text, c, n);
	text[n] = '\0';
	return text;
}

static void check(enum err_code code, int sys, const char *msg)
{
	ck_assert_int_eq(e.err.code, code);
	ck_assert_int_eq(e.err.sys, sys);
	ck_assert_str_eq(e.err.msg, msg);
}

/* ---- the table ---- */

/* What clients of the API and users of uffdctl rely on; docs/api.md has the same. */
/* clang-format off */
static const struct {
	enum err_code code;
	const char *name;
	int http, exit;
	const char *title;
} rows[] = {
	{ERR_INVALID,  "invalid",            400, 1, "The request is not valid"},
	{ERR_DENIED,   "denied",             403, 7, "Not permitted"},
	{ERR_NOTFOUND, "not-found",          404, 3, "No such thing"},
	{ERR_METHOD,   "method-not-allowed", 405, 1, "Not a method of this path"},
	{ERR_CONFLICT, "exists-different",   409, 6, "Exists, with another request"},
	{ERR_PAUSED,   "paused",             409, 6, "The restore is paused"},
	{ERR_STATE,    "wrong-state",        409, 6, "Not possible in this state"},
	{ERR_TRIMMED,  "trimmed",            410, 1, "No longer kept"},
	{ERR_TOOBIG,   "too-large",          413, 1, "Too large"},
	{ERR_SNAPSHOT, "bad-snapshot",       422, 1, "The snapshot cannot be served"},
	{ERR_PATH,     "bad-path",           422, 1, "The path cannot be used"},
	{ERR_QUOTA,    "quota-exceeded",     429, 1, "A limit is reached"},
	{ERR_SYSTEM,   "system",             500, 1, "The system refused"},
	{ERR_PEER,     "bad-peer",           502, 1, "The VMM broke the protocol"},
	{ERR_UNREADY,  "not-ready",          503, 5, "Not ready"},
	{ERR_TIMEOUT,  "timeout",            504, 4, "Took too long"},
	{ERR_NOSPACE,  "no-space",           507, 1, "No space is left"},
};
/* clang-format on */

START_TEST(test_row)
{
	enum err_code code = rows[_i].code;

	ck_assert_str_eq(err_name(code), rows[_i].name);
	ck_assert_str_eq(err_title(code), rows[_i].title);
	ck_assert_int_eq(err_http(code), rows[_i].http);
	ck_assert_int_eq(err_exit(code), rows[_i].exit);
	ck_assert_int_eq(err_from_name(rows[_i].name), code);
}
END_TEST

/* A new code gets its row here. */
START_TEST(test_rows_are_all_here)
{
	ck_assert_uint_eq(ARRAY_LEN(rows), ERR_COUNT);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_uint_eq(rows[i].code, i);
}
END_TEST

START_TEST(test_unknown_name)
{
	/* clang-format off */
	static const char *const names[] = {
		"", "invalid ", "invali", "Invalid", "ERR_INVALID", "no-spaces", "of a newer daemon",
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		ck_assert_msg(err_from_name(names[i]) == ERR_SYSTEM, "\"%s\" is %s", names[i],
			      err_name(err_from_name(names[i])));
}
END_TEST

/* ---- err_set ---- */

START_TEST(test_set)
{
	ck_assert_int_eq(err_set(&e.err, ERR_QUOTA, "%d of %s", 7, "eight"), -1);
	check(ERR_QUOTA, 0, "7 of eight");
	ck_assert_int_eq(err_set(&e.err, ERR_INVALID, "no argument"), -1);
	check(ERR_INVALID, 0, "no argument");
}
END_TEST

START_TEST(test_set_cuts)
{
	err_set(&e.err, ERR_INVALID, "%s", many('a', FITS));
	check(ERR_INVALID, 0, many('a', FITS));
	err_set(&e.err, ERR_INVALID, "%s", many('b', FITS + 1));
	check(ERR_INVALID, 0, many('b', FITS));
}
END_TEST

/* ---- err_sys ---- */

/* clang-format off */
static const struct {
	int sys;
	enum err_code code;
} errnos[] = {
	{ENOSPC, ERR_NOSPACE}, {EDQUOT, ERR_NOSPACE},
	{ENOENT, ERR_SYSTEM}, {EACCES, ERR_SYSTEM}, {ENOMEM, ERR_SYSTEM}, {EMFILE, ERR_SYSTEM},
	{ENOSYS, ERR_SYSTEM}, {EFBIG, ERR_SYSTEM},
};
/* clang-format on */

START_TEST(test_sys)
{
	char want[256];

	snprintf(want, sizeof(want), "open /x: %s", strerror(errnos[_i].sys));
	errno = errnos[_i].sys;
	ck_assert_int_eq(err_sys(&e.err, "open %s", "/x"), -1);
	check(errnos[_i].code, errnos[_i].sys, want);
}
END_TEST

/* Formatting an argument may set errno: the errno of the failure counts. */
START_TEST(test_sys_formats)
{
	static const wchar_t no_character[] = {(wchar_t)0x7fffffff, 0};

	errno = ENOENT;
	err_sys(&e.err, "%ls", no_character);
	ck_assert_int_eq(errno, EILSEQ);
	ck_assert_int_eq(e.err.sys, ENOENT);
	ck_assert_ptr_nonnull(strstr(e.err.msg, strerror(ENOENT)));
}
END_TEST

START_TEST(test_sys_cuts)
{
	char want[FITS + 1];

	/* Room for a part of the reason, … */
	snprintf(want, sizeof(want), "%s: No such", many('a', FITS - strlen(": No such")));
	errno = ENOENT;
	err_sys(&e.err, "%s", many('a', FITS - strlen(": No such")));
	check(ERR_SYSTEM, ENOENT, want);
	/* … and for none of it. */
	errno = ENOENT;
	err_sys(&e.err, "%s", many('b', FITS + 1));
	check(ERR_SYSTEM, ENOENT, many('b', FITS));
}
END_TEST

/* ---- err_wrap ---- */

START_TEST(test_wrap)
{
	errno = ENOSPC;
	err_sys(&e.err, "write");
	ck_assert_int_eq(err_wrap(&e.err, "page map of %s", "r"), -1);
	check(ERR_NOSPACE, ENOSPC, "page map of r: write: No space left on device");
	ck_assert_int_eq(err_wrap(&e.err, "create"), -1);
	check(ERR_NOSPACE, ENOSPC, "create: page map of r: write: No space left on device");
}
END_TEST

START_TEST(test_wrap_cuts)
{
	char want[FITS + 1];

	/* The end of the inner text goes. */
	snprintf(want, sizeof(want), "outer: %s", many('a', FITS - strlen("outer: ")));
	err_set(&e.err, ERR_PEER, "%s", many('a', FITS));
	err_wrap(&e.err, "outer");
	check(ERR_PEER, 0, want);
	err_set(&e.err, ERR_PEER, "inner");
	err_wrap(&e.err, "%s", many('b', FITS + 1));
	check(ERR_PEER, 0, many('b', FITS));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("err");
	TCase *t = tcase_create("table");

	tcase_add_loop_test(t, test_row, 0, ARRAY_LEN(rows));
	tcase_add_test(t, test_rows_are_all_here);
	tcase_add_test(t, test_unknown_name);
	suite_add_tcase(s, t);
	t = tcase_create("texts");
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, test_set);
	tcase_add_test(t, test_set_cuts);
	tcase_add_loop_test(t, test_sys, 0, ARRAY_LEN(errnos));
	tcase_add_test(t, test_sys_formats);
	tcase_add_test(t, test_sys_cuts);
	tcase_add_test(t, test_wrap);
	tcase_add_test(t, test_wrap_cuts);
	suite_add_tcase(s, t);
	return s;
}
