#include "daemon/timer.h"

#include <event2/event.h>

void timer_add(struct event *ev, uint64_t us)
{
	const struct timeval tv = {(time_t)(us / TIMER_S), (suseconds_t)(us % TIMER_S)};

	event_add(ev, &tv);
}

void timer_drop(struct event **ev)
{
	if (*ev)
		event_free(*ev);
	*ev = NULL;
}
