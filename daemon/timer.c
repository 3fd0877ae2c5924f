#include "daemon/timer.h"

#include <event2/event.h>

struct event_base *timer_base_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0 &&
	    event_config_set_max_dispatch_interval(config, NULL, 1, TIMER_LATE) == 0)
		base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	if (base && event_base_priority_init(base, TIMER_PRIORITIES)) {
		event_base_free(base);
		return NULL;
	}
	return base;
}

void timer_add(struct event *ev, uint64_t us)
{
	const struct timeval tv = {(time_t)(us / TIMER_S), (suseconds_t)(us % TIMER_S)};

	/* Else the time counts from the beginning of the loop's turn. */
	event_base_update_cache_time(event_get_base(ev));
	event_add(ev, &tv);
}

void timer_drop(struct event **ev)
{
	if (*ev)
		event_free(*ev);
	*ev = NULL;
}
