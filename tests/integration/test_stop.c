/*
 * test_stop - a stop that was asked for is carried out, whoever dies over it: worker,
 * supervisor or both, at once or after having been stopped, in every part of it
 */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "common/sock.h"
#include "tests/support/killing.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/fakes/vmm/touch.h"

#define ON_DEMAND(policy) "\"prefetch\":{\"mode\":\"none\"},\"on_failure\":\"" policy "\""
#define TOUCHES "--hold-before --threads 4 --order rand"
#define KILLED (128 + SIGKILL)
#define POISONED 149

/* clang-format off */
static const struct {
	const char *name;
	enum killing_who who;
	bool stopped; /* first */
} deaths[] = {
	{"worker", DIES_WORKER, false},          {"worker-stop", DIES_WORKER, true},
	{"supervisor", DIES_SUPERVISOR, false},  {"supervisor-stop", DIES_SUPERVISOR, true},
	{"both", DIES_BOTH, false},              {"both-stop", DIES_BOTH, true},
};
/* clang-format on */

static void begin(struct killing *k, const char *name, const char *members, const char *vmm,
		  const char *until)
{
	killing_open(k, name, NULL);
	killing_create(k, members);
	killing_vmm(k, vmm);
	json_object_put(stage_await(&k->s, until));
	killing_look(k);
}

/* It is answered when all is gone, if ever. */
static int ask_for_the_end(const struct killing *k, const char *query)
{
	cleanup_free char *request = scene_format("DELETE /v1/restores/%s%s HTTP/1.1\r\n"
						  "Host: u\r\nConnection: close\r\n\r\n",
						  k->s.id, query);
	struct err err;
	int fd;

	ck_assert_msg(sock_connect(k->scene.d.socket, SOCK_STREAM, &fd, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL),
			 (ssize_t)strlen(request));
	return fd;
}

static void answered(const struct killing *k, int fd, enum killing_who who)
{
	cleanup_free char *reply = scene_hear(fd, NULL);

	ck_assert_msg(killing_has_supervisor(who) || strstr(reply, "HTTP/1.1 200"), "%s: %s",
		      k->s.id, reply);
	close(fd);
}

static void die(struct killing *k, int death)
{
	if (deaths[death].stopped)
		killing_stop(k, deaths[death].who);
	killing_end(k, deaths[death].who);
	killing_revive(k, deaths[death].who);
	if (deaths[death].who == DIES_SUPERVISOR)
		ck_assert_int_eq(kill(k->s.worker, SIGCONT), 0);
}

static void over(struct killing *k, int code)
{
	int got = stage_end(&k->s);

	stage_check(&k->s, got == code, "the VMM ended with %d, not %d", got, code);
	stage_check(&k->s, !strstr(stage_printed(&k->s), "wrong page"), "wrong bytes");
	killing_look(k);
	killing_bury(k);
	json_object_put(stage_ended(&k->s, "stopped"));
	ck_assert_uint_eq(respawn_count_events(&k->scene, k->s.id, "stopping"), 1);
	ck_assert_uint_eq(respawn_count_events(&k->scene, k->s.id, "ended"), 1);
	ck_assert_uint_eq(respawn_count_events(&k->scene, k->s.id, "failed"), 0);
	killing_close(k);
}

/* --- the VMM has time to end by itself --- */

#define LONG "?grace=300s"
#define SHORT "?grace=2s"
#define SHORT_US 2000000

static const struct grace {
	const char *name, *members, *vmm, *until;
	int code;
	bool by_itself; /* it ends, in time */
} graces[] = {
	{"over", ON_DEMAND("kill"), TOUCHES, "serving", KILLED, false},
	{"in-time", ON_DEMAND("hold"), TOUCHES, "serving", 0, true},
	{"complete", NULL, TOUCHES " --remove 30", "complete", 0, false},
};

#define GRACE_CASES ((int)(ARRAY_LEN(graces) * ARRAY_LEN(deaths)))

static bool has_ended(void *arg)
{
	return !scene_vmm_lives(arg);
}

static void go_on(struct killing *k, const struct grace *g)
{
	if (g->code == KILLED)
		ck_assert(harness_wait(has_ended, &k->s.vmm, SCENE_MS));
	else if (!g->by_itself)
		/* It goes on without us. */
		json_object_put(stage_await(&k->s, "ended"));
	if (g->code != KILLED)
		scene_vmm_go(&k->s.vmm);
}

/* The grace is over, for the next supervisor. */
static void let_time_pass(struct killing *k)
{
	scene_kill(&k->scene);
	killing_change_row(k, "stop_by_us = 1");
	killing_revive(k, DIES_SUPERVISOR);
	k->tally.adopted++;
}

/* If the grace was over before, there may be no worker any more. */
static void die_early_or_late(struct killing *k, enum killing_who who)
{
	if (killing_has_supervisor(who))
		scene_kill(&k->scene);
	if (killing_has_worker(who))
		kill(k->s.worker, SIGKILL);
	killing_revive(k, who);
}

START_TEST(grace)
{
	const struct grace *g = &graces[_i / ARRAY_LEN(deaths)];
	int death = _i % (int)ARRAY_LEN(deaths), fd;
	cleanup_free char *name = scene_format("%s-%s", g->name, deaths[death].name);
	struct killing k;

	if (!killing_survivable(deaths[death].who))
		return;
	begin(&k, name, g->members, g->vmm, g->until);
	fd = ask_for_the_end(&k, LONG);
	respawn_await_event(&k.scene, k.s.id, "stopping", 1);
	die(&k, death);
	killing_recovered(&k, "serving");
	if (!g->by_itself)
		let_time_pass(&k);
	go_on(&k, g);
	answered(&k, fd, g->by_itself ? deaths[death].who : DIES_SUPERVISOR);
	over(&k, g->code);
}
END_TEST

/* In real time: whoever of them sees the end of it, it is not before its time. */
START_TEST(grace_in_real_time)
{
	const struct grace *g = &graces[_i / ARRAY_LEN(deaths)];
	int death = _i % (int)ARRAY_LEN(deaths), fd;
	cleanup_free char *name = scene_format("real-%s-%s", g->name, deaths[death].name);
	struct killing k;
	uint64_t start;

	if (g->by_itself || deaths[death].stopped || !killing_survivable(deaths[death].who))
		return;
	begin(&k, name, g->members, g->vmm, g->until);
	start = now_us();
	fd = ask_for_the_end(&k, SHORT);
	respawn_await_event(&k.scene, k.s.id, "stopping", 1);
	die_early_or_late(&k, deaths[death].who);
	go_on(&k, g);
	ck_assert_uint_ge(now_us() - start, SHORT_US);
	answered(&k, fd, deaths[death].who);
	over(&k, g->code);
}
END_TEST

/* Nobody was there when it ran out: then it counts as over. */
START_TEST(grace_runs_out_meanwhile)
{
	int death = _i, fd;
	cleanup_free char *name = scene_format("meanwhile-%s", deaths[death].name);
	struct killing k;

	if (!killing_survivable(deaths[death].who))
		return;
	begin(&k, name, ON_DEMAND("kill"), TOUCHES, "serving");
	fd = ask_for_the_end(&k, LONG);
	respawn_await_event(&k.scene, k.s.id, "stopping", 1);
	killing_end(&k, deaths[death].who);
	killing_change_row(&k, "stop_by_us = 1");
	ck_assert(scene_vmm_lives(&k.s.vmm));
	killing_revive(&k, deaths[death].who);
	ck_assert(harness_wait(has_ended, &k.s.vmm, SCENE_MS));
	answered(&k, fd, deaths[death].who);
	over(&k, KILLED);
}
END_TEST

/* The next supervisor cannot do it either, and says so. */
START_TEST(grace_is_refused_afterwards)
{
	struct killing k;
	int fd, code;

	begin(&k, "refused", ON_DEMAND("hold"), TOUCHES, "serving");
	fd = ask_for_the_end(&k, LONG);
	respawn_await_event(&k.scene, k.s.id, "stopping", 1);
	let_time_pass(&k);
	respawn_await_event(&k.scene, k.s.id, "stop-refused", 1);
	answered(&k, fd, DIES_SUPERVISOR);
	killing_recovered(&k, "serving");
	stage_refused(&k.s, "DELETE", "", NULL, ERR_STATE);
	ck_assert_uint_eq(respawn_count_events(&k.scene, k.s.id, "stopping"), 1);
	scene_vmm_go(&k.s.vmm);
	code = stage_end(&k.s);
	stage_check(&k.s, code == 0, "exit %d", code);
	killing_bury(&k);
	json_object_put(stage_ended(&k.s, "vmm-exited"));
	killing_close(&k);
}
END_TEST

/* --- the worker is in the middle of it --- */

static const struct middle {
	const char *at, *members, *vmm, *until;
	int code;
} middles[] = {
	{"stopping:1", ON_DEMAND("poison"), TOUCHES, "serving", POISONED},
	{"poisoning:1", ON_DEMAND("poison"), TOUCHES, "serving", POISONED},
	{"poisoning:300", ON_DEMAND("poison"), TOUCHES, "serving", POISONED},
	{"stopping:1", NULL, TOUCHES " --remove 30", "complete", 0},
	{"releasing:1", NULL, TOUCHES " --remove 30", "complete", 0},
	{"releasing:1", ON_DEMAND("poison"), TOUCHES, "serving", POISONED},
};

/* Who dies while the worker stands still there; or it dies by itself. */
static const struct {
	const char *name, *action;
	enum killing_who who;
} hows[] = {
	{"killed", "kill", DIES_WORKER},
	{"stopped", "stop", DIES_WORKER},
	{"supervisor", "stop", DIES_SUPERVISOR},
	{"both", "stop", DIES_BOTH},
};

START_TEST(in_the_middle)
{
	const struct middle *m = &middles[_i / ARRAY_LEN(hows)];
	size_t how = (size_t)_i % ARRAY_LEN(hows);
	cleanup_free char *name = scene_format("%.*s-%s-%d", (int)strcspn(m->at, ":"), m->at,
					       hows[how].name, _i);
	cleanup_free char *fault = scene_format("%s:%s", m->at, hows[how].action);
	struct killing k;
	int fd;

	if (!killing_survivable(hows[how].who) || (m->code == POISONED && !touch_have_poison()))
		return;
	killing_open(&k, name, NULL);
	killing_arm(&k, fault);
	killing_create(&k, m->members);
	killing_vmm(&k, m->vmm);
	json_object_put(stage_await(&k.s, m->until));
	killing_look(&k);
	fd = ask_for_the_end(&k, "");
	if (strcmp(hows[how].action, "stop") == 0) {
		killing_await_stop(&k, k.s.worker);
		killing_end(&k, hows[how].who);
		killing_revive(&k, hows[how].who);
	}
	if (hows[how].who == DIES_SUPERVISOR)
		ck_assert_int_eq(kill(k.s.worker, SIGCONT), 0);
	json_object_put(stage_await(&k.s, "ended"));
	answered(&k, fd, hows[how].who);
	ck_assert(scene_vmm_lives(&k.s.vmm));
	scene_vmm_go(&k.s.vmm);
	over(&k, m->code);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("stop");
	TCase *tc = tcase_create("stop");

	tcase_add_loop_test(tc, grace, 0, GRACE_CASES);
	tcase_add_loop_test(tc, grace_in_real_time, 0, GRACE_CASES);
	tcase_add_loop_test(tc, grace_runs_out_meanwhile, 2, (int)ARRAY_LEN(deaths));
	tcase_add_test(tc, grace_is_refused_afterwards);
	tcase_add_loop_test(tc, in_the_middle, 0, (int)(ARRAY_LEN(middles) * ARRAY_LEN(hows)));
	suite_add_tcase(suite, tc);
	return suite;
}
