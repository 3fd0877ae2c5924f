/*
 * life - does a VMM live on although its peer has ended?
 *
 * The peer need not be the process whose memory is served: a helper may pass the userfaultfd on,
 * and another process may have made the connection. So the end of the peer only raises the
 * question. The userfaultfd answers it, and is asked again while the address space lives.
 *
 *   peer runs ──► peer has ended ──► the userfaultfd says: ended ──► gone
 *                   │        ▲
 *                   └ lives ─┘ after 1 ms, 2 ms, … 1 s; for 1 s: it lives elsewhere
 */
#ifndef UFFDD_LIFE_H
#define UFFDD_LIFE_H

#include "common/base.h"

/* The address space of an ending VMM may be held for a moment by a process that looks at it. */
#define LIFE_ELSEWHERE_US ((uint64_t)1000 * 1000)

struct life {
	uint64_t since_us; /* when the peer ended; 0: the peer runs */
	uint64_t ask_us;   /* when to ask next */
	uint64_t pause_us;
	bool elsewhere;
};

enum life_step {
	LIFE_WAIT,
	LIFE_GONE,      /* the address space has ended */
	LIFE_ELSEWHERE, /* reported once: the address space lives on without the peer */
};

/* The peer has ended: ask at once. Safe to repeat. @now: now_us(), here and below. */
void life_begin(struct life *l, uint64_t now);
/* Microseconds until life_ask() has something to do; UINT64_MAX: the peer runs. */
uint64_t life_wait_us(const struct life *l, uint64_t now);
/* Asks @uffd (borrowed) if it is time, else returns LIFE_WAIT. */
enum life_step life_ask(struct life *l, int uffd, uint64_t now);

#endif
