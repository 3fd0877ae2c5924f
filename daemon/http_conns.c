#include "daemon/http_conns.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "common/foreign.h"
#include "daemon/http_foreign.h"
#include "daemon/log.h"
#include "daemon/timer.h"

/* Bytes read ahead of a client while its last request is still being answered. */
#define AHEAD_BYTES 4096
/* Beyond the largest request: one read of the bufferevent, generously. */
#define SLACK_BYTES ((size_t)64 << 10)
#define BACKOFF_MS 100
#define BURST_MAX 16
/* A client that takes longer to read its answer is slow: another may have the place. */
#define SLOW_US (1000 * 1000)

/* The listener's argument belongs to evhttp; so an error finds its http_conns by the listener. */
static LIST_HEAD(, http_conns) registries = LIST_HEAD_INITIALIZER(registries);

static struct timeval ms_tv(unsigned ms)
{
	return (struct timeval){ms / 1000, (ms % 1000) * 1000};
}

static size_t input_max(const struct http_conns *c)
{
	return c->limits.header_bytes + c->limits.body_bytes + SLACK_BYTES;
}

static void start_deadline(struct http_conn *conn)
{
	struct http_conns *c = conn->conns;
	struct timeval tv = ms_tv(c->limits.header_deadline_ms);

	conn->deadline_us = now_us() + (uint64_t)c->limits.header_deadline_ms * 1000;
	if (!event_pending(c->timer, EV_TIMEOUT, NULL))
		event_add(c->timer, &tv);
}

/* evhttp's own timer starts again at every byte; this one starts at the first. */
static void on_input(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct http_conn *conn = arg;

	if (!info->n_added || conn->busy)
		return;
	if (!conn->deadline_us)
		start_deadline(conn);
	if (evbuffer_get_length(buf) >= input_max(conn->conns))
		event_active(conn->conns->turn, EV_TIMEOUT, 0);
}

void http_conn_busy(struct http_conn *conn)
{
	struct timeval stall = ms_tv(conn->conns->limits.stall_ms);

	conn->busy = true;
	conn->since_us = now_us();
	conn->deadline_us = 0;
	bufferevent_setwatermark(conn->bev, EV_READ, 0, AHEAD_BYTES);
	bufferevent_set_timeouts(conn->bev, NULL, &stall);
}

void http_conn_identify(struct http_conn *conn)
{
	struct http_accounts *accounts = &conn->conns->accounts;
	struct http_user *user = conn->user;
	char name[HTTP_ACCOUNT_MAX + 1] = "";

	user->privileged = conn->conns->identify(conn->conns->arg, &conn->peer, name);
	if (user->account && strcmp(user->account->name, name) == 0)
		return;
	http_account_put(accounts, user->account);
	user->account = http_account_get(accounts, name);
}

bool http_conn_is_late(const struct http_conn *conn)
{
	const struct http_user *user = conn->user;

	return user && !user->privileged && http_account_is_late(user->account, now_us());
}

/* Fails while an event of the connection is active: then it is for the next time. */
static void set_priority(struct http_conn *conn)
{
	bufferevent_priority_set(conn->bev, http_conn_is_late(conn) ? TIMER_LATE : TIMER_NORMAL);
}

void http_conn_idle(struct http_conn *conn)
{
	struct http_conns *c = conn->conns;
	struct timeval idle = ms_tv(c->limits.idle_ms), stall = ms_tv(c->limits.stall_ms);

	conn->busy = false;
	conn->since_us = now_us();
	bufferevent_setwatermark(conn->bev, EV_READ, 0, input_max(c));
	bufferevent_set_timeouts(conn->bev, &idle, &stall);
	set_priority(conn);
	if (evbuffer_get_length(bufferevent_get_input(conn->bev)))
		start_deadline(conn);
}

void http_conn_cut(struct http_conn *conn)
{
	bufferevent_trigger_event(conn->bev, BEV_EVENT_EOF | BEV_EVENT_READING, 0);
}

static void leave(struct http_conns *c, struct http_user *user)
{
	if (user->connections == 1)
		http_account_put(&c->accounts, user->account);
	http_users_leave(user);
}

static void forget(struct http_conn *conn)
{
	struct http_conns *c = conn->conns;

	LIST_REMOVE(conn, link);
	c->n--;
	if (conn->user)
		leave(c, conn->user);
	if (conn->last_fd < 0) {
		free(conn);
		return;
	}
	LIST_INSERT_HEAD(&c->gone, conn, link);
	event_active(c->turn, EV_TIMEOUT, 0);
}

/* libevent closes a connection in the turn after it was freed, so last_fd is closed in the next. */
static void free_gone(struct http_conns *c)
{
	struct http_conn *conn;

	while ((conn = LIST_FIRST(&c->done))) {
		LIST_REMOVE(conn, link);
		foreign_close(&conn->last_fd);
		free(conn);
	}
	if (LIST_EMPTY(&c->gone))
		return;
	while ((conn = LIST_FIRST(&c->gone))) {
		LIST_REMOVE(conn, link);
		LIST_INSERT_HEAD(&c->done, conn, link);
	}
	event_active(c->turn, EV_TIMEOUT, 0);
}

static void on_close(struct evhttp_connection *ev, void *arg)
{
	struct http_conn *conn = arg;

	(void)ev;
	if (conn->req)
		conn->conns->closed(conn);
	evbuffer_remove_cb(bufferevent_get_input(conn->bev), on_input, conn);
	forget(conn);
}

struct http_conn *http_conns_find(struct http_conns *c, const struct evhttp_connection *ev)
{
	struct http_conn *conn;

	LIST_FOREACH(conn, &c->live, link)
	if (conn->ev == ev)
		return conn;
	return NULL;
}

/*
 * So many connections may be there beyond the cap until they are looked at: with one a turn whoever
 * comes behind a crowd would wait long. Their descriptors are of those set aside (descriptors.h).
 */
static size_t burst_max(const struct http_conns *c)
{
	return min_u64(BURST_MAX, c->limits.connections / 4);
}

/* The descriptor is not known yet; admit() follows before anything is read. */
static struct bufferevent *on_accept(struct event_base *base, void *arg)
{
	struct http_conns *c = arg;
	struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	struct http_conn *conn;

	if (!bev)
		return NULL;
	conn = xcalloc(1, sizeof(*conn));
	conn->conns = c;
	conn->bev = bev;
	conn->last_fd = -1;
	bufferevent_incref(bev);
	LIST_INSERT_HEAD(&c->fresh, conn, link);
	c->accepted++;
	c->n++;
	/* Accept few more in this turn, or a burst would pass the cap by far before it is checked. */
	if (c->n >= c->limits.connections + burst_max(c))
		evconnlistener_disable(c->listener);
	event_active(c->turn, EV_TIMEOUT, 0);
	return bev;
}

struct http_conn *http_conns_longest(struct http_conns *c, http_conn_share share, const void *arg)
{
	struct http_conn *conn, *best = NULL;
	size_t n, most = 0;

	LIST_FOREACH(conn, &c->live, link)
	{
		n = share(conn, arg);
		if (n > most || (n && n == most && conn->since_us < best->since_us)) {
			best = conn;
			most = n;
		}
	}
	return best;
}

/* Of a connection whose client keeps us waiting, and not we the client. @arg: the user to spare. */
static size_t idle_share(const struct http_conn *conn, const void *arg)
{
	if (!conn->user || conn->user == arg || conn->req ||
	    (conn->busy && now_us() - conn->since_us <= SLOW_US))
		return 0;
	return conn->user->connections;
}

/* Among those who have one connection each, the oldest makes room: no user can keep all places. */
static bool take_place(struct http_conn *conn)
{
	static struct log_limit limit = LOG_LIMIT(5, 10 * 1000 * 1000);
	struct http_conns *c = conn->conns;
	struct http_conn *other;

	if (conn->user->connections > c->limits.connections_per_uid)
		return false;
	if (c->n <= c->limits.connections)
		return true;
	other = http_conns_longest(c, idle_share, conn->user);
	if (!other || other->user->connections < conn->user->connections)
		return false;
	if (log_allow(&limit, now_us()))
		log_warning("connection closed for another user's", "uid=%u connections=%zu for=%u",
			    other->peer.uid, other->user->connections, conn->peer.uid);
	c->cut++;
	http_conn_cut(other);
	return true;
}

static void refuse(struct http_conn *conn, const char *why)
{
	static struct log_limit limit = LOG_LIMIT(5, 10 * 1000 * 1000);

	if (log_allow(&limit, now_us()))
		log_warning("connection refused", "uid=%u pid=%d why=%s", conn->peer.uid,
			    (int)conn->peer.pid, why);
	conn->conns->refused++;
	http_conn_cut(conn);
}

/*
 * The argument of evhttp's callbacks is its connection (selftest_libevent() checks that at every
 * start). Before the first request there is no other way to it.
 */
static void admit(struct http_conn *conn)
{
	struct http_conns *c = conn->conns;
	struct bufferevent *bev = conn->bev;
	bufferevent_event_cb event_cb;
	struct err err;
	void *ev;

	bufferevent_getcb(bev, NULL, NULL, &event_cb, &ev);
	if (!event_cb) { /* freed by evhttp already */
		forget(conn);
		bufferevent_decref(bev);
		return;
	}
	LIST_REMOVE(conn, link);
	LIST_INSERT_HEAD(&c->live, conn, link);
	conn->ev = ev;
	evhttp_connection_set_closecb(conn->ev, on_close, conn);
	evbuffer_add_cb(bufferevent_get_input(bev), on_input, conn);
	bufferevent_decref(bev);
	if (!c->clean)
		conn->last_fd = fcntl(bufferevent_getfd(bev), F_DUPFD_CLOEXEC, 0);

	if (sock_peer(bufferevent_getfd(bev), &conn->peer, &err)) {
		refuse(conn, err.msg);
		return;
	}
	conn->user = http_users_join(&c->users, conn->peer.uid);
	http_conn_identify(conn);
	if (!take_place(conn)) {
		refuse(conn, "too many connections");
	} else {
		http_conn_idle(conn);
		start_deadline(conn);
	}
}

/* A connection with more bytes than the largest request and no request: evhttp would spin on it. */
static struct http_conn *find_overfull(struct http_conns *c)
{
	struct http_conn *conn;

	LIST_FOREACH(conn, &c->live, link)
	if (!conn->busy && evbuffer_get_length(bufferevent_get_input(conn->bev)) >= input_max(c))
		return conn;
	return NULL;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct http_conns *c = arg;
	struct http_conn *conn;

	(void)fd;
	(void)what;
	free_gone(c);
	while ((conn = LIST_FIRST(&c->fresh)))
		admit(conn);
	while ((conn = find_overfull(c))) {
		c->cut++;
		http_conn_cut(conn);
	}
	if (c->bound && !event_pending(c->retry, EV_TIMEOUT, NULL))
		evconnlistener_enable(c->listener);
}

static struct http_conn *find_late(struct http_conns *c, uint64_t now)
{
	struct http_conn *conn;

	LIST_FOREACH(conn, &c->live, link)
	if (conn->deadline_us && conn->deadline_us <= now)
		return conn;
	return NULL;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct http_conns *c = arg;
	uint64_t now = now_us(), next = 0;
	struct http_conn *conn;

	(void)fd;
	(void)what;
	while ((conn = find_late(c, now))) {
		c->cut++;
		http_conn_cut(conn);
	}
	LIST_FOREACH(conn, &c->live, link)
	if (conn->deadline_us && (!next || conn->deadline_us < next))
		next = conn->deadline_us;
	if (next) {
		struct timeval tv = ms_tv((unsigned)((next - now) / 1000 + 1));

		event_add(c->timer, &tv);
	}
}

/* Uses the reserve, lest a client that waited a whole back-off in vain wait for ever. */
static void reject(struct http_conns *c)
{
	int fd;

	close_fd(&c->reserve_fd);
	fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	c->refused += fd >= 0;
	foreign_close(&fd);
	c->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	static struct log_limit limit = LOG_LIMIT(1, 60 * 1000 * 1000);
	struct timeval backoff = ms_tv(BACKOFF_MS);
	const char *why = strerror(errno);
	uint64_t now = now_us();
	struct http_conns *c;

	(void)arg;
	LIST_FOREACH(c, &registries, link)
	if (c->listener == listener)
		break;
	if (!c)
		return;
	if (log_allow(&limit, now))
		log_error("cannot accept connections, raise LimitNOFILE=", "why=%s", why);
	if (now - c->starved_us < 2 * BACKOFF_MS * 1000)
		reject(c);
	c->starved_us = now;
	evconnlistener_disable(listener);
	event_add(c->retry, &backoff);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct http_conns *c = arg;

	(void)fd;
	(void)what;
	evconnlistener_enable(c->listener);
}

int http_conns_init(struct http_conns *c, struct event_base *base, struct evhttp *ev, int listen_fd,
		    http_conn_closed closed, struct err *err)
{
	c->ev = ev;
	c->closed = closed;
	c->listen_fd = -1;
	c->reserve_fd = -1;
	LIST_INIT(&c->fresh);
	LIST_INIT(&c->live);
	LIST_INIT(&c->users);
	LIST_INIT(&c->gone);
	LIST_INIT(&c->done);
	LIST_INSERT_HEAD(&registries, c, link);
	c->turn = event_new(base, -1, 0, on_turn, c);
	c->timer = evtimer_new(base, on_timer, c);
	c->retry = evtimer_new(base, on_retry, c);
	if (!c->turn || !c->timer || !c->retry)
		return err_set(err, ERR_SYSTEM, "HTTP server: out of memory");
	c->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (c->reserve_fd < 0)
		return err_sys(err, "open /dev/null");
	c->listener = evconnlistener_new(base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, listen_fd);
	if (!c->listener)
		return err_set(err, ERR_SYSTEM, "HTTP server: cannot watch the listening socket");
	evhttp_set_bevcb(ev, on_accept, c);
	c->bound = evhttp_bind_listener(ev, c->listener);
	if (!c->bound) {
		evconnlistener_free(c->listener);
		c->listener = NULL;
		return err_set(err, ERR_SYSTEM, "HTTP server: out of memory");
	}
	evconnlistener_set_error_cb(c->listener, on_accept_error);
	c->listen_fd = listen_fd;
	c->clean = http_foreign_refuse(listen_fd);
	return 0;
}

void http_conns_stop(struct http_conns *c)
{
	if (!c->bound)
		return;
	event_del(c->retry);
	evhttp_del_accept_socket(c->ev, c->bound);
	c->bound = NULL;
	c->listener = NULL;
	close_fd(&c->listen_fd);
}

static void free_event(struct event *ev)
{
	if (ev)
		event_free(ev);
}

void http_conns_fini(struct http_conns *c)
{
	struct http_conn *conn;

	while ((conn = LIST_FIRST(&c->fresh))) {
		bufferevent_decref(conn->bev);
		forget(conn);
	}
	free_gone(c);
	free_gone(c);
	http_accounts_fini(&c->accounts);
	free_event(c->turn);
	free_event(c->timer);
	free_event(c->retry);
	close_fd(&c->reserve_fd);
	LIST_REMOVE(c, link);
}
