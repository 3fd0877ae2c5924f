/* What uffdctl shows to people: on terminals, and nowhere else. */
#include "ctl/render.h"

#include <check.h>
#include <string.h>

#include "tests/support/ctlkit.h"
#include "tests/support/runner.h"

START_TEST(colours)
{
	static const struct canned_reply script[] = {{200, PART(VM1, "null")}, {0}};
	/* clang-format off */
	static const struct {
		const char *line, *env;
		bool coloured;
	} cases[] = {
		{"list", NULL, true}, {"list", "NO_COLOR=", true}, {"list", "NO_COLOR=1", false},
		{"list", "TERM=dumb", false}, {"list -o json", NULL, false}, {"list -q", NULL, false},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ctlkit k = {.line = cases[i].line,
				   .env = cases[i].env,
				   .script = script,
				   .printed = {.terminal = STDOUT_FILENO, .columns = 80}};
		const char *seen;

		ctlkit_run(&k);
		seen = k.printed.out;
		ck_assert_msg(k.code == 0, "%zu: %s", i, k.printed.err);
		ck_assert_msg((strchr(seen, '\033') != NULL) == cases[i].coloured, "%zu: %s", i,
			      seen);
		ck_assert_msg(strstr(seen, "serving") || strstr(seen, "vm1"), "%zu: %s", i, seen);
		/* Colours must not move the columns. */
		ck_assert_msg(!cases[i].coloured ||
				      (strstr(seen, "\033[32mserving\033[0m         -") &&
				       strstr(seen, "STATE    RESIDENT")),
			      "%s", seen);
		ctlkit_fini(&k);
	}
}
END_TEST

/* ---- pieces ---- */

START_TEST(sizes)
{
	/* clang-format off */
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"}, {1023, "1023 B"}, {1024, "1 KiB"}, {1536, "1.5 KiB"},
		{1048575, "1.0 MiB"}, {(uint64_t)512 << 20, "512 MiB"},
		{(uint64_t)3 << 30, "3 GiB"}, {UINT64_MAX, "16 EiB"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[32];

		render_size(cases[i].bytes, text, sizeof(text));
		ck_assert_str_eq(text, cases[i].text);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("render");
	TCase *tcase = tcase_create("render");

	tcase_add_test(tcase, colours);
	tcase_add_test(tcase, sizes);
	suite_add_tcase(suite, tcase);
	return suite;
}
