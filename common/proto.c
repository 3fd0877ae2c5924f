#include "common/proto.h"

#include <string.h>

#include "common/parse.h"

static const struct {
	const char *name;
	bool live;
} states[STATE_COUNT] = {
#define X(state, name, live) [state] = {name, live},
	RESTORE_STATES(X)
#undef X
};

#define DURATION_MAX_MS ((uint64_t)24 * 60 * 60 * 1000)

#define DIGITS "0123456789"
#define ALNUM DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

const char *proto_state_name(enum restore_state state)
{
	return states[state].name;
}

bool proto_state_live(enum restore_state state)
{
	return states[state].live;
}

enum restore_state proto_state_from(const char *name)
{
	for (int i = 0; i < STATE_COUNT; i++)
		if (strcmp(states[i].name, name) == 0)
			return (enum restore_state)i;
	return STATE_NONE;
}

bool proto_id_valid(const char *id)
{
	size_t len = strnlen(id, PROTO_ID_MAX + 1);

	return len > 0 && len <= PROTO_ID_MAX && strspn(id, ALNUM) > 0 &&
	       strspn(id, ALNUM "._-") == len;
}

bool proto_duration_ms(const char *text, uint64_t *ret_ms)
{
	uint64_t ms;

	if (parse_duration_ms(text, &ms) != PARSE_OK || ms > DURATION_MAX_MS)
		return false;
	*ret_ms = ms;
	return true;
}
