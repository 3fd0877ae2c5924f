#include "tests/support/habits.h"

#include <string.h>
#include <sys/stat.h>

#include "tests/support/runner.h"

/* Short runs all over memory, as they are in life. */
static void make_habit(struct habits *t)
{
	uint64_t page = 5, n = 0;
	size_t len;
	FILE *f = open_memstream(&t->working_set, &len);

	t->in_habit = xcalloc(HABITS_ALL, sizeof(*t->in_habit));
	for (uint64_t run = 0; n < HABITS_PAGES; run++, page += 7 + run % 5) {
		uint64_t count = min_u64(1 + run % 4, HABITS_PAGES - n);

		fprintf(f, "%s%ju+%ju", run ? "," : "", (uintmax_t)page, (uintmax_t)count);
		for (uint64_t i = 0; i < count; i++)
			t->in_habit[page++] = true;
		n += count;
	}
	fclose(f);
	ck_assert_uint_lt(page, HABITS_ALL);
}

static void open_with(struct habits *t, uint64_t window_ms, const char *more)
{
	cleanup_free char *path = NULL;

	*t = (struct habits){.dir = harness_tmpdir()};
	path = scene_format("%s/s", t->dir);
	scene_make_snapshot(path, HABITS_SIZE, 5);
	t->snapshot = scene_format("{\"dir\":\"%s\"}", path);
	t->image = scene_format("%s/" SCENE_IMAGE, path);
	ck_assert_int_eq(chmod(t->dir, 0755), 0);
	t->scene.config = scene_format("\"record_window\":\"%jums\"%s", (uintmax_t)window_ms, more);
	scene_open(&t->scene);
	make_habit(t);
}

void habits_open(struct habits *t, const char *more)
{
	open_with(t, HABITS_LONG_MS, more);
}

void habits_open_window(struct habits *t, uint64_t window_ms)
{
	open_with(t, window_ms, "");
}

void habits_close(struct habits *t)
{
	free((char *)(uintptr_t)t->scene.config);
	scene_close(&t->scene);
	harness_rmtree(t->dir);
	free(t->dir);
	free(t->snapshot);
	free(t->image);
	free(t->working_set);
	free(t->in_habit);
}

/* ---- a restore ---- */

void habits_begin(struct stage *s, struct habits *t, const char *id, const char *members,
		  const char *pages)
{
	cleanup_free char *options = scene_format("--hold-before --hold --only %s", pages);

	*s = (struct stage){.scene = &t->scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, t->snapshot, members);
	stage_start(s, t->image, options);
	json_object_put(stage_await(s, "serving"));
}

bool habits_is_replayed(void *arg)
{
	cleanup_json struct json_object *o = stage_ask(arg, "GET", "", NULL);

	return strcmp(scene_text(o, "prefetch.state"), "done") == 0;
}

void habits_touch(struct stage *s)
{
	scene_vmm_go(&s->vmm);
	stage_check(s, stage_hears(s, "touched "), "it does not touch");
}

static bool is_not_recording(void *arg)
{
	cleanup_json struct json_object *o = stage_ask(arg, "GET", "", NULL);

	return strcmp(scene_text(o, "working_set.state"), "recording") != 0;
}

void habits_await(struct stage *s, const char *state)
{
	cleanup_json struct json_object *o = NULL;

	stage_check(s, harness_wait(is_not_recording, s, SCENE_MS), "it goes on recording");
	o = stage_ask(s, "GET", "", NULL);
	stage_check(s, strcmp(scene_text(o, "working_set.state"), state) == 0, "not %s: %s", state,
		    json_object_to_json_string(o));
}

static bool is_past(void *arg)
{
	const uint64_t *until_us = arg;

	return now_us() >= *until_us;
}

void habits_pause_when_due(struct stage *s, const struct habits *t)
{
	uint64_t until_us = now_us() + t->due_us;

	stage_check(s, harness_wait(is_past, &until_us, (int)(t->due_us / 1000) + HARNESS_MS),
		    "time stands still");
	stage_tell(s, "POST", "/pause", NULL);
	habits_await(s, "recorded");
}

/* Its faults. */
uint64_t habits_finish(struct stage *s)
{
	struct json_object *o;
	uint64_t faults;
	int code = stage_end(s);

	stage_check(s, code == 0 && strstr(stage_printed(s), "\"wrong\":0,"), "exit %d", code);
	json_object_put(stage_ended(s, "vmm-exited"));
	o = stage_ask(s, "GET", "", NULL);
	faults = scene_number(o, "faults.count");
	json_object_put(o);
	stage_fini(s);
	return faults;
}

/* Twice the time of its group, of the last page that was touched since @before_us. */
static void note_due(struct habits *t, uint64_t before_us)
{
	uint64_t due_us = 2 * wset_group_end_us(wset_group(now_us() - before_us));

	t->due_us = max_u64(t->due_us, due_us);
}

uint64_t habits_round(struct habits *t, const char *id, const char *members, const char *pages,
		      bool until_due)
{
	uint64_t before_us = now_us();
	struct stage s;

	habits_begin(&s, t, id, members, pages);
	if (strstr(members, HABITS_REPLAY))
		stage_check(&s, harness_wait(habits_is_replayed, &s, SCENE_MS),
			    "it is not replayed");
	habits_touch(&s);
	note_due(t, before_us);
	if (until_due)
		habits_pause_when_due(&s, t);
	return habits_finish(&s);
}

/* ---- its set ---- */

static char *target_of(const char *id)
{
	return scene_format("/v1/restores/%s/working-set", id);
}

void habits_file(const struct habits *t, const char *id, struct harness_reply *ret)
{
	cleanup_free char *target = target_of(id);

	harness_http(t->scene.d.socket, "GET", target, NULL, ret);
	ck_assert_msg(ret->status == 200, "%s: %d %s", id, ret->status, ret->body);
	ck_assert_str_eq(ret->content_type, "application/octet-stream");
}

struct wset habits_set(const struct habits *t, const char *id)
{
	struct harness_reply r;
	struct wset set;
	struct err err;

	habits_file(t, id, &r);
	ck_assert_msg(wset_file_decode(r.body, r.len, &set, &err) == 0, "%s", err.msg);
	harness_reply_fini(&r);
	return set;
}

void habits_none(const struct habits *t, const char *id, const char *why)
{
	cleanup_free char *target = target_of(id);

	scene_refused(&t->scene, "GET", target, NULL, ERR_NOTFOUND, why);
}

unsigned habits_score(const struct wset *s, uint64_t page)
{
	for (size_t i = 0; i < s->n; i++)
		if (page >= s->v[i].page && page - s->v[i].page < s->v[i].pages)
			return s->v[i].score;
	return 0;
}

/* Every page of the habit has at least that score, and nothing else is there. */
void habits_check(const struct habits *t, const char *id, unsigned score, uint32_t restores)
{
	struct wset s = habits_set(t, id);

	for (uint64_t page = 0; page < HABITS_ALL; page++)
		ck_assert_msg(t->in_habit[page] ? habits_score(&s, page) >= score
						: habits_score(&s, page) == 0,
			      "%s: page %ju has score %u", id, (uintmax_t)page,
			      habits_score(&s, page));
	ck_assert_uint_eq(s.pages, HABITS_PAGES);
	ck_assert_uint_eq(s.restores, restores);
	wset_fini(&s);
}

void habits_events(const struct habits *t, const char *id, const char *has, const char *lacks)
{
	cleanup_free char *events = scene_events(&t->scene, id);

	ck_assert_msg(strstr(events, has), "%s: no %s in %s", id, has, events);
	ck_assert_msg(!lacks || !strstr(events, lacks), "%s: %s in %s", id, lacks, events);
}
