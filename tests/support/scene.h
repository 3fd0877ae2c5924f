/*
 * scene - what stories share: a daemon asked over HTTP, and stand-in VMMs beside it
 *
 *   scene.c       the daemon, and files for it
 *   scene_http.c  what it is asked, and long answers
 *   scene_vmm.c   stand-in VMMs
 *
 * For use inside a Check test, like the harness: whatever is not as it must be
 * fails the test.
 *
 *   struct scene s = {.config = "\"http_held\":2"};
 *   struct scene_vmm vmm;
 *
 *   scene_open(&s);
 *   scene_create(&s, "a", SCENE_SNAPSHOT, "\"on_failure\":\"hold\"");
 *   scene_vmm_start(&vmm, &s, "a", "--hold");
 *   … ck_assert_int_eq(scene_vmm_end(&vmm), 0); scene_close(&s);
 */
#ifndef UFFDD_TESTS_SCENE_H
#define UFFDD_TESTS_SCENE_H

#include "common/js.h"
#include "tests/support/harness.h"

#define SCENE_MS HARNESS_MS
#define SCENE_POOL 2 /* idle workers of the daemon */
#define SCENE_SNAPSHOT TEST_DATA "/golden/chain3"
#define SCENE_IMAGE "expected.img" /* of every snapshot that is used here */

/* Owned by the caller. */
char *scene_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void scene_write(const char *path, const void *bytes, size_t len);
/* The regular files of a directory, into a new one. */
void scene_copy_dir(const char *from, const char *to);
/* A made-up snapshot of @size bytes in three layers, into a new directory. */
void scene_make_snapshot(const char *dir, uint64_t size, uint64_t seed);

struct scene {
	const char *config;      /* in: more members of the configuration, or NULL */
	struct harness_daemon d; /* with d.tenants only its users, else each user, are tenants */
	char *config_text;       /* owned */
	int fds;                 /* scene_count_fds() at rest */
};

/* Starts the daemon and lets it do everything once, so that its descriptors can be compared. */
void scene_open(struct scene *s);
/* Open descriptors of the daemon, but for requests, database, zygote: as after a restart. */
int scene_count_fds(const struct scene *s);
/* Waits until nothing is left of any restore: descriptors, workers, sockets, page maps. */
void scene_at_rest(struct scene *s);
/* SIGTERM; it must exit with 0. The directory stays, for harness_daemon_start(). */
void scene_stop(struct scene *s);
/* The same by SIGKILL. */
void scene_kill(struct scene *s);
/* Neither a sanitizer nor an assertion has complained in the daemon's log; @who is for messages. */
void scene_check_log(const struct scene *s, const char *who);
/* At rest, stops the daemon and removes its directory. */
void scene_close(struct scene *s);

/* --- asking --- */

/* One request that must be answered with @status, 2xx. Returns the body, owned by the caller. */
struct json_object *scene_ask(const struct scene *s, int status, const char *method,
			      const char *target, const char *body);
/* The same where the answer does not matter. */
void scene_tell(const struct scene *s, int status, const char *method, const char *target,
		const char *body);
/* One that must be refused in the form of the API, with @detail in the text. */
void scene_refused(const struct scene *s, const char *method, const char *target, const char *body,
		   enum err_code code, const char *detail);
void scene_check_problem(const struct harness_reply *r, const char *what, enum err_code code,
			 const char *detail);

/* Members by a path such as "memory.size_bytes"; they must be there. */
struct json_object *scene_member(struct json_object *o, const char *path);
const char *scene_text(struct json_object *o, const char *path); /* "" for null */
uint64_t scene_number(struct json_object *o, const char *path);
bool scene_flag(struct json_object *o, const char *path);

/* A member after a comma: the time for a VMM to come, which is long unless @more says another. */
const char *scene_patient(const char *more);
/* Body of a create; @more: further members, or NULL. Owned by the caller. */
char *scene_body(const char *dir, const char *more);
void scene_create(const struct scene *s, const char *id, const char *dir, const char *more);
/* Of its file in a directory of the run directory, "maps" or another; owned by the caller. */
char *scene_path(const struct scene *s, const char *id, const char *dir);
/* The restore, owned by the caller. */
struct json_object *scene_show(const struct scene *s, const char *id);
/* For "wait=" of a request: SCENE_MS, as far as the daemon takes it. */
int scene_poll_ms(void);
/* Waits for the state; the reason must have @reason in it. */
void scene_reach(const struct scene *s, const char *id, const char *state, const char *reason);
/* Stops it; @query: "", "?kill=true", … */
void scene_delete(const struct scene *s, const char *id, const char *query);
/* The types of a restore's events in order, each followed by a blank. Owned by the caller. */
char *scene_events(const struct scene *s, const char *id);

/* --- connections that stay open --- */

/* Connects and sends GET @target. */
int scene_dial(const struct scene *s, const char *target);
/*
 * Reads until @needle is there (NULL: until the end of the connection).
 * Returns everything that was read now, owned by the caller.
 */
char *scene_hear(int fd, const char *needle);

/* --- VMMs --- */

struct scene_vmm {
	pid_t pid; /* 0: it has ended and was waited for */
	int in;    /* owned: its stdin */
	int out;   /* owned: what it writes, for pread */
};

/* @args: more words for standin; its image is beside the snapshot that the restore names. */
void scene_vmm_start(struct scene_vmm *v, const struct scene *s, const char *id, const char *args);
void scene_vmm_start_at(struct scene_vmm *v, const char *socket, const char *image,
			const char *args);
/* All it has written; owned by the caller. */
char *scene_vmm_text(const struct scene_vmm *v);
/* Waits for words of it. */
void scene_vmm_await(const struct scene_vmm *v, const char *words);
/* For --hold-before. */
void scene_vmm_go(const struct scene_vmm *v);
bool scene_vmm_lives(const struct scene_vmm *v);
/* Closes its stdin and waits. Exit code, or 128 + signal. */
int scene_vmm_end(struct scene_vmm *v);
/* The same, and it must have verified all of its memory. */
void scene_vmm_right(struct scene_vmm *v);
void scene_vmm_kill(struct scene_vmm *v);

#endif
