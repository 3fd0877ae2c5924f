/* test_identity - a successor goes on from a map of the same snapshot, whoever began the map */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/pagemap.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"
#include "tests/support/stage.h"

#define SNAPSHOT "{\"dir\":\"" SCENE_SNAPSHOT "\"}"
#define IMAGE SCENE_SNAPSHOT "/" SCENE_IMAGE
#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
/* It has touched nothing before the successor is there: all of it is still needed. */
#define TOUCHES "--hold-before --threads 4 --order rand --write 20"
#define KILLED (128 + SIGKILL)

static struct scene scene;

/* What is found in the head of the map; none of it is a mistake of ours but the last two. */
static const struct row {
	const char *id;
	bool no_name, other_name, other_hash; /* source_id, source_hash */
	bool same;
} rows[] = {
	{"of-this-release", .same = true},
	{"of-release-0-1", .no_name = true, .same = true},
	{"hash-is-not-asked", .other_hash = true, .same = true},
	{"hash-of-other-files", .no_name = true, .other_hash = true},
	{"name-of-other-files", .other_name = true},
};

static void change(const struct row *row)
{
	cleanup_free char *path = scene_path(&scene, row->id, "maps");
	cleanup_fd int fd = open(path, O_RDWR | O_CLOEXEC);
	struct pagemap_head head;

	ck_assert_int_eq(pread(fd, &head, sizeof(head), 0), sizeof(head));
	ck_assert(!uuid_is_null(head.source_id) && head.source_hash);
	if (row->no_name)
		uuid_clear(head.source_id);
	if (row->other_name)
		head.source_id[15] ^= 1;
	if (row->other_hash)
		head.source_hash ^= 1;
	ck_assert_int_eq(pwrite(fd, head.source_id, sizeof(uuid_t),
				offsetof(struct pagemap_head, source_id)),
			 sizeof(uuid_t));
	ck_assert_int_eq(pwrite(fd, &head.source_hash, sizeof(head.source_hash),
				offsetof(struct pagemap_head, source_hash)),
			 sizeof(head.source_hash));
}

static void check_served_on(struct stage *s)
{
	respawn_await_event(&scene, s->id, "recovered", 1);
	json_object_put(stage_await(s, "serving"));
	scene_vmm_go(&s->vmm);
	stage_check_end(s, 0);
	respawn_await_event(&scene, s->id, "ended", 1);
}

static void check_failed(struct stage *s)
{
	cleanup_json struct json_object *o = stage_await(s, "failed");

	stage_check(s, strstr(scene_text(o, "reason"), "is not the one that was served before"),
		    "%s", scene_text(o, "reason"));
	stage_check_end(s, KILLED);
}

START_TEST(successor_compares)
{
	struct stage s = {.scene = &scene};

	snprintf(s.id, sizeof(s.id), "%s", rows[_i].id);
	scene_open(&scene);
	stage_create(&s, SNAPSHOT, ON_DEMAND);
	stage_start(&s, IMAGE, TOUCHES);
	json_object_put(stage_await(&s, "serving"));
	change(&rows[_i]);
	kill(s.worker, SIGKILL);
	if (rows[_i].same)
		check_served_on(&s);
	else
		check_failed(&s);
	stage_fini(&s);
	scene_close(&scene);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("identity");
	TCase *tc = tcase_create("identity");

	tcase_add_loop_test(tc, successor_compares, 0, ARRAY_LEN(rows));
	suite_add_tcase(suite, tc);
	return suite;
}
