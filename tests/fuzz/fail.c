/*
 * fail - a fuzz target ends with abort()
 *
 * The kits of the tests assert by Check, which wants its runner around it. Here these assertions
 * are the same as FUZZ_CHECK().
 */
#include <check.h>
#include <stdarg.h>

#include "tests/fuzz/fuzz.h"

__attribute__((format(printf, 3, 0))) static void say(const char *file, int line, const char *fmt,
						      va_list ap)
{
	fprintf(stderr, "%s:%d: ", file, line);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

void fuzz_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(file, line, fmt, ap);
	va_end(ap);
	abort();
}

void _ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", expr);
	va_start(ap, msg);
	if (msg)
		say(file, line, msg, ap);
	va_end(ap);
	abort();
}

void _mark_point(const char *file, int line)
{
	(void)file;
	(void)line;
}
