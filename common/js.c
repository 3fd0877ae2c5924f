#include "common/js.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "common/jscan.h"
#include "common/proto.h"

#define DURATION_TEXT_MAX 16
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* NULL: *ret is JSCAN_MORE (err is not filled) or JSCAN_BAD. */
static struct json_object *parse(const char *text, size_t len, char open, enum jscan *ret,
				 struct err *err)
{
	struct json_object *value = NULL;
	struct json_tokener *tok;
	enum json_tokener_error jerr;
	size_t end = 0;

	/*
	 * The depth is one more because json-c counts the values in the innermost container as a
	 * level. json-c's strict mode is off because jscan is the strict part: json-c accepts
	 * overlong UTF-8, calls a character cut off at the end wrong though its rest may still
	 * come, and its strict mode refuses, in release 0.18, every character beyond ASCII.
	 */
	tok = jscan_need(json_tokener_new_ex(JS_DEPTH_MAX + 1));
	*ret = jscan_text(text, len, open, tok, &end, err);
	if (*ret != JSCAN_BAD && len > 0) {
		json_tokener_reset(tok);
		value = json_tokener_parse_ex(tok, text, (int)(*ret == JSCAN_OK ? end : len));
		jerr = json_tokener_get_error(tok);
		if (!value && jerr == json_tokener_continue) {
			*ret = JSCAN_MORE;
		} else if (!value) {
			*ret = JSCAN_BAD;
			jscan_err(text, json_tokener_get_parse_end(tok), err, "%s",
				  json_tokener_error_desc(jerr));
		}
	}
	json_tokener_free(tok);
	return value;
}

/* Replaces comments by blanks, so that lines and columns in error texts stay true. */
static int strip_comments(char *text, size_t len, struct err *err)
{
	bool in_string = false;

	for (size_t i = 0; i + 1 < len; i++) {
		bool block = text[i + 1] == '*';
		size_t end;

		if (text[i] == '\\' && in_string) {
			i++;
			continue;
		}
		if (text[i] == '"')
			in_string = !in_string;
		if (text[i] != '/' || in_string || (!block && text[i + 1] != '/'))
			continue;
		if (block) {
			const char *p = memmem(text + i + 2, len - i - 2, "*/", 2);

			if (!p)
				return jscan_err(text, i, err, "the comment has no end");
			end = (size_t)(p - text) + 2;
		} else {
			const char *p = memchr(text + i, '\n', len - i);

			end = p ? (size_t)(p - text) : len;
		}
		for (; i < end; i++)
			if (text[i] != '\n')
				text[i] = ' ';
		i = end - 1;
	}
	return 0;
}

static int check_size(size_t len, struct err *err)
{
	if (len > JS_TEXT_MAX)
		return err_set(err, ERR_TOOBIG, "JSON text of %zu bytes, at most %d are taken", len,
			       JS_TEXT_MAX);
	return 0;
}

struct json_object *js_parse(const char *text, size_t len, bool allow_comments, struct err *err)
{
	cleanup_free char *copy = NULL;
	struct json_object *value;
	enum jscan rc;

	if (check_size(len, err) < 0)
		return NULL;
	if (allow_comments) {
		copy = memcpy(xcalloc(1, len + 1), text, len);
		if (strip_comments(copy, len, err) < 0)
			return NULL;
		text = copy;
	}
	value = parse(text, len, '{', &rc, err);
	if (rc == JSCAN_MORE)
		err_set(err, ERR_INVALID, "bad JSON: the text ends too early");
	return value;
}

struct json_object *js_parse_arriving(const char *text, size_t len, bool *ret_more, struct err *err)
{
	struct json_object *value;
	enum jscan rc;

	*ret_more = false;
	if (check_size(len, err) < 0)
		return NULL;
	value = parse(text, len, 0, &rc, err);
	*ret_more = rc == JSCAN_MORE;
	return value;
}

struct js_at js_into(struct js_at at, const char *key, struct json_object *o,
		     char ret_path[JS_PATH_MAX])
{
	char shown[JSCAN_SHOWN_MAX];

	jscan_shown(shown, key);
	snprintf(ret_path, JS_PATH_MAX, "%s%s%s", at.path, *at.path ? "." : "", shown);
	return (struct js_at){o, ret_path};
}

#define JS_INDEX_MAX 32 /* "[12]" */

/* A member of an object or an element of an array, for look-up and for error texts. */
struct field {
	struct js_at at;
	const char *key;
	bool required;
};

/* "snapshot.dir: must be …" */
__attribute__((format(printf, 3, 4))) static int field_err(const struct field *f, struct err *err,
							   const char *fmt, ...)
{
	const char *dot = *f->at.path && *f->key != '[' ? "." : "";
	char what[160], key[JSCAN_SHOWN_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	jscan_shown(key, f->key);
	return err_set(err, ERR_INVALID, "%s%s%s: %s", f->at.path, dot, key, what);
}

static int check_type(const struct field *f, struct json_object *value, enum json_type type,
		      struct err *err)
{
	static const char *const names[] = {
		[json_type_boolean] = "true or false", [json_type_int] = "an integer",
		[json_type_object] = "an object",      [json_type_array] = "an array",
		[json_type_string] = "a string",
	};

	if (json_object_is_type(value, type))
		return 0;
	return field_err(f, err, "must be %s", names[type]);
}

/* *ret is NULL if the member is absent and not required. */
static int member(const struct field *f, enum json_type type, struct json_object **ret,
		  struct err *err)
{
	struct json_object *value = NULL;
	bool found = json_object_object_get_ex(f->at.o, f->key, &value);

	if (!found && f->required)
		return field_err(f, err, "is missing");
	if (found && check_type(f, value, type, err) < 0)
		return -1;
	*ret = value;
	return 0;
}

static int check_string(const struct field *f, struct json_object *value, size_t max_len,
			const char **ret, struct err *err)
{
	const char *s = json_object_get_string(value);
	size_t len = (size_t)json_object_get_string_len(value);

	if (len > max_len)
		return field_err(f, err, "is longer than %zu bytes", max_len);
	if (strlen(s) != len)
		return field_err(f, err, "must not contain a NUL");
	*ret = s;
	return 0;
}

static int done(bool *have, struct json_object *value)
{
	if (have)
		*have = value != NULL;
	return 0;
}

int js_string(struct js_at at, const char *key, size_t max_len, const char **ret, bool *have,
	      struct err *err)
{
	const struct field f = {at, key, .required = !have};
	struct json_object *value = NULL;

	if (member(&f, json_type_string, &value, err) < 0)
		return -1;
	if (value && check_string(&f, value, max_len, ret, err) < 0)
		return -1;
	return done(have, value);
}

/* Element @i of the array @f->at, whose key is made here. */
static int element(struct field *f, char key[JS_INDEX_MAX], size_t i, enum json_type type,
		   struct json_object **ret, struct err *err)
{
	snprintf(key, JS_INDEX_MAX, "[%zu]", i);
	f->key = key;
	*ret = json_object_array_get_idx(f->at.o, i);
	return check_type(f, *ret, type, err);
}

int js_string_at(struct js_at at, size_t i, size_t max_len, const char **ret, struct err *err)
{
	struct field f = {.at = at, .required = true};
	struct json_object *value;
	char key[JS_INDEX_MAX];

	if (element(&f, key, i, json_type_string, &value, err) < 0)
		return -1;
	return check_string(&f, value, max_len, ret, err);
}

static int check_u64(const struct field *f, struct json_object *value, uint64_t max, uint64_t *ret,
		     struct err *err)
{
	uint64_t v = json_object_get_uint64(value);

	if (json_object_get_int64(value) < 0 || v > max)
		return field_err(f, err, "must be from 0 to %" PRIu64, max);
	*ret = v;
	return 0;
}

int js_u64_at(struct js_at at, size_t i, uint64_t max, uint64_t *ret, struct err *err)
{
	struct field f = {.at = at, .required = true};
	struct json_object *value;
	char key[JS_INDEX_MAX];

	if (element(&f, key, i, json_type_int, &value, err) < 0)
		return -1;
	return check_u64(&f, value, max, ret, err);
}

int js_u64(struct js_at at, const char *key, uint64_t max, uint64_t *ret, bool *have,
	   struct err *err)
{
	const struct field f = {at, key, .required = !have};
	struct json_object *value = NULL;

	if (member(&f, json_type_int, &value, err) < 0)
		return -1;
	if (value && check_u64(&f, value, max, ret, err) < 0)
		return -1;
	return done(have, value);
}

int js_bool(struct js_at at, const char *key, bool *ret, bool *have, struct err *err)
{
	const struct field f = {at, key, .required = !have};
	struct json_object *value = NULL;

	if (member(&f, json_type_boolean, &value, err) < 0)
		return -1;
	if (value)
		*ret = json_object_get_boolean(value);
	return done(have, value);
}

int js_object(struct js_at at, const char *key, struct json_object **ret, bool *have,
	      struct err *err)
{
	const struct field f = {at, key, .required = !have};
	struct json_object *value = NULL;

	if (member(&f, json_type_object, &value, err) < 0)
		return -1;
	if (value)
		*ret = value;
	return done(have, value);
}

int js_array(struct js_at at, const char *key, size_t max_len, struct json_object **ret, bool *have,
	     struct err *err)
{
	const struct field f = {at, key, .required = !have};
	struct json_object *value = NULL;

	if (member(&f, json_type_array, &value, err) < 0)
		return -1;
	if (value && json_object_array_length(value) > max_len)
		return field_err(&f, err, "has more than %zu elements", max_len);
	if (value)
		*ret = value;
	return done(have, value);
}

int js_duration(struct js_at at, const char *key, uint64_t max_ms, uint64_t *ret_ms, bool *have,
		struct err *err)
{
	const struct field f = {at, key, .required = !have};
	const char *text = NULL;
	uint64_t ms;

	if (js_string(at, key, DURATION_TEXT_MAX, &text, have, err) < 0)
		return -1;
	if (!text)
		return 0;
	if (!proto_duration_ms(text, &ms))
		return field_err(&f, err, "must be a duration such as \"500ms\", \"30s\", \"2m\"");
	if (ms > max_ms)
		return field_err(&f, err, "must be at most %" PRIu64 " ms", max_ms);
	*ret_ms = ms;
	return 0;
}

int js_known(struct js_at at, const char *const *keys, struct err *err)
{
	json_object_object_foreach(at.o, key, value)
	{
		const struct field f = {at, key, .required = true};
		size_t i = 0;

		(void)value;
		while (keys[i] && strcmp(keys[i], key) != 0)
			i++;
		if (!keys[i])
			return field_err(&f, err, "unknown field");
	}
	return 0;
}

static void add(struct json_object *o, const char *key, struct json_object *value)
{
	if (json_object_object_add(o, key, value) < 0)
		jscan_need(NULL);
}

void js_add_string(struct json_object *o, const char *key, const char *value)
{
	cleanup_free char *text = NULL;
	size_t len, n, used = 0;

	if (!value) {
		add(o, key, NULL);
		return;
	}
	len = strlen(value);
	text = xcalloc(len + 1, strlen(REPLACEMENT));
	for (size_t i = 0; i < len; i += n) {
		n = jscan_utf8(value + i, len - i);
		if (n == 0 || n > len - i) {
			memcpy(text + used, REPLACEMENT, strlen(REPLACEMENT));
			used += strlen(REPLACEMENT);
			n = 1;
		} else {
			memcpy(text + used, value + i, n);
			used += n;
		}
	}
	add(o, key, jscan_need(json_object_new_string_len(text, (int)used)));
}

void js_add_u64(struct json_object *o, const char *key, uint64_t value)
{
	add(o, key, jscan_need(json_object_new_uint64(value)));
}

void js_add_bool(struct json_object *o, const char *key, bool value)
{
	add(o, key, jscan_need(json_object_new_boolean(value)));
}

void js_add_time(struct json_object *o, const char *key, int64_t wall_ms)
{
	time_t sec = (time_t)(wall_ms / 1000);
	char date[32], text[48];
	struct tm tm;

	if (wall_ms <= 0 || !gmtime_r(&sec, &tm) ||
	    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
		add(o, key, NULL);
		return;
	}
	snprintf(text, sizeof(text), "%s.%03dZ", date, (int)(wall_ms % 1000));
	add(o, key, jscan_need(json_object_new_string(text)));
}

struct json_object *js_problem(const struct err *err)
{
	struct json_object *o = json_object_new_object();
	char type[96];

	snprintf(type, sizeof(type), "urn:uffdd:problem:%s", err_name(err->code));
	js_add_string(o, "type", type);
	js_add_string(o, "title", err_title(err->code));
	js_add_u64(o, "status", (uint64_t)err_http(err->code));
	js_add_string(o, "detail", err->msg);
	js_add_string(o, "code", err_name(err->code));
	return o;
}
