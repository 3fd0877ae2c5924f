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

enum phase phase_of(const struct restore *l)
{
	if (slot_is_released(&l->slot) || l->slot.state == SLOT_LOST)
		return PHASE_OVER;
	if (restore_is_creating(l))
		return PHASE_CREATING;
	if (!slot_is_ready(&l->slot))
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
