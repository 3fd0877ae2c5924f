#include "ctl/events.h"

#include <poll.h>

#include "common/parse.h"
#include "ctl/member.h"
#include "ctl/render.h"
#include "ctl/terminal.h"

#define SILENCE_MS 60000 /* heartbeats come far more often */
/* Between two tries to reach a daemon that has gone. */
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 2000

const struct args_option events_options[] = {
	{"follow", 'f', NULL, ARGS_FLAG, false, "stay, and print what happens from now on"},
	{"after", 0, "SEQ", ARGS_U64, false, "only events behind the one of that number"},
	{"tenant", 0, "NAME", ARGS_ID, false, "only of that tenant"},
	{0},
};

struct stream {
	struct ctl *ctl;
	uint64_t last_seq;
};

static int print_event(const char *line, size_t len, void *arg, struct err *err)
{
	cleanup_json struct json_object *event = NULL;
	struct stream *stream = arg;

	if (len == 0)
		return 0;
	event = js_parse(line, len, false, err);
	if (!event) {
		err->code = ERR_PEER;
		return err_wrap(err, "event behind %llu", (unsigned long long)stream->last_seq);
	}
	if (json_object_object_length(event) == 0)
		return 0; /* heartbeat */
	stream->last_seq = max_u64(stream->last_seq, member_u64(event, "seq"));
	if (stream->ctl->json)
		terminal_json(stdout, event);
	else
		render_event(stdout, event, stream->ctl->colour);
	/* A reader at the other end of a pipe wants the event now. */
	if (fflush(stdout) != 0)
		return err_sys(err, "write to stdout");
	return 0;
}

static void build_target(const struct ctl *ctl, const struct stream *stream, char *target)
{
	const char *follow = ctl_option(ctl, "follow") ? "1" : "0";
	const char *id = ctl->args.nwords ? ctl->args.words[0] : NULL;
	const char *tenant = ctl_option(ctl, "tenant");
	char after[40] = "";

	/*
	 * Events that are no longer kept: with @after the daemon refuses, without it sends what it
	 * has.
	 */
	if (ctl_option(ctl, "after") || stream->last_seq)
		snprintf(after, sizeof(after), "&after=%llu", (unsigned long long)stream->last_seq);
	snprintf(target, CTL_TARGET_MAX, "/v1/events?follow=%s%s%s%s%s%s", follow, after,
		 id ? "&restore=" : "", id ? id : "", tenant ? "&tenant=" : "",
		 tenant ? tenant : "");
}

/* Until the stream ends: 0, or -1 and why it has ended otherwise. */
static int read_stream(struct stream *stream, struct err *err)
{
	struct ctl *ctl = stream->ctl;
	char target[CTL_TARGET_MAX];
	struct client_request req = {"GET", target, .timeout_ms = SILENCE_MS,
				     .on_line = print_event, .arg = stream};
	struct json_object *none;

	build_target(ctl, stream, target);
	return client_call(&ctl->client, &req, &none, err);
}

/* Goes on over restarts of the daemon. The first try must succeed: the socket may be a wrong one. */
static int follow(struct stream *stream, struct err *err)
{
	struct ctl *ctl = stream->ctl;
	uint64_t pause_ms = 0; /* 0: the daemon was there at the last try */

	for (;;) {
		int rc = read_stream(stream, err);
		bool was_there = ctl->client.status == 200;

		if (rc < 0 && (err->code != ERR_UNREADY || !(was_there || pause_ms)))
			return -1;
		if (was_there)
			fprintf(stderr,
				"uffdctl: uffdd has ended the stream; waiting for it, to go on "
				"behind event %llu\n",
				(unsigned long long)stream->last_seq);
		pause_ms = was_there ? PAUSE_MIN_MS : min_u64(2 * pause_ms, PAUSE_MAX_MS);
		poll(NULL, 0, (int)pause_ms);
	}
}

int events_run(struct ctl *ctl)
{
	struct stream stream = {.ctl = ctl};
	const char *after = ctl_option(ctl, "after");
	struct err err;
	int rc;

	if (after)
		parse_u64(after, 0, INT64_MAX, &stream.last_seq);
	rc = ctl_option(ctl, "follow") ? follow(&stream, &err) : read_stream(&stream, &err);
	return rc < 0 ? ctl_fail(ctl, &err) : CTL_DONE;
}
