#include "daemon/event_stream.h"

#include <event2/event.h>
#include <string.h>

#include "daemon/caller.h"
#include "daemon/json_view.h"
#include "daemon/store.h"
#include "daemon/timer.h"

#define BATCH 64
#define HEARTBEAT_S 10
/* A reader whose queue is full gets its next try after this. */
#define FULL_MS 20

struct event_stream {
	TAILQ_ENTRY(event_stream) link;
	struct event_streams *streams;
	struct http_request *req;
	struct event *more, *heartbeat;
	uint64_t after;
	char tenant[PROTO_ID_MAX + 1], restore[PROTO_ID_MAX + 1]; /* filters; "" = any */
	bool follow, full;
	size_t sent; /* events, in this batch */
};

void event_streams_init(struct event_streams *streams, struct event_base *base, struct store *store)
{
	streams->base = base;
	streams->store = store;
	TAILQ_INIT(&streams->open);
}

static void event_stream_free(struct event_stream *f)
{
	TAILQ_REMOVE(&f->streams->open, f, link);
	timer_drop(&f->more);
	timer_drop(&f->heartbeat);
	free(f);
}

static void on_gone(struct http_request *req, void *arg)
{
	(void)req;
	event_stream_free(arg);
}

static int send_event(void *arg, const struct store_event *event, struct err *err)
{
	struct event_stream *f = arg;
	cleanup_json struct json_object *o = json_view_event(event);
	const char *text = json_object_to_json_string_ext(o,
							  JSON_C_TO_STRING_PLAIN |
								  JSON_C_TO_STRING_NOSLASHESCAPE);
	size_t len = strlen(text);
	cleanup_free char *line = xcalloc(1, len + 1);

	memcpy(line, text, len);
	line[len] = '\n';
	if (http_stream_write(f->req, line, len + 1)) {
		f->full = true;
		return err_set(err, ERR_QUOTA, "the reader is behind");
	}
	f->after = event->seq;
	f->sent++;
	return 0;
}

static void again_in(struct event_stream *f, unsigned ms)
{
	event_priority_set(f->more, http_stream_is_late(f->req) ? TIMER_LATE : TIMER_NORMAL);
	timer_add(f->more, ms * TIMER_MS);
}

/* 0: the next BATCH events are sent, or as many as the reader takes. */
static int send_batch(struct event_stream *f)
{
	const struct store_filter filter = {f->tenant, f->restore, f->after};
	const char *tenant = f->tenant[0] ? f->tenant : NULL;
	uint64_t oldest, newest;
	struct err err;

	f->full = false;
	f->sent = 0;
	if (store_event_range(f->streams->store, tenant, &oldest, &newest, &err))
		return -1;
	/* A reader so slow that events were removed before it came to them must be told. */
	if (f->after + 1 < oldest)
		return -1;
	if (store_events(f->streams->store, &filter, BATCH, send_event, f, &err))
		return f->full ? 0 : -1;
	/* Up to here nothing is left for this reader, whatever is removed. */
	if (f->sent < BATCH)
		f->after = max_u64(f->after, newest);
	return 0;
}

static void on_more(evutil_socket_t fd, short what, void *arg)
{
	struct event_stream *f = arg;
	uint64_t since = now_us();
	int rc = send_batch(f);

	(void)fd;
	(void)what;
	http_stream_charge(f->req, now_us() - since);
	if (f->full) {
		again_in(f, FULL_MS);
	} else if (rc) {
		/* Cut off, so that the reader does not take this for the proper end. */
		http_stream_drop(f->req);
		event_stream_free(f);
	} else if (f->sent == BATCH) {
		again_in(f, 0);
	} else if (!f->follow) {
		http_stream_end(f->req);
		event_stream_free(f);
	}
}

static void on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
	struct event_stream *f = arg;

	(void)fd;
	(void)what;
	/* Fails with a full queue, which shows just as well that we are alive. */
	http_stream_write(f->req, "{}\n", 3);
}

void event_stream_wake(struct event_streams *streams)
{
	struct event_stream *f;

	TAILQ_FOREACH(f, &streams->open, link)
	if (!evtimer_pending(f->more, NULL))
		again_in(f, 0);
}

static bool still_may(const struct event_stream *f, const struct tenants *ts)
{
	struct caller caller;
	const char *only;

	caller_resolve(ts, http_peer(f->req), &caller);
	only = caller_only(&caller);
	return caller.role != ROLE_OUTSIDER && (!only || strcmp(only, f->tenant) == 0);
}

void event_streams_recheck(struct event_streams *streams, const struct tenants *ts)
{
	struct event_stream *f, *next;

	for (f = TAILQ_FIRST(&streams->open); f; f = next) {
		next = TAILQ_NEXT(f, link);
		if (still_may(f, ts))
			continue;
		http_stream_drop(f->req);
		event_stream_free(f);
	}
}

/* A caller that names a position must be told if events after it are gone. */
static int check_after(struct api_request *c, const char *tenant, uint64_t *after, struct err *err)
{
	uint64_t oldest, newest;
	bool named = http_query(c->req, "after") != NULL;

	if (api_query_u64(c, "after", 0, INT64_MAX, after, err) ||
	    store_event_range(c->streams->store, tenant, &oldest, &newest, err))
		return -1;
	if (named && *after + 1 < oldest)
		return err_set(err, ERR_TRIMMED,
			       "events up to %llu are no longer kept: list the "
			       "restores and follow from %llu",
			       (unsigned long long)oldest - 1, (unsigned long long)oldest - 1);
	if (!named)
		*after = oldest - 1;
	return 0;
}

/* @only: whose events the caller may see; NULL: all. Another tenant looks like none. */
static int read_tenant(struct api_request *c, const char *only, struct event_stream *f,
		       struct err *err)
{
	const char *asked = c->tenant;

	if (asked && only && strcmp(asked, only) != 0)
		return err_set(err, ERR_NOTFOUND, "there is no tenant %s", asked);
	asked = only ? only : asked;
	snprintf(f->tenant, sizeof(f->tenant), "%s", asked ? asked : "");
	return 0;
}

static int read_query(struct api_request *c, const char *only, struct event_stream *f,
		      struct err *err)
{
	const char *restore = http_query(c->req, "restore");
	const char *tenant;

	if (read_tenant(c, only, f, err))
		return -1;
	tenant = f->tenant[0] ? f->tenant : NULL;
	if (check_after(c, tenant, &f->after, err) || api_query_bool(c, "follow", &f->follow, err))
		return -1;
	if (restore && !proto_id_valid(restore))
		return err_set(err, ERR_INVALID, "restore: is not an id");
	snprintf(f->restore, sizeof(f->restore), "%s", restore ? restore : "");
	return 0;
}

static void start(struct event_stream *f)
{
	f->more = evtimer_new(f->streams->base, on_more, f);
	f->heartbeat = event_new(f->streams->base, -1, EV_PERSIST, on_heartbeat, f);
	TAILQ_INSERT_TAIL(&f->streams->open, f, link);
	timer_add(f->heartbeat, HEARTBEAT_S * TIMER_S);
	again_in(f, 0);
}

int event_stream_get(struct api_request *c, const char *tenant, struct err *err)
{
	struct event_stream *f = xcalloc(1, sizeof(*f));
	int rc;

	f->streams = c->streams;
	f->req = c->req;
	rc = read_query(c, tenant, f, err);
	if (rc == 0 && http_stream_begin(c->req, 200, "application/x-ndjson", on_gone, f))
		rc = err_set(err, ERR_QUOTA, "too many streams are open already");
	if (rc)
		free(f);
	else
		start(f);
	return rc;
}
