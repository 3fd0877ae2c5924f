/*
 * jscan - the tokens of a JSON text, before json-c sees it
 *
 * Refuses what json-c would accept: duplicate keys, NUL in keys, single quotes, NaN, numbers that
 * do not fit, raw control characters, bytes that are not UTF-8, a comma before the end. All other
 * grammar is left to json-c. For js.c only.
 */
#ifndef UFFDD_JSCAN_H
#define UFFDD_JSCAN_H

#include <json-c/json.h>

#include "common/base.h"
#include "common/err.h"

/* Nesting of arrays and objects. */
#define JS_DEPTH_MAX 16

enum jscan {
	JSCAN_OK,
	JSCAN_MORE, /* nothing wrong so far, the end is missing; err is not filled */
	JSCAN_BAD,
};

/*
 * jscan_text - scan a whole text that must be one value starting with @open
 * @open: '{', or 0: an array is accepted, too
 * @tok: borrowed; left in no particular state
 * @ret_end: offset behind the value, when JSCAN_OK
 *
 * JSCAN_BAD: @err is ERR_INVALID with line and column.
 */
enum jscan jscan_text(const char *text, size_t len, char open, struct json_tokener *tok,
		      size_t *ret_end, struct err *err);

/* Fills @err with ERR_INVALID "bad JSON at line …, column …: " for offset @pos. Returns -1. */
int jscan_err(const char *text, size_t pos, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Length in bytes of the UTF-8 character at @text; 0 if the bytes are not UTF-8, more than @len if
 * the character is cut off. @len is at least 1.
 */
size_t jscan_utf8(const char *text, size_t len);

#define JSCAN_SHOWN_MAX 64 /* with NUL */
/* Copies an outsider's text into an error text: printable ASCII only, cut to fit. Returns @buf. */
const char *jscan_shown(char buf[JSCAN_SHOWN_MAX], const char *s);

/* For small allocations of json-c: aborts on NULL, as xcalloc(). */
static inline void *jscan_need(void *p)
{
	if (!p) {
		fputs("out of memory\n", stderr);
		abort();
	}
	return p;
}

#endif
