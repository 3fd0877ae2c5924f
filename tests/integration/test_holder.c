/*
 * test_holder - who keeps a snapshot's files: over the deaths of worker and supervisor, its own
 * death, and no longer than its restore
 */
#include <config.h>
#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <string.h>

#include "common/proc.h"
#include "tests/support/killing.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold --hold-before --threads 8 --order rand --write 20 --remove 20 --timeout 40"
#define KILLED (128 + SIGKILL)
#define HOLDER "uffdd-holder"

/* A value of /proc/PID/status; owned by the caller. */
static char *status_of(pid_t pid, const char *name)
{
	cleanup_free char *path = scene_format("/proc/%d/status", (int)pid);
	cleanup_file FILE *f = fopen(path, "re");
	char line[512], key[64], value[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63[^:]: %255s", key, value) == 2 && strcmp(key, name) == 0)
			return strdup(value);
	return strdup("");
}

/* The holder that @worker was born with; 0: none. */
static pid_t holder_of(pid_t worker)
{
	cleanup_free char *parent = scene_format("%d", (int)worker);
	DIR *dir = opendir("/proc");
	pid_t found = 0;

	ck_assert_ptr_nonnull(dir);
	for (struct dirent *e; !found && (e = readdir(dir));) {
		pid_t pid = isdigit((unsigned char)e->d_name[0]) ? atoi(e->d_name) : 0;
		cleanup_free char *ppid = pid ? status_of(pid, "PPid") : NULL;
		cleanup_free char *name = pid ? status_of(pid, "Name") : NULL;

		if (pid && strcmp(ppid, parent) == 0 && strcmp(name, HOLDER) == 0)
			found = pid;
	}
	closedir(dir);
	return found;
}

static pid_t begin(struct killing *k, const char *name, const char *vmm)
{
	pid_t holder;

	killing_open(k, name, NULL);
	killing_create(k, ON_DEMAND);
	killing_look(k);
	if (vmm) {
		killing_vmm(k, vmm);
		json_object_put(stage_await(&k->s, "serving"));
	}
	holder = holder_of(k->s.worker);
	stage_check(&k->s, holder > 0, "worker %d has no holder", (int)k->s.worker);
	return holder;
}

static void worker_dies(struct killing *k, const char *state)
{
	killing_end(k, DIES_WORKER);
	killing_recovered(k, state);
}

static void to_the_end(struct killing *k, pid_t holder)
{
	scene_vmm_go(&k->s.vmm);
	killing_right(k);
	killing_await_death(k, holder);
	killing_close(k);
}

/* --- the promise --- */

static const enum killing_who deaths[] = {DIES_WORKER, DIES_SUPERVISOR, DIES_BOTH};

/* The same holder all the time, whoever dies, and as often as that is. */
START_TEST(snapshot_is_deleted)
{
	enum killing_who who = deaths[_i];
	cleanup_free char *name = scene_format("deleted-%s", killing_who_names[who]);
	struct killing k;
	pid_t holder;

	if (!killing_survivable(who))
		return;
	holder = begin(&k, name, TOUCHES);
	harness_rmtree(k.snapshot);
	for (int i = 0; i < 2; i++) {
		killing_end(&k, who);
		killing_revive(&k, who);
		killing_recovered(&k, "serving");
	}
	worker_dies(&k, "serving");
	ck_assert_int_eq(kill(holder, 0), 0);
	to_the_end(&k, holder);
}
END_TEST

/* Nobody has come yet. */
START_TEST(deleted_while_it_waits)
{
	enum killing_who who = deaths[_i];
	cleanup_free char *name = scene_format("waiting-%s", killing_who_names[who]);
	struct killing k;
	pid_t holder = begin(&k, name, NULL);
	cleanup_free char *image = scene_format("%s/image", k.dir);

	ck_assert_int_eq(rename(k.image, image), 0);
	harness_rmtree(k.snapshot);
	killing_end(&k, who);
	killing_revive(&k, who);
	killing_recovered(&k, "waiting");
	worker_dies(&k, "waiting");
	stage_start(&k.s, image, TOUCHES);
	json_object_put(stage_await(&k.s, "serving"));
	to_the_end(&k, holder);
}
END_TEST

/* --- a holder is lost --- */

/* Where the files still are, they are opened again; and the next holder keeps them. */
START_TEST(holder_dies)
{
	struct killing k;
	pid_t holder = begin(&k, "holder-dies", TOUCHES), next;

	ck_assert_int_eq(kill(holder, SIGKILL), 0);
	killing_await_death(&k, holder);
	worker_dies(&k, "serving");
	next = holder_of(k.s.worker);
	stage_check(&k.s, next > 0, "the successor has no holder");
	harness_rmtree(k.snapshot);
	worker_dies(&k, "serving");
	to_the_end(&k, next);
}
END_TEST

/* Nobody has them any more: it is said, with the cure, and no guest goes on with zeros. */
START_TEST(all_is_lost)
{
	cleanup_json struct json_object *o = NULL;
	struct killing k;
	pid_t holder = begin(&k, "all-lost", TOUCHES);
	int code;

	ck_assert_int_eq(kill(holder, SIGKILL), 0);
	killing_await_death(&k, holder);
	harness_rmtree(k.snapshot);
	killing_end(&k, DIES_WORKER);
	o = stage_await(&k.s, "failed");
	stage_check(&k.s, strstr(scene_text(o, "reason"), "leave them there until"), "%s",
		    scene_text(o, "reason"));
	code = stage_end(&k.s);
	stage_check(&k.s, code == KILLED, "the VMM ended with %d", code);
	respawn_await_event(&k.scene, k.s.id, "released", 1);
	killing_close(&k);
}
END_TEST

/* The tenant may stop it: its worker waits a while, then opens the paths; it ends all the same. */
START_TEST(holder_is_stopped)
{
	struct killing k;
	pid_t holder = begin(&k, "holder-stopped", TOUCHES);

	ck_assert_int_eq(kill(holder, SIGSTOP), 0);
	killing_await_stop(&k, holder);
	worker_dies(&k, "serving");
	to_the_end(&k, holder);
}
END_TEST

/* --- what needs no file --- */

static bool is_complete(struct json_object *o, const void *arg)
{
	(void)arg;
	return scene_flag(o, "complete");
}

/* All is there or given back: without a snapshot, and without a holder. */
START_TEST(complete_needs_nothing)
{
	struct killing k;
	pid_t holder;

	killing_open(&k, "complete", NULL);
	killing_create(&k, NULL);
	killing_vmm(&k, TOUCHES);
	killing_look(&k);
	holder = holder_of(k.s.worker);
	killing_await(&k, "complete", is_complete, NULL);
	ck_assert_int_eq(kill(holder, SIGKILL), 0);
	killing_await_death(&k, holder);
	harness_rmtree(k.snapshot);
	worker_dies(&k, "serving");
	worker_dies(&k, "serving");
	scene_vmm_go(&k.s.vmm);
	killing_right(&k);
	killing_close(&k);
}
END_TEST

/* --- no longer than its restore --- */

static void stop_it(struct killing *k, pid_t holder)
{
	(void)holder;
	stage_tell(&k->s, "DELETE", "", NULL);
}

/* It sees itself what nobody is there to tell. */
static void all_die(struct killing *k, pid_t holder)
{
	killing_end(k, DIES_ALL);
	killing_await_death(k, holder);
	killing_revive(k, DIES_ALL);
	json_object_put(stage_await(&k->s, "ended"));
}

/* One that cannot is ended by the next supervisor. */
static void all_die_but_it(struct killing *k, pid_t holder)
{
	killing_end(k, DIES_ALL);
	killing_revive(k, DIES_ALL);
	json_object_put(stage_await(&k->s, "ended"));
	killing_await_death(k, holder);
}

static void vmm_ends_unseen(struct killing *k, pid_t holder)
{
	killing_end(k, DIES_VMM_UNSEEN);
	killing_bury(k);
	killing_await_death(k, holder);
	killing_revive(k, DIES_VMM_UNSEEN);
	json_object_put(stage_await(&k->s, "ended"));
}

static const struct ending {
	const char *name;
	const char *vmm;
	void (*end)(struct killing *k, pid_t holder);
	bool stopped; /* the holder, before */
} endings[] = {
	{"stop", NULL, stop_it, false},
	{"stop-stopped", NULL, stop_it, true},
	{"all-die", TOUCHES, all_die, false},
	{"all-die-stopped", TOUCHES, all_die_but_it, true},
	{"vmm-unseen", TOUCHES, vmm_ends_unseen, false},
};

START_TEST(it_ends_with_its_restore)
{
	const struct ending *e = &endings[_i];
	struct killing k;
	pid_t holder = begin(&k, e->name, e->vmm);

	if (e->stopped) {
		ck_assert_int_eq(kill(holder, SIGSTOP), 0);
		killing_await_stop(&k, holder);
	}
	e->end(&k, holder);
	killing_await_death(&k, holder);
	killing_bury(&k);
	stage_cleared(&k.s);
	killing_close(&k);
}
END_TEST

/* A create that comes to nothing. */
START_TEST(refused_create)
{
	struct killing k;

	killing_open(&k, "refused", NULL);
	for (int i = 0; i < 20; i++)
		scene_refused(&k.scene, "PUT", "/v1/restores/refused",
			      "{\"snapshot\":{\"dir\":\"/nowhere\"}}", ERR_PATH, "/nowhere");
	killing_create(&k, NULL);
	stop_it(&k, 0);
	stage_cleared(&k.s);
	killing_close(&k);
}
END_TEST

/* --- what it may do --- */

START_TEST(it_may_do_little)
{
	/* clang-format off */
	static const struct {
		const char *key, *value;
	} wanted[] = {
		{"CapEff", "0000000000000000"}, {"CapPrm", "0000000000000000"},
		{"NoNewPrivs", "1"},
#ifndef BUILD_SANITIZED
		{"Seccomp", "2"},
#endif
	};
	/* clang-format on */
	struct killing k;
	pid_t holder = begin(&k, "little", TOUCHES);

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		cleanup_free char *value = status_of(holder, wanted[i].key);

		ck_assert_msg(strcmp(value, wanted[i].value) == 0, "%s is %s", wanted[i].key,
			      value);
	}
	to_the_end(&k, holder);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("holder");
	TCase *tc = tcase_create("holder");

	tcase_add_loop_test(tc, snapshot_is_deleted, 0, ARRAY_LEN(deaths));
	tcase_add_loop_test(tc, deleted_while_it_waits, 0, ARRAY_LEN(deaths));
	tcase_add_test(tc, holder_dies);
	tcase_add_test(tc, all_is_lost);
	tcase_add_test(tc, holder_is_stopped);
	tcase_add_test(tc, complete_needs_nothing);
	tcase_add_loop_test(tc, it_ends_with_its_restore, 0, ARRAY_LEN(endings));
	tcase_add_test(tc, refused_create);
	tcase_add_test(tc, it_may_do_little);
	suite_add_tcase(suite, tc);
	return suite;
}
