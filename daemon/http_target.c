#include "daemon/http_target.h"

#include <string.h>

static int hex(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *p = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c) : NULL;

	return p ? (int)(p - digits) : -1;
}

/* Decodes in place: decoded text is never longer. */
static int decode(char *text, bool plus_is_blank, struct err *err)
{
	char *out = text;

	for (const char *in = text; *in; in++) {
		int hi, lo;

		if (*in != '%') {
			*out++ = plus_is_blank && *in == '+' ? ' ' : *in;
			continue;
		}
		hi = hex(in[1]);
		lo = hi < 0 ? -1 : hex(in[2]);
		if (lo < 0)
			return err_set(
				err, ERR_INVALID,
				"the request target has a %% without two hex digits after it");
		if (hi == 0 && lo == 0)
			return err_set(err, ERR_INVALID, "the request target has a NUL (%%00)");
		*out++ = (char)(hi << 4 | lo);
		in += 2;
	}
	*out = '\0';
	return 0;
}

static int add_param(struct http_target *t, char *text, struct err *err)
{
	char *value = strchr(text, '=');

	if (value)
		*value++ = '\0';
	else
		value = text + strlen(text);
	if (decode(text, true, err) || decode(value, true, err))
		return -1;
	if (!*text)
		return err_set(err, ERR_INVALID, "the query has a parameter without a name");
	if (http_target_param(t, text))
		return err_set(err, ERR_INVALID, "%.64s: the parameter comes twice", text);
	if (t->nparams == HTTP_PARAMS_MAX)
		return err_set(err, ERR_INVALID, "the query has more than %d parameters",
			       HTTP_PARAMS_MAX);
	t->params[t->nparams++] = (struct http_param){text, value};
	return 0;
}

static int split_query(struct http_target *t, struct err *err)
{
	for (char *rest = t->query, *part; (part = strsep(&rest, "&"));)
		if (add_param(t, part, err))
			return -1;
	return 0;
}

int http_target_parse(const char *path, const char *query, struct http_target *ret, struct err *err)
{
	struct http_target t = {0};

	if (!path || path[0] != '/')
		return err_set(err, ERR_INVALID, "the request target must begin with /");
	t.path = strdup(path);
	t.query = query && *query ? strdup(query) : NULL;
	if (!t.path || (query && *query && !t.query))
		err_set(err, ERR_SYSTEM, "out of memory");
	else if (!decode(t.path, false, err) && !split_query(&t, err)) {
		*ret = t;
		return 0;
	}
	http_target_fini(&t);
	return -1;
}

void http_target_fini(struct http_target *t)
{
	free(t->path);
	free(t->query);
	*t = (struct http_target){0};
}

const char *http_target_param(const struct http_target *t, const char *key)
{
	for (size_t i = 0; i < t->nparams; i++)
		if (strcmp(t->params[i].key, key) == 0)
			return t->params[i].value;
	return NULL;
}
