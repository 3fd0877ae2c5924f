/*
 * Workers that die at one place of their loop, alone or together with others: the
 * kernel, the page map and the guest disagree there about what has been done.
 */
#include <signal.h>
#include <string.h>

#include "tests/support/killing.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold --threads 8 --order rand --write 20 --remove 20"
/* Else the guest may have all of its memory before prefetch has its first turn. */
#define TOUCHES_LATER "--hold-before " TOUCHES
#define BALLOON "--hold --threads 8 --write 20 --balloon 1"
#define WAITS "--hold --no-touch --wait-resident 600"

static const struct point {
	const char *at; /* name and passage */
	const char *members, *vmm;
	bool by_guest; /* it comes there because the guest does something */
} points[] = {
	{"connected:1", ON_DEMAND, TOUCHES, false},
	{"connected:1", NULL, TOUCHES, false},
	{"after-read:1", ON_DEMAND, TOUCHES, true},
	{"after-read:30", ON_DEMAND, TOUCHES, true},
	{"before-install:1", ON_DEMAND, TOUCHES, true},
	{"before-install:100", ON_DEMAND, TOUCHES, true},
	{"after-install:1", ON_DEMAND, TOUCHES, true},
	{"after-install:30", ON_DEMAND, BALLOON, true},
	{"before-step:1", NULL, TOUCHES_LATER, false},
	{"before-step:3", NULL, WAITS, false},
	{"in-step:1", NULL, TOUCHES_LATER, false},
	{"in-step:3", NULL, WAITS, false},
	{"removal-pending:1", ON_DEMAND, TOUCHES, true},
	{"removal-pending:3", NULL, TOUCHES, true},
};

/* Who dies while the worker stands still; or it dies by itself. */
/* clang-format off */
static const struct {
	const char *name, *action;
	enum killing_who who;
} hows[] = {
	{"alone", "kill", DIES_WORKER},
	{"stopped", "stop", DIES_WORKER},
	{"both", "stop", DIES_BOTH},
	{"supervisor", "stop", DIES_SUPERVISOR},
	{"vmm", "stop", DIES_VMM},
	{"vmm-unseen", "stop", DIES_VMM_UNSEEN},
};
/* clang-format on */

static void arm(struct killing *k, const char *at, const char *action)
{
	cleanup_free char *fault = scene_format("%s:%s", at, action);

	killing_arm(k, fault);
}

static void die(struct killing *k, enum killing_who who)
{
	killing_await_stop(k, k->s.worker);
	/* It has said so; whether it was heard is another story. */
	json_object_put(stage_await(&k->s, "serving"));
	scene_vmm_go(&k->s.vmm);
	killing_end(k, who);
	killing_revive(k, who);
	if (who == DIES_SUPERVISOR)
		ck_assert_int_eq(kill(k->s.worker, SIGCONT), 0);
}

/* The page is there, but nobody has noted it; and no fault, nor prefetch, asks for it again. */
START_TEST(all_is_noted)
{
	static const unsigned passages[] = {1, 30, KILLING_SIZE / PAGE_4K};
	cleanup_free char *name = scene_format("noted-%u", passages[_i]);
	cleanup_free char *at = scene_format("after-install:%u", passages[_i]);
	struct killing k;

	killing_open(&k, name, NULL);
	arm(&k, at, "stop");
	killing_create(&k, ON_DEMAND);
	killing_vmm(&k, "--hold");
	die(&k, DIES_WORKER);
	json_object_put(stage_await(&k.s, "complete"));
	killing_right(&k);
	killing_close(&k);
}
END_TEST

START_TEST(dies)
{
	const struct point *point = &points[_i / ARRAY_LEN(hows)];
	size_t how = (size_t)_i % ARRAY_LEN(hows);
	cleanup_free char *name = scene_format("%.*s-%s-%d", (int)strcspn(point->at, ":"),
					       point->at, hows[how].name, _i);
	struct killing k;

	if (!killing_survivable(hows[how].who))
		return;
	killing_open(&k, name, NULL);
	arm(&k, point->at, hows[how].action);
	killing_create(&k, point->members);
	killing_vmm(&k, point->vmm);
	if (strcmp(hows[how].action, "kill") == 0)
		k.tally.died = k.tally.recovered = 1;
	else
		die(&k, hows[how].who);
	if (killing_has_vmm(hows[how].who)) {
		killing_over(&k);
	} else {
		killing_recovered(&k, "serving");
		killing_right(&k);
	}
	killing_close(&k);
}
END_TEST

/* Both without having been stopped; the supervisor is kept from noticing the worker's end. */
START_TEST(both_die)
{
	const struct point *point = &points[_i];
	cleanup_free char *name = scene_format("%.*s-killed-%d", (int)strcspn(point->at, ":"),
					       point->at, _i);
	cleanup_free char *vmm = scene_format("%s --hold-before", point->vmm);
	struct killing k;

	if (!point->by_guest || !killing_survivable(DIES_BOTH))
		return;
	killing_open(&k, name, NULL);
	arm(&k, point->at, "kill");
	killing_create(&k, point->members);
	killing_vmm(&k, vmm);
	json_object_put(stage_await(&k.s, "serving"));
	killing_look(&k);
	killing_stop(&k, DIES_SUPERVISOR);
	scene_vmm_go(&k.s.vmm);
	killing_await_death(&k, k.s.worker);
	scene_kill(&k.scene);
	killing_revive(&k, DIES_SUPERVISOR);
	k.tally.died = k.tally.recovered = 1;
	killing_recovered(&k, "serving");
	killing_right(&k);
	killing_close(&k);
}
END_TEST

/* --- before anybody was told of the VMM --- */

static const struct shake {
	const char *at, *vmm;
	bool on_record; /* the page map knows of the VMM already, and the VMM has the uffd */
} shakes[] = {
	{"peer:1", TOUCHES, false},
	{"part-read:1", TOUCHES " --split-hold", false},
	{"part-read:1", TOUCHES " --split-hold --no-keep --fds 3", false},
	{"before-connected:1", TOUCHES, false},
	{"before-connected:1", TOUCHES " --no-keep", false},
	{"before-connected:1", TOUCHES " --drop", false},
	{"before-record:1", TOUCHES " --fds 3", false},
	{"recorded:1", TOUCHES, true},
	{"recorded:1", TOUCHES " --drop", true},
	/* Only the message that we kept has the userfaultfd. */
	{"recorded:1", TOUCHES " --no-keep", true},
};

static const struct {
	const char *name, *action;
	enum killing_who who;
} shake_hows[] = {
	{"killed", "kill", DIES_WORKER},
	{"stopped", "stop", DIES_WORKER},
	{"supervisor", "stop", DIES_SUPERVISOR},
	{"both", "stop", DIES_BOTH},
};

static bool is_split(const struct shake *shake)
{
	return strstr(shake->vmm, "--split-hold");
}

/* What only the worker had is lost with it, when nobody else was there. */
static bool is_lost(const struct shake *shake, enum killing_who who)
{
	return who == DIES_BOTH && !shake->on_record;
}

static void shake_hands(struct killing *k, const struct shake *shake, size_t how)
{
	enum killing_who who = shake_hows[how].who;

	arm(k, shake->at, shake_hows[how].action);
	killing_create(k, ON_DEMAND);
	killing_look(k);
	killing_vmm(k, shake->vmm);
	if (is_split(shake))
		scene_vmm_await(&k->s.vmm, "half\n");
	if (strcmp(shake_hows[how].action, "kill") == 0) {
		respawn_await_event(&k->scene, k->s.id, "worker-died", 1);
		k->tally.died = k->tally.recovered = 1;
	} else {
		killing_await_stop(k, k->s.worker);
		killing_end(k, who);
		killing_revive(k, who);
	}
	if (who == DIES_SUPERVISOR)
		ck_assert_int_eq(kill(k->s.worker, SIGCONT), 0);
}

/* The VMM waits, its pages do not turn into zeros, and the restore waits for another. */
static void lost(struct killing *k)
{
	killing_recovered(k, "waiting");
	stage_check(&k->s, scene_vmm_lives(&k->s.vmm) && !strstr(stage_printed(&k->s), "verified"),
		    "it does not wait");
	scene_vmm_kill(&k->s.vmm);
	killing_vmm(k, TOUCHES);
	json_object_put(stage_await(&k->s, "serving"));
}

START_TEST(handshake)
{
	const struct shake *shake = &shakes[_i / ARRAY_LEN(shake_hows)];
	size_t how = (size_t)_i % ARRAY_LEN(shake_hows);
	enum killing_who who = shake_hows[how].who;
	cleanup_free char *name = scene_format("%.*s-%s-%d", (int)strcspn(shake->at, ":"),
					       shake->at, shake_hows[how].name, _i);
	struct killing k;

	if (!killing_survivable(who))
		return;
	/* Nobody at all would hold the userfaultfd: the kernel itself gives zeros then. */
	if (who == DIES_BOTH && strstr(shake->vmm, "--no-keep"))
		return;
	killing_open(&k, name, NULL);
	shake_hands(&k, shake, how);
	if (is_lost(shake, who)) {
		lost(&k);
	} else {
		if (is_split(shake))
			scene_vmm_go(&k.s.vmm);
		json_object_put(stage_await(&k.s, "serving"));
		killing_recovered(&k, "serving");
	}
	killing_right(&k);
	killing_close(&k);
}
END_TEST

/* Each of them dies over it, and the last one finds it still there. */
START_TEST(handshake_of_many_workers)
{
	struct killing k;

	killing_open(&k, "many", "\"worker_restarts\":10");
	killing_create(&k, ON_DEMAND);
	killing_vmm(&k, TOUCHES " --split-hold");
	scene_vmm_await(&k.s.vmm, "half\n");
	for (int i = 0; i < 6; i++) {
		killing_arm(&k, "part-read:1:stop");
		killing_look(&k);
		killing_end(&k, DIES_WORKER);
		killing_recovered(&k, "waiting");
		killing_await_stop(&k, k.s.worker);
	}
	scene_vmm_go(&k.s.vmm);
	killing_end(&k, DIES_WORKER);
	json_object_put(stage_await(&k.s, "serving"));
	killing_recovered(&k, "serving");
	killing_right(&k);
	killing_close(&k);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("kill-points");
	TCase *tc = tcase_create("points");

	tcase_add_loop_test(tc, all_is_noted, 0, 3);
	tcase_add_loop_test(tc, dies, 0, (int)(ARRAY_LEN(points) * ARRAY_LEN(hows)));
	tcase_add_loop_test(tc, both_die, 0, (int)ARRAY_LEN(points));
	tcase_add_loop_test(tc, handshake, 0, (int)(ARRAY_LEN(shakes) * ARRAY_LEN(shake_hows)));
	tcase_add_test(tc, handshake_of_many_workers);
	suite_add_tcase(suite, tc);
	return suite;
}
