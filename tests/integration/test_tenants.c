/* test_tenants - other users than the daemon's: what they see, may do, and whose rights count */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "tests/support/runner.h"
#include "tests/support/scene.h"

#define RESTORES "/v1/restores"
#define NOBODY 65534
#define TENANT "uid-65534"

/*
 * The kernel notes the effective user when a socket is connected, so to act as
 * somebody else is enough. Descriptors and files made meanwhile are theirs.
 */
static void act_as(uid_t uid)
{
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setegid(uid), 0);
	ck_assert_int_eq(seteuid(uid), 0);
}

/* A snapshot where everybody can read it: the checkout may lie in somebody's home. */
static char snapshot[256];

static void open_to_all(struct scene *s)
{
	s->config = "\"socket_mode\":\"0666\"";
	scene_open(s);
	snprintf(snapshot, sizeof(snapshot), "%s/public", s->d.dir);
	scene_copy_dir(SCENE_SNAPSHOT, snapshot);
}

static size_t count_listed(const struct scene *s)
{
	cleanup_json struct json_object *o = scene_ask(s, 200, "GET", RESTORES, NULL);

	return json_object_array_length(scene_member(o, "items"));
}

static void check_no_such_restore(const struct scene *s)
{
	static const struct {
		const char *method, *suffix, *body;
	} cases[] = {
		{"GET", "", NULL},
		{"GET", "?for=ended&wait=60s", NULL},
		{"DELETE", "?kill=true", NULL},
		{"PUT", "/prefetch", "{}"},
		{"GET", "/pages", NULL},
		{"POST", "/pause", NULL},
		{"POST", "/resume", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_free char *target = scene_format(RESTORES "/roots%s", cases[i].suffix);

		scene_refused(s, cases[i].method, target, cases[i].body, ERR_NOTFOUND,
			      "there is no restore roots");
	}
	ck_assert_uint_eq(count_listed(s), 0);
}

static void create_own(const struct scene *s)
{
	cleanup_free char *body = scene_body(snapshot, NULL);
	cleanup_json struct json_object *o = scene_ask(s, 201, "PUT", RESTORES "/own", body);

	ck_assert_str_eq(scene_text(o, "tenant"), TENANT);
	ck_assert_uint_eq(scene_number(o, "socket.uid"), NOBODY);
	ck_assert_uint_eq(scene_number(o, "peer.uid"), NOBODY);
	ck_assert_uint_eq(count_listed(s), 1);
}

static void check_only_own_events(const struct scene *s)
{
	struct harness_reply r;

	harness_http(s->d.socket, "GET", "/v1/events", NULL, &r);
	ck_assert_msg(strstr(r.body, "\"own\"") && !strstr(r.body, "\"roots\""), "%s", r.body);
	harness_reply_fini(&r);
	harness_http(s->d.socket, "GET", "/v1/events?restore=roots", NULL, &r);
	ck_assert_str_eq(r.body, "");
	harness_reply_fini(&r);
}

/* What nobody but root's, or one's own, tenant owns is not there. */
START_TEST(test_who_sees_what)
{
	struct scene s = {0};

	open_to_all(&s);
	scene_create(&s, "roots", snapshot, NULL);
	act_as(NOBODY);
	check_no_such_restore(&s);
	create_own(&s);
	check_only_own_events(&s);
	act_as(NOBODY - 1);
	ck_assert_uint_eq(count_listed(&s), 0);
	scene_refused(&s, "GET", RESTORES "/own", NULL, ERR_NOTFOUND, "no restore own");
	act_as(0);
	ck_assert_uint_eq(count_listed(&s), 3);
	scene_delete(&s, "own", "");
	scene_delete(&s, "roots", "");
	scene_close(&s);
}
END_TEST

START_TEST(test_for_whom_one_may_act)
{
	cleanup_free char *red = NULL;
	struct scene s = {0};
	struct json_object *o;

	open_to_all(&s);
	act_as(NOBODY);
	red = scene_body(snapshot, "\"tenant\":\"red\"");
	scene_refused(&s, "PUT", RESTORES "/a", red, ERR_DENIED,
		      "may act for tenant \"" TENANT "\" only");
	scene_create(&s, "a", snapshot, "\"tenant\":\"" TENANT "\"");
	act_as(0);
	/* An admin acts for anybody, and by itself for its own tenant, whose ids nobody else takes. */
	scene_create(&s, "b", snapshot, "\"tenant\":\"" TENANT "\"");
	scene_create(&s, "a", snapshot, NULL);
	scene_delete(&s, "a", "");
	act_as(NOBODY);
	o = scene_show(&s, "b");
	ck_assert_str_eq(scene_text(o, "tenant"), TENANT);
	json_object_put(o);
	o = scene_show(&s, "a");
	ck_assert_str_eq(scene_text(o, "state"), "waiting");
	json_object_put(o);
	scene_delete(&s, "a", "");
	scene_delete(&s, "b", "");
	act_as(0);
	scene_close(&s);
}
END_TEST

START_TEST(test_whose_rights_open_a_snapshot)
{
	struct scene s = {0};
	cleanup_free char *dir = NULL, *layers = NULL, *body = NULL;

	open_to_all(&s);
	dir = scene_format("%s/secret", s.d.dir);
	scene_copy_dir(SCENE_SNAPSHOT, dir);
	ck_assert_int_eq(chmod(dir, 0700), 0);
	body = scene_body(dir, NULL);
	act_as(NOBODY);
	scene_refused(&s, "PUT", RESTORES "/a", body, ERR_PATH, dir);
	layers = scene_format("{\"snapshot\":{\"memory\":[\"%s/" SCENE_IMAGE "\"]}}", dir);
	scene_refused(&s, "PUT", RESTORES "/a", layers, ERR_PATH, "Permission denied");
	act_as(0);
	scene_at_rest(&s);
	scene_tell(&s, 201, "PUT", RESTORES "/a", body);
	scene_delete(&s, "a", "");
	/* Only a file of it is closed to them: that one is named. */
	ck_assert_int_eq(chmod(dir, 0755), 0);
	free(layers);
	layers = scene_format("%s/memfile.header", dir);
	ck_assert_int_eq(chmod(layers, 0600), 0);
	act_as(NOBODY);
	scene_refused(&s, "PUT", RESTORES "/b", body, ERR_PATH, layers);
	act_as(0);
	scene_close(&s);
}
END_TEST

static bool is_gone(void *arg)
{
	struct stat st;

	return lstat(arg, &st) < 0 && errno == ENOENT;
}

/* A path of one's own is bound with one's own rights, and not left behind. */
START_TEST(test_whose_rights_make_a_socket)
{
	struct scene s = {0};
	cleanup_free char *dir = NULL, *path = NULL, *more = NULL, *body = NULL;
	struct scene_vmm vmm;
	struct stat st;

	open_to_all(&s);
	dir = scene_format("%s/theirs", s.d.dir);
	path = scene_format("%s/vm.sock", dir);
	more = scene_format("\"socket\":{\"path\":\"%s\"},\"peer\":{\"uid\":0}", path);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	body = scene_body(snapshot, more);
	act_as(NOBODY);
	scene_refused(&s, "PUT", RESTORES "/a", body, ERR_PATH, dir);
	act_as(0);
	ck_assert_int_eq(chown(dir, NOBODY, NOBODY), 0);
	act_as(NOBODY);
	/* The snapshot is looked at after the socket was made. */
	for (int i = 0; i < 20; i++) {
		cleanup_free char *bad = scene_body("/nowhere", more);

		scene_refused(&s, "PUT", RESTORES "/a", bad, ERR_PATH, "/nowhere");
		ck_assert_msg(is_gone(path), "%s is left behind", path);
	}
	scene_tell(&s, 201, "PUT", RESTORES "/a", body);
	act_as(0);
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_uint_eq(st.st_uid, NOBODY);
	ck_assert_uint_eq(st.st_mode & 0777, 0660);
	scene_vmm_start(&vmm, &s, "a", "");
	scene_vmm_right(&vmm);
	scene_reach(&s, "a", "ended", "vmm-exited");
	ck_assert(harness_wait(is_gone, path, SCENE_MS));
	scene_close(&s);
}
END_TEST

/* The wrong user is turned away, and the right one still finds the socket open. */
START_TEST(test_wrong_peer)
{
	struct scene s = {0};
	cleanup_free char *events = NULL, *socket = NULL;
	struct json_object *o;
	struct scene_vmm vmm;
	struct err err;
	char byte;
	int fd;

	open_to_all(&s);
	scene_create(&s, "a", snapshot, "\"socket\":{\"mode\":\"0666\"}");
	o = scene_show(&s, "a");
	socket = strdup(scene_text(o, "socket.path"));
	json_object_put(o);
	act_as(NOBODY);
	ck_assert_msg(sock_connect(socket, SOCK_STREAM, &fd, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(read(fd, &byte, 1), 0);
	close(fd);
	act_as(0);
	o = scene_show(&s, "a");
	ck_assert_str_eq(scene_text(o, "state"), "waiting");
	ck_assert_uint_eq(scene_number(o, "errors.refused_peers"), 1);
	json_object_put(o);
	scene_vmm_start(&vmm, &s, "a", "");
	scene_vmm_right(&vmm);
	scene_reach(&s, "a", "ended", "vmm-exited");
	events = scene_events(&s, "a");
	ck_assert_msg(strncmp(events, "created refused connected ", 26) == 0, "%s", events);
	scene_close(&s);
}
END_TEST

/* --- a worker that was taken over --- */

/* Of root, and somebody to whom one can connect. */
static pid_t start_victim(const char *path)
{
	struct err err;
	pid_t pid;
	int fd;

	ck_assert_msg(sock_listen(path, SOCK_STREAM, sock_mode(0666), &fd, &err) == 0, "%s",
		      err.msg);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* As whom the kernel names who listened. */
		if (seteuid(NOBODY) || listen(fd, 1) || seteuid(0))
			_exit(1);
		for (;;)
			pause();
	}
	close(fd);
	return pid;
}

static void end_victim(pid_t victim)
{
	int status;

	ck_assert_int_eq(waitpid(victim, &status, WNOHANG), 0);
	ck_assert_int_eq(kill(victim, SIGKILL), 0);
	ck_assert_int_eq(waitpid(victim, &status, 0), victim);
}

static bool has_lied(void *arg)
{
	cleanup_free char *events = scene_events(arg, "lie");

	return strstr(events, "worker-lied ");
}

/* Nobody's worker cannot have root's processes killed by the daemon. */
START_TEST(test_worker_lies)
{
	static const char *const scripts[] = {
		"READY CONNECTED-victim 1\n",
		"READY FAILED-victim 1\n",
		"REATTACH REATTACH-announced 1 PEER-of-another 1 CONNECTED-victim 1\n",
	};
	cleanup_free char *dir = harness_tmpdir(), *body = NULL, *log = NULL;
	cleanup_free char *script = scene_format("%s/lie", dir);
	cleanup_free char *theirs = scene_format("%s/s", dir);
	pid_t victim = start_victim(theirs);
	cleanup_free char *text = scene_format("%d", (int)victim);
	struct scene s = {0};

	ck_assert_int_eq(setenv("LIAR_VICTIM", text, 1), 0);
	ck_assert_int_eq(setenv("LIAR_DIR", dir, 1), 0);
	ck_assert_int_eq(setenv("LIAR_PEER", theirs, 1), 0);
	scene_write(script, scripts[_i], strlen(scripts[_i]));
	s.config = "\"socket_mode\":\"0666\",\"worker\":\"" TEST_BUILD "/tests/uffdd-worker-liar\"";
	scene_open(&s);
	body = scene_body(SCENE_SNAPSHOT, "\"on_failure\":\"kill\"");
	act_as(NOBODY);
	scene_tell(&s, 201, "PUT", RESTORES "/lie", body);
	act_as(0);
	if (strncmp(scripts[_i], "REATTACH", 4) == 0) {
		scene_kill(&s);
		harness_daemon_start(&s.d, NULL);
	}
	ck_assert(harness_wait(has_lied, &s, SCENE_MS));
	log = harness_daemon_log(&s.d);
	ck_assert_msg(strstr(log, "of a process that cannot be its VMM"), "%s", log);
	/* Another worker waits for the VMM. */
	scene_reach(&s, "lie", "waiting", "");
	end_victim(victim);
	scene_delete(&s, "lie", "");
	scene_close(&s);
	harness_rmtree(dir);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite;
	TCase *tc;

	if (geteuid() != 0) {
		puts("1..0 # SKIP only root can act as other users");
		return NULL;
	}
	suite = suite_create("story_tenants");
	tc = tcase_create("tenants");
	tcase_add_test(tc, test_who_sees_what);
	tcase_add_test(tc, test_for_whom_one_may_act);
	tcase_add_test(tc, test_whose_rights_open_a_snapshot);
	tcase_add_test(tc, test_whose_rights_make_a_socket);
	tcase_add_test(tc, test_wrong_peer);
	tcase_add_loop_test(tc, test_worker_lies, 0, 3);
	suite_add_tcase(suite, tc);
	return suite;
}
