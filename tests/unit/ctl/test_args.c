/* The command line of uffdctl: what it takes, and what it refuses. */
#include "config.h"

#include <check.h>
#include <string.h>

#include "tests/fakes/http/canned.h"
#include "tests/support/runner.h"

/* clang-format off */
static const struct {
	const char *args, *err;
} misuses[] = {
	{"", "Usage: uffdctl"},
	{"-q", "Usage: uffdctl"},
	{"-S", "--socket wants a value: PATH"},
	{"-o yaml list", "--output wants table|json, not \"yaml\""},
	{"-o tab list", "--output wants table|json"},
	{"-o '' list", "--output wants table|json"},
	{"-S '' list", "--socket wants a value that is not empty"},
	{"-S a -S b list", "--socket is given twice"},
	{"--nonsense list", "there is no option --nonsense"},
	{"-x list", "there is no option -x"},
	{"list -qx", "uffdctl list: there is no option -x"},
	{"list --quiet=1", "--quiet takes no value"},
	/* A name is written out: the next option may begin alike. */
	{"--quie list", "there is no option --quie"},
	{"list --sta happy", "there is no option --sta"},
	{"list --sta", "there is no option --sta"},
	{"list --qui=1", "there is no option --qui"},
	{"list --s=x", "there is no option --s"},
	{"create --snapshot /s --socket", "--socket wants a value: PATH"},
	{"list -qS", "--socket wants a value: PATH"},
	{"list -q-", "there is no option --"},
	{"list -- --quiet", "\"--quiet\" is one argument too many"},
	{"list -", "\"-\" is one argument too many"},
	{"list --state", "--state wants a value: STATE"},
	{"list --state happy", "--state wants waiting, serving"},
	{"list --tenant a/b", "--tenant wants letters"},
	{"list extra", "\"extra\" is one argument too many"},
	{"list --id x", "there is no option --id"},
	{"frobnicate", "there is no verb \"frobnicate\"; there are: create list show wait stop "
		       "prefetch pages working-set events status version pause resume"},
	{"top", "there is no verb \"top\""},
	{"show", "uffdctl show: ID is missing"},
	{"show a b", "\"b\" is one argument too many"},
	{"show ../etc", "\"../etc\" is no id"},
	{"show -- -a", "\"-a\" is no id"},
	{"show ''", "\"\" is no id"},
	{"stop", "ID is missing"},
	{"stop vm1 v/2", "\"v/2\" is no id"},
	{"stop vm1 --grace soon", "--grace wants a time such as"},
	{"stop vm1 --grace 25h", "--grace wants a time such as"},
	{"wait vm1 --for happy", "--for wants waiting"},
	{"wait vm1 --timeout 5", "--timeout wants a time"},
	{"wait vm1 --timeout", "--timeout wants a value: TIME"},
	{"prefetch vm1",
	 "none, working-set, all, pause, resume, --rate or --max-resident is missing"},
	{"prefetch vm1 some", "not \"some\""},
	{"prefetch vm1 all --rate 1T", "--rate wants a number of bytes"},
	{"prefetch vm1 all --rate K", "--rate wants"},
	{"prefetch vm1 --max-resident half", "--max-resident wants a number of bytes"},
	{"prefetch vm1 all --rate -1", "--rate wants"},
	{"prefetch vm1 all --rate 9223372036854775807K", "--rate wants"},
	{"prefetch vm1 all --rate 99999999999999999999", "--rate wants"},
	{"events --after x", "--after wants a number"},
	{"events a b", "\"b\" is one argument too many"},
	{"pages", "ID is missing"},
	{"pause", "ID is missing"},
	{"resume", "ID is missing"},
	{"status vm1", "one argument too many"},
	{"version vm1", "one argument too many"},
	{"create", "exactly one of --snapshot, --memory and --header"},
	{"create --snapshot /s --memory /m", "exactly one of"},
	{"create --snapshot /s --dense-diffs", "--dense-diffs goes with --memory"},
	{"create --snapshot /s --layer a=b", "--layer goes with --header"},
	{"create --header /h --layer ab", "--layer wants BUILDID=FILE, not \"ab\""},
	{"create --header /h --layer =b", "--layer wants BUILDID=FILE"},
	{"create --header /h --layer a=b --layer a=c", "--layer gives build id a twice"},
	{"create --snapshot /s --snapshot /t", "--snapshot is given twice"},
	{"create --snapshot /s --working-set ''", "--working-set wants a value that is not empty"},
	{"working-set", "ID is missing"},
	{"create --snapshot ''", "--snapshot wants a value that is not empty"},
	{"create --snapshot /s --id -x", "--id wants letters"},
	{"create --snapshot /s --socket-mode 888", "--socket-mode wants octal digits"},
	{"create --snapshot /s --socket-mode 4755", "--socket-mode wants"},
	{"create --snapshot /s --socket-owner root", "--socket-owner wants numbers"},
	{"create --snapshot /s --socket-owner 1:", "--socket-owner wants"},
	{"create --snapshot /s --socket-owner :1", "--socket-owner wants"},
	{"create --snapshot /s --socket-owner 4294967295", "--socket-owner wants"},
	{"create --snapshot /s --peer-uid me", "--peer-uid wants a user number"},
	{"create --snapshot /s --prefetch some", "--prefetch wants none|working-set|all, not \"some\""},
	{"create --snapshot /s --prefetch none|all", "--prefetch wants none|working-set|all"},
	{"create --snapshot /s --connect-timeout 2d", "--connect-timeout wants a time"},
	{"create --snapshot /s --when-complete go", "--when-complete wants stay|release"},
	{"create --snapshot /s --on-failure cry", "--on-failure wants kill|poison|hold"},
	{"create vm1 --snapshot /s", "\"vm1\" is one argument too many"},
};
/* clang-format on */

START_TEST(misuse)
{
	/* A socket that nobody may ever ask. */
	struct run run = {.args = misuses[_i].args, .socket = "/nonexistent"};
	struct ran ran;

	ran_run(&ran, &run);
	ck_assert_msg(ran.code == 2, "%s: exit %d %s", run.args, ran.code, ran.err);
	ck_assert_msg(strstr(ran.err, misuses[_i].err), "%s: %s", run.args, ran.err);
	ck_assert_msg(*ran.out == '\0', "%s: %s", run.args, ran.out);
	ran_fini(&ran);
}
END_TEST

START_TEST(help)
{
	static const struct {
		const char *args, *says;
	} cases[] = {
		{"--help", "  prefetch       Steer the prefetch of a restore.\n"},
		{"-h", "-o, --output table|json"},
		{"--version", "uffdctl " PACKAGE_VERSION "\n"},
		{"-V show", "uffdctl " PACKAGE_VERSION "\n"},
		{"-qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqhVq",
		 "Usage: uffdctl [OPTION]"},
		{"show --help", "Usage: uffdctl show [OPTION]... ID\n"},
		{"-h prefetch", "Usage: uffdctl prefetch [OPTION]... ID "
				"[none|working-set|all|pause|resume]\n"},
		{"create --help", "--layer BUILDID=FILE"},
		{"create --help", "--on-failure kill|poison|hold   what becomes of"},
		{"stop vm1 -h", "Options of every verb:\n  -S, --socket PATH"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct run run = {.args = cases[i].args, .socket = "/nonexistent"};
		struct ran ran;

		ran_run(&ran, &run);
		ck_assert_msg(ran.code == 0 && *ran.err == '\0', "%s: %d %s", run.args, ran.code,
			      ran.err);
		ck_assert_msg(strstr(ran.out, cases[i].says), "%s: %s", run.args, ran.out);
		ran_fini(&ran);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("args");
	TCase *tcase = tcase_create("args");

	tcase_add_loop_test(tcase, misuse, 0, ARRAY_LEN(misuses));
	tcase_add_test(tcase, help);
	suite_add_tcase(suite, tcase);
	return suite;
}
