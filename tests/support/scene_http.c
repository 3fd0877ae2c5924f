#include <check.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "common/sock.h"
#include "tests/support/scene.h"

#define PROBLEM_MEMBERS 5
#define LONG_POLL_MAX_MS 300000

struct json_object *scene_ask(const struct scene *s, int status, const char *method,
			      const char *target, const char *body)
{
	struct json_object *o;
	struct harness_reply r;
	struct err err;

	harness_http(s->d.socket, method, target, body, &r);
	ck_assert_msg(r.status == status, "%s %s: %d, not %d: %s", method, target, r.status, status,
		      r.body ? r.body : "(no reply)");
	ck_assert_str_eq(r.content_type, "application/json");
	o = js_parse(r.body, r.len, false, &err);
	ck_assert_msg(o != NULL, "%s %s: %s: %s", method, target, err.msg, r.body);
	harness_reply_fini(&r);
	return o;
}

void scene_tell(const struct scene *s, int status, const char *method, const char *target,
		const char *body)
{
	json_object_put(scene_ask(s, status, method, target, body));
}

void scene_check_problem(const struct harness_reply *r, const char *what, enum err_code code,
			 const char *detail)
{
	cleanup_free char *type = scene_format("urn:uffdd:problem:%s", err_name(code));
	cleanup_json struct json_object *o = NULL;
	struct err err;

	ck_assert_msg(r->status == err_http(code), "%s: %d, not %d: %s", what, r->status,
		      err_http(code), r->body ? r->body : "(no reply)");
	ck_assert_msg(strcmp(r->content_type, "application/problem+json") == 0, "%s: %s", what,
		      r->content_type);
	o = js_parse(r->body, r->len, false, &err);
	ck_assert_msg(o != NULL, "%s: %s: %s", what, err.msg, r->body);
	ck_assert_msg(strstr(scene_text(o, "detail"), detail) != NULL, "%s: no \"%s\" in: %s", what,
		      detail, r->body);
	ck_assert_str_eq(scene_text(o, "code"), err_name(code));
	ck_assert_str_eq(scene_text(o, "type"), type);
	ck_assert_str_eq(scene_text(o, "title"), err_title(code));
	ck_assert_uint_eq(scene_number(o, "status"), (uint64_t)err_http(code));
	ck_assert_int_eq(json_object_object_length(o), PROBLEM_MEMBERS);
}

void scene_refused(const struct scene *s, const char *method, const char *target, const char *body,
		   enum err_code code, const char *detail)
{
	cleanup_free char *what = scene_format("%s %s %.200s", method, target, body ? body : "");
	struct harness_reply r;

	harness_http(s->d.socket, method, target, body, &r);
	scene_check_problem(&r, what, code, detail);
	harness_reply_fini(&r);
}

struct json_object *scene_member(struct json_object *o, const char *path)
{
	cleanup_free char *names = strdup(path);
	struct json_object *at = o;

	for (char *rest = names, *name; (name = strsep(&rest, "."));)
		ck_assert_msg(json_object_object_get_ex(at, name, &at), "no %s in %s", path,
			      json_object_to_json_string(o));
	return at;
}

const char *scene_text(struct json_object *o, const char *path)
{
	struct json_object *m = scene_member(o, path);

	ck_assert_msg(!m || json_object_is_type(m, json_type_string), "%s is no text", path);
	return m ? json_object_get_string(m) : "";
}

uint64_t scene_number(struct json_object *o, const char *path)
{
	struct json_object *m = scene_member(o, path);

	ck_assert_msg(json_object_is_type(m, json_type_int), "%s is no number", path);
	return json_object_get_uint64(m);
}

bool scene_flag(struct json_object *o, const char *path)
{
	struct json_object *m = scene_member(o, path);

	ck_assert_msg(json_object_is_type(m, json_type_boolean), "%s is no flag", path);
	return json_object_get_boolean(m);
}

/* --- restores --- */

const char *scene_patient(const char *more)
{
	return more && strstr(more, "\"connect_timeout\"") ? "" : ",\"connect_timeout\":\"1h\"";
}

char *scene_body(const char *dir, const char *more)
{
	return scene_format("{\"snapshot\":{\"dir\":\"%s\"}%s%s%s}", dir, more ? "," : "",
			    more ? more : "", scene_patient(more));
}

void scene_create(const struct scene *s, const char *id, const char *dir, const char *more)
{
	cleanup_free char *target = scene_format("/v1/restores/%s", id);
	cleanup_free char *body = scene_body(dir, more);

	scene_tell(s, 201, "PUT", target, body);
}

struct json_object *scene_show(const struct scene *s, const char *id)
{
	cleanup_free char *target = scene_format("/v1/restores/%s", id);

	return scene_ask(s, 200, "GET", target, NULL);
}

char *scene_path(const struct scene *s, const char *id, const char *dir)
{
	cleanup_json struct json_object *o = scene_show(s, id);

	return scene_format("%s/%s/%s", s->d.run, dir, scene_text(o, "key"));
}

int scene_poll_ms(void)
{
	return (int)min_u64((uint64_t)harness_scale_ms(SCENE_MS), LONG_POLL_MAX_MS);
}

void scene_reach(const struct scene *s, const char *id, const char *state, const char *reason)
{
	cleanup_free char *target = scene_format("/v1/restores/%s?for=%s&wait=%dms", id, state,
						 scene_poll_ms());
	cleanup_json struct json_object *o = scene_ask(s, 200, "GET", target, NULL);

	ck_assert_msg(strcmp(scene_text(o, "state"), state) == 0 &&
			      strstr(scene_text(o, "reason"), reason),
		      "%s is not %s (%s): %s", id, state, reason, json_object_to_json_string(o));
}

void scene_delete(const struct scene *s, const char *id, const char *query)
{
	cleanup_free char *target = scene_format("/v1/restores/%s%s", id, query);

	scene_tell(s, 200, "DELETE", target, NULL);
}

char *scene_events(const struct scene *s, const char *id)
{
	cleanup_free char *target = scene_format("/v1/events?restore=%s", id);
	struct harness_reply r;
	char *types = strdup("");

	harness_http(s->d.socket, "GET", target, NULL, &r);
	ck_assert_int_eq(r.status, 200);
	for (char *rest = r.body, *line; (line = strsep(&rest, "\n")) && *line;) {
		struct err err;
		cleanup_json struct json_object *o = js_parse(line, strlen(line), false, &err);
		char *before = types;

		ck_assert_msg(o != NULL, "%s: %s", err.msg, line);
		types = scene_format("%s%s ", before, scene_text(o, "type"));
		free(before);
	}
	harness_reply_fini(&r);
	return types;
}

/* --- connections that stay open --- */

int scene_dial(const struct scene *s, const char *target)
{
	cleanup_free char *request = scene_format("GET %s HTTP/1.1\r\nHost: u\r\n"
						  "Connection: close\r\n\r\n",
						  target);
	struct err err;
	int fd;

	ck_assert_msg(sock_connect(s->d.socket, SOCK_STREAM, &fd, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL),
			 (ssize_t)strlen(request));
	return fd;
}

char *scene_hear(int fd, const char *needle)
{
	uint64_t by = now_us() + (uint64_t)harness_scale_ms(2 * SCENE_MS) * 1000;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char *text = xcalloc(1, 1);
	size_t len = 0;

	while (!needle || !strstr(text, needle)) {
		ssize_t n;

		ck_assert_msg(now_us() < by, "waited in vain for \"%s\", got: %s",
			      needle ? needle : "(the end)", text);
		if (poll(&p, 1, 100) <= 0)
			continue;
		text = realloc(text, len + 4096 + 1);
		ck_assert_ptr_nonnull(text);
		n = recv(fd, text + len, 4096, MSG_DONTWAIT);
		len += n > 0 ? (size_t)n : 0;
		text[len] = '\0';
		if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
			continue;
		ck_assert_msg(!needle, "the end came before \"%s\": %s", needle, text);
		break;
	}
	return text;
}
