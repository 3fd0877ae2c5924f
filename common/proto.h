/*
 * proto - the words and bounds that every program of the house shares
 *
 * The state names are the same in the API, in the store and on the screen.
 */
#ifndef UFFDD_PROTO_H
#define UFFDD_PROTO_H

#include "common/base.h"

#define PROTO_DEFAULT_SOCKET "/run/uffdd/control.sock"
#define PROTO_SOCKET_ENV "UFFDD_SOCKET"

/*        state             name          live */
/* clang-format off */
#define RESTORE_STATES(X)                       \
	X(STATE_WAITING,    "waiting",    true)  \
	X(STATE_SERVING,    "serving",    true)  \
	X(STATE_RECOVERING, "recovering", true)  \
	X(STATE_ENDED,      "ended",      false) \
	X(STATE_FAILED,     "failed",     false)
/* clang-format on */

enum restore_state {
#define X(state, name, live) state,
	RESTORE_STATES(X)
#undef X
		STATE_COUNT
};

#define STATE_NONE STATE_COUNT /* "no such state" in look-ups */

/* Static text. */
const char *proto_state_name(enum restore_state state);
bool proto_state_live(enum restore_state state);
/* STATE_NONE for an unknown name. */
enum restore_state proto_state_from(const char *name);

/* Ids of restores and tenants: [A-Za-z0-9][A-Za-z0-9._-]{0,62}; safe as a file name. */
#define PROTO_ID_MAX 63
bool proto_id_valid(const char *id);

/* Bytes of a Unix socket's path, without the NUL that sockaddr_un needs. */
#define PROTO_SUN_MAX 107

/* A duration of the API, as parse_duration_ms() has it. False: malformed, or longer than 24 h. */
bool proto_duration_ms(const char *text, uint64_t *ret_ms);

#endif
