/*
 * test_cage - what the kernel says of the worker and the holder of a root caller: from outside,
 * over deaths, and at the API
 */
#include <config.h>
#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "daemon/worker_user.h"
#include "tests/support/killing.h"
#include "tests/support/runner.h"

#define OPEN_TO_ALL "\"socket_mode\":\"0666\""
#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold --hold-before --threads 8 --order rand --write 20 --remove 20 --timeout 40"

static struct worker_user user;

static void find_user(void)
{
	struct conf conf;
	struct err err;

	conf_defaults(&conf);
	ck_assert_msg(worker_user_find(&conf, &user, &err) == 0, "%s", err.msg);
}

static bool is_root(void)
{
	if (geteuid() == 0)
		return true;
	fputs("# only root has callers who are root: skipped\n", stderr);
	return false;
}

/* The rest of a line of /proc/PID/status after its key; owned by the caller. */
static char *status_of(pid_t pid, const char *key)
{
	cleanup_free char *path = scene_format("/proc/%d/status", (int)pid);
	cleanup_file FILE *f = fopen(path, "re");
	size_t len = strlen(key);
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, len) == 0 && line[len] == ':') {
			line[strcspn(line, "\n")] = '\0';
			return strdup(line + len + 1 + strspn(line + len + 1, "\t "));
		}
	return strdup("");
}

static void check_line(pid_t pid, const char *key, const char *want)
{
	cleanup_free char *got = status_of(pid, key);

	ck_assert_msg(strcmp(got, want) == 0, "%s of %d is \"%s\", not \"%s\"", key, (int)pid, got,
		      want);
}

static void check_caged(pid_t pid)
{
	static const char *const caps[] = {"CapInh", "CapPrm", "CapEff"};
	cleanup_free char *uids = scene_format("%u\t%u\t%u\t%u", user.uid, user.uid, user.uid,
					       user.uid);
	cleanup_free char *gids = scene_format("%u\t%u\t%u\t%u", user.gid, user.gid, user.gid,
					       user.gid);

	check_line(pid, "Uid", uids);
	check_line(pid, "Gid", gids);
	check_line(pid, "Groups", "");
	for (size_t i = 0; i < ARRAY_LEN(caps); i++)
		check_line(pid, caps[i], "0000000000000000");
	check_line(pid, "NoNewPrivs", "1");
#ifndef BUILD_SANITIZED
	check_line(pid, "Seccomp", "2");
#endif
}

/* A process with that name that @parent has forked; 0: none. */
static pid_t child_of(pid_t parent, const char *want)
{
	cleanup_free char *of = scene_format("%d", (int)parent);
	DIR *dir = opendir("/proc");
	pid_t found = 0;

	ck_assert_ptr_nonnull(dir);
	for (struct dirent *e; !found && (e = readdir(dir));) {
		pid_t pid = isdigit((unsigned char)e->d_name[0]) ? atoi(e->d_name) : 0;
		cleanup_free char *ppid = status_of(pid, "PPid"), *name = status_of(pid, "Name");

		if (pid && strcmp(ppid, of) == 0 && strcmp(name, want) == 0)
			found = pid;
	}
	closedir(dir);
	return found;
}

static void check_all(struct killing *k)
{
	killing_look(k);
	check_caged(k->s.worker);
}

/* ---- over deaths ---- */

static const enum killing_who deaths[] = {DIES_WORKER, DIES_SUPERVISOR, DIES_BOTH};

/* Root's restore goes on, and none of the processes is ever root. */
START_TEST(root_is_served)
{
	enum killing_who who = deaths[_i];
	cleanup_free char *name = scene_format("cage-%s", killing_who_names[who]);
	struct killing k;
	pid_t holder;

	if (!is_root() || !killing_survivable(who))
		return;
	killing_open(&k, name, NULL);
	killing_create(&k, ON_DEMAND);
	check_all(&k);
	holder = child_of(k.s.worker, "uffdd-holder");
	ck_assert_int_gt(holder, 0);
	check_caged(holder);
	killing_vmm(&k, TOUCHES);
	json_object_put(stage_await(&k.s, "serving"));
	for (int i = 0; i < 2; i++) {
		killing_end(&k, who);
		killing_revive(&k, who);
		killing_recovered(&k, "serving");
		check_all(&k);
	}
	check_caged(holder);
	scene_vmm_go(&k.s.vmm);
	killing_right(&k);
	killing_close(&k);
}
END_TEST

/* ---- at the API ---- */

/* As a worker would be that has been taken over. */
static void act_as(uid_t uid)
{
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setegid(uid), 0);
	ck_assert_int_eq(seteuid(uid), 0);
}

/* It is no admin, and no tenant either: root's restores are "not found" to it. */
START_TEST(worker_is_no_caller)
{
	cleanup_free char *body = NULL;
	struct killing k;

	if (!is_root())
		return;
	killing_open(&k, "cage-api", OPEN_TO_ALL);
	killing_create(&k, ON_DEMAND);
	body = scene_body(SCENE_SNAPSHOT, NULL);
	act_as(user.uid);
	scene_refused(&k.scene, "DELETE", "/v1/restores/cage-api", NULL, ERR_NOTFOUND, "cage-api");
	scene_refused(&k.scene, "GET", "/v1/restores/cage-api", NULL, ERR_NOTFOUND, "cage-api");
	scene_refused(&k.scene, "GET", "/v1/status", NULL, ERR_DENIED, "");
	scene_refused(&k.scene, "PUT", "/v1/restores/mine", body, ERR_DENIED, "the workers' own");
	act_as(0);
	killing_vmm(&k, TOUCHES);
	json_object_put(stage_await(&k.s, "serving"));
	scene_vmm_go(&k.s.vmm);
	killing_right(&k);
	killing_close(&k);
}
END_TEST

/* ---- a worker that was taken over ---- */

/* Of root, who has nothing to do with any restore. */
static pid_t start_victim(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static bool is_not_killed(void *arg)
{
	cleanup_free char *events = scene_events(arg, "lie");

	return strstr(events, "kill-failed ") != NULL;
}

/* Root might kill any process, and its worker may have none killed. */
START_TEST(victim_lives)
{
	static const char *const scripts[] = {
		"READY CONNECTED-victim 1 FAILED-victim 1\n",
		"READY FAILED-victim 1\n",
		"REATTACH REATTACH-announced 1 CONNECTED-victim 1 FAILED-victim 1\n",
	};
	cleanup_free char *dir = harness_tmpdir(), *body = NULL;
	cleanup_free char *script = scene_format("%s/lie", dir);
	cleanup_json struct json_object *o = NULL;
	pid_t victim = start_victim();
	cleanup_free char *text = scene_format("%d", (int)victim);
	struct scene s = {.config = "\"worker\":\"" TEST_BUILD "/tests/uffdd-worker-liar\""};

	if (!is_root())
		return;
	ck_assert_int_eq(setenv("LIAR_VICTIM", text, 1), 0);
	ck_assert_int_eq(setenv("LIAR_DIR", dir, 1), 0);
	scene_write(script, scripts[_i], strlen(scripts[_i]));
	scene_open(&s);
	body = scene_body(SCENE_SNAPSHOT, "\"on_failure\":\"kill\"");
	scene_tell(&s, 201, "PUT", "/v1/restores/lie", body);
	if (strncmp(scripts[_i], "REATTACH", 8) == 0) {
		scene_kill(&s);
		harness_daemon_start(&s.d, NULL);
	}
	ck_assert(harness_wait(is_not_killed, &s, SCENE_MS));
	scene_reach(&s, "lie", "failed", "so it says");
	ck_assert_int_eq(waitpid(victim, NULL, WNOHANG), 0);
	ck_assert_int_eq(kill(victim, SIGKILL), 0);
	ck_assert_int_eq(waitpid(victim, NULL, 0), victim);
	/* The liar is the guest of its own uffd. */
	o = scene_show(&s, "lie");
	ck_assert_int_eq(kill((pid_t)scene_number(o, "worker.pid"), SIGKILL), 0);
	scene_close(&s);
	harness_rmtree(dir);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("cage");
	TCase *tc = tcase_create("cage");

	tcase_add_unchecked_fixture(tc, find_user, NULL);
	tcase_add_loop_test(tc, root_is_served, 0, ARRAY_LEN(deaths));
	tcase_add_test(tc, worker_is_no_caller);
	tcase_add_loop_test(tc, victim_lives, 0, 3);
	suite_add_tcase(suite, tc);
	return suite;
}
