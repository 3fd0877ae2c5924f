/*
 * stage - one restore of a scene from create to end, with its stand-in VMM
 *
 *   struct stage s = {.scene = &scene, .id = "first"};
 *   stage_create(&s, "{\"dir\": \"/…\"}", "\"on_failure\": \"hold\"");
 *   stage_start(&s, image, "--threads 8 --hold");
 *   … ck_assert_int_eq(stage_end(&s), 0); stage_ended(&s, "vmm-exited");
 *
 * The id may say which case of a table it is: it is part of every message, and so
 * is what the VMM printed.
 */
#ifndef UFFDD_TESTS_STAGE_H
#define UFFDD_TESTS_STAGE_H

#include <check.h>

#include "tests/support/scene.h"

struct stage {
	const struct scene *scene; /* borrowed, open */
	char id[PROTO_ID_MAX + 1];
	char key[PROTO_ID_MAX + 1];     /* from stage_create() on */
	char socket[PROTO_SUN_MAX + 1]; /* likewise */
	pid_t worker;                   /* likewise */
	struct scene_vmm vmm;           /* from stage_start() to stage_end() */
	char *printed;                  /* owned, see stage_printed() */
};

#define STAGE_SNAPSHOT "{\"dir\":\"" SCENE_SNAPSHOT "\"}"
#define STAGE_IMAGE SCENE_SNAPSHOT "/" SCENE_IMAGE

#define stage_check(s, cond, fmt, ...)                                                   \
	ck_assert_msg(cond, "%s: " fmt "; the VMM printed:\n%s", (s)->id, ##__VA_ARGS__, \
		      stage_printed(s))

/* Frees; the restore is not touched. */
void stage_fini(struct stage *s);

/* PUTs the restore: @snapshot is that member, @members are further ones, or NULL. */
void stage_create(struct stage *s, const char *snapshot, const char *members);
/*
 * The restore @id of SCENE_SNAPSHOT. @vmm: what its VMM is started with, which is then being
 * served; NULL: none.
 */
void stage_begin(struct stage *s, const struct scene *scene, const char *id, const char *members,
		 const char *vmm);
/* Of its file in a directory of the run directory, "maps" or another; owned by the caller. */
char *stage_path(const struct stage *s, const char *dir);
/* A request about the restore: @suffix follows the id in the target. Must be answered 200. */
struct json_object *stage_ask(const struct stage *s, const char *method, const char *suffix,
			      const char *body);
/* The same when the answer does not matter. */
void stage_tell(const struct stage *s, const char *method, const char *suffix, const char *body);
/* Its worker, by now: s->worker is that one from now on. */
pid_t stage_look_up_worker(struct stage *s);
/* It must be refused. */
void stage_refused(const struct stage *s, const char *method, const char *suffix, const char *body,
		   enum err_code code);
/* The restore once it is "serving", "complete", "ended" or "failed"; owned by the caller. */
struct json_object *stage_await(struct stage *s, const char *what);
/* It has ended for this reason, and nothing of it is left. Returns it. */
struct json_object *stage_ended(struct stage *s, const char *reason);
/* The worker has done, and counted, all that it had to do so far. */
void stage_settle(const struct stage *s);
/* Worker, socket and page map are gone. */
void stage_cleared(struct stage *s);

/* Starts tests/standin on the restore's socket. */
void stage_start(struct stage *s, const char *image, const char *options);
/* All it has printed; valid until the next call. */
const char *stage_printed(struct stage *s);
/* Waits until it prints this; false if it ended without. */
bool stage_hears(struct stage *s, const char *words);
/* Ends its stdin and waits: exit code, or 128 + signal. */
int stage_end(struct stage *s);
/* Likewise: it must be this one, and no page was wrong. */
void stage_check_end(struct stage *s, int code);
/* For --hold-before: it goes on, finds every byte right, and leaves; the restore ends. */
void stage_to_the_end(struct stage *s);
/* The JSON of its report; owned by the caller. */
struct json_object *stage_report(struct stage *s);

/*
 * For a scene that the tests of a case share. stage_over() belongs in its last
 * test: nothing is left of any restore, no sanitizer has complained in the
 * daemon's log, and SIGTERM ends the daemon. stage_close() is for the unchecked
 * teardown, where an assertion would end the program before it reports: it fails
 * never, and leaves nothing.
 */
void stage_over(struct scene *scene);
void stage_close(struct scene *scene);

#endif
