/*
 * js - strict JSON in, JSON out
 *
 * The only user of json_tokener. json-c alone accepts duplicate keys, NaN, single-quoted keys,
 * clamped integers and NULs in keys; js refuses them all. The getters never coerce: a wrong type is
 * an error that names the field.
 *
 * Objects are json-c's: json_object_put() frees them, getters lend them.
 */
#ifndef UFFDD_JS_H
#define UFFDD_JS_H

#include <json-c/json.h>

#include "common/base.h"
#include "common/err.h"

#define JS_TEXT_MAX (32 << 20) /* bytes; callers bound their own input much lower */

/*
 * js_parse - one complete JSON text that is an object, strictly
 * @allow_comments: accept C comments, for configuration files
 *
 * Returns the object, owned by the caller, or NULL with ERR_INVALID and the line and column of the
 * fault, or with ERR_TOOBIG (over JS_TEXT_MAX bytes). O(len).
 */
struct json_object *js_parse(const char *text, size_t len, bool allow_comments, struct err *err)
	__attribute__((nonnull));

/*
 * js_parse_arriving - as js_parse(), for a text that may be an array and may be incomplete
 * @ret_more: true if nothing is wrong so far and the end is missing
 *
 * Returns the array or object, owned by the caller, or NULL with *ret_more set and, if *ret_more is
 * false, @err filled.
 */
struct json_object *js_parse_arriving(const char *text, size_t len, bool *ret_more, struct err *err)
	__attribute__((nonnull));

static inline void cleanup_json_fn(struct json_object **o)
{
	json_object_put(*o);
}
#define cleanup_json __attribute__((cleanup(cleanup_json_fn)))

/* An object, or an array, and its place for error texts: "snapshot", or "" at the top. */
struct js_at {
	struct json_object *o;
	const char *path;
};

/* The place of the member @key of @at, whose value is @o, for reading on in it. */
#define JS_PATH_MAX 192
struct js_at js_into(struct js_at at, const char *key, struct json_object *o,
		     char ret_path[JS_PATH_MAX]);

/*
 * Getters for members of the object @at. Errors read "snapshot.dir: must be …". With @have NULL the
 * member is required; else *have tells whether it is there. Outputs are borrowed from the object,
 * and untouched when the member is absent. Integers are from 0 to @max, @max_len is in bytes or
 * elements, both inclusive. Each returns 0, or -1 with ERR_INVALID.
 */
int js_string(struct js_at at, const char *key, size_t max_len, const char **ret, bool *have,
	      struct err *err);
int js_u64(struct js_at at, const char *key, uint64_t max, uint64_t *ret, bool *have,
	   struct err *err);
int js_bool(struct js_at at, const char *key, bool *ret, bool *have, struct err *err);
int js_object(struct js_at at, const char *key, struct json_object **ret, bool *have,
	      struct err *err);
int js_array(struct js_at at, const char *key, size_t max_len, struct json_object **ret, bool *have,
	     struct err *err);
/* Element @i of the array @at: "snapshot.memory[1]: must be …". */
int js_string_at(struct js_at at, size_t i, size_t max_len, const char **ret, struct err *err);
int js_u64_at(struct js_at at, size_t i, uint64_t max, uint64_t *ret, struct err *err);
/* "30s", "500ms", "2m", "1h" → milliseconds. */
int js_duration(struct js_at at, const char *key, uint64_t max_ms, uint64_t *ret_ms, bool *have,
		struct err *err);
/* Is every key of @at in the NULL-ended list? Returns 0, or -1 with ERR_INVALID naming the key. */
int js_known(struct js_at at, const char *const *keys, struct err *err);

/*
 * Builders: add a member that @o owns. They abort without memory. In strings, bytes that are not
 * UTF-8 become U+FFFD.
 */
void js_add_string(struct json_object *o, const char *key, const char *value); /* NULL → null */
void js_add_u64(struct json_object *o, const char *key, uint64_t value);
void js_add_bool(struct json_object *o, const char *key, bool value);
/*
 * @wall_ms: ms since 1970. Adds RFC 3339 UTC with milliseconds; null if @wall_ms is not
 *	positive.
 */
void js_add_time(struct json_object *o, const char *key, int64_t wall_ms);

/* The error as RFC 9457 has it: {type, title, status, detail, code}. Owned by the caller. */
struct json_object *js_problem(const struct err *err);

#endif
