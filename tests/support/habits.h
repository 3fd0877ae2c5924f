/*
 * habits - guests with a habit: restores of one snapshot, and what is learnt from them
 *
 *   struct habits t;
 *   habits_open(&t, "");
 *   habits_round(&t, "first", HABITS_NONE, t.working_set, false);
 *   habits_check(&t, "first", WSET_MEMBER, 1); habits_close(&t);
 */
#ifndef UFFDD_TESTS_HABITS_H
#define UFFDD_TESTS_HABITS_H

#include "common/wset_file.h"
#include "tests/support/stage.h"

#define HABITS_SIZE ((uint64_t)8 << 20)
#define HABITS_ALL (HABITS_SIZE / PAGE_4K)
#define HABITS_PAGES 256
/* A window that no test waits for: the recording ends with the VMM, or by a pause. */
#define HABITS_LONG_MS 300000
#define HABITS_NONE "\"prefetch\":{\"mode\":\"none\"}"
#define HABITS_QUIET "\"working_set\":{\"record\":false}"
#define HABITS_REPLAY "\"prefetch\":{\"mode\":\"working-set\"}"

struct habits {
	struct scene scene;
	char *dir;         /* owned: of snapshots, and other files */
	char *snapshot;    /* owned: as the API wants it */
	char *image;       /* owned */
	char *working_set; /* owned: a list of HABITS_PAGES pages for standin */
	bool *in_habit;    /* owned: HABITS_ALL of them */
	uint64_t due_us;   /* after connect: what was not touched by then is not needed any more */
};

/* @more: further members of the configuration, each after a comma. The window is long. */
void habits_open(struct habits *t, const char *more);
void habits_open_window(struct habits *t, uint64_t window_ms);
void habits_close(struct habits *t);

/* Creates the restore; its VMM is served and waits. @pages: for standin, with more options. */
void habits_begin(struct stage *s, struct habits *t, const char *id, const char *members,
		  const char *pages);
/* For harness_wait(), @arg is the stage: prefetch has done all that its mode wants. */
bool habits_is_replayed(void *arg);
/* The VMM touches its pages, and waits again. */
void habits_touch(struct stage *s);
/* A pause, as soon as it is certain what the guest needs no more, ends the recording. */
void habits_pause_when_due(struct stage *s, const struct habits *t);
/* Until it does not record any more; then it is "recorded", or "off". */
void habits_await(struct stage *s, const char *state);
/* Ends the VMM; no byte was wrong. Returns the faults. */
uint64_t habits_finish(struct stage *s);
/* All of that; the recording ends when pages are due, or with the VMM. Returns the faults. */
uint64_t habits_round(struct habits *t, const char *id, const char *members, const char *pages,
		      bool until_due);

/* The restore's working set as the API gives it. */
void habits_file(const struct habits *t, const char *id, struct harness_reply *ret);
struct wset habits_set(const struct habits *t, const char *id);
/* It has none, and the text says why. */
void habits_none(const struct habits *t, const char *id, const char *why);
/* 0: not in it. */
unsigned habits_score(const struct wset *s, uint64_t page);
/* Every page of the habit has at least that score, and nothing else is in it. */
void habits_check(const struct habits *t, const char *id, unsigned score, uint32_t restores);
/* The restore's events. */
void habits_events(const struct habits *t, const char *id, const char *has, const char *lacks);

#endif
