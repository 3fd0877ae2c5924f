/*
 * Deaths with a story of their own: again and again, over a snapshot that is gone
 * or no longer the same, on request, with a removal in hand, and of the whole host.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "tests/support/killing.h"
#include "tests/fakes/vmm/pages.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/fakes/snapshot/snapgen.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define POLICY(policy) ON_DEMAND ",\"on_failure\":\"" policy "\""
#define TOUCHES "--hold --hold-before --threads 8 --order rand --write 20 --remove 20"
#define BALLOON "--hold --threads 8 --write 20 --balloon 3600"
#define KILLED (128 + SIGKILL)

static void begin(struct killing *k, const char *name, const char *config, const char *members,
		  const char *vmm)
{
	killing_open(k, name, config);
	killing_create(k, members);
	killing_vmm(k, vmm);
	json_object_put(stage_await(&k->s, "serving"));
	killing_look(k);
}

static void worker_dies(struct killing *k)
{
	killing_end(k, DIES_WORKER);
	killing_recovered(k, "serving");
}

/* --- a restore that fails for good --- */

/* clang-format off */
static const struct failing {
	const char *name, *members;
	int code; /* of the VMM */
} failing[] = {
	{"kill", POLICY("kill"), KILLED},
	{"poison", POLICY("poison"), KILLED}, /* no worker is left that could poison */
	{"hold", POLICY("hold"), KILLED}, /* by whoever looks after it */
};
/* clang-format on */

static bool is_released(struct json_object *o, const void *arg)
{
	const struct killing *k = arg;
	cleanup_free char *events = scene_events(&k->scene, k->s.id);

	(void)o;
	return strstr(events, "released ");
}

static void failed(struct killing *k, const struct failing *f, const char *why)
{
	struct json_object *o = stage_await(&k->s, "failed");
	int code;

	stage_check(&k->s, strstr(scene_text(o, "reason"), why), "failed, but not with \"%s\": %s",
		    why, scene_text(o, "reason"));
	json_object_put(o);
	if (strcmp(f->name, "hold") == 0) {
		scene_vmm_go(&k->s.vmm);
		stage_check(&k->s, scene_vmm_lives(&k->s.vmm), "it was not held");
		stage_tell(&k->s, "DELETE", "?kill=true", NULL);
	}
	code = stage_end(&k->s);
	stage_check(&k->s, code == f->code, "the VMM ended with %d, not %d", code, f->code);
	stage_check(&k->s, !strstr(stage_printed(&k->s), "wrong page"), "wrong bytes");
	killing_await(k, "released", is_released, k);
	stage_cleared(&k->s);
	json_object_put(stage_await(&k->s, "failed"));
}

#define RESTARTS 3

/* The bound of restarts, and one more. */
START_TEST(crash_loop)
{
	const struct failing *f = &failing[_i];
	cleanup_free char *name = scene_format("loop-%s", f->name);
	struct killing k;

	begin(&k, name, "\"worker_restarts\":3", f->members, TOUCHES);
	for (int i = 0; i < RESTARTS; i++)
		worker_dies(&k);
	killing_end(&k, DIES_WORKER);
	failed(&k, f, "die again and again");
	killing_close(&k);
}
END_TEST

static void change_layer(const struct killing *k)
{
	cleanup_free char *layer = NULL;
	char build[UUID_STR_LEN];
	uuid_t uuid;

	snapgen_build(KILLING_SEED, 1, uuid);
	uuid_unparse_lower(uuid, build);
	layer = scene_format("%s/memfile.%s", k->snapshot, build);
	{
		cleanup_fd int fd = open(layer, O_WRONLY | O_CLOEXEC);

		ck_assert_int_eq(write(fd, "x", 1), 1);
	}
}

/* What the successor gets is not what its predecessor had. */
START_TEST(layer_changes_while_nobody_looks)
{
	const struct failing *f = &failing[_i];
	cleanup_free char *name = scene_format("changed-%s", f->name);
	struct killing k;

	begin(&k, name, NULL, f->members, TOUCHES);
	killing_stop(&k, DIES_WORKER);
	change_layer(&k);
	killing_end(&k, DIES_WORKER);
	failed(&k, f, "changed");
	killing_close(&k);
}
END_TEST

/* The longest that nothing may happen, to believe that nothing will. */
#define STILL_MS 500

/* One worker tries; it is said once; the guest is held until somebody ends it. */
static void nobody_serves(struct killing *k, unsigned deaths, unsigned said)
{
	cleanup_json struct json_object *o = NULL;

	poll(NULL, 0, STILL_MS);
	o = stage_await(&k->s, "failed");
	ck_assert_uint_eq(scene_number(o, "worker.restarts"), deaths);
	ck_assert_uint_eq(respawn_count_events(&k->scene, k->s.id, "worker-died"), deaths);
	ck_assert_uint_eq(respawn_count_events(&k->scene, k->s.id, "failed"), 1);
	ck_assert_uint_eq(respawn_count_events(&k->scene, k->s.id, "no-worker"), said);
	stage_refused(&k->s, "DELETE", "", NULL, ERR_STATE);
	stage_check(&k->s, scene_vmm_lives(&k->s.vmm), "it was not held");
}

static void end_held(struct killing *k)
{
	int code;

	stage_tell(&k->s, "DELETE", "?kill=true", NULL);
	code = stage_end(&k->s);
	stage_check(&k->s, code == KILLED && !strstr(stage_printed(&k->s), "wrong page"),
		    "the VMM ended with %d", code);
	killing_await(k, "released", is_released, k);
	killing_bury(k);
	stage_cleared(&k->s);
	killing_close(k);
}

START_TEST(no_second_successor)
{
	struct killing k;

	begin(&k, "hopeless", NULL, POLICY("hold"), TOUCHES);
	killing_stop(&k, DIES_WORKER);
	change_layer(&k);
	killing_end(&k, DIES_WORKER);
	nobody_serves(&k, 1, 0);
	end_held(&k);
}
END_TEST

/* It had failed before, and its worker stayed to hold it. */
START_TEST(no_second_successor_of_a_failed_one)
{
	struct killing k;

	begin(&k, "hopeless-failed", NULL, POLICY("hold"), TOUCHES);
	change_layer(&k);
	scene_vmm_go(&k.s.vmm);
	json_object_put(stage_await(&k.s, "failed"));
	killing_end(&k, DIES_WORKER);
	respawn_await_event(&k.scene, k.s.id, "no-worker", 1);
	nobody_serves(&k, 1, 1);
	end_held(&k);
}
END_TEST

#define HOWS 2 /* SIGKILL; SIGSTOP and then SIGKILL */

/*
 * The row of the kill matrix that ends in no verified guest: held, because its snapshot
 * has changed. It stays so, whoever dies, until its VMM ends.
 */
START_TEST(held)
{
	enum killing_who who = (enum killing_who)(_i / HOWS);
	cleanup_free char *name = scene_format("held-%s-%d", killing_who_names[who], _i % HOWS);
	struct killing k;

	begin(&k, name, NULL, POLICY("hold"), TOUCHES);
	change_layer(&k);
	scene_vmm_go(&k.s.vmm);
	json_object_put(stage_await(&k.s, "failed"));
	if (_i % HOWS)
		killing_stop(&k, who);
	killing_end(&k, who);
	killing_revive(&k, who);
	if (!killing_has_worker(who) && kill(k.s.worker, 0) == 0)
		kill(k.s.worker, SIGCONT);
	if (killing_has_vmm(who)) {
		killing_await(&k, "released", is_released, &k);
		killing_bury(&k);
		stage_cleared(&k.s);
		json_object_put(stage_await(&k.s, "failed"));
		killing_close(&k);
		return;
	}
	respawn_await_event(&k.scene, k.s.id, killing_has_worker(who) ? "no-worker" : "adopted", 1);
	nobody_serves(&k, killing_has_worker(who), killing_has_worker(who));
	if (!killing_has_worker(who))
		killing_look(&k);
	end_held(&k);
}
END_TEST

/* --- a VMM without memory: it is ending, or its main thread alone has --- */

#define MAIN_ENDS TOUCHES " --main-ends"

static const char *const losing[] = {MAIN_ENDS, "--hold-before --no-touch --ends-slowly"};

static void loses_memory(struct killing *k, const char *name, const char *vmm)
{
	begin(k, name, NULL, POLICY("kill"), vmm);
	/* What is seen of it from outside is its main thread. */
	if (strstr(vmm, "--main-ends")) {
		killing_await_death(k, k->s.vmm.pid);
	} else {
		scene_vmm_go(&k->s.vmm);
		ck_assert(stage_hears(&k->s, "holding"));
	}
	killing_end(k, DIES_BOTH);
	killing_revive(k, DIES_BOTH);
	killing_bury(k);
	respawn_await_event(&k->scene, k->s.id, "vmm-ending", 1);
	json_object_put(stage_await(&k->s, "recovering"));
}

/* Nobody can serve it, and nothing shows that it will ever end. */
START_TEST(memory_is_lost)
{
	struct killing k;

	if (!killing_survivable(DIES_BOTH))
		return;
	loses_memory(&k, "memory-is-lost", MAIN_ENDS);
	failed(&k, &failing[0], "does not end");
	killing_close(&k);
}
END_TEST

/* That is its end, and not a failure. */
START_TEST(memory_goes_first)
{
	cleanup_free char *name = scene_format("memory-goes-first-%d", _i);
	cleanup_free char *events = NULL;
	struct killing k;

	if (!killing_survivable(DIES_BOTH))
		return;
	loses_memory(&k, name, losing[_i]);
	ck_assert_int_eq(kill(k.s.vmm.pid, SIGKILL), 0);
	ck_assert_int_eq(stage_end(&k.s), KILLED);
	json_object_put(stage_ended(&k.s, "vmm-exited"));
	events = scene_events(&k.scene, k.s.id);
	ck_assert_str_eq(events, "created connected vmm-ending ended ");
	killing_close(&k);
}
END_TEST

/* --- a restore that goes on --- */

/* What was opened stays, and goes from hand to hand. */
START_TEST(snapshot_is_deleted)
{
	enum killing_who who = _i ? DIES_SUPERVISOR : DIES_WORKER;
	cleanup_free char *name = scene_format("deleted-%s", killing_who_names[who]);
	struct killing k;

	begin(&k, name, NULL, ON_DEMAND, TOUCHES);
	harness_rmtree(k.snapshot);
	killing_end(&k, who);
	killing_revive(&k, who);
	killing_recovered(&k, "serving");
	/* Also from what came back to the new supervisor. */
	worker_dies(&k);
	worker_dies(&k);
	scene_vmm_go(&k.s.vmm);
	killing_right(&k);
	killing_close(&k);
}
END_TEST

#define REPLACED 8

START_TEST(worker_is_replaced_under_load)
{
	struct killing k;

	begin(&k, "replaced", "\"worker_restarts\":1", ON_DEMAND, BALLOON);
	for (int i = 0; i < REPLACED; i++) {
		json_object_put(stage_ask(&k.s, "POST", "/restart-worker", NULL));
		k.tally.died++;
		k.tally.recovered++;
		killing_recovered(&k, "serving");
	}
	killing_right(&k);
	killing_close(&k);
}
END_TEST

/* --- a removal in hand --- */

#define PAGES (KILLING_SIZE / PAGE_4K)

/* A guest that gives back what it has never touched, and then looks at everything. */
static int removing_guest(const char *socket, const char *image)
{
	const struct vmm_opts o = {.image = image, .features = UF_FEATURE_REMOVE, .seed = 1};
	const struct vmm_link link = {0};
	struct walker walker;
	struct vmm *v;
	struct err err;
	uint64_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (vmm_create(&o, &v, &err) || vmm_connect(v, socket, &link, &err))
		return 2;
	walker_init(&walker, v, "guest", 1);
	if (pages_remove(&walker, 0, PAGES, &n, &err) || n != PAGES)
		return 3;
	if (pages_verify(&walker) != v->npages || atomic_load(&v->wrong))
		return 4;
	walker_fini(&walker);
	return 0;
}

static bool has_left(struct json_object *o, const void *arg)
{
	(void)arg;
	return strcmp(scene_text(o, "state"), "ended") == 0 && !scene_member(o, "worker.release");
}

/* Lost, it would bring back the bytes of the snapshot where the guest must see zeros. */
START_TEST(removal_is_not_lost)
{
	enum killing_who who = _i ? DIES_BOTH : DIES_WORKER;
	cleanup_free char *name = scene_format("removal-%s", killing_who_names[who]);
	struct json_object *o;
	struct killing k;
	int code;

	if (!killing_survivable(who))
		return;
	killing_open(&k, name, NULL);
	killing_arm(&k, "removal-pending:1:stop");
	killing_create(&k, ON_DEMAND);
	k.s.vmm.pid = fork();
	if (k.s.vmm.pid == 0)
		_exit(removing_guest(k.s.socket, k.image));
	killing_await_stop(&k, k.s.worker);
	json_object_put(stage_await(&k.s, "serving"));
	killing_end(&k, who);
	killing_revive(&k, who);
	code = stage_end(&k.s);
	stage_check(&k.s, code == 0, "the guest ended with %d", code);
	/* Its worker may still be at the record of the last page. */
	killing_await(&k, "ended, without a worker", has_left, NULL);
	o = stage_ask(&k.s, "GET", "", NULL);
	ck_assert_uint_eq(scene_number(o, "memory.zero_bytes"), PAGES * PAGE_4K);
	json_object_put(o);
	killing_close(&k);
}
END_TEST

/* --- the host --- */

START_TEST(host_reboots)
{
	static const char *const names[] = {"reboot-waiting", "reboot-serving"};
	cleanup_free char *events = NULL;
	struct json_object *o;
	struct killing k;

	killing_open(&k, names[_i], NULL);
	killing_create(&k, NULL);
	if (_i) {
		killing_vmm(&k, TOUCHES);
		json_object_put(stage_await(&k.s, "serving"));
	}
	killing_end(&k, _i ? DIES_ALL : DIES_BOTH);
	killing_change_row(&k, "boot_id = 'of another time'");
	killing_revive(&k, DIES_ALL);
	killing_bury(&k);
	o = stage_ended(&k.s, "reboot");
	ck_assert_str_ne(scene_text(o, "ended_at"), "");
	json_object_put(o);
	events = scene_events(&k.scene, k.s.id);
	stage_check(&k.s, strstr(events, "ended ") && !strstr(events, "worker-died"), "events: %s",
		    events);
	stage_tell(&k.s, "DELETE", "", NULL);
	killing_close(&k);
}
END_TEST

/* The supervisor had failed it, and died before it could do what on_failure says. */
START_TEST(failed_and_not_yet_killed)
{
	enum killing_who who = _i ? DIES_BOTH : DIES_SUPERVISOR;
	cleanup_free char *name = scene_format("not-yet-%s", killing_who_names[who]);
	struct killing k;
	int code;

	begin(&k, name, NULL, POLICY("kill"), TOUCHES);
	killing_end(&k, who);
	killing_change_row(&k, "state = 'failed', reason = 'a test', ended_ms = 1");
	killing_revive(&k, who);
	code = stage_end(&k.s);
	stage_check(&k.s, code == KILLED, "the VMM ended with %d", code);
	killing_await(&k, "released", is_released, &k);
	killing_bury(&k);
	stage_cleared(&k.s);
	killing_close(&k);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("kill-more");
	TCase *tc = tcase_create("more");

	tcase_add_loop_test(tc, crash_loop, 0, ARRAY_LEN(failing));
	tcase_add_loop_test(tc, layer_changes_while_nobody_looks, 0, ARRAY_LEN(failing));
	tcase_add_loop_test(tc, held, 0, KILLING_WHO_COUNT * HOWS);
	tcase_add_test(tc, no_second_successor);
	tcase_add_test(tc, no_second_successor_of_a_failed_one);
	tcase_add_test(tc, memory_is_lost);
	tcase_add_loop_test(tc, memory_goes_first, 0, ARRAY_LEN(losing));
	tcase_add_loop_test(tc, snapshot_is_deleted, 0, 2);
	tcase_add_test(tc, worker_is_replaced_under_load);
	tcase_add_loop_test(tc, removal_is_not_lost, 0, 2);
	tcase_add_loop_test(tc, host_reboots, 0, 2);
	tcase_add_loop_test(tc, failed_and_not_yet_killed, 0, 2);
	suite_add_tcase(suite, tc);
	return suite;
}
