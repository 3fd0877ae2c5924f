/* uffdctl as it is installed: what it asks, what it prints, how it exits. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "common/js.h"
#include "tests/support/ctlkit.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define READY "{\"ready\":true}"

#define STATUS_MEMBERS                                                                 \
	"\"descriptors\":{\"used\":1000,\"limit\":1024,\"free\":12,\"per_restore\":4," \
	"\"waiting\":7},"                                                              \
	"\"strays_count\":2,\"strays\":["                                              \
	"{\"key\":\"vm1\",\"pid\":77,\"uid\":5,\"why\":\"it \\u001b[2J\"},"            \
	"{\"key\":\"vm2\",\"pid\":78,\"uid\":5,\"why\":\"so\"}]"
#define STATUS "{\"restores\":{\"waiting\":1}," STATUS_MEMBERS "}"

/* Every member that the API has, with bytes that must not reach a terminal. */
#define WHOLE                                                                                  \
	"{\"id\":\"vm1\",\"tenant\":\"t1\",\"state\":\"serving\","                             \
	"\"reason\":\"bad \\u001b[31m\\u0007\\u009b\\u007f\",\"revision\":7,"                  \
	"\"complete\":false,\"paused\":true,"                                                  \
	"\"snapshot\":{\"dir\":\"/snap\"},"                                                    \
	"\"socket\":{\"path\":\"/run/vm1.sock\",\"mode\":\"0660\",\"uid\":5,\"gid\":6},"       \
	"\"peer\":{\"uid\":5},\"mem_backend\":{\"backend_type\":\"Uffd\","                     \
	"\"backend_path\":\"/run/vm1.sock\"},\"vmm\":{\"pid\":77,\"uid\":5},"                  \
	"\"worker\":{\"pid\":78,\"restarts\":2,\"release\":\"0.1\"},"                          \
	"\"memory\":{\"size_bytes\":1073741824,\"page_bytes\":4096,"                           \
	"\"resident_bytes\":268435456,\"zero_bytes\":8192,\"removed_bytes\":4096,"             \
	"\"short_of\":\"huge-pages\",\"total_bytes\":1073741824},"                             \
	"\"faults\":{\"count\":9,\"served\":8,\"zero\":1},"                                    \
	"\"prefetch\":{\"mode\":\"all\",\"state\":\"limited\",\"reason\":\"no room\","         \
	"\"rate_bytes_per_s\":1048576,\"max_resident_bytes\":2097152,\"zero_pages\":false,"    \
	"\"done_bytes\":1024,\"total_bytes\":2048},"                                           \
	"\"working_set\":{\"record\":true,\"path\":null,\"state\":\"recorded\",\"pages\":12}," \
	"\"connect_timeout\":\"30s\","                                                         \
	"\"when_complete\":\"stay\",\"on_failure\":\"kill\","                                  \
	"\"created_at\":\"2001-02-03T04:05:06.789Z\",\"connected_at\":null,\"ended_at\":null}"

/* clang-format off */
static const struct verb_case {
	const char *args;
	struct canned_reply replies[CANNED_REPLIES_MAX];
	int code;
	/* What must stand there: the whole of stdout, parts of the others. NULL: nothing. */
	const char *out, *err, *asked;
} verb_cases[] = {
	/* show, and the exit code of every error of the daemon */
	{"show vm1 -o json", {{200, VM1}}, 0, VM1 "\n", NULL, "GET /v1/restores/vm1 HTTP"},
	{"-o json show vm1", {{200, WHOLE}}, 0, NULL, NULL, "GET /v1/restores/vm1 HTTP"},
	{"show vm1", {{200, VM1, CANNED_CHUNKED}}, 0,
	 "id               vm1\ntenant           t1\nstate            serving\n", NULL, "GET"},
	{"-q show vm1", {{200, VM1}}, 0, "vm1\n", NULL, "GET"},
	{"show vm1", {{404, PROBLEM(404, "not-found", "no restore vm1")}}, 3, "",
	 "uffdctl: no restore vm1 (not-found)\n", "GET"},
	{"show vm1 -o json", {{404, PROBLEM(404, "not-found", "no restore vm1")}}, 3, "",
	 PROBLEM(404, "not-found", "no restore vm1") "\n", "GET"},
	{"show vm1", {{400, PROBLEM(400, "invalid", "bad")}}, 1, "", "bad (invalid)", "GET"},
	{"show vm1", {{504, PROBLEM(504, "timeout", "slow")}}, 4, "", "slow (timeout)", "GET"},
	{"show vm1", {{503, PROBLEM(503, "not-ready", "drain")}}, 5, "", "drain (not-ready)",
	 "GET"},
	{"show vm1", {{409, PROBLEM(409, "wrong-state", "it is over")}}, 6, "", "(wrong-state)",
	 "GET"},
	{"show vm1", {{403, PROBLEM(403, "denied", "not yours")}}, 7, "", "not yours (denied)",
	 "GET"},
	{"show vm1", {{409, PROBLEM(409, "new-word", "hm")}}, 6, "", "hm (new-word)", "GET"},
	{"show vm1", {{403, PROBLEM(403, "denied", "a\\u001b[2Jb\\nc")}}, 7, "",
	 "uffdctl: a\\x1b[2Jb\\x0ac (denied)\n", "GET"},
	{"show vm1", {{501, "<html>no</html>", CANNED_LENGTH, "text/html"}}, 1, "",
	 "uffdctl: uffdd answered with status 501 (system)\n", "GET"},
	{"show vm1 -o json", {{501, "<html>no</html>", CANNED_LENGTH, "text/html"}}, 1, "",
	 "\"detail\":\"uffdd answered with status 501\",\"code\":\"system\"}\n", "GET"},
	{"show vm1", {{200, "fine", CANNED_LENGTH, "text/plain"}}, 1, "", "not JSON (bad-peer)",
	 "GET"},
	{"show vm1", {{200, "220 smtp ready\r\n", CANNED_RAW}}, 1, "", "does not speak HTTP",
	 "GET"},
	{"show vm1", {{200, "", CANNED_RAW}}, 5, "", "hung up without an answer", "GET"},

	/* list */
	{"list", {{200, PART("", "null")}}, 0,
	 "ID  TENANT  STATE  RESIDENT  SIZE  FAULTS  PREFETCH  AGE\n", NULL,
	 "GET /v1/restores?limit=1000 HTTP"},
	{"list",
	 {{200, PART(RESTORE("a-long-name", "serving",
			     ",\"complete\":true,\"memory\":{\"size_bytes\":1610612736,"
			     "\"resident_bytes\":1610612736},\"faults\":{\"count\":12345}"),
		     "null")}}, 0,
	 "ID           TENANT  STATE             RESIDENT     SIZE  FAULTS  PREFETCH  AGE\n"
	 "a-long-name  t1      serving complete      100%  1.5 GiB   12345  -           -\n", NULL,
	 "GET"},
	{"list -q", {{200, PART(VM1, "\"p/2\"")}, {200, PART(RESTORE("vm2", "ended", ""), "null")}},
	 0, "vm1\nvm2\n", NULL, "GET /v1/restores?limit=1000&page_token=p%2F2 HTTP"},
	{"list -o json --tenant t1 --state serving",
	 {{200, PART(VM1, "\"x\"")}, {200, PART(RESTORE("vm2", "serving", ""), "null")}}, 0,
	 PART(VM1 "," RESTORE("vm2", "serving", ""), "null") "\n", NULL,
	 "GET /v1/restores?limit=1000&tenant=t1&state=serving&page_token=x HTTP"},
	{"list", {{200, "{}"}}, 1, "", "no list of restores", "GET"},

	/* wait */
	{"wait vm1", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "GET /v1/restores/vm1?for=serving&wait=30000ms HTTP"},
	{"wait vm1 --for complete --timeout 2s",
	 {{200, VM1}, {200, RESTORE("vm1", "serving", ",\"complete\":true")}}, 0,
	 "vm1 serving complete\n", NULL, "GET /v1/restores/vm1?for=complete&wait=2000ms HTTP"},
	{"wait vm1 --for ended --timeout 40s", {{200, RESTORE("vm1", "ended", "")}}, 0,
	 "vm1 ended\n", NULL, "?for=ended&wait=30000ms HTTP"},
	{"wait vm1 --for failed", {{200, RESTORE("vm1", "failed", ",\"reason\":\"r\"")}}, 0,
	 "vm1 failed: r\n", NULL, "?for=failed&"},
	{"wait vm1 --timeout 150ms", {{200, RESTORE("vm1", "waiting", ""), CANNED_HOLD}}, 4,
	 "vm1 waiting\n",
	 "uffdctl: vm1 is still waiting, not serving; --timeout gives it more time (timeout)",
	 "?for=serving&wait=150ms HTTP"},
	{"wait vm1 --timeout 0s", {{200, RESTORE("vm1", "waiting", "")}}, 4, "vm1 waiting\n",
	 "still waiting", "GET /v1/restores/vm1 HTTP"},
	{"wait vm1 -o json", {{200, RESTORE("vm1", "failed", ",\"reason\":\"no disk\"")}}, 8,
	 RESTORE("vm1", "failed", ",\"reason\":\"no disk\"") "\n", "vm1 has failed: no disk",
	 "GET"},
	{"wait vm1", {{200, RESTORE("vm1", "ended", ",\"reason\":\"VMM gone\"")}}, 6,
	 "vm1 ended: VMM gone\n", "vm1 is ended and can no longer become serving: VMM gone", "GET"},
	{"wait vm1 --for complete", {{200, RESTORE("vm1", "ended", "")}}, 6, "vm1 ended\n",
	 "no longer", "GET"},
	{"wait vm1", {{404, PROBLEM(404, "not-found", "no")}}, 3, "", "not-found", "GET"},

	/* stop */
	{"stop vm1", {{200, RESTORE("vm1", "ended", ",\"reason\":\"stopped\"")}}, 0,
	 "vm1 ended: stopped\n", NULL, "DELETE /v1/restores/vm1 HTTP"},
	{"stop --grace 5s --kill vm1", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "DELETE /v1/restores/vm1?grace=5s&kill=true HTTP"},
	{"stop vm1 --kill", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "DELETE /v1/restores/vm1?kill=true HTTP"},
	{"stop vm1 vm2 -o json", {{200, VM1}, {200, RESTORE("vm2", "ended", "")}}, 0,
	 VM1 "\n" RESTORE("vm2", "ended", "") "\n", NULL, "DELETE /v1/restores/vm2 HTTP"},
	{"stop vm1 vm2 vm3", {{404, PROBLEM(404, "not-found", "no vm1")}, {200, VM1},
			      {200, RESTORE("vm3", "ended", "")}}, 9,
	 "vm1 serving\nvm3 ended\n", "no vm1 (not-found)", "DELETE /v1/restores/vm3 HTTP"},
	{"stop vm1", {{404, PROBLEM(404, "not-found", "no vm1")}}, 3, "", "not-found", "DELETE"},
	{"stop vm1 vm2", {{503, PROBLEM(503, "not-ready", "n")}}, 5, "", "not-ready", "DELETE"},

	/* prefetch, pause, resume, restart-worker */
	{"prefetch vm1 none", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "\r\n\r\n{\"mode\":\"none\"}"},
	{"prefetch vm1 working-set", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "\r\n\r\n{\"mode\":\"working-set\"}"},
	{"prefetch vm1 all --rate 2M", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "\r\n\r\n{\"mode\":\"all\",\"rate_bytes_per_s\":2097152}"},
	{"prefetch vm1 pause", {{200, VM1}}, 0, "vm1 serving\n", NULL, "\r\n\r\n{\"paused\":true}"},
	{"prefetch vm1 resume", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "\r\n\r\n{\"paused\":false}"},
	{"prefetch vm1 --rate=0", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "PUT /v1/restores/vm1/prefetch HTTP"},
	{"prefetch vm1 --max-resident=64M", {{200, VM1}}, 0, "vm1 serving\n", NULL,
	 "\r\n\r\n{\"max_resident_bytes\":67108864}"},
	{"pause vm1", {{200, RESTORE("vm1", "serving", ",\"paused\":true")}}, 0,
	 "vm1 serving paused\n", NULL, "POST /v1/restores/vm1/pause HTTP"},
	{"resume vm1", {{200, VM1}}, 0, "vm1 serving\n", NULL, "POST /v1/restores/vm1/resume HTTP"},
	{"pause vm1", {{409, PROBLEM(409, "paused", "p")}}, 6, "", "p (paused)", "POST"},
	{"restart-worker vm1", {{200, RESTORE("vm1", "recovering", "")}}, 0, "vm1 recovering\n",
	 NULL, "POST /v1/restores/vm1/restart-worker HTTP"},
	{"restart-worker vm1 -o json", {{200, VM1}}, 0, VM1 "\n", NULL,
	 "POST /v1/restores/vm1/restart-worker HTTP"},
	{"restart-worker vm1", {{409, PROBLEM(409, "wrong-state", "it is over")}}, 6, "",
	 "it is over (wrong-state)", "POST"},

	/* working-set */
	{"working-set vm1", {{200, "uffdwset\n\n\n ", CANNED_LENGTH,
			      "application/octet-stream"}}, 0, "uffdwset\n\n\n ", NULL,
	 "GET /v1/restores/vm1/working-set HTTP"},
	{"working-set vm1 -o json", {{200, "x", CANNED_CHUNKED, "application/octet-stream"}}, 0,
	 "x", NULL, "GET /v1/restores/vm1/working-set HTTP"},
	{"working-set vm1", {{404, PROBLEM(404, "not-found", "none yet")}}, 3, "",
	 "none yet (not-found)", "GET"},
	{"working-set vm1", {{200, VM1}}, 1, "", "no working set", "GET"},
	{"working-set vm1", {{200, "", CANNED_LENGTH, "application/octet-stream"}}, 1, "",
	 "no working set", "GET"},

	/* pages */
	{"pages vm1",
	 {{200, "{\"page_bytes\":4096,\"size_bytes\":16384,\"exact\":true,\"runs\":[{\"offset\":0,"
		"\"length\":4096,\"state\":\"present\"}],\"next_offset\":4096}"},
	  {200, "{\"page_bytes\":4096,\"size_bytes\":16384,\"exact\":true,\"runs\":["
		"{\"offset\":4096,\"length\":12288,\"state\":\"absent\"}],\"next_offset\":null}"}},
		0,
	 "0 4096 present\n4096 12288 absent\n", NULL,
	 "GET /v1/restores/vm1/pages?offset=4096 HTTP"},
	{"pages vm1 -o json",
	 {{200,
	 "{\"page_bytes\":4096,\"exact\":false,\"runs\":[{\"offset\":0}],\"next_offset\":4096}"},
	  {200, "{\"page_bytes\":4096,\"exact\":true,\"runs\":[{\"offset\":4096}],"
		"\"next_offset\":null}"}}, 0,
	 "{\"page_bytes\":4096,\"runs\":[{\"offset\":0},{\"offset\":4096}],\"exact\":false,"
	 "\"next_offset\":null}\n", NULL, "GET /v1/restores/vm1/pages?offset=0 HTTP"},
	{"pages vm1", {{200, "{\"exact\":false,\"runs\":[],\"next_offset\":null}"}}, 0, "",
	 "uffdctl pause vm1", "GET"},
	{"pages vm1", {{200, "{\"exact\":false,\"inexact\":\"it may not be looked into\",\"runs\":[],"
			     "\"next_offset\":null}"}}, 0, "", "it may not be looked into", "GET"},
	{"pages vm1", {{200, "{\"runs\":[],\"next_offset\":0}"}}, 1, "", "round in circles", "GET"},
	{"pages vm1", {{200, "{}"}}, 1, "", "no runs", "GET"},

	/* events */
	{"events", {{200, "{\"seq\":4,\"time\":\"T\",\"type\":\"restore.state\",\"tenant\":\"t1\","
			  "\"restore\":\"vm1\",\"data\":{\"from\":\"waiting\",\"n\":1,\"x\":{}}}\n"
			  "{}\n\n{\"seq\":5,\"data\":{}}\n", CANNED_CHUNKED,
		     "application/x-ndjson"}}, 0,
	 "4 T restore.state t1 vm1 from=waiting n=1\n5 - - - - -\n", NULL,
	 "GET /v1/events?follow=0 HTTP"},
	{"events vm1 --after 17 -o json", {{200, "{\"seq\":18}\n{}\n", CANNED_CHUNKED}}, 0,
	 "{\"seq\":18}\n", NULL, "GET /v1/events?follow=0&after=17&restore=vm1 HTTP"},
	{"events -f", {{200, "{\"seq\":18}\n{}\n", CANNED_CHUNKED},
		       {410, PROBLEM(410, "trimmed", "oldest is 20")}}, 1, "18 - - - - -\n",
	 "behind event 18\nuffdctl: oldest is 20 (trimmed)",
	 "GET /v1/events?follow=1&after=18 HTTP"},
	{"events --after 1", {{410, PROBLEM(410, "trimmed", "oldest is 9")}}, 1, "",
	 "oldest is 9 (trimmed)", "GET"},
	{"events", {{200, "{\"seq\":3}\nrubbish\n", CANNED_CHUNKED}}, 1, "3 - - - - -\n",
	 "event behind 3", "GET"},

	/* status, version */
	{"status", {{200, READY}, {200, PART(VM1 "," VM1 "," RESTORE("b", "odd", ""), "null")},
		    {404, PROBLEM(404, "not-found", "an older daemon")}}, 0,
	 "ready        yes\nwaiting      0\nserving      2\nrecovering   0\nended        0\n"
	 "failed       0\nodd          1\n", NULL, "GET /readyz HTTP"},
	{"status", {{200, "ok", CANNED_LENGTH, "text/plain"}, {200, PART("", "null")},
		    {403, PROBLEM(403, "denied", "a tenant")}}, 0,
	 "ready        yes\nwaiting      0\nserving      0\nrecovering   0\nended        0\n"
	 "failed       0\n", NULL, "GET /v1/restores"},
	{"status", {{200, READY}, {200, PART("", "null")}, {200, STATUS}}, 0,
	 "ready        yes\nwaiting      0\nserving      0\nrecovering   0\nended        0\n"
	 "failed       0\ndescriptors  1000 of 1024, room for 3 restores\n"
	 "no room      7 restores wait for descriptors\nnot adopted  2\n"
	 "  pid 77, key vm1: it \\x1b[2J\n  pid 78, key vm2: so\n", NULL,
	 "GET /v1/status HTTP"},
	{"status -o json", {{200, READY}, {200, PART("", "null")}, {200, STATUS}}, 0,
	 "{\"ready\":true,\"restores\":{\"waiting\":0,\"serving\":0,\"recovering\":0,\"ended\":0,"
	 "\"failed\":0}," STATUS_MEMBERS "}\n", NULL, "GET /v1/status HTTP"},
	{"status -o json", {{503, PROBLEM(503, "not-ready", "draining")}, {200, PART(VM1, "null")},
			    {404, PROBLEM(404, "not-found", "an older daemon")}},
	 5,
	 "{\"ready\":false,\"restores\":{\"waiting\":0,\"serving\":1,\"recovering\":0,\"ended\":0,"
	 "\"failed\":0}}\n", "draining", "GET /readyz HTTP"},
	{"version", {{200, "{\"version\":\"0.2.0\",\"api\":[\"v1\",\"v2\"],\"kernel\":\"6.1\"}"}},
	 0,
	 "uffdctl " PACKAGE_VERSION "\nuffdd 0.2.0 (api v1 v2, kernel 6.1)\n", NULL,
	 "GET /version"},
	{"version -o json", {{200, "{\"version\":\"0.2.0\"}"}}, 0,
	 "{\"client\":\"" PACKAGE_VERSION "\",\"server\":{\"version\":\"0.2.0\"}}\n", NULL, "GET"},

	/* create */
	{"create --id vm1 --snapshot /s -q", {{201, VM1}}, 0, "vm1\n", NULL,
	 "PUT /v1/restores/vm1 HTTP"},
	{"create --snapshot /s -o json", {{200, VM1}}, 0, VM1 "\n", NULL, "POST /v1/restores HTTP"},
	{"create --snapshot /s --id vm1", {{409, PROBLEM(409, "exists-different", "d")}}, 6, "",
	 "d (exists-different)", "PUT"},
};
/* clang-format on */

static void check_output(const struct verb_case *c, const struct ran *ran, const char *asked)
{
	ck_assert_msg(ran->code == c->code, "%s: exit %d\n%s%s", c->args, ran->code, ran->out,
		      ran->err);
	ck_assert_msg(!c->out || strcmp(ran->out, c->out) == 0, "%s:\n%s", c->args, ran->out);
	ck_assert_msg(c->err ? strstr(ran->err, c->err) != NULL : *ran->err == '\0', "%s:\n%s",
		      c->args, ran->err);
	ck_assert_msg(strstr(asked, c->asked), "%s:\n%s", c->args, asked);
	/* Neither colours nor a bar nor a stranger's bytes where no terminal is. */
	for (const char *p = ran->out; *p; p++)
		ck_assert_msg(*p == '\n' || ((unsigned char)*p >= 0x20 && *p != 0x7f), "%s:\n%s",
			      c->args, ran->out);
	ck_assert_msg(!strchr(ran->err, '\033') && !strchr(ran->err, '\r'), "%s", c->args);
}

START_TEST(verbs_against_a_daemon)
{
	const struct verb_case *c = &verb_cases[_i];
	struct run run = {.args = c->args};
	struct canned server;
	struct ran ran;
	char *asked;

	canned_start(&server, c->replies);
	run.socket = server.socket;
	ran_run(&ran, &run);
	asked = canned_stop(&server);
	check_output(c, &ran, asked);
	ran_fini(&ran);
	free(asked);
}
END_TEST

/* One reply, and no wish about the exit code. */
static struct ran ask(const char *args, const char *body, const char *const *env)
{
	const struct canned_reply script[] = {{200, body}, {0}};
	struct run run = {.args = args, .env = env};
	struct canned server;
	struct ran ran;

	canned_start(&server, script);
	run.socket = server.socket;
	ran_run(&ran, &run);
	free(canned_stop(&server));
	return ran;
}

START_TEST(show_everything)
{
	static const char *const lines[] = {
		"state            serving paused\n",
		"reason           bad \\x1b[31m\\x07\\x9b\\x7f\n",
		"snapshot         {\"dir\":\"/snap\"}\n",
		"socket           path=/run/vm1.sock mode=0660 uid=5 gid=6\n",
		"mem_backend      {\"backend_type\":\"Uffd\",\"backend_path\":\"/run/vm1.sock\"}\n",
		"vmm              pid=77 uid=5\n",
		"worker           pid=78 restarts=2 release=0.1\n",
		"memory           1 GiB in pages of 4 KiB\n",
		"resident         256 MiB (25%), 8 KiB of it zeroed, 4 KiB removed; "
		"the guest waits for huge-pages\n",
		"faults           count=9 served=8 zero=1\n",
		"prefetch         all, limited, 1 KiB of 2 KiB, at most 1 MiB/s, "
		"until 2 MiB are resident: no room\n",
		"working_set      record=true state=recorded pages=12\n",
		"created          2001-02-03T04:05:06.789Z (",
	};
	struct ran ran = ask("show vm1", WHOLE, NULL);

	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		ck_assert_msg(strstr(ran.out, lines[i]), "%s in\n%s", lines[i], ran.out);
	ck_assert_ptr_null(strstr(ran.out, "connected "));
	ck_assert_ptr_nonnull(strstr(ran.out, "h ago)\n")); /* days and hours */
	ran_fini(&ran);
}
END_TEST

/* The object survives as it is, also the bytes that are escaped on the way. */
START_TEST(json_is_the_objects)
{
	struct ran ran = ask("show vm1 -o json", WHOLE, NULL);
	cleanup_json struct json_object *is = json_tokener_parse(ran.out);
	cleanup_json struct json_object *should = json_tokener_parse(WHOLE);

	ck_assert_ptr_nonnull(is);
	ck_assert_msg(json_object_equal(is, should), "%s", ran.out);
	ck_assert_ptr_nonnull(strstr(ran.out, "\\u009b\\u007f"));
	ran_fini(&ran);
}
END_TEST

/* ---- nobody there, no rights, no room, no patience ---- */

START_TEST(unreachable)
{
	/* clang-format off */
	static const char *const verbs[] = {
		"create --snapshot /s", "list", "show a", "wait a", "stop a", "stop a b",
		"prefetch a all", "pages a", "events", "status", "version", "pause a", "resume a",
		"restart-worker a", "working-set a",
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		struct run run = {.args = verbs[i], .socket = "/nonexistent/x"};
		bool is_version = strcmp(verbs[i], "version") == 0;
		struct ran ran;

		ran_run(&ran, &run);
		ck_assert_msg(ran.code == 5, "%s: exit %d %s", verbs[i], ran.code, ran.err);
		ck_assert_msg(strstr(ran.err, "uffdctl: is uffdd running? cannot reach it at "
					      "socket /nonexistent/x: No such file or directory"),
			      "%s: %s", verbs[i], ran.err);
		ck_assert_str_eq(ran.out, is_version ? "uffdctl " PACKAGE_VERSION "\n" : "");
		ran_fini(&ran);
	}
}
END_TEST

/* The option wins over the environment; a socket may be there and still not be ours. */
START_TEST(not_permitted)
{
	const struct canned_reply script[] = {{200, PART("", "null")}, {0}};
	char args[160];
	struct run run = {.args = args, .socket = "/nonexistent", .powerless = true};
	struct canned server;
	struct ran ran;

	canned_start(&server, script);
	snprintf(args, sizeof(args), "-S%s list", server.socket);
	ck_assert_int_eq(chmod(server.socket, 0), 0);
	ran_run(&ran, &run);
	ck_assert_msg(ran.code == 7, "%d %s", ran.code, ran.err);
	ck_assert_msg(strstr(ran.err, "control.sock: Permission denied; your user"), "%s", ran.err);
	ran_fini(&ran);
	ck_assert_int_eq(chmod(server.socket, 0600), 0);
	ran_run(&ran, &run);
	ck_assert_msg(ran.code == 0, "%d %s", ran.code, ran.err);
	ran_fini(&ran);
	free(canned_stop(&server));
}
END_TEST

START_TEST(full_disk)
{
	const struct canned_reply script[] = {{200, PART("", "null")}, {0}};
	struct run run = {.args = "list", .out_fd = open("/dev/full", O_WRONLY | O_CLOEXEC)};
	struct canned server;
	struct ran ran;

	canned_start(&server, script);
	run.socket = server.socket;
	ran_run(&ran, &run);
	free(canned_stop(&server));
	close(run.out_fd);
	ck_assert_msg(ran.code == 1, "%d %s", ran.code, ran.err);
	ck_assert_msg(strstr(ran.err, "No space left"), "%s", ran.err);
	ran_fini(&ran);
}
END_TEST

static bool has_bytes(void *fd)
{
	return lseek(*(int *)fd, 0, SEEK_END) > 0;
}

/* Every event is out at once, and ^C is an orderly end. */
START_TEST(interrupted)
{
	/* clang-format off */
	const struct canned_reply script[] = {
		{200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{\"seq\":7}\n\r\n",
		 CANNED_STALL}, {0}};
	struct run run = {.args = "events -f -o json"};
	struct canned server;
	struct ran ran;
	int fds[2];
	pid_t pid;

	canned_start(&server, script);
	run.socket = server.socket;
	pid = ran_start(&run, fds);
	ck_assert(harness_wait(has_bytes, &fds[0], HARNESS_MS));
	kill(pid, SIGINT);
	ran_finish(&ran, pid, fds);
	free(canned_stop(&server));
	ck_assert_msg(ran.code == 130, "%d %s", ran.code, ran.err);
	ck_assert_str_eq(ran.out, "{\"seq\":7}\n");
	ck_assert_str_eq(ran.err, "");
	ran_fini(&ran);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("ctl");
	TCase *tcase = tcase_create("ctl");

	tcase_add_loop_test(tcase, verbs_against_a_daemon, 0, ARRAY_LEN(verb_cases));
	tcase_add_test(tcase, show_everything);
	tcase_add_test(tcase, json_is_the_objects);
	tcase_add_test(tcase, unreachable);
	tcase_add_test(tcase, not_permitted);
	tcase_add_test(tcase, full_disk);
	tcase_add_test(tcase, interrupted);
	suite_add_tcase(suite, tcase);
	return suite;
}

/* clang-format on */