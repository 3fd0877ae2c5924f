#include "common/life.h"

#include "common/uffd.h"

#define PAUSE_MIN_US ((uint64_t)1000)
#define PAUSE_MAX_US ((uint64_t)1000 * 1000)

void life_begin(struct life *l, uint64_t now)
{
	if (l->since_us)
		return;
	*l = (struct life){.since_us = now, .ask_us = now, .pause_us = PAUSE_MIN_US};
}

uint64_t life_wait_us(const struct life *l, uint64_t now)
{
	if (!l->since_us)
		return UINT64_MAX;
	return l->ask_us > now ? l->ask_us - now : 0;
}

enum life_step life_ask(struct life *l, int uffd, uint64_t now)
{
	enum uf_life answer;

	if (life_wait_us(l, now))
		return LIFE_WAIT;
	answer = uffd_life(uffd);
	if (answer == UF_ENDED)
		return LIFE_GONE;
	l->ask_us = now + l->pause_us;
	l->pause_us = min_u64(l->pause_us * 2, PAUSE_MAX_US);
	if (answer == UF_BUSY || l->elsewhere || now - l->since_us < LIFE_ELSEWHERE_US)
		return LIFE_WAIT;
	l->elsewhere = true;
	return LIFE_ELSEWHERE;
}
