#include "ctl/working_set.h"

struct output {
	bool any;
};

/* A failed write shows in the state of stdout, which main() checks. */
static int put(const void *bytes, size_t len, void *arg, struct err *err)
{
	struct output *out = arg;

	(void)err;
	/* A reply without a body. */
	if (len == 0)
		return 0;
	fwrite(bytes, 1, len, stdout);
	out->any = true;
	return 0;
}

int working_set_run(struct ctl *ctl)
{
	cleanup_json struct json_object *reply = NULL;
	char target[CTL_TARGET_MAX];
	struct output out = {false};
	struct client_request req = {"GET", target, .on_body = put, .arg = &out};
	struct err err;

	if (isatty(STDOUT_FILENO)) {
		err_set(&err, ERR_INVALID, "a working set is no text: redirect stdout to a file");
		return ctl_usage(ctl, &err);
	}
	ctl_restore_target(ctl, ctl->args.words[0], "/working-set", "", target);
	if (client_call(&ctl->client, &req, &reply, &err) < 0)
		return ctl_fail(ctl, &err);
	if (out.any)
		return CTL_DONE;
	err_set(&err, ERR_PEER, "uffdd's answer is no working set");
	return ctl_fail(ctl, &err);
}
