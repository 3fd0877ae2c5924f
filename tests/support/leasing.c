#include "tests/support/leasing.h"

#include <string.h>

void leasing_open(struct leasing *l, const char *config, uint64_t size)
{
	*l = (struct leasing){.scene.config = config};
	scene_open(&l->scene);
	l->snapshot = scene_format("%s/snapshot", l->scene.d.dir);
	l->image = scene_format("%s/" SCENE_IMAGE, l->snapshot);
	scene_make_snapshot(l->snapshot, size, 9);
}

void leasing_close(struct leasing *l)
{
	scene_close(&l->scene);
	free(l->snapshot);
	free(l->image);
}

void leasing_begin(struct leasing *l, struct stage *s, const char *id, const char *dir,
		   const char *members, const char *vmm)
{
	cleanup_free char *from = scene_format("{\"dir\":\"%s\"}", dir ? dir : l->snapshot);

	*s = (struct stage){.scene = &l->scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, from, members);
	stage_start(s, l->image, vmm);
	json_object_put(stage_await(s, "serving"));
}

void leasing_right(struct stage *s)
{
	int code;

	scene_vmm_go(&s->vmm);
	code = stage_end(s);
	stage_check(s,
		    code == 0 && strstr(stage_printed(s), "verified ") &&
			    strstr(stage_printed(s), "\"wrong\":0,"),
		    "the VMM ended with %d", code);
	json_object_put(stage_await(s, "ended"));
	stage_fini(s);
}

void leasing_hurry(struct stage *s)
{
	stage_tell(s, "PUT", "/prefetch", "{\"rate_bytes_per_s\":0}");
	json_object_put(stage_await(s, "complete"));
	leasing_right(s);
}

uint64_t leasing_done(const struct stage *s)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return scene_number(o, "prefetch.done_bytes");
}

bool leasing_is(const struct stage *s, const char *state)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return strcmp(scene_text(o, "prefetch.state"), state) == 0;
}

static bool is_queued(void *arg)
{
	return leasing_is(arg, "queued");
}

static bool has_begun(void *arg)
{
	return leasing_done(arg) > 0;
}

static void await(struct stage *s, const char *what, bool (*cond)(void *))
{
	bool in_time = harness_wait(cond, s, SCENE_MS);
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	stage_check(s, in_time, "not %s: %s", what, json_object_to_json_string(o));
}

void leasing_await_queued(struct stage *s)
{
	await(s, "queued", is_queued);
}

void leasing_await_begun(struct stage *s)
{
	await(s, "prefetching", has_begun);
}
