#include "daemon/restore.h"

#include <assert.h>
#include <string.h>

#define TO(state) (1u << (state))

/* The picture of restore.h. */
static const struct {
	unsigned successors; /* TO() bits */
	bool final;
} states[STATE_COUNT] = {
	[STATE_WAITING]    = {TO(STATE_SERVING) | TO(STATE_ENDED) | TO(STATE_FAILED), false},
	[STATE_SERVING]    = {TO(STATE_RECOVERING) | TO(STATE_ENDED) | TO(STATE_FAILED), false},
	[STATE_RECOVERING] = {TO(STATE_SERVING) | TO(STATE_ENDED) | TO(STATE_FAILED), false},
	[STATE_ENDED]      = {0, true},
	[STATE_FAILED]     = {0, true},
};

bool restore_may_move(enum restore_state from, enum restore_state to)
{
	return from < STATE_COUNT && to < STATE_COUNT && states[from].successors & TO(to);
}

bool restore_can_reach(enum restore_state from, enum restore_state to)
{
	unsigned reached = from < STATE_COUNT ? TO(from) : 0;

	/* No path without a loop has more edges than there are states. */
	for (int round = 0; round < STATE_COUNT; round++)
		for (int s = 0; s < STATE_COUNT; s++)
			if (reached & TO(s))
				reached |= states[s].successors;
	return to < STATE_COUNT && reached & TO(to);
}

void restore_move(struct restore_record *r, enum restore_state to, const char *reason,
		  int64_t now_ms)
{
	assert(restore_may_move(r->state, to));
	r->state = to;
	r->revision++;
	snprintf(r->reason, sizeof(r->reason), "%s", states[to].final && reason ? reason : "");
	if (states[to].final)
		r->ended_ms = now_ms;
}

void restore_record_fini(struct restore_record *r)
{
	free(r->spec);
	r->spec = NULL;
}
