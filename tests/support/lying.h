/*
 * lying - workers that somebody has taken over say a word in a phase, and what becomes of it
 *
 *   struct lie l = {.in = &lying, .phase = LYING_SERVING, .word = "GONE", .count = 1,
 *                   .outcome = 'f', .id = "lie"};
 *   lying_open(&lying); lie_run(&l); …
 *
 * For use inside a Check test, like the harness. The worker is tests/fakes/worker/liar.c.
 */
#ifndef UFFDD_TESTS_LYING_H
#define UFFDD_TESTS_LYING_H

#include "tests/support/stage.h"

#define LYING_MEMBERS                                               \
	"\"on_failure\":\"hold\",\"prefetch\":{\"mode\":\"none\"}," \
	"\"working_set\":{\"record\":false}"

enum {
	LYING_CREATING,
	LYING_SUCCEEDING,
	LYING_WAITING,
	LYING_SERVING,
	LYING_FAILED,
	LYING_OVER,
	LYING_PHASES
};

extern const struct lying_phase {
	const char *name, *script;
} lying_phases[LYING_PHASES];

struct lying {
	struct scene scene;
	char *scripts;                 /* owned: directory */
	char beside[PROTO_ID_MAX + 1]; /* the restore of the guest beside */
	struct scene_vmm beside_vmm;
};

/* For an unchecked fixture, in the runner, so that a failed test leaves nothing behind. */
void lying_open(struct lying *l);
void lying_close(struct lying *l);
/* A guest that has all of its pages still to come. */
void lying_start_beside(struct lying *l, const char *what);
/* It finds every byte right, and its worker was left alone. */
void lying_end_beside(struct lying *l);
/* Events in full, of restores and of none; owned by the caller. */
char *lying_events(const struct lying *l, const char *query);
size_t lying_count(const char *text, const char *what);

struct lie {
	struct lying *in; /* borrowed, open */
	int phase;
	const char *word;
	unsigned count; /* how often it is said */
	/*
	 * L a lie, since it is not for it to say; f a lie by what it says; . nothing comes of it;
	 * E the end; F the restore fails; S a guest is served whose process is not known: the
	 * liar's own.
	 */
	char outcome;
	char id[PROTO_ID_MAX + 1];
	void (*lied)(
		struct lie *l); /* or NULL: called when the lie is known, but not yet the end */
	pid_t worker;
	struct scene_vmm vmm; /* .pid 0: there is none */
};

/* From the restore's beginning to its end: the outcome is as it says. */
void lie_run(struct lie *l);
/* The restore only, without a script. */
void lie_create(struct lie *l);

#endif
