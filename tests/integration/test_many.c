/* test_many - many restores at once, many one after another, and no more than allowed */
#include <config.h>
#include <pthread.h>
#include <string.h>

#include "tests/support/runner.h"
#include "tests/support/scene.h"

#define RESTORES "/v1/restores"
#define BODY "{\"snapshot\":{\"dir\":\"" SCENE_SNAPSHOT "\"}}"
#define MIB ((uint64_t)1 << 20)

/* --- at once --- */

#define CROWD 50

/* clang-format off */
static const char *const goldens[] = {
	TEST_DATA "/golden/single", TEST_DATA "/golden/chain3", TEST_DATA "/golden/chain12",
	TEST_DATA "/golden/merged",
};
/* clang-format on */

/* Members, and how they touch: every kind of prefetch and order is among them. */
static const struct {
	const char *more, *args;
} ways[] = {
	{"\"prefetch\":{\"mode\":\"none\"}", "--hold-before --order rand --threads 2"},
	{"\"prefetch\":{\"mode\":\"all\"}", "--hold-before --order rev --remove 20"},
	{"\"prefetch\":{\"rate_bytes_per_s\":1000000}", "--hold-before --write 30"},
};

static void check_none_live(const struct scene *s)
{
	static const char *const states[] = {"waiting", "serving", "recovering", "failed"};

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		cleanup_free char *target = scene_format(RESTORES "?state=%s", states[i]);
		cleanup_json struct json_object *o = scene_ask(s, 200, "GET", target, NULL);

		ck_assert_msg(json_object_array_length(scene_member(o, "items")) == 0, "%s",
			      json_object_to_json_string(o));
	}
}

START_TEST(test_crowd)
{
	struct scene s = {0};
	struct scene_vmm vmms[CROWD];
	cleanup_free char *made = NULL;

	scene_open(&s);
	made = scene_format("%s/made", s.d.dir);
	scene_make_snapshot(made, 8 * MIB, 3);
	for (int i = 0; i < CROWD; i++) {
		cleanup_free char *id = scene_format("vm-%d", i);
		const char *dir = i % 2 ? made : goldens[i / 2 % (int)ARRAY_LEN(goldens)];

		scene_create(&s, id, dir, ways[i % (int)ARRAY_LEN(ways)].more);
	}
	for (int i = 0; i < CROWD; i++) {
		cleanup_free char *id = scene_format("vm-%d", i);

		scene_vmm_start(&vmms[i], &s, id, ways[i % (int)ARRAY_LEN(ways)].args);
	}
	for (int i = 0; i < CROWD; i++) {
		cleanup_free char *id = scene_format("vm-%d", i);

		scene_reach(&s, id, "serving", "");
	}
	/* Not one after another: all of them have a worker of their own now. */
	ck_assert_int_ge(harness_count_children(s.d.pid), CROWD);
	for (int i = 0; i < CROWD; i++)
		scene_vmm_go(&vmms[i]);
	for (int i = 0; i < CROWD; i++)
		scene_vmm_right(&vmms[i]);
	for (int i = 0; i < CROWD; i++) {
		cleanup_free char *id = scene_format("vm-%d", i);

		scene_reach(&s, id, "ended", "vmm-exited");
	}
	scene_at_rest(&s);
	check_none_live(&s);
	scene_close(&s);
}
END_TEST

/* --- one after another --- */

#define CYCLES 300
#define SETTLED 50 /* cycles after which memory has found its size */
/* Records of ended restores stay for a while; a leak per cycle would be much more. */
#define GROWTH_MAX (4 * MIB)

static uint64_t rss_bytes(pid_t pid)
{
	cleanup_free char *path = scene_format("/proc/%d/statm", (int)pid);
	cleanup_file FILE *f = fopen(path, "re");
	unsigned long long pages = 0;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%*s %llu", &pages), 1);
	return pages * PAGE_4K;
}

START_TEST(test_cycles)
{
	struct scene s = {0};
	uint64_t settled = 0, grown;

	scene_open(&s);
	for (int i = 0; i < CYCLES; i++) {
		cleanup_free char *id = scene_format("cycle-%d", i);

		scene_create(&s, id, SCENE_SNAPSHOT, NULL);
		scene_delete(&s, id, "");
		if (i == SETTLED)
			settled = rss_bytes(s.d.pid);
	}
	grown = rss_bytes(s.d.pid) - settled;
#ifndef BUILD_SANITIZED
	ck_assert_msg((int64_t)grown < (int64_t)GROWTH_MAX, "grown by %lld bytes",
		      (long long)grown);
#else
	(void)grown;
#endif
	scene_at_rest(&s);
	check_none_live(&s);
	scene_close(&s);
}
END_TEST

/* --- no more than allowed --- */

static void check_quota(const struct scene *s, const char *id, const char *limit)
{
	cleanup_free char *target = scene_format(RESTORES "/%s", id);
	struct harness_reply r;

	scene_refused(s, "PUT", target, BODY, ERR_QUOTA, limit);
	harness_http(s->d.socket, "PUT", target, BODY, &r);
	ck_assert_msg(strstr(r.head, "\r\nRetry-After: ") != NULL, "%s", r.head);
	harness_reply_fini(&r);
}

START_TEST(test_limits)
{
	struct scene s = {.config = "\"max_restores\":5,\"max_restores_per_tenant\":3"};
	cleanup_free char *again = scene_body(SCENE_SNAPSHOT, NULL);

	scene_open(&s);
	scene_create(&s, "a", SCENE_SNAPSHOT, NULL);
	scene_create(&s, "b", SCENE_SNAPSHOT, NULL);
	scene_create(&s, "c", SCENE_SNAPSHOT, NULL);
	check_quota(&s, "d", "all of its budget of 3 restores");
	/* What is there already is no further one. */
	scene_tell(&s, 200, "PUT", RESTORES "/c", again);
	scene_create(&s, "e", SCENE_SNAPSHOT, "\"tenant\":\"red\"");
	scene_create(&s, "f", SCENE_SNAPSHOT, "\"tenant\":\"red\"");
	check_quota(&s, "g", "(max_restores)");
	scene_delete(&s, "f", "");
	check_quota(&s, "g", "all of its budget of 3 restores");
	scene_delete(&s, "a", "");
	scene_create(&s, "d", SCENE_SNAPSHOT, NULL);
	for (const char *id = "bcde"; *id; id++) {
		const char name[] = {*id, '\0'};

		scene_delete(&s, name, "");
	}
	/* One that is refused for its snapshot takes nobody's place. */
	for (int i = 0; i < 6; i++)
		scene_refused(&s, "PUT", RESTORES "/h", "{\"snapshot\":{\"dir\":\"/nowhere\"}}",
			      ERR_PATH, "/nowhere");
	scene_close(&s);
}
END_TEST

#define CLIENTS 16
#define PLACES 5

struct client {
	pthread_t id;
	const struct scene *s;
	char *name; /* owned */
	int status;
};

static void *ask_for_one(void *arg)
{
	struct client *c = arg;
	cleanup_free char *target = scene_format(RESTORES "/%s", c->name);
	struct harness_reply r;

	harness_http(c->s->d.socket, "PUT", target, BODY, &r);
	c->status = r.status;
	harness_reply_fini(&r);
	return NULL;
}

START_TEST(test_exactly_the_limit)
{
	struct scene s = {.config = "\"max_restores_per_tenant\":5"};

	scene_open(&s);
	for (int round = 0; round < 5; round++) {
		struct client clients[CLIENTS];
		int won = 0, refused = 0;

		for (int i = 0; i < CLIENTS; i++) {
			clients[i] = (struct client){
				.s = &s,
				.name = scene_format("r%d-c%d", round, i),
			};
			pthread_create(&clients[i].id, NULL, ask_for_one, &clients[i]);
		}
		for (int i = 0; i < CLIENTS; i++) {
			pthread_join(clients[i].id, NULL);
			won += clients[i].status == 201;
			refused += clients[i].status == 429;
		}
		ck_assert_msg(won == PLACES && refused == CLIENTS - PLACES, "%d won, %d refused",
			      won, refused);
		for (int i = 0; i < CLIENTS; i++) {
			if (clients[i].status == 201)
				scene_delete(&s, clients[i].name, "");
			free(clients[i].name);
		}
		scene_at_rest(&s);
	}
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_many");
	TCase *tc = tcase_create("many");

	tcase_add_test(tc, test_crowd);
	tcase_add_test(tc, test_cycles);
	tcase_add_test(tc, test_limits);
	tcase_add_test(tc, test_exactly_the_limit);
	suite_add_tcase(suite, tc);
	return suite;
}
