/*
 * killing - a daemon of the test's own, one restore of it, and ways to die
 *
 *   struct killing k;
 *   killing_open(&k, "case", NULL);
 *   killing_create(&k, "\"on_failure\":\"hold\""); killing_vmm(&k, "--hold-before");
 *   killing_kill(&k, DIES_BOTH, true); killing_back(&k, DIES_BOTH);
 *   … killing_right(&k); killing_close(&k);
 *
 * Everything that is orphaned becomes a child of the test, so that it is seen
 * whether it ends. The workers are tests/uffdd-worker-faulty.
 */
#ifndef UFFDD_TESTS_KILLING_H
#define UFFDD_TESTS_KILLING_H

#include "tests/support/stage.h"

#define KILLING_SIZE ((uint64_t)2 << 20)
#define KILLING_SEED 11

/*        who                   name */
/* clang-format off */
#define KILLING_WHO(X)                 \
	X(DIES_WORKER,      "worker")      \
	X(DIES_SUPERVISOR,  "supervisor")  \
	X(DIES_BOTH,        "both")        \
	X(DIES_VMM,         "vmm")         \
	X(DIES_VMM_UNSEEN,  "vmm-unseen")  /* the supervisor first */ \
	X(DIES_ALL,         "all")
/* clang-format on */

enum killing_who {
#define X(who, name) who,
	KILLING_WHO(X)
#undef X
		KILLING_WHO_COUNT
};
extern const char *const killing_who_names[KILLING_WHO_COUNT];

/* How often something must have happened to the restore. */
struct killing_tally {
	unsigned died, recovered, adopted;
};

struct killing {
	struct scene scene;
	struct stage s;
	struct killing_tally tally; /* expected; killing_kill() adds to it */
	char *dir;                  /* owned: what workers are to die of, and the snapshot */
	char *snapshot, *image;     /* owned: paths in it */
};

/* @config: further members, or NULL. */
void killing_open(struct killing *k, const char *name, const char *config);
/* @fault: NAME:COUNT:ACTION for the next worker that is assigned the restore. */
void killing_arm(const struct killing *k, const char *fault);
void killing_create(struct killing *k, const char *members);
void killing_vmm(struct killing *k, const char *options);

/* The worker as the API shows it. */
pid_t killing_worker(const struct killing *k);
/* Waits until a signal has stopped it. */
void killing_await_stop(const struct killing *k, pid_t pid);
/* Waits until it has ended, whether anybody has waited for it or not. */
void killing_await_death(const struct killing *k, pid_t pid);
/* Waits until @o of the API is as wanted. */
void killing_await(const struct killing *k, const char *what,
		   bool (*cond)(struct json_object *o, const void *arg), const void *arg);

bool killing_has_vmm(enum killing_who who);
bool killing_has_worker(enum killing_who who);
bool killing_has_supervisor(enum killing_who who);
/* False where the kernel lets nobody fetch the uffd from the VMM, which would be needed. */
bool killing_survivable(enum killing_who who);

/*
 * killing_stop, killing_end - SIGSTOP, and SIGKILL, for all of them
 * The worker is the one of the API at the time of killing_look().
 */
void killing_look(struct killing *k);
void killing_stop(struct killing *k, enum killing_who who);
void killing_end(struct killing *k, enum killing_who who);
/*
 * While there is no supervisor: changes the row of the restore; @what: "column = value, …".
 * So a time that is in it passes as fast as a test likes.
 */
void killing_change_row(const struct killing *k, const char *what);
/* A new supervisor, if it died. */
void killing_revive(struct killing *k, enum killing_who who);

/*
 * The restore is in @state again, with as many worker.restarts and events as the
 * tally says.
 */
void killing_recovered(struct killing *k, const char *state);
/* Waits until the worker has ended. */
void killing_bury(const struct killing *k);
/* The VMM died: it has ended, whatever its worker does, and nothing of it is left. */
void killing_over(struct killing *k);
/* The VMM finds every byte right and leaves; the restore ends. */
void killing_right(struct killing *k);
/* Nothing at all is left, and nobody complained. */
void killing_close(struct killing *k);

#endif
