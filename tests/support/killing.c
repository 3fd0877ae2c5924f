#include "tests/support/killing.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define KILLED (128 + SIGKILL)

const char *const killing_who_names[KILLING_WHO_COUNT] = {
#define X(who, name) [who] = name,
	KILLING_WHO(X)
#undef X
};

bool killing_has_vmm(enum killing_who who)
{
	return who == DIES_VMM || who == DIES_VMM_UNSEEN || who == DIES_ALL;
}

bool killing_has_worker(enum killing_who who)
{
	return who == DIES_WORKER || who == DIES_BOTH || who == DIES_ALL;
}

bool killing_has_supervisor(enum killing_who who)
{
	return who == DIES_SUPERVISOR || who == DIES_BOTH || who == DIES_VMM_UNSEEN ||
	       who == DIES_ALL;
}

bool killing_survivable(enum killing_who who)
{
	cleanup_file FILE *f = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	int scope = 0;

	if (who != DIES_BOTH || geteuid() == 0 || !f || fscanf(f, "%d", &scope) != 1 || !scope)
		return true;
	fprintf(stderr, "not tested: pidfd_getfd() is refused (kernel.yama.ptrace_scope %d)\n",
		scope);
	return false;
}

/* --- the restore --- */

void killing_open(struct killing *k, const char *name, const char *config)
{
	*k = (struct killing){.scene = {0}};
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	k->dir = harness_tmpdir();
	k->snapshot = scene_format("%s/snapshot.d", k->dir);
	k->image = scene_format("%s/" SCENE_IMAGE, k->snapshot);
	scene_make_snapshot(k->snapshot, KILLING_SIZE, KILLING_SEED);
	ck_assert_int_eq(setenv("UFFDD_FAULT", k->dir, 1), 0);
	/* A worker cannot be traced: the leak check at its end may spin. */
	ck_assert_int_eq(setenv("ASAN_OPTIONS", "detect_leaks=0", 0), 0);
	k->scene.config = scene_format("\"worker\":\"%s/tests/uffdd-worker-faulty\"%s%s",
				       TEST_BUILD, config ? "," : "", config ? config : "");
	scene_open(&k->scene);
	k->s = (struct stage){.scene = &k->scene, .vmm = {.in = -1, .out = -1}};
	snprintf(k->s.id, sizeof(k->s.id), "%s", name);
}

void killing_arm(const struct killing *k, const char *fault)
{
	cleanup_free char *path = scene_format("%s/%s", k->dir, k->s.id);

	scene_write(path, fault, strlen(fault));
}

void killing_create(struct killing *k, const char *members)
{
	cleanup_free char *snapshot = scene_format("{\"dir\":\"%s\"}", k->snapshot);

	stage_create(&k->s, snapshot, members);
}

void killing_vmm(struct killing *k, const char *options)
{
	stage_start(&k->s, k->image, options);
}

pid_t killing_worker(const struct killing *k)
{
	cleanup_json struct json_object *o = stage_ask(&k->s, "GET", "", NULL);

	return (pid_t)scene_number(o, "worker.pid");
}

/* --- waiting --- */

static char state_of(pid_t pid)
{
	cleanup_free char *path = scene_format("/proc/%d/stat", (int)pid);
	cleanup_file FILE *f = fopen(path, "re");
	char state = 0;

	return f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1 ? state : 0;
}

static bool is_stopped(void *arg)
{
	const pid_t *pid = arg;

	return state_of(*pid) == 'T';
}

void killing_await_stop(const struct killing *k, pid_t pid)
{
	ck_assert_msg(harness_wait(is_stopped, &pid, SCENE_MS), "%s: %d does not stop (%c)",
		      k->s.id, (int)pid, state_of(pid));
}

static bool is_dead(void *arg)
{
	const pid_t *pid = arg;
	char state = state_of(*pid);

	return !state || state == 'Z';
}

void killing_await_death(const struct killing *k, pid_t pid)
{
	ck_assert_msg(harness_wait(is_dead, &pid, SCENE_MS), "%s: %d does not die (%c)", k->s.id,
		      (int)pid, state_of(pid));
}

struct wanted {
	const struct killing *k;
	bool (*cond)(struct json_object *o, const void *arg);
	const void *arg;
	struct json_object *last; /* owned */
};

static bool is_as_wanted(void *arg)
{
	struct wanted *w = arg;

	json_object_put(w->last);
	w->last = stage_ask(&w->k->s, "GET", "", NULL);
	return w->cond(w->last, w->arg);
}

void killing_await(const struct killing *k, const char *what,
		   bool (*cond)(struct json_object *o, const void *arg), const void *arg)
{
	struct wanted w = {k, cond, arg, NULL};
	bool in_time = harness_wait(is_as_wanted, &w, SCENE_MS);
	cleanup_free char *events = scene_events(&k->scene, k->s.id);

	ck_assert_msg(in_time, "%s: not %s: %s\nevents: %s", k->s.id, what,
		      json_object_to_json_string(w.last), events);
	json_object_put(w.last);
}

/* An orphan is ours to bury. */
static bool is_gone(void *arg)
{
	const pid_t *pid = arg;

	waitpid(*pid, NULL, WNOHANG);
	return kill(*pid, 0) < 0 && errno == ESRCH;
}

static void await_gone(const struct killing *k, pid_t pid)
{
	ck_assert_msg(harness_wait(is_gone, &pid, SCENE_MS), "%s: process %d goes on", k->s.id,
		      (int)pid);
}

/* --- dying --- */

void killing_look(struct killing *k)
{
	k->s.worker = killing_worker(k);
}

static void stop(const struct killing *k, pid_t pid)
{
	ck_assert_msg(kill(pid, SIGSTOP) == 0, "%s: %d: %s", k->s.id, (int)pid, strerror(errno));
}

void killing_stop(struct killing *k, enum killing_who who)
{
	if (killing_has_supervisor(who))
		stop(k, k->scene.d.pid);
	if (killing_has_worker(who))
		stop(k, k->s.worker);
	if (killing_has_vmm(who))
		stop(k, k->s.vmm.pid);
	/* A VMM that waits for the others stops when its wait is over. */
	if (killing_has_supervisor(who))
		killing_await_stop(k, k->scene.d.pid);
	if (killing_has_worker(who))
		killing_await_stop(k, k->s.worker);
}

void killing_end(struct killing *k, enum killing_who who)
{
	/* The supervisor first: it would start another worker. */
	if (killing_has_supervisor(who))
		ck_assert_int_eq(kill(k->scene.d.pid, SIGKILL), 0);
	if (killing_has_worker(who))
		ck_assert_int_eq(kill(k->s.worker, SIGKILL), 0);
	if (killing_has_supervisor(who))
		scene_kill(&k->scene);
	if (killing_has_vmm(who)) {
		ck_assert_int_eq(kill(k->s.vmm.pid, SIGKILL), 0);
		ck_assert_int_eq(stage_end(&k->s), KILLED);
	} else if (killing_has_worker(who)) {
		k->tally.died++;
		k->tally.recovered++;
	} else {
		k->tally.adopted++;
	}
}

void killing_change_row(const struct killing *k, const char *what)
{
	cleanup_free char *path = scene_format("%s/uffdd.db", k->scene.d.state);
	cleanup_free char *text = scene_format("UPDATE restores SET %s WHERE ended_ms = 0", what);
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_changes(db), 1);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

static bool answers(void *arg)
{
	const struct scene *s = arg;
	struct harness_reply r;
	int status = harness_http(s->d.socket, "GET", "/healthz", NULL, &r);

	harness_reply_fini(&r);
	return status == 200;
}

void killing_revive(struct killing *k, enum killing_who who)
{
	if (!killing_has_supervisor(who))
		return;
	harness_daemon_start(&k->scene.d, NULL);
	/* A child that its predecessor had just forked may have accepted for it. */
	ck_assert_msg(harness_wait(answers, &k->scene, SCENE_MS), "%s: no supervisor", k->s.id);
}

/* --- what comes of it --- */

static unsigned count(const char *events, const char *type)
{
	cleanup_free char *copy = strdup(events);
	unsigned n = 0;

	for (char *rest = copy, *word; (word = strsep(&rest, " "));)
		n += strcmp(word, type) == 0;
	return n;
}

struct after {
	const struct killing *k;
	const char *state;
};

static bool is_back(struct json_object *o, const void *arg)
{
	const struct after *a = arg;
	const struct killing_tally *t = &a->k->tally;
	cleanup_free char *events = scene_events(&a->k->scene, a->k->s.id);

	return strcmp(scene_text(o, "state"), a->state) == 0 &&
	       scene_number(o, "worker.restarts") == t->died &&
	       count(events, "worker-died") == t->died &&
	       count(events, "recovered") == t->recovered &&
	       count(events, "adopted") == t->adopted && count(events, "failed") == 0;
}

void killing_recovered(struct killing *k, const char *state)
{
	const struct after a = {k, state};
	pid_t before = k->s.worker;

	killing_await(k, "as before", is_back, &a);
	killing_look(k);
	if (before == k->s.worker)
		return;
	await_gone(k, before);
}

void killing_bury(const struct killing *k)
{
	await_gone(k, k->s.worker);
}

static void ended(struct killing *k)
{
	cleanup_free char *events = NULL;

	killing_bury(k);
	json_object_put(stage_ended(&k->s, "vmm-exited"));
	events = scene_events(&k->scene, k->s.id);
	stage_check(&k->s, count(events, "ended") == 1 && count(events, "failed") == 0,
		    "events: %s", events);
}

void killing_over(struct killing *k)
{
	bool stopped = is_stopped(&k->s.worker);

	json_object_put(stage_await(&k->s, "ended"));
	/* A worker that cannot leave is not waited for until the supervisor loses its patience. */
	stage_check(&k->s, !stopped || is_stopped(&k->s.worker), "its worker was killed first");
	if (kill(k->s.worker, 0) == 0)
		kill(k->s.worker, SIGCONT);
	ended(k);
}

void killing_right(struct killing *k)
{
	int code = stage_end(&k->s);

	stage_check(&k->s,
		    code == 0 && strstr(stage_printed(&k->s), "verified ") &&
			    strstr(stage_printed(&k->s), "\"wrong\":0,"),
		    "the VMM ended with %d", code);
	ended(k);
}

/* No row but those of the restore and of the scene. */
static void check_rows(struct killing *k)
{
	cleanup_json struct json_object *o = scene_ask(&k->scene, 200, "GET", "/v1/restores", NULL);
	struct json_object *items = scene_member(o, "items");

	for (size_t i = 0; i < json_object_array_length(items); i++) {
		const char *state = scene_text(json_object_array_get_idx(items, i), "state");

		stage_check(&k->s, strcmp(state, "ended") == 0 || strcmp(state, "failed") == 0,
			    "left: %s", json_object_to_json_string(items));
	}
	ck_assert_uint_eq(json_object_array_length(items), 2);
}

static bool has_no_children(void *arg)
{
	(void)arg;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

void killing_close(struct killing *k)
{
	check_rows(k);
	scene_check_log(&k->scene, k->s.id);
	scene_close(&k->scene);
	ck_assert_msg(harness_wait(has_no_children, NULL, SCENE_MS), "%s: a process goes on",
		      k->s.id);
	harness_rmtree(k->dir);
	free((char *)(uintptr_t)k->scene.config);
	free(k->dir);
	free(k->snapshot);
	free(k->image);
	stage_fini(&k->s);
}
