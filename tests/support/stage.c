#include "tests/support/stage.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

void stage_fini(struct stage *s)
{
	free(s->printed);
	s->printed = NULL;
}

/* --- the restore --- */

static char *target(const struct stage *s, const char *suffix)
{
	return scene_format("/v1/restores/%s%s", s->id, suffix);
}

void stage_create(struct stage *s, const char *snapshot, const char *members)
{
	cleanup_free char *body = scene_format("{\"snapshot\":%s%s%s%s}", snapshot,
					       members ? "," : "", members ? members : "",
					       scene_patient(members));
	cleanup_free char *path = target(s, "");
	cleanup_json struct json_object *o = scene_ask(s->scene, 201, "PUT", path, body);

	s->vmm = (struct scene_vmm){.in = -1, .out = -1};
	s->worker = (pid_t)scene_number(o, "worker.pid");
	snprintf(s->key, sizeof(s->key), "%s", scene_text(o, "key"));
	snprintf(s->socket, sizeof(s->socket), "%s", scene_text(o, "mem_backend.backend_path"));
}

void stage_begin(struct stage *s, const struct scene *scene, const char *id, const char *members,
		 const char *vmm)
{
	*s = (struct stage){.scene = scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, STAGE_SNAPSHOT, members);
	if (!vmm)
		return;
	stage_start(s, STAGE_IMAGE, vmm);
	json_object_put(stage_await(s, "serving"));
}

char *stage_path(const struct stage *s, const char *dir)
{
	return scene_format("%s/%s/%s", s->scene->d.run, dir, s->key);
}

struct json_object *stage_ask(const struct stage *s, const char *method, const char *suffix,
			      const char *body)
{
	cleanup_free char *path = target(s, suffix);

	return scene_ask(s->scene, 200, method, path, body);
}

void stage_tell(const struct stage *s, const char *method, const char *suffix, const char *body)
{
	json_object_put(stage_ask(s, method, suffix, body));
}

pid_t stage_look_up_worker(struct stage *s)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	s->worker = (pid_t)scene_number(o, "worker.pid");
	return s->worker;
}

void stage_refused(const struct stage *s, const char *method, const char *suffix, const char *body,
		   enum err_code code)
{
	cleanup_free char *path = target(s, suffix);

	scene_refused(s->scene, method, path, body, code, s->id);
}

struct json_object *stage_await(struct stage *s, const char *what)
{
	cleanup_free char *suffix = scene_format("?for=%s&wait=%dms", what, scene_poll_ms());
	struct json_object *o = stage_ask(s, "GET", suffix, NULL);
	bool complete = strcmp(what, "complete") == 0;

	stage_check(s,
		    complete ? scene_flag(o, "complete")
			     : strcmp(scene_text(o, "state"), what) == 0,
		    "it is not %s: %s", what, json_object_to_json_string(o));
	return o;
}

/* A pause is answered by the worker, between two turns of its loop. */
void stage_settle(const struct stage *s)
{
	stage_tell(s, "POST", "/pause", NULL);
	stage_tell(s, "POST", "/resume", NULL);
}

static bool is_gone(void *arg)
{
	const pid_t *pid = arg;

	return kill(*pid, 0) < 0 && errno == ESRCH;
}

void stage_cleared(struct stage *s)
{
	static const char *const dirs[] = {"uffd", "maps", "files"};

	stage_check(s, harness_wait(is_gone, &s->worker, SCENE_MS), "worker %d goes on",
		    (int)s->worker);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		cleanup_free char *path = stage_path(s, dirs[i]);

		stage_check(s, access(path, F_OK) < 0, "%s is still there", path);
	}
}

struct json_object *stage_ended(struct stage *s, const char *reason)
{
	struct json_object *o = stage_await(s, "ended");

	stage_check(s, strcmp(scene_text(o, "reason"), reason) == 0, "ended as \"%s\", not \"%s\"",
		    scene_text(o, "reason"), reason);
	stage_cleared(s);
	return o;
}

/* --- its VMM --- */

void stage_start(struct stage *s, const char *image, const char *options)
{
	scene_vmm_start_at(&s->vmm, s->socket, image, options);
}

const char *stage_printed(struct stage *s)
{
	if (s->vmm.out >= 0) {
		free(s->printed);
		s->printed = scene_vmm_text(&s->vmm);
	}
	return s->printed ? s->printed : "";
}

struct words {
	struct stage *s;
	const char *text;
};

static bool said_or_ended(void *arg)
{
	const struct words *w = arg;
	bool ended = !scene_vmm_lives(&w->s->vmm);

	return strstr(stage_printed(w->s), w->text) || ended;
}

bool stage_hears(struct stage *s, const char *words)
{
	struct words w = {s, words};

	harness_wait(said_or_ended, &w, 2 * SCENE_MS);
	return strstr(stage_printed(s), words) != NULL;
}

int stage_end(struct stage *s)
{
	int code = scene_vmm_end(&s->vmm);

	stage_printed(s);
	close_fd(&s->vmm.out);
	return code;
}

void stage_check_end(struct stage *s, int code)
{
	int got = stage_end(s);

	stage_check(s, got == code, "the VMM ended with %d, not %d", got, code);
	stage_check(s, !strstr(stage_printed(s), "wrong page"), "wrong bytes");
}

void stage_to_the_end(struct stage *s)
{
	int code;

	stage_look_up_worker(s);
	scene_vmm_go(&s->vmm);
	code = stage_end(s);
	stage_check(s, code == 0 && strstr(stage_printed(s), "\"wrong\":0,"), "exit %d", code);
	json_object_put(stage_ended(s, "vmm-exited"));
	stage_fini(s);
}

struct json_object *stage_report(struct stage *s)
{
	const char *line = strrchr(stage_printed(s), '{');
	struct json_object *o;
	struct err err;

	stage_check(s, line != NULL, "the VMM did not report");
	o = js_parse(line, strcspn(line, "\n"), false, &err);
	stage_check(s, o != NULL, "the VMM's report is no object");
	return o;
}

/* Its parent is another process, so it stays as a zombie. */
static bool is_zombie(void *arg)
{
	const struct harness_daemon *d = arg;
	cleanup_free char *path = scene_format("/proc/%d/stat", (int)d->pid);
	cleanup_file FILE *f = fopen(path, "re");
	char state = 0;

	return f && fscanf(f, "%*d %*s %c", &state) == 1 && state == 'Z';
}

void stage_over(struct scene *scene)
{
	bool ended;

	scene_at_rest(scene);
	ck_assert_int_eq(kill(scene->d.pid, SIGTERM), 0);
	ended = harness_wait(is_zombie, &scene->d, SCENE_MS);
	if (!ended) {
		cleanup_free char *log = harness_daemon_log(&scene->d);

		ck_abort_msg("the daemon does not end; its log:\n%s", log);
	}
	scene_check_log(scene, "in the end");
}

void stage_close(struct scene *scene)
{
	harness_daemon_kill(&scene->d);
	harness_rmtree(scene->d.dir);
	free(scene->config_text);
	scene->d = (struct harness_daemon){0};
}
