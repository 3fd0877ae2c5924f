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

enum phase phase_of(const struct restore *r)
{
	if (slot_is_released(&r->slot) || r->slot.state == SLOT_LOST)
		return PHASE_OVER;
	if (restore_is_creating(r))
		return PHASE_CREATING;
	if (!slot_is_ready(&r->slot))
		return PHASE_SUCCEEDING;
	switch (r->rec.state) {
	case STATE_WAITING:
		return PHASE_WAITING;
	case STATE_FAILED:
		return PHASE_FAILED;
	default:
		return PHASE_SERVING;
	}
}
