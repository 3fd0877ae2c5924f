/*
 * jscan - the tokens of a JSON text, before json-c sees it
 *
 * Refuses what json-c would let pass: duplicate keys, NUL in keys, single quotes,
 * NaN, numbers that do not fit, raw control characters, half characters, a comma
 * before the end. The order of tokens (grammar) is left to json-c otherwise. For js.c only.
 */
#ifndef UFFDD_JSCAN_H
#define UFFDD_JSCAN_H

#include <json-c/json.h>

#include "common/base.h"
#include "common/err.h"

/* Arrays and objects within each other. */
#define JS_DEPTH_MAX 16

enum jscan {
	JSCAN_OK,
	JSCAN_MORE, /* nothing wrong so far, the end is missing; err is not filled */
	JSCAN_BAD,
};

/*
 * jscan_text - through a whole text that is to be one value starting with @open
 * @open:    '{', or 0: an array will do as well
 * @tok:     borrowed; left in no particular state
 * @ret_end: offset behind the value, when JSCAN_OK
 */
enum jscan jscan_text(const char *text, size_t len, char open, struct json_tokener *tok,
		      size_t *ret_end, struct err *err);

/* ERR_INVALID "bad JSON at line, column: …" for the place @pos; returns -1. */
int jscan_err(const char *text, size_t pos, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Length of the well-formed UTF-8 character at @text; 0 if it is none, and more
 * than @len if it goes on behind the end. @len is at least 1.
 */
size_t jscan_utf8(const char *text, size_t len);

#define JSCAN_SHOWN_MAX 64 /* with NUL */
/* A stranger's text for one line of ours: printable ASCII, bounded. Returns @buf. */
const char *jscan_shown(char buf[JSCAN_SHOWN_MAX], const char *s);

/* Small allocations of json-c: as xcalloc(). */
static inline void *jscan_need(void *p)
{
	if (!p) {
		fputs("out of memory\n", stderr);
		abort();
	}
	return p;
}

#endif
