#include "daemon/slot.h"

#define ANY(s) (1u << (s))

/* States with a worker that has a channel to us and may lose it. */
#define AT_WORK \
	(ANY(SLOT_LOADING) | ANY(SLOT_READY) | ANY(SLOT_REPLACING) | ANY(SLOT_REPLACING_LOADER))
#define LIVE                                                                                       \
	(ANY(SLOT_EMPTY) | ANY(SLOT_DEFERRED) | ANY(SLOT_CREATING) | AT_WORK | ANY(SLOT_AWAITED) | \
	 ANY(SLOT_LOST))

/* The first row that fits counts. An event that fits no row is refused. */
/* clang-format off */
static const struct edge {
	unsigned from; /* ANY() bits */
	enum slot_event event;
	enum slot_state to;
	enum slot_action action;
} edges[] = {
	{ANY(SLOT_DEFERRED),         SLOT_TAKE_UP,     SLOT_EMPTY,            SLOT_NOTHING},
	{ANY(SLOT_EMPTY),            SLOT_ASSIGN,      SLOT_LOADING,          SLOT_NOTHING},
	{ANY(SLOT_LOADING),          SLOT_ABANDON,     SLOT_EMPTY,            SLOT_NOTHING},
	{ANY(SLOT_EMPTY),            SLOT_AWAIT,       SLOT_AWAITED,          SLOT_NOTHING},

	{ANY(SLOT_CREATING),         SLOT_LOADED,      SLOT_READY,            SLOT_NOTHING},
	{ANY(SLOT_LOADING),          SLOT_LOADED,      SLOT_READY,            SLOT_NOTHING},
	{ANY(SLOT_REPLACING_LOADER), SLOT_LOADED,      SLOT_REPLACING,        SLOT_NOTHING},
	{ANY(SLOT_LOADING),          SLOT_LOAD_FAILED, SLOT_LOST,             SLOT_NOTHING},
	{ANY(SLOT_REPLACING_LOADER), SLOT_LOAD_FAILED, SLOT_LOST,             SLOT_NOTHING},

	{ANY(SLOT_READY),            SLOT_REPLACE,     SLOT_REPLACING,        SLOT_NOTHING},
	{ANY(SLOT_LOADING),          SLOT_REPLACE,     SLOT_REPLACING_LOADER, SLOT_NOTHING},
	{ANY(SLOT_REPLACING),        SLOT_REPLACE,     SLOT_REPLACING,        SLOT_NOTHING},
	{ANY(SLOT_REPLACING_LOADER), SLOT_REPLACE,     SLOT_REPLACING_LOADER, SLOT_NOTHING},

	{AT_WORK,                    SLOT_CUT,         SLOT_AWAITED,          SLOT_NOTHING},
	{ANY(SLOT_AWAITED) | ANY(SLOT_EMPTY), SLOT_REATTACH, SLOT_READY,          SLOT_NOTHING},

	{ANY(SLOT_CREATING),         SLOT_EXITED,      SLOT_CREATING,         SLOT_FAIL_CREATION},
	{ANY(SLOT_LOADING),          SLOT_EXITED,      SLOT_EMPTY,            SLOT_SUCCEED},
	{ANY(SLOT_READY),            SLOT_EXITED,      SLOT_EMPTY,            SLOT_SUCCEED},
	{ANY(SLOT_AWAITED),          SLOT_EXITED,      SLOT_EMPTY,            SLOT_SUCCEED},
	/* A row whose worker was not found at start. */
	{ANY(SLOT_EMPTY),            SLOT_EXITED,      SLOT_EMPTY,            SLOT_SUCCEED},
	{ANY(SLOT_REPLACING),        SLOT_EXITED,      SLOT_EMPTY,            SLOT_SUCCEED_UNCOUNTED},
	{ANY(SLOT_REPLACING_LOADER), SLOT_EXITED,      SLOT_EMPTY,            SLOT_SUCCEED_UNCOUNTED},
	{ANY(SLOT_LOST),             SLOT_EXITED,      SLOT_LOST,             SLOT_LOOK},
	{ANY(SLOT_LEAVING),          SLOT_EXITED,      SLOT_OVER,             SLOT_FINISH},

	{LIVE,                       SLOT_RELEASE,     SLOT_LEAVING,          SLOT_NOTHING},
	{LIVE,                       SLOT_RELEASE_ALONE, SLOT_OVER,           SLOT_NOTHING},
};
/* clang-format on */

enum slot_action slot_event(struct slot *s, enum slot_event event)
{
	for (size_t i = 0; i < ARRAY_LEN(edges); i++)
		if (edges[i].event == event && edges[i].from & ANY(s->state)) {
			s->state = edges[i].to;
			return edges[i].action;
		}
	return SLOT_REFUSE;
}

bool slot_died(struct slot *s, uint64_t now_us, uint64_t window_us, uint64_t max)
{
	if (now_us - s->deaths_since_us > window_us) {
		s->deaths_since_us = now_us;
		s->deaths = 0;
	}
	return ++s->deaths > max;
}

const char *slot_state_name(enum slot_state state)
{
	static const char *const names[SLOT_STATE_COUNT] = {
#define X(state, name) [state] = name,
		SLOT_STATES(X)
#undef X
	};

	return names[state];
}

const char *slot_event_name(enum slot_event event)
{
	static const char *const names[SLOT_EVENT_COUNT] = {
#define X(event, name) [event] = name,
		SLOT_EVENTS(X)
#undef X
	};

	return names[event];
}
