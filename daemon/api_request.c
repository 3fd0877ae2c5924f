#include "daemon/api_request.h"

#include <string.h>

#include "common/parse.h"
#include "daemon/json_view.h"

static void reply_as(struct http_request *req, int status, const char *content_type,
		     struct json_object *o)
{
	size_t len;
	const char *text = json_object_to_json_string_length(
		o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);

	http_reply(req, status, content_type, text, len);
	json_object_put(o);
}

void api_reply(struct http_request *req, int status, struct json_object *o)
{
	reply_as(req, status, "application/json", o);
}

void api_problem(struct http_request *req, const struct err *err)
{
	if (err->code == ERR_QUOTA || err->code == ERR_UNREADY)
		http_reply_header(req, "Retry-After", "1");
	reply_as(req, err_http(err->code), "application/problem+json", js_problem(err));
}

void api_reply_restore(struct http_request *req, int status, const struct restore *restore)
{
	api_reply(req, status, json_view_restore(restore));
}

int api_query_u64(struct api_request *c, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
		  struct err *err)
{
	const char *text = http_query(c->req, key);

	if (text && !parse_u64(text, min, max, ret))
		return err_set(err, ERR_INVALID, "%s: must be a number from %llu to %llu", key,
			       (unsigned long long)min, (unsigned long long)max);
	return 0;
}

int api_query_bool(struct api_request *c, const char *key, bool *ret, struct err *err)
{
	static const struct {
		const char *text;
		bool value;
	} words[] = {{"true", true}, {"1", true}, {"false", false}, {"0", false}};
	const char *text = http_query(c->req, key);

	if (!text)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(text, words[i].text) == 0) {
			*ret = words[i].value;
			return 0;
		}
	return err_set(err, ERR_INVALID, "%s: must be true or false", key);
}

int api_query_ms(struct api_request *c, const char *key, uint64_t max_ms, uint64_t *ret,
		 struct err *err)
{
	const char *text = http_query(c->req, key);
	uint64_t ms;

	if (!text)
		return 0;
	if (!proto_duration_ms(text, &ms) || ms > max_ms)
		return err_set(err, ERR_INVALID,
			       "%s: must be a duration such as 500ms or 30s, at "
			       "most %llus",
			       key, (unsigned long long)(max_ms / 1000));
	*ret = ms;
	return 0;
}
