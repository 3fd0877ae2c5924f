/*
 * Workers that die at one place of their loop, alone or together with others: the
 * kernel, the page map and the guest disagree there about what has been done.
 */
#include <signal.h>
#include <string.h>

#include "tests/killing.h"
#include "tests/runner.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold --threads 8 --order rand --write 20 --remove 20 --timeout 20"
/* Else the guest may have all of its memory before prefetch has its first turn. */
#define TOUCHES_LATER "--hold-before " TOUCHES
#define BALLOON "--hold --threads 8 --write 20 --balloon 1 --timeout 20"
#define WAITS "--hold --no-touch --wait-resident 20"

static const struct point {
	const char *at; /* name and passage */
	const char *members, *vmm;
} points[] = {
	{"connected:1", ON_DEMAND, TOUCHES},
	{"connected:1", NULL, TOUCHES},
	{"after-read:1", ON_DEMAND, TOUCHES},
	{"after-read:30", ON_DEMAND, TOUCHES},
	{"before-install:1", ON_DEMAND, TOUCHES},
	{"before-install:100", ON_DEMAND, TOUCHES},
	{"after-install:1", ON_DEMAND, TOUCHES},
	{"after-install:30", ON_DEMAND, BALLOON},
	{"before-step:1", NULL, TOUCHES_LATER},
	{"before-step:3", NULL, WAITS},
	{"in-step:1", NULL, TOUCHES_LATER},
	{"in-step:3", NULL, WAITS},
	{"removal-pending:1", ON_DEMAND, TOUCHES},
	{"removal-pending:3", NULL, TOUCHES},
};

/* Who dies while the worker stands still; or it dies by itself. */
static const struct {
	const char *name, *action;
	enum killing_who who;
} hows[] = {
	{"alone", "kill", DIES_WORKER},
	{"both", "stop", DIES_BOTH},
	{"supervisor", "stop", DIES_SUPERVISOR},
	{"vmm", "stop", DIES_VMM},
	{"vmm-unseen", "stop", DIES_VMM_UNSEEN},
};

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
	if (hows[how].who == DIES_WORKER)
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

/*
 * The handshake was read, and nobody else knows of it. The VMM waits, and its pages
 * do not turn into zeros; the restore waits for one whose memory it can serve.
 */
static void lost_handshake(struct killing *k, const char *at, enum killing_who who)
{
	arm(k, at, "stop");
	killing_create(k, ON_DEMAND);
	killing_vmm(k, TOUCHES);
	killing_await_stop(k, k->s.worker);
	killing_end(k, who);
	killing_revive(k, who);
}

START_TEST(handshake_is_lost)
{
	enum killing_who who = _i ? DIES_BOTH : DIES_WORKER;
	cleanup_free char *name = scene_format("lost-%s", killing_who_names[who]);
	struct killing k;

	killing_open(&k, name, NULL);
	lost_handshake(&k, "before-connected:1", who);
	killing_recovered(&k, "waiting");
	stage_check(&k.s, scene_vmm_lives(&k.s.vmm) && !strstr(stage_printed(&k.s), "verified"),
		    "it does not wait");
	scene_vmm_kill(&k.s.vmm);
	killing_vmm(&k, TOUCHES);
	json_object_put(stage_await(&k.s, "serving"));
	killing_right(&k);
	killing_close(&k);
}
END_TEST

START_TEST(handshake_is_told_to_the_next)
{
	struct killing k;

	killing_open(&k, "told", NULL);
	lost_handshake(&k, "before-connected:1", DIES_SUPERVISOR);
	ck_assert_int_eq(kill(k.s.worker, SIGCONT), 0);
	json_object_put(stage_await(&k.s, "serving"));
	killing_recovered(&k, "serving");
	killing_right(&k);
	killing_close(&k);
}
END_TEST

/* Nobody was told, but the page map knows of the VMM, and the VMM has the uffd. */
START_TEST(handshake_is_on_record)
{
	enum killing_who who = _i ? DIES_BOTH : DIES_WORKER;
	cleanup_free char *name = scene_format("record-%s", killing_who_names[who]);
	struct killing k;

	if (!killing_survivable(DIES_BOTH))
		return;
	killing_open(&k, name, NULL);
	lost_handshake(&k, "recorded:1", who);
	killing_recovered(&k, "serving");
	killing_right(&k);
	killing_close(&k);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("kill-points");
	TCase *tc = tcase_create("points");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, dies, 0, (int)(ARRAY_LEN(points) * ARRAY_LEN(hows)));
	tcase_add_loop_test(tc, handshake_is_lost, 0, 2);
	tcase_add_loop_test(tc, handshake_is_on_record, 0, 2);
	tcase_add_test(tc, handshake_is_told_to_the_next);
	suite_add_tcase(suite, tc);
	return suite;
}
