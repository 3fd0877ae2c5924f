#include "tests/support/lying.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* What the liar does, up to its word. */
/* clang-format off */
const struct lying_phase lying_phases[LYING_PHASES] = {
	[LYING_CREATING]   = {"creating", "ASSIGN"},
	[LYING_SUCCEEDING] = {"succeeding", "ASSIGN"},
	[LYING_WAITING]    = {"waiting", "READY"},
	[LYING_SERVING]    = {"serving", "CONNECTED"},
	[LYING_FAILED]     = {"failed", "CONNECTED FAILED-why 1"},
	[LYING_OVER]       = {"over", "the-end"},
};
/* clang-format on */

static bool is_lie(char outcome)
{
	return outcome == 'L' || outcome == 'f';
}

/* Does it say that this is not for it to say, or cannot even be understood? */
static bool is_out_of_place(const char *text)
{
	return strstr(text, "for it to say") || strstr(text, "channel message");
}

/* ---- the scene ---- */

void lying_open(struct lying *l)
{
	cleanup_free char *self = scene_format("%d", (int)getpid());

	*l = (struct lying){
		.scene.config = "\"worker\":\"" TEST_BUILD "/tests/uffdd-worker-liar\"",
		.scripts = harness_tmpdir(),
	};
	setenv("LIAR_DIR", l->scripts, 1);
	setenv("LIAR_VICTIM", self, 1);
	scene_open(&l->scene);
}

void lying_close(struct lying *l)
{
	stage_close(&l->scene);
	harness_rmtree(l->scripts);
	free(l->scripts);
}

void lying_start_beside(struct lying *l, const char *what)
{
	snprintf(l->beside, sizeof(l->beside), "beside.%s", what);
	scene_create(&l->scene, l->beside, SCENE_SNAPSHOT, LYING_MEMBERS);
	scene_vmm_start(&l->beside_vmm, &l->scene, l->beside, "--hold-before");
	scene_reach(&l->scene, l->beside, "serving", "");
}

void lying_end_beside(struct lying *l)
{
	cleanup_free char *events = NULL;

	scene_vmm_go(&l->beside_vmm);
	scene_vmm_right(&l->beside_vmm);
	scene_reach(&l->scene, l->beside, "ended", "vmm-exited");
	events = scene_events(&l->scene, l->beside);
	ck_assert_msg(!strstr(events, "worker-") && !strstr(events, "recovered"), "%s", events);
}

/* ---- one word in one phase ---- */

static void write_script(const struct lie *l)
{
	cleanup_free char *path = scene_format("%s/%s", l->in->scripts, l->id);
	cleanup_free char *text = scene_format("%s %s %u\n", lying_phases[l->phase].script, l->word,
					       l->count);

	scene_write(path, text, strlen(text));
}

size_t lying_count(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

char *lying_events(const struct lying *l, const char *query)
{
	cleanup_free char *target = scene_format("/v1/events%s", query);
	struct harness_reply r;
	char *text;

	harness_http(l->scene.d.socket, "GET", target, NULL, &r);
	ck_assert_int_eq(r.status, 200);
	text = strdup(r.body);
	harness_reply_fini(&r);
	return text;
}

static bool has_lied(void *arg)
{
	const struct lie *l = arg;
	cleanup_free char *events = scene_events(&l->in->scene, l->id);

	return strstr(events, "worker-lied ");
}

static bool is_gone(void *arg)
{
	const pid_t *pid = arg;

	return kill(*pid, 0) < 0 && errno == ESRCH;
}

/* The pid of its event: by now another one may serve. */
static pid_t liar_of(const struct lie *l)
{
	cleanup_free char *query = scene_format("?restore=%s", l->id);
	cleanup_free char *events = lying_events(l->in, query);
	char *at = strstr(events, "\"worker-lied\"");

	ck_assert_ptr_nonnull(at);
	at = strstr(at, "\"pid\":");
	ck_assert_ptr_nonnull(at);
	return (pid_t)strtol(at + strlen("\"pid\":"), NULL, 10);
}

static void await_lie(struct lie *l)
{
	pid_t liar;

	ck_assert_msg(harness_wait(has_lied, l, SCENE_MS), "%s: it is no lie", l->id);
	if (l->lied)
		l->lied(l);
	liar = liar_of(l);
	ck_assert_msg(harness_wait(is_gone, &liar, SCENE_MS), "%s: the liar lives on", l->id);
}

/* The event tells whose word it was, and the create that there is no restore. */
static void check_creating(struct lie *l)
{
	cleanup_free char *target = scene_format("/v1/restores/%s", l->id);
	cleanup_free char *body = scene_body(SCENE_SNAPSHOT, LYING_MEMBERS);
	cleanup_free char *lied = scene_format("restore %s: its worker lies", l->id);
	cleanup_free char *events = NULL;
	char *at;

	if (l->outcome == '.') {
		scene_tell(&l->in->scene, 201, "PUT", target, body);
		scene_delete(&l->in->scene, l->id, "");
		return;
	}
	if (l->outcome == 'F') {
		scene_refused(&l->in->scene, "PUT", target, body, ERR_INVALID, "so it says");
	} else {
		scene_refused(&l->in->scene, "PUT", target, body, ERR_SYSTEM, lied);
		events = lying_events(l->in, "");
		at = strstr(events, lied);
		ck_assert_msg(at, "%s: no event: %s", l->id, events);
		*strchr(at, '\n') = '\0';
		ck_assert_msg(is_out_of_place(at) == (l->outcome == 'L'), "%s", at);
	}
	scene_refused(&l->in->scene, "GET", target, NULL, ERR_NOTFOUND, l->id);
}

void lie_create(struct lie *l)
{
	cleanup_json struct json_object *o = NULL;

	scene_create(&l->in->scene, l->id, SCENE_SNAPSHOT, LYING_MEMBERS);
	o = scene_show(&l->in->scene, l->id);
	l->worker = (pid_t)scene_number(o, "worker.pid");
}

static void begin(struct lie *l)
{
	if (l->phase != LYING_SUCCEEDING)
		write_script(l);
	lie_create(l);
	if (l->phase == LYING_SUCCEEDING) {
		write_script(l);
		ck_assert_int_eq(kill(l->worker, SIGKILL), 0);
	}
	if (l->phase >= LYING_SERVING)
		scene_vmm_start(&l->vmm, &l->in->scene, l->id, "--hold-before");
	if (l->phase == LYING_OVER)
		scene_vmm_go(&l->vmm);
}

/* The restore goes on, whoever has its pages now. */
static void go_on(struct lie *l)
{
	if (l->phase == LYING_FAILED) {
		scene_reach(&l->in->scene, l->id, "failed", "so it says");
		scene_vmm_kill(&l->vmm);
		return;
	}
	if (!l->vmm.pid)
		scene_vmm_start(&l->vmm, &l->in->scene, l->id, "--hold-before");
	if (l->phase != LYING_OVER)
		scene_vmm_go(&l->vmm);
	scene_vmm_right(&l->vmm);
	scene_reach(&l->in->scene, l->id, "ended", "vmm-exited");
}

static void check_loaded(struct lie *l)
{
	begin(l);
	switch (l->outcome) {
	case 'L':
	case 'f':
		await_lie(l);
		go_on(l);
		break;
	case 'E':
		scene_reach(&l->in->scene, l->id, l->phase == LYING_FAILED ? "failed" : "ended",
			    "");
		break;
	case 'F':
		scene_reach(&l->in->scene, l->id, "failed", "so it says");
		break;
	case 'S':
		scene_reach(&l->in->scene, l->id, "serving", "");
		ck_assert_int_eq(kill(l->worker, SIGKILL), 0);
		scene_reach(&l->in->scene, l->id, "ended", "vmm-exited");
		break;
	default:
		go_on(l);
	}
	if (l->vmm.pid)
		scene_vmm_kill(&l->vmm);
}

static void check_events(const struct lie *l)
{
	cleanup_free char *query = scene_format("?restore=%s", l->id);
	cleanup_free char *said = scene_format("while %s", lying_phases[l->phase].name);
	cleanup_free char *events = lying_events(l->in, query);
	bool lied = is_lie(l->outcome) && l->phase != LYING_CREATING;

	ck_assert_msg(lying_count(events, "\"worker-lied\"") == lied, "%s: %s", l->id, events);
	if (!lied)
		return;
	ck_assert_msg(strstr(events, said) || strstr(events, "channel message"), "%s: %s", l->id,
		      events);
	ck_assert_msg(is_out_of_place(events) == (l->outcome == 'L'), "%s: %s", l->id, events);
}

void lie_run(struct lie *l)
{
	if (l->phase == LYING_CREATING) {
		write_script(l);
		check_creating(l);
	} else {
		check_loaded(l);
	}
	/* Then all that it has said was heard. */
	if (l->phase == LYING_OVER)
		ck_assert(harness_wait(is_gone, &l->worker, SCENE_MS));
	check_events(l);
}
