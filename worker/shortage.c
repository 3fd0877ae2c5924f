#include "worker/shortage.h"

void shortage_age(struct shortage *s, uint64_t now)
{
	if (s->since_us && now - s->met_us > SHORTAGE_STALE_US)
		shortage_end(s);
}

bool shortage_meet(struct shortage *s, uint64_t now)
{
	shortage_age(s, now);
	if (!s->since_us)
		s->since_us = now;
	s->met_us = now;
	s->pause_us = s->pause_us ? min_u64(s->pause_us * 2, SHORTAGE_PAUSE_MAX_US)
				  : SHORTAGE_PAUSE_MIN_US;
	return now - s->since_us < SHORTAGE_MAX_US;
}

void shortage_end(struct shortage *s)
{
	*s = (struct shortage){0};
}

uint64_t shortage_wait_us(const struct shortage *s, uint64_t now)
{
	uint64_t due = s->met_us + s->pause_us;

	return s->since_us && due > now ? due - now : 0;
}

bool shortage_lasts(const struct shortage *s)
{
	return s->met_us - s->since_us >= SHORTAGE_TOLD_US;
}
