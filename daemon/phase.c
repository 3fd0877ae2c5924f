#include "daemon/phase.h"

const char *phase_name(enum phase phase)
{
	static const char *const names[PHASE_COUNT] = {
#define X(phase, name) [phase] = name,
		PHASES(X)
#undef X
	};

	return names[phase];
}

enum phase phase_of(const struct live *l)
{
	if (l->released || l->hopeless)
		return PHASE_OVER;
	if (l->creating)
		return PHASE_CREATING;
	if (!l->ready)
		return PHASE_SUCCEEDING;
	switch (l->rec.state) {
	case STATE_WAITING:
		return PHASE_WAITING;
	case STATE_FAILED:
		return PHASE_FAILED;
	default:
		return PHASE_SERVING;
	}
}
