#include <check.h>

#include "ctl/exchange.h"
#include "tests/support/harness.h"

/* Longer than any long poll that a test asks for. */
#define HTTP_MS (2 * HARNESS_MS)

static void keep(struct exchange_reply *reply, struct harness_reply *ret)
{
	struct err err;

	ck_assert_int_eq(text_add(&reply->body, "", 0, &err), 0);
	ret->status = reply->status;
	snprintf(ret->content_type, sizeof(ret->content_type), "%s", reply->content_type);
	ret->head = steal_ptr(&reply->head.data);
	ret->body = steal_ptr(&reply->body.data);
	ret->len = reply->body.len;
}

int harness_http(const char *socket_path, const char *method, const char *target, const char *body,
		 struct harness_reply *ret)
{
	struct exchange_request request = {
		.socket = socket_path,
		.method = method,
		.target = target,
		.body = body,
		.timeout_ms = (uint64_t)harness_scale_ms(HTTP_MS),
	};
	uint64_t deadline = now_us() + request.timeout_ms * 1000;
	struct exchange_reply reply;
	struct err err;
	bool whole;

	*ret = (struct harness_reply){0};
	whole = exchange_run(&request, &reply, &err) == 0;
	ck_assert_msg(whole || now_us() < deadline, "no whole reply in time to %s %s: %s", method,
		      target, err.msg);
	if (whole)
		keep(&reply, ret);
	exchange_reply_fini(&reply);
	return whole ? ret->status : -1;
}

void harness_reply_fini(struct harness_reply *reply)
{
	free(reply->head);
	free(reply->body);
	*reply = (struct harness_reply){0};
}
