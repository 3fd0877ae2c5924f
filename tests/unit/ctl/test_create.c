/* The verb create: the body it makes of its options, and the request. */
#include "ctl/create.h"

#include <check.h>
#include <string.h>

#include "common/js.h"
#include "common/spec.h"
#include "tests/support/ctlkit.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

/* clang-format off */
static const struct {
	const char *args, *body;
} bodies[] = {
	{"--snapshot /s", "{'snapshot':{'dir':'/s'}}"},
	{"--snapshot ./a//b", "{'snapshot':{'dir':'@/a//b'}}"},
	{"--memory m", "{'snapshot':{'memory':['@/m']}}"},
	{"--dense-diffs --memory /b --memory /d",
	 "{'snapshot':{'memory':['/b','/d'],'dense_diffs':true}}"},
	{"--memory /base --memory .//d1 --memory=/d2 --prefetch none",
	 "{'snapshot':{'memory':['/base','@/d1','/d2']},'prefetch':{'mode':'none'}}"},
	{"--header h --layer 0253401b-6878-4028-a7bb-56675dd433a3=l=1 "
	 "--layer 28b4d5d3-5742-4726-bd38-23870c536765=/l2",
	 "{'snapshot':{'header':'@/h','layers':{'0253401b-6878-4028-a7bb-56675dd433a3':'@/l=1',"
	 "'28b4d5d3-5742-4726-bd38-23870c536765':'/l2'}}}"},
	{"--snapshot /s --tenant t1 --connect-timeout 500ms --when-complete release "
	 "--on-failure poison",
	 "{'snapshot':{'dir':'/s'},'tenant':'t1','connect_timeout':'500ms',"
	 "'when_complete':'release','on_failure':'poison'}"},
	{"--snapshot /s --socket u.sock --socket-mode 0600 --socket-owner 123:100 --peer-uid 123",
	 "{'snapshot':{'dir':'/s'},'socket':{'path':'@/u.sock','mode':'0600','uid':123,'gid':100},"
	 "'peer':{'uid':123}}"},
	{"--snapshot .///a/./b", "{'snapshot':{'dir':'@/a/./b'}}"},
	{"--snapshot ././/.c", "{'snapshot':{'dir':'@/.c'}}"},
	{"--snapshot ../d", "{'snapshot':{'dir':'@/../d'}}"},
	{"--snapshot /s --socket /u --peer-uid 0",
	 "{'snapshot':{'dir':'/s'},'socket':{'path':'/u'},'peer':{'uid':0}}"},
	{"--snapshot /s --peer-pid 77", "{'snapshot':{'dir':'/s'},'peer':{'pid':77}}"},
	{"--snapshot /s --peer-uid 4294967294", "{'snapshot':{'dir':'/s'},'peer':{'uid':4294967294}}"},
	{"--snapshot /s --socket-owner 0:0", "{'snapshot':{'dir':'/s'},'socket':{'uid':0,'gid':0}}"},
	{"--header /h", "{'snapshot':{'header':'/h','layers':{}}}"},
	{"--snapshot /s --rate 0 --max-resident 0",
	 "{'snapshot':{'dir':'/s'},'prefetch':{'rate_bytes_per_s':0,'max_resident_bytes':0}}"},
	{"--snapshot /s --no-record", "{'snapshot':{'dir':'/s'},'working_set':{'record':false}}"},
	{"--snapshot /s --id vm1", "{'snapshot':{'dir':'/s'}}"},
	{"--snapshot /s --socket-mode 00660",
	 "{'snapshot':{'dir':'/s'},'socket':{'mode':'00660'}}"},
	{"--snapshot /s --working-set w --prefetch working-set",
	 "{'snapshot':{'dir':'/s'},'working_set':{'path':'@/w'},'prefetch':{'mode':'working-set'}}"},
	{"--snapshot /s --no-record --working-set /w",
	 "{'snapshot':{'dir':'/s'},'working_set':{'path':'/w','record':false}}"},
	{"--snapshot /s --socket-owner 4294967294",
	 "{'snapshot':{'dir':'/s'},'socket':{'uid':4294967294}}"},
	{"--snapshot /s --rate 1G",
	 "{'snapshot':{'dir':'/s'},'prefetch':{'rate_bytes_per_s':1073741824}}"},
	{"--snapshot /s --prefetch all --rate 300K",
	 "{'snapshot':{'dir':'/s'},'prefetch':{'mode':'all','rate_bytes_per_s':307200}}"},
	{"--snapshot /s --max-resident 2G --zero-pages",
	 "{'snapshot':{'dir':'/s'},'prefetch':{'max_resident_bytes':2147483648,'zero_pages':true}}"},
};
/* clang-format on */

/* The table is written with ' for " and @ for the current directory. */
static struct json_object *expected(const char *text, const char *cwd)
{
	char json[2048];
	size_t n = 0;

	for (; *text; text++) {
		if (*text == '@')
			n += (size_t)snprintf(json + n, sizeof(json) - n, "%s", cwd);
		else
			json[n++] = *text == '\'' ? '"' : *text;
	}
	json[n] = '\0';
	return json_tokener_parse(json);
}

/* The row with a header alone is one that the daemon refuses. */
static bool is_whole(const char *args)
{
	return !strstr(args, "--header") || strstr(args, "--layer");
}

static struct json_object *body_of(const char *args)
{
	struct ctlkit_line line;
	struct json_object *body = NULL;
	cleanup_free char *text = NULL;
	struct err err;

	ck_assert_int_gt(asprintf(&text, "create %s", args), 0);
	ctlkit_read(&line, text, CTLKIT_NOWHERE);
	ck_assert_msg(create_body(&line.ctl.args, &body, &err) == 0, "%s: %s", args, err.msg);
	ctlkit_line_fini(&line);
	return body;
}

START_TEST(bodies_of_options)
{
	const char *args = bodies[_i].args;
	cleanup_free char *dir = harness_tmpdir();
	cleanup_free char *cwd = realpath(dir, NULL);
	cleanup_json struct json_object *is = NULL, *should = NULL;
	struct spec spec = {0};
	struct err err;

	ck_assert_int_eq(chdir(cwd), 0);
	is = body_of(args);
	ck_assert_int_eq(chdir("/"), 0);
	harness_rmtree(dir);
	should = expected(bodies[_i].body, cwd);
	ck_assert_ptr_nonnull(should);
	ck_assert_msg(json_object_equal(is, should), "%s:\n%s", args,
		      json_object_to_json_string(is));
	/* What this end writes, the other end must understand. */
	ck_assert_msg(!is_whole(args) || spec_parse(is, &spec, &err) == 0, "%s: %s", args, err.msg);
	spec_fini(&spec);
}
END_TEST

/* Every option but --id, which is no part of the body, changes it. */
START_TEST(every_option_counts)
{
	const struct args_option *option = &create_options[_i];
	bool named = false;

	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		for (const char *p = bodies[i].args; (p = strstr(p, "--")); p += 2)
			named |= strcspn(p + 2, " =") == strlen(option->name) &&
				 strncmp(p + 2, option->name, strlen(option->name)) == 0;
	ck_assert_msg(named, "no body is made with --%s", option->name);
}
END_TEST

/* The root is the one directory whose name ends with the slash. */
START_TEST(relative_to_the_root)
{
	cleanup_json struct json_object *is = NULL,
					*should = expected("{'snapshot':{'memory':['/m','/n/o']}}",
							   "");

	ck_assert_int_eq(chdir("/"), 0);
	is = body_of("--memory m --memory ./n/o");
	ck_assert_msg(json_object_equal(is, should), "%s", json_object_to_json_string(is));
}
END_TEST

/* ---- what is refused before any request ---- */

static const char once[] = "give exactly one of --snapshot, --memory and --header";

/* clang-format off */
static const struct {
	const char *args, *says;
} misuses[] = {
	{"", once},
	{"--id vm1", once},
	{"--snapshot /s --memory /m", once},
	{"--snapshot /s --header /h", once},
	{"--memory /m --header /h", once},
	{"--snapshot /s --memory /m --header /h", once},
	{"--snapshot /s --dense-diffs", "--dense-diffs goes with --memory only"},
	{"--header /h --dense-diffs", "--dense-diffs goes with --memory only"},
	{"--snapshot /s --layer a=b", "--layer goes with --header only"},
	{"--memory /m --layer a=b", "--layer goes with --header only"},
	{"--header /h --layer a=b --layer c=d --layer a=e", "--layer gives build id a twice"},
};
/* clang-format on */

START_TEST(misuse)
{
	cleanup_free char *text = NULL, *says = NULL;
	struct json_object *body = NULL;
	struct ctlkit_case c = {.code = 2};
	struct ctlkit_line line;
	struct err err;

	ck_assert_int_gt(asprintf(&text, "create %s", misuses[_i].args), 0);
	ctlkit_read(&line, text, CTLKIT_NOWHERE);
	ck_assert_int_eq(create_body(&line.ctl.args, &body, &err), -1);
	ck_assert_str_eq(err.msg, misuses[_i].says);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ctlkit_line_fini(&line);
	ck_assert_int_gt(asprintf(&says, "uffdctl create: %s\nSee: uffdctl create --help\n",
				  misuses[_i].says),
			 0);
	c.line = text;
	c.err = says;
	ctlkit_check(&c);
}
END_TEST

/* Who stands in a directory that is gone can still name files by their whole path. */
START_TEST(no_current_directory)
{
	static const char *const options[] = {
		"--snapshot x",
		"--memory x",
		"--header x",
		"--header /h --layer a=x",
		"--snapshot /s --socket x",
		"--snapshot /s --working-set x",
	};
	cleanup_json struct json_object *body = NULL;
	cleanup_free char *dir = harness_tmpdir();

	ck_assert_int_eq(chdir(dir), 0);
	harness_rmtree(dir);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		cleanup_free char *text = NULL;
		struct ctlkit_case c = {
			.code = 1,
			.err = "uffdctl: x: current directory: No such file or directory "
			       "(system)\n",
		};

		ck_assert_int_gt(asprintf(&text, "create %s", options[i]), 0);
		c.line = text;
		ctlkit_check(&c);
	}
	body = body_of("--snapshot /s --socket /u --working-set /w");
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

/* ---- the request ---- */

#define BODY " {\"snapshot\":{\"dir\":\"/s\"}}\n"

/* clang-format off */
static const struct ctlkit_case cases[] = {
	{"create --snapshot /s", {{201, VM1}}, 0,
	 "id               vm1\ntenant           t1\nstate            serving\n", NULL,
	 "POST /v1/restores" BODY},
	{"create --snapshot /s --id vm1 -q", {{201, VM1}}, 0, "vm1\n", NULL,
	 "PUT /v1/restores/vm1" BODY},
	/* The same request again: the restore that is there. */
	{"create --id vm1 --snapshot /s -o json", {{200, VM1}}, 0, VM1 "\n", NULL,
	 "PUT /v1/restores/vm1" BODY},
	{"create --snapshot /s --tenant t2 --rate 1K", {{403, PROBLEM(403, "denied", "not yours")}},
	 7, NULL, "uffdctl: not yours (denied)\n",
	 "POST /v1/restores {\"snapshot\":{\"dir\":\"/s\"},\"tenant\":\"t2\","
	 "\"prefetch\":{\"rate_bytes_per_s\":1024}}\n"},
	{"create --snapshot /s --id vm1", {{409, PROBLEM(409, "exists-different", "d")}}, 6, NULL,
	 "uffdctl: d (exists-different)\n", "PUT /v1/restores/vm1" BODY},
	{"create --snapshot /s", {{201, ""}}, 1, NULL,
	 "uffdctl: uffdd's answer is not JSON (bad-peer)\n", "POST /v1/restores" BODY},
	{"create --snapshot /s", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},
};
/* clang-format on */

START_TEST(request)
{
	ctlkit_check(&cases[_i]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("create");
	TCase *tcase = tcase_create("create");
	int options = 0;

	while (create_options[options].name)
		options++;
	tcase_add_loop_test(tcase, bodies_of_options, 0, ARRAY_LEN(bodies));
	tcase_add_loop_test(tcase, every_option_counts, 0, options);
	tcase_add_test(tcase, relative_to_the_root);
	tcase_add_loop_test(tcase, misuse, 0, ARRAY_LEN(misuses));
	tcase_add_test(tcase, no_current_directory);
	tcase_add_loop_test(tcase, request, 0, ARRAY_LEN(cases));
	suite_add_tcase(suite, tcase);
	return suite;
}
