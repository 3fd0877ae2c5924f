#include "daemon/api.h"

#include <assert.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/caller.h"
#include "daemon/descriptors.h"
#include "daemon/event_stream.h"
#include "daemon/log.h"
#include "daemon/routes.h"
#include "daemon/supervisor.h"
#include "daemon/long_poll.h"
#include "daemon/pace.h"

struct api {
	struct supervisor *sup; /* borrowed */
	struct http *http;
	char socket[PROTO_SUN_MAX + 1];
	struct long_polls polls;
	struct event_streams streams;
	struct pace commands;
};

static void on_request(struct http_request *req, void *arg)
{
	struct api *api = arg;
	struct api_request c = {.req = req,
				.sup = api->sup,
				.polls = &api->polls,
				.streams = &api->streams,
				.commands = &api->commands};

	routes_answer(&c);
}

/* The time of all who belong to no tenant is one. */
static bool identify(void *arg, const struct sock_peer *peer,
		     char ret_account[HTTP_ACCOUNT_MAX + 1])
{
	const struct api *api = arg;
	struct caller caller;

	static_assert(sizeof(caller.tenant) == HTTP_ACCOUNT_MAX + 1, "a tenant's name");
	caller_resolve(&api->sup->host.tenants, peer, &caller);
	memcpy(ret_account, caller.tenant, sizeof(caller.tenant));
	return caller.role == ROLE_ADMIN;
}

/* ---- the supervisor's observer ---- */

static void on_changed(void *arg, struct restore *restore)
{
	struct api *api = arg;

	long_poll_look(&api->polls, restore);
}

static void on_events(void *arg)
{
	struct api *api = arg;

	event_stream_wake(&api->streams);
}

/* ---- start and stop ---- */

static int socket_group(const struct conf *conf, gid_t *ret, struct err *err)
{
	struct group *g;

	*ret = (gid_t)-1;
	if (!conf->socket_group[0])
		return 0;
	g = getgrnam(conf->socket_group);
	if (!g)
		return err_set(err, ERR_INVALID, "socket_group: there is no group %s",
			       conf->socket_group);
	*ret = g->gr_gid;
	return 0;
}

static struct http_limits limits(const struct conf *conf)
{
	struct http_limits l = http_limits_default();

	l.header_bytes = conf->http_header_bytes;
	l.body_bytes = conf->http_body_bytes;
	l.connections = descriptors_for_http(conf->http_connections);
	l.connections_per_uid = conf->http_connections_per_uid;
	l.held = conf->http_held;
	l.held_per_uid = conf->http_held_per_uid;
	l.queue_bytes = conf->http_queue_bytes;
	l.unsent_bytes_per_uid = conf->http_unsent_bytes_per_uid;
	l.idle_ms = (unsigned)conf->http_idle_ms;
	l.header_deadline_ms = (unsigned)conf->http_header_deadline_ms;
	l.stall_ms = (unsigned)conf->http_stall_ms;
	return l;
}

static int open_http(struct api *api, const struct api_parts *parts, struct err *err)
{
	const struct conf *conf = parts->conf;
	const struct http_options options = {limits(conf), on_request, identify, api};
	struct sock_rights rights = sock_mode(conf->socket_mode);
	cleanup_fd int fd = -1;

	if (socket_group(conf, &rights.gid, err) ||
	    sock_listen(api->socket, SOCK_STREAM, rights, &fd, err) ||
	    http_new(parts->base, fd, &options, &api->http, err))
		return -1;
	steal_fd(&fd);
	return 0;
}

int api_new(const struct api_parts *parts, struct api **ret, struct err *err)
{
	static const struct observer observer = {on_changed, on_events};
	struct api *api = xcalloc(1, sizeof(*api));

	api->sup = parts->sup;
	long_poll_init(&api->polls, parts->base);
	event_streams_init(&api->streams, parts->base, parts->store);
	snprintf(api->socket, sizeof(api->socket), "%s/control.sock", parts->conf->run_dir);
	if (open_http(api, parts, err)) {
		free(api);
		return -1;
	}
	supervisor_observe(api->sup, &observer, api);
	log_notice("listening", "socket=%s", api->socket);
	*ret = api;
	return 0;
}

void api_free(struct api *api)
{
	if (!api)
		return;
	supervisor_observe(api->sup, NULL, NULL);
	unlink(api->socket);
	http_free(api->http);
	pace_fini(&api->commands);
	free(api);
}
