#include "ctl/ctl.h"

#include <string.h>

#include "common/proto.h"
#include "ctl/member.h"
#include "ctl/render.h"
#include "ctl/terminal.h"

const struct args_option ctl_options[] = {
	{"socket", 'S', "PATH", ARGS_TEXT, false,
	 "control socket of the daemon (or " PROTO_SOCKET_ENV "; " PROTO_DEFAULT_SOCKET ")"},
	{"output", 'o', "table|json", ARGS_CHOICE, false,
	 "for people, or exactly the API's objects"},
	{"quiet", 'q', NULL, ARGS_FLAG, false, "print ids only"},
	{"help", 'h', NULL, ARGS_FLAG, false, "say what there is, and how it is used"},
	{"version", 'V', NULL, ARGS_FLAG, false, "print the version of uffdctl"},
	{0},
};

const struct args_option ctl_tenant_options[] = {CTL_TENANT_OPTION, {0}};

void ctl_init(struct ctl *ctl, int argc, char **argv)
{
	*ctl = (struct ctl){0};
	args_init(&ctl->args, argc, argv, ctl_options);
}

void ctl_fini(struct ctl *ctl)
{
	args_fini(&ctl->args);
	client_fini(&ctl->client);
}

const char *ctl_global(const struct ctl *ctl, const char *name)
{
	return args_get(&ctl->args, ctl_options, name);
}

const char *ctl_option(const struct ctl *ctl, const char *name)
{
	return args_get(&ctl->args, ctl->args.own, name);
}

void ctl_settle(struct ctl *ctl)
{
	const char *output = ctl_global(ctl, "output");
	const char *socket = ctl_global(ctl, "socket");
	const char *no_color = getenv("NO_COLOR");

	if (!socket)
		socket = getenv(PROTO_SOCKET_ENV);
	ctl->client.path = socket && *socket ? socket : PROTO_DEFAULT_SOCKET;
	ctl->json = output && strcmp(output, "json") == 0;
	ctl->quiet = ctl_global(ctl, "quiet") != NULL;
	ctl->colour = !(no_color && *no_color) && terminal_escapes(STDOUT_FILENO);
}

/* Prints the daemon's problem, or @err as an object of the same form. */
static void fail_json(struct ctl *ctl, const struct err *err)
{
	cleanup_json struct json_object *o = NULL;

	if (ctl->client.problem) {
		terminal_json(stderr, ctl->client.problem);
		return;
	}
	o = js_problem(err);
	terminal_json(stderr, o);
}

int ctl_fail(struct ctl *ctl, const struct err *err)
{
	const char *detail = member_string(ctl->client.problem, "detail");
	const char *code = member_string(ctl->client.problem, "code");

	if (ctl->json) {
		fail_json(ctl, err);
		return err_exit(err->code);
	}
	fputs("uffdctl: ", stderr);
	terminal_text(stderr, detail ? detail : err->msg);
	fputs(" (", stderr);
	terminal_text(stderr, code ? code : err_name(err->code));
	fputs(")\n", stderr);
	return err_exit(err->code);
}

int ctl_usage(struct ctl *ctl, const struct err *err)
{
	const char *blank = ctl->verb ? " " : "";
	const char *verb = ctl->verb ? ctl->verb : "";

	fprintf(stderr, "uffdctl%s%s: ", blank, verb);
	terminal_text(stderr, err->msg);
	fprintf(stderr, "\nSee: uffdctl%s%s --help\n", blank, verb);
	return CTL_USAGE;
}

int ctl_call(struct ctl *ctl, const struct client_request *req, struct json_object **ret,
	     struct err *err)
{
	struct json_object *reply;

	if (client_call(&ctl->client, req, &reply, err) < 0)
		return -1;
	if (!reply)
		return err_set(err, ERR_PEER, "uffdd's answer is not JSON");
	*ret = reply;
	return 0;
}

void ctl_print(struct ctl *ctl, struct json_object *o,
	       void (*show)(FILE *out, struct json_object *o, bool colour))
{
	if (ctl->json)
		terminal_json(stdout, o);
	else if (ctl->quiet)
		render_name(stdout, o, ctl->colour);
	else
		show(stdout, o, ctl->colour);
}

void ctl_restore_target(const struct ctl *ctl, const char *id, const char *what, const char *query,
			char *target)
{
	const char *tenant = ctl_option(ctl, "tenant");

	snprintf(target, CTL_TARGET_MAX, "/v1/restores/%s%s%s%s%s%s%s", id, what,
		 tenant || *query ? "?" : "", tenant ? "tenant=" : "", tenant ? tenant : "",
		 tenant && *query ? "&" : "", query);
}

int ctl_show(struct ctl *ctl, const struct client_request *req,
	     void (*show)(FILE *out, struct json_object *o, bool colour))
{
	cleanup_json struct json_object *reply = NULL;
	struct err err;

	if (ctl_call(ctl, req, &reply, &err) < 0)
		return ctl_fail(ctl, &err);
	ctl_print(ctl, reply, show);
	return CTL_DONE;
}
