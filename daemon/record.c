#include "daemon/record.h"

#include <assert.h>
#include <string.h>
#include <uuid/uuid.h>

#include "common/js.h"

#define TO(state) (1u << (state))

/* The diagram of record.h. */
/* clang-format off */
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
/* clang-format on */

bool record_may_move(enum restore_state from, enum restore_state to)
{
	return from < STATE_COUNT && to < STATE_COUNT && states[from].successors & TO(to);
}

bool record_can_reach(enum restore_state from, enum restore_state to)
{
	unsigned reached = from < STATE_COUNT ? TO(from) : 0;

	/* A path without a loop has fewer edges than there are states. */
	for (int round = 0; round < STATE_COUNT; round++)
		for (int s = 0; s < STATE_COUNT; s++)
			if (reached & TO(s))
				reached |= states[s].successors;
	return to < STATE_COUNT && reached & TO(to);
}

void record_make_key(char ret[RECORD_KEY_LEN + 1])
{
	uuid_t uuid;

	static_assert(UUID_STR_LEN == RECORD_KEY_LEN + 1, "a UUID as text");
	uuid_generate_random(uuid);
	uuid_unparse_lower(uuid, ret);
}

void record_begin(struct restore_record *r, const char *id, const struct spec *spec,
		  const struct sock_peer *caller, int64_t now_ms)
{
	cleanup_json struct json_object *text = spec_json(spec);

	snprintf(r->id, sizeof(r->id), "%s", id);
	memcpy(r->tenant, spec->tenant, sizeof(r->tenant));
	memcpy(r->socket_path, spec->socket_path, sizeof(r->socket_path));
	r->state = STATE_WAITING;
	r->revision = 1;
	r->spec = strdup(json_object_to_json_string_ext(text, JSON_C_TO_STRING_PLAIN));
	r->caller_uid = caller->uid;
	r->caller_gid = caller->gid;
	for (size_t i = 0, len = 0; i < caller->ngroups && len < sizeof(r->caller_groups); i++)
		len += (size_t)snprintf(r->caller_groups + len, sizeof(r->caller_groups) - len,
					"%s%u", i ? " " : "", (unsigned)caller->groups[i]);
	r->prefetch = spec->prefetch;
	r->rate_bytes_per_s = spec->rate_bytes_per_s;
	r->max_resident_bytes = spec->max_resident_bytes;
	r->created_ms = now_ms;
}

void record_move(struct restore_record *r, enum restore_state to, const char *reason,
		 int64_t now_ms)
{
	assert(record_may_move(r->state, to));
	r->state = to;
	r->revision++;
	snprintf(r->reason, sizeof(r->reason), "%s", states[to].final && reason ? reason : "");
	if (states[to].final)
		r->ended_ms = now_ms;
}

void record_fini(struct restore_record *r)
{
	free(r->spec);
	r->spec = NULL;
}
