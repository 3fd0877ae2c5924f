/*
 * err - why something failed, told once, in words for the person who asked
 *
 * A function that can fail takes a nonnull struct err as its last parameter and returns 0 or -1. It
 * fills the struct only when it fails. The text names the thing and the cure. One table gives each
 * code its API name, HTTP status and uffdctl exit code.
 */
#ifndef UFFDD_ERR_H
#define UFFDD_ERR_H

/*        code              name                  http exit  title                       */
/* clang-format off */
#define ERR_TABLE(X)                                                                      \
	X(ERR_INVALID,      "invalid",            400, 1,  "The request is not valid")          \
	X(ERR_DENIED,       "denied",             403, 7,  "Not permitted")                     \
	X(ERR_NOTFOUND,     "not-found",          404, 3,  "No such thing")                     \
	X(ERR_METHOD,       "method-not-allowed", 405, 1,  "Not a method of this path")         \
	X(ERR_CONFLICT,     "exists-different",   409, 6,  "Exists, with another request")      \
	X(ERR_PAUSED,       "paused",             409, 6,  "The restore is paused")             \
	X(ERR_STATE,        "wrong-state",        409, 6,  "Not possible in this state")        \
	X(ERR_TRIMMED,      "trimmed",            410, 1,  "No longer kept")                    \
	X(ERR_TOOBIG,       "too-large",          413, 1,  "Too large")                         \
	X(ERR_SNAPSHOT,     "bad-snapshot",       422, 1,  "The snapshot cannot be served")     \
	X(ERR_PATH,         "bad-path",           422, 1,  "The path cannot be used")           \
	X(ERR_QUOTA,        "quota-exceeded",     429, 1,  "A limit is reached")                \
	X(ERR_SYSTEM,       "system",             500, 1,  "The system refused")                \
	X(ERR_PEER,         "bad-peer",           502, 1,  "The VMM broke the protocol")        \
	X(ERR_UNREADY,      "not-ready",          503, 5,  "Not ready")                         \
	X(ERR_TIMEOUT,      "timeout",            504, 4,  "Took too long")                     \
	X(ERR_NOSPACE,      "no-space",           507, 1,  "No space is left")
/* clang-format on */

enum err_code {
#define X(code, name, http, exit, title) code,
	ERR_TABLE(X)
#undef X
		ERR_COUNT
};

struct err {
	enum err_code code;
	int sys;       /* errno behind the failure, 0 if none */
	char msg[512]; /* one line, cut to fit */
};

/* Columns of the table above. The texts are static. */
const char *err_name(enum err_code code);
const char *err_title(enum err_code code);
int err_http(enum err_code code);
int err_exit(enum err_code code);
/* The code with that API name; ERR_SYSTEM for an unknown name. */
enum err_code err_from_name(const char *name);

/*
 * Fills @err with sys 0. This function and the next two return -1, so that "return err_set(…)"
 * fails in one line.
 */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
	__attribute__((nonnull, format(printf, 3, 4)));
/*
 * The same from errno: appends ": <strerror>". ENOSPC and EDQUOT become ERR_NOSPACE, others
 * ERR_SYSTEM.
 */
int err_sys(struct err *err, const char *fmt, ...) __attribute__((nonnull, format(printf, 2, 3)));
/* Prefixes context to a filled @err: "outer: inner". Keeps code and sys. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((nonnull, format(printf, 2, 3)));

#endif
