/* test_api_request - what handlers read of a request, and how an error is answered */
#include "daemon/api_request.h"

#include <string.h>

#include "tests/fakes/http/httpd.h"

#define ABSENT 77

static int read_u64(struct api_request *c, uint64_t *ret, struct err *err)
{
	return api_query_u64(c, "v", 3, 1000, ret, err);
}

static int read_any_u64(struct api_request *c, uint64_t *ret, struct err *err)
{
	return api_query_u64(c, "v", 0, UINT64_MAX, ret, err);
}

static int read_bool(struct api_request *c, uint64_t *ret, struct err *err)
{
	bool v = true;

	/* Both ways round, so that an absent one is told from either. */
	if (api_query_bool(c, "v", &v, err))
		return -1;
	*ret = v;
	v = false;
	return api_query_bool(c, "v", &v, err) ? -1 : (*ret += v, 0);
}

static int read_ms(struct api_request *c, uint64_t *ret, struct err *err)
{
	return api_query_ms(c, "v", 60000, ret, err);
}

static int read_error(struct api_request *c, uint64_t *ret, struct err *err)
{
	(void)ret;
	return err_set(err, err_from_name(http_query(c->req, "v")), "because");
}

/* clang-format off */
static const struct reader {
	const char *path;
	int (*read)(struct api_request *c, uint64_t *ret, struct err *err);
} readers[] = {
	{"/u64", read_u64},
	{"/any", read_any_u64},
	{"/bool", read_bool},
	{"/ms", read_ms},
	{"/fail", read_error},
};
/* clang-format on */

static void handler(struct http_request *req, void *arg)
{
	struct json_object *o = json_object_new_object();
	struct api_request c = {.req = req};
	uint64_t v = ABSENT;
	struct err err;
	size_t i = 0;

	(void)arg;
	while (strcmp(readers[i].path, http_path(req)) != 0)
		ck_assert_uint_lt(++i, ARRAY_LEN(readers));
	if (readers[i].read(&c, &v, &err)) {
		json_object_put(o);
		api_problem(req, &err);
		return;
	}
	js_add_u64(o, "v", v);
	/* Plain, and no slash is escaped. */
	js_add_string(o, "path", "/");
	api_reply(req, 200, o);
}

static struct reply *ask(const char *target)
{
	char text[256];
	struct reply *r;
	int fd = client_dial();

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n\r\n", target);
	client_say(fd, text);
	r = client_hear(fd);
	close(fd);
	return r;
}

static void start(void)
{
	struct http_limits limits = http_limits_default();

	httpd_serve(&limits, handler, NULL);
}

static const struct {
	const char *target, *want; /* want: the number, or the detail of a 400 */
} parameters[] = {
	{"/u64", "77"},
	{"/u64?v=3", "3"},
	{"/u64?v=1000", "1000"},
	{"/u64?v=0003", "3"},
	{"/u64?v=2", "v: must be a number from 3 to 1000"},
	{"/u64?v=1001", "v: must be a number from 3 to 1000"},
	{"/u64?v=", "v: must be a number"},
	{"/u64?v", "v: must be a number"},
	{"/u64?v=-5", "v: must be a number"},
	{"/u64?v=%2b5", "v: must be a number"},
	{"/u64?v=%205", "v: must be a number"},
	{"/u64?v=5x", "v: must be a number"},
	{"/u64?v=0x10", "v: must be a number"},
	{"/any?v=0", "0"},
	{"/any?v=18446744073709551615", "18446744073709551615"},
	{"/any?v=18446744073709551616", "v: must be a number"},
	{"/bool", "1"},
	{"/bool?v=true", "2"},
	{"/bool?v=1", "2"},
	{"/bool?v=false", "0"},
	{"/bool?v=0", "0"},
	{"/bool?v=yes", "v: must be true or false"},
	{"/bool?v=True", "v: must be true or false"},
	{"/bool?v", "v: must be true or false"},
	{"/ms", "77"},
	{"/ms?v=0ms", "0"},
	{"/ms?v=250ms", "250"},
	{"/ms?v=60s", "60000"},
	{"/ms?v=1m", "60000"},
	{"/ms?v=61s", "v: must be a duration such as 500ms or 30s, at most 60s"},
	{"/ms?v=60001ms", "v: must be a duration"},
	{"/ms?v=5", "v: must be a duration"},
	{"/ms?v=-5s", "v: must be a duration"},
	{"/ms?v=99999999999999999999s", "v: must be a duration"},
	{"/ms?v", "v: must be a duration"},
};

START_TEST(test_parameter)
{
	const char *target = parameters[_i].target, *want = parameters[_i].want;
	bool good = want[0] >= '0' && want[0] <= '9';
	char whole[128];
	struct reply *r;

	start();
	r = ask(target);
	snprintf(whole, sizeof(whole), "{\"v\":%s,\"path\":\"/\"}", want);
	ck_assert_msg(r->status == (good ? 200 : 400), "%s: %s", target, r->text);
	if (good)
		ck_assert_str_eq(r->body, whole);
	else
		ck_assert_msg(strstr(r->body, want) != NULL, "%s: %s", target, r->body);
	httpd_stop();
}
END_TEST

/* Every error has its status, its name and its text; two of them say when to try again. */
START_TEST(test_problem)
{
	enum err_code code = (enum err_code)_i;
	bool again = code == ERR_QUOTA || code == ERR_UNREADY;
	char target[64], name[80];
	struct reply *r;

	start();
	snprintf(target, sizeof(target), "/fail?v=%s", err_name(code));
	snprintf(name, sizeof(name), "\"code\":\"%s\"", err_name(code));
	r = ask(target);
	ck_assert_int_eq(r->status, err_http(code));
	ck_assert_ptr_nonnull(strstr(r->text, "\r\nContent-Type: application/problem+json\r\n"));
	ck_assert_int_eq(strstr(r->text, "\r\nRetry-After: 1\r\n") != NULL, again);
	ck_assert_ptr_nonnull(strstr(r->body, "\"detail\":\"because\""));
	ck_assert_msg(strstr(r->body, name) != NULL, "%s", r->body);
	httpd_stop();
}
END_TEST

START_TEST(test_reply)
{
	struct reply *r;

	start();
	r = ask("/u64");
	ck_assert_ptr_nonnull(strstr(r->text, "\r\nContent-Type: application/json\r\n"));
	httpd_stop();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("call");
	TCase *tc = tcase_create("requests");

	tcase_add_loop_test(tc, test_parameter, 0, ARRAY_LEN(parameters));
	tcase_add_loop_test(tc, test_problem, 0, ERR_COUNT);
	tcase_add_test(tc, test_reply);
	suite_add_tcase(suite, tc);
	return suite;
}
