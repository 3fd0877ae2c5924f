/*
 * proto - the words and bounds that every program of the house shares
 *
 * State names appear in the API, in the store and on the screen: one list.
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

const char *proto_state_name(enum restore_state state);
bool proto_state_live(enum restore_state state);
/* STATE_NONE if there is none of that name. */
enum restore_state proto_state_from(const char *name);

/* Ids: [A-Za-z0-9][A-Za-z0-9._-]{0,62}; also safe as a file name. Tenants alike. */
#define PROTO_ID_MAX 63
bool proto_id_valid(const char *id);

/* A Unix socket path must fit sockaddr_un with its NUL. */
#define PROTO_SUN_MAX 107

/* A time of the API, as parse_duration_ms() has it; false if it is none or > 24 h. */
bool proto_duration_ms(const char *text, uint64_t *ret_ms);

#endif
