/*
 * life - does a VMM live on although its peer has ended?
 *
 * Who connects for a VMM need not be the process whose memory it is: a helper may hand the
 * userfaultfd over, or whoever connected beforehand. So the end of the peer only gives rise to
 * the question; the userfaultfd answers it, and is asked again while the address space lives.
 *
 *   peer runs ──► peer has ended ──► the userfaultfd says: ended ──► gone
 *                   │        ▲
 *                   └ lives ─┘ after 1 ms, 2 ms, … 1 s; for 1 s: it lives elsewhere
 */
#ifndef UFFDD_LIFE_H
#define UFFDD_LIFE_H

#include "common/base.h"

/* A VMM that is just ending may be held for a moment by who looks at it. */
#define LIFE_ELSEWHERE_US ((uint64_t)1000 * 1000)

struct life {
	uint64_t since_us; /* the peer's end; 0: it runs */
	uint64_t ask_us;   /* when to ask (again) */
	uint64_t pause_us;
	bool elsewhere;
};

enum life_step {
	LIFE_WAIT,
	LIFE_GONE,      /* the address space has ended */
	LIFE_ELSEWHERE, /* once: it goes on living, and not in the peer */
};

/* The peer has ended: ask at once. Safe to repeat. */
void life_begin(struct life *l, uint64_t now);
/* Microseconds until it is time to ask; UINT64_MAX: never as things are. */
uint64_t life_wait_us(const struct life *l, uint64_t now);
/* Asks @uffd when it is time. */
enum life_step life_ask(struct life *l, int uffd, uint64_t now);

#endif
