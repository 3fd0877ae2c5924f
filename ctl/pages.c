#include "ctl/pages.h"

#include <string.h>

#include "ctl/member.h"
#include "ctl/terminal.h"

/*
 * A large guest has more runs than should be held in memory, so they are printed as they come. The
 * JSON document is written around them.
 */
struct output {
	struct ctl *ctl;
	bool exact, any;
	/* Owned: why the states are not exact although they should be; NULL: uffdd did not say. */
	char *inexact;
};

static int fetch(struct ctl *ctl, uint64_t offset, struct json_object **ret, struct err *err)
{
	char target[CTL_TARGET_MAX], query[32];
	struct client_request req = {"GET", target};
	cleanup_json struct json_object *part = NULL;

	snprintf(query, sizeof(query), "offset=%llu", (unsigned long long)offset);
	ctl_restore_target(ctl, ctl->args.words[0], "/pages", query, target);
	if (ctl_call(ctl, &req, &part, err) < 0)
		return -1;
	if (!json_object_is_type(member_at(part, "runs"), json_type_array))
		return err_set(err, ERR_PEER, "uffdd's answer has no runs of pages");
	*ret = steal_ptr(&part);
	return 0;
}

/* Prints what precedes the runs: the members of the first part that are not about parts. */
static void begin(struct output *out, struct json_object *part)
{
	if (!out->ctl->json)
		return;
	putchar('{');
	json_object_object_foreach(part, key, v)
	{
		cleanup_json struct json_object *name = json_object_new_string(key);

		if (strcmp(key, "runs") == 0 || strcmp(key, "exact") == 0 ||
		    strcmp(key, "next_offset") == 0)
			continue;
		terminal_json_part(stdout, name);
		putchar(':');
		terminal_json_part(stdout, v);
		putchar(',');
	}
	fputs("\"runs\":[", stdout);
}

static void put_run(struct output *out, struct json_object *run)
{
	const char *state = member_string(run, "state");

	if (out->ctl->json) {
		if (out->any)
			putchar(',');
		terminal_json_part(stdout, run);
	} else {
		printf("%llu %llu ", (unsigned long long)member_u64(run, "offset"),
		       (unsigned long long)member_u64(run, "length"));
		terminal_text(stdout, state ? state : "-");
		putchar('\n');
	}
	out->any = true;
}

static void put_part(struct output *out, struct json_object *part)
{
	struct json_object *runs = member_at(part, "runs");

	for (size_t i = 0; i < json_object_array_length(runs); i++)
		put_run(out, json_object_array_get_idx(runs, i));
	out->exact = out->exact && member_true(part, "exact");
	if (!out->inexact && member_string(part, "inexact"))
		out->inexact = strdup(member_string(part, "inexact"));
}

static void finish(struct output *out)
{
	if (out->ctl->json) {
		printf("],\"exact\":%s,\"next_offset\":null}\n", out->exact ? "true" : "false");
	} else if (!out->exact && out->inexact) {
		fputs("uffdctl: these states may lag: ", stderr);
		terminal_text(stderr, out->inexact);
		fputc('\n', stderr);
	} else if (!out->exact) {
		fprintf(stderr,
			"uffdctl: these states may lag; between \"uffdctl pause %s\" and "
			"resume they are exact\n",
			out->ctl->args.words[0]);
	}
}

static int print(struct output *out)
{
	struct ctl *ctl = out->ctl;
	uint64_t offset = 0;
	bool more = true;
	struct err err;

	while (more) {
		cleanup_json struct json_object *part = NULL;
		uint64_t next;

		if (fetch(ctl, offset, &part, &err) < 0)
			return ctl_fail(ctl, &err);
		if (offset == 0)
			begin(out, part);
		put_part(out, part);
		more = member_at(part, "next_offset") != NULL;
		next = member_u64(part, "next_offset");
		if (more && next <= offset) {
			err_set(&err, ERR_PEER, "uffdd goes round in circles at offset %llu",
				(unsigned long long)offset);
			return ctl_fail(ctl, &err);
		}
		offset = next;
	}
	finish(out);
	return CTL_DONE;
}

int pages_run(struct ctl *ctl)
{
	struct output out = {.ctl = ctl, .exact = true};
	int rc = print(&out);

	free(out.inexact);
	return rc;
}
