#include "daemon/reconnect.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "common/foreign.h"
#include "common/proc.h"
#include "common/sock.h"
#include "daemon/log.h"
#include "daemon/timer.h"

/* A visitor sends REATTACH at once after it has connected, and PROOF at once after that. */
#define SPEAK_S 5
#define ACCEPT_AGAIN_MS 100
/* For so many visitors two descriptors each are set aside. */
#define FEW 16

struct visitor {
	TAILQ_ENTRY(visitor) link;
	struct reconnect *reconnect;
	int chan, pidfd; /* owned */
	struct sock_peer who;
	struct chan_reattach reattach; /* its key is "" until REATTACH has come */
	int listen_fd;                 /* owned: from REATTACH, or -1 */
	struct event *ev;
};

struct reconnect {
	struct reconnect_parts parts;
	char path[PROTO_SUN_MAX + 1];
	int fd;
	struct event *ev, *again;
	size_t n;
	TAILQ_HEAD(, visitor) visitors;
};

static void visitor_free(struct visitor *v)
{
	TAILQ_REMOVE(&v->reconnect->visitors, v, link);
	v->reconnect->n--;
	timer_drop(&v->ev);
	foreign_close(&v->chan);
	close_fd(&v->pidfd);
	foreign_close(&v->listen_fd);
	free(v);
}

static void reject(struct visitor *v, const char *why)
{
	static struct log_limit limit = LOG_LIMIT(5, 10 * 1000 * 1000);

	if (log_allow(&limit, now_us()))
		log_warning("a stranger came as a worker", "pid=%d why=%s", (int)v->who.pid, why);
	visitor_free(v);
}

/* The worker waits for a VMM of a restore that was never finished, or that has ended. */
static void send_away(struct worker *w)
{
	struct chan_msg stop = {.stop.how = CHAN_STOP_WAITING};
	struct err err;

	worker_send(w, CHAN_STOP, &stop, NULL, 0, &err);
}

/* @proof: the last message, with @fds; or NULL. */
static void welcome(struct visitor *v, const struct chan_proof *proof, int *fds)
{
	struct reconnect *reconnect = v->reconnect;
	struct reconnect_guest guest = {&v->reattach, proof, &v->who, NULL, &v->listen_fd, fds};
	enum reconnect_answer answer;
	struct err err;

	guest.worker = pool_adopt(reconnect->parts.pool, v->who.pid, steal_fd(&v->pidfd),
				  steal_fd(&v->chan), v->reattach.release);
	answer = reconnect->parts.hooks->back(reconnect->parts.arg, &guest, &err);
	if (answer == RECONNECT_STRANGE && v->listen_fd >= 0 && !proof)
		send_away(guest.worker);
	if (answer != RECONNECT_TAKEN)
		worker_leave(guest.worker);
	if (answer == RECONNECT_STRANGE)
		reject(v, err.msg);
	else
		visitor_free(v);
}

static void speak(struct visitor *v)
{
	timer_add(v->ev, SPEAK_S * TIMER_S);
}

static void hear(struct visitor *v, const struct chan_msg *msg, int *fds)
{
	bool first = !v->reattach.key[0];

	if (first && msg->type == CHAN_REATTACH && proto_id_valid(msg->reattach.key)) {
		v->reattach = msg->reattach;
		v->listen_fd = steal_fd(&fds[0]);
		if (v->reattach.proof &&
		    !v->reconnect->parts.hooks->knows(v->reconnect->parts.arg, v->reattach.key))
			speak(v);
		else
			welcome(v, NULL, fds);
	} else if (!first && msg->type == CHAN_PROOF) {
		welcome(v, &msg->proof, fds);
	} else {
		reject(v, "it does not say REATTACH");
	}
}

static void on_message(evutil_socket_t fd, short what, void *arg)
{
	struct visitor *v = arg;
	int fds[CHAN_FDS_MAX];
	enum chan_step step;
	struct chan_msg msg;
	struct err err;

	if (what & EV_TIMEOUT) {
		reject(v, "it says nothing");
		return;
	}
	step = chan_recv((int)fd, &msg, fds, &err);
	if (step != CHAN_GOT) {
		reject(v, step == CHAN_LOST ? err.msg : "it does not keep to the protocol");
		return;
	}
	hear(v, &msg, fds);
	chan_close_fds(fds);
}

static void admit(struct reconnect *reconnect, int chan)
{
	struct visitor *v = xcalloc(1, sizeof(*v));
	struct err err;

	v->reconnect = reconnect;
	v->chan = chan;
	v->pidfd = v->listen_fd = -1;
	TAILQ_INSERT_TAIL(&reconnect->visitors, v, link);
	reconnect->n++;
	if (sock_peer(chan, &v->who, &err) || sock_peer_pidfd(chan, v->who.pid, &v->pidfd, &err)) {
		reject(v, err.msg);
		return;
	}
	if (!reconnect->parts.hooks->expects(reconnect->parts.arg, &v->who)) {
		reject(v, "no restore has that worker");
		return;
	}
	v->ev = event_new(reconnect->parts.base, chan, EV_READ, on_message, v);
	speak(v);
}

static void pause_accepting(struct reconnect *reconnect)
{
	event_del(reconnect->ev);
	timer_add(reconnect->again, ACCEPT_AGAIN_MS * TIMER_MS);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct reconnect *reconnect = arg;

	(void)fd;
	(void)what;
	event_add(reconnect->ev, NULL);
}

/* False: no connection is waiting, or there is no room. */
static bool accept_one(struct reconnect *reconnect)
{
	int chan;

	if (reconnect->n >= FEW && !reconnect->parts.hooks->room(reconnect->parts.arg)) {
		pause_accepting(reconnect);
		return false;
	}
	chan = accept4(reconnect->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (chan >= 0 && reconnect->n < RECONNECT_VISITORS_MAX)
		admit(reconnect, chan);
	else if (chan >= 0)
		foreign_close(&chan);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
		pause_accepting(reconnect);
	return chan >= 0;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	accept_one(arg);
}

static bool has_spoken(const struct visitor *v)
{
	struct pollfd p = {.fd = v->chan, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

void reconnect_receive_all(struct reconnect *reconnect)
{
	struct visitor *v, *next;

	for (size_t i = 0; i < RECONNECT_VISITORS_MAX && accept_one(reconnect); i++)
		;
	for (v = TAILQ_FIRST(&reconnect->visitors); v; v = next) {
		next = TAILQ_NEXT(v, link);
		if (has_spoken(v))
			on_message(v->chan, EV_READ, v);
	}
}

int reconnect_open(const char *path, const struct reconnect_parts *parts, struct reconnect **ret,
		   struct err *err)
{
	struct reconnect *reconnect = xcalloc(1, sizeof(*reconnect));

	reconnect->parts = *parts;
	TAILQ_INIT(&reconnect->visitors);
	snprintf(reconnect->path, sizeof(reconnect->path), "%s", path);
	/* Workers run as their callers, so every user must be able to connect. */
	if (sock_listen(path, SOCK_SEQPACKET, sock_mode(0666), &reconnect->fd, err)) {
		free(reconnect);
		return -1;
	}
	reconnect->ev = event_new(parts->base, reconnect->fd, EV_READ | EV_PERSIST, on_accept,
				  reconnect);
	reconnect->again = evtimer_new(parts->base, on_again, reconnect);
	event_add(reconnect->ev, NULL);
	*ret = reconnect;
	return 0;
}

void reconnect_close(struct reconnect *reconnect)
{
	if (!reconnect)
		return;
	while (!TAILQ_EMPTY(&reconnect->visitors))
		visitor_free(TAILQ_FIRST(&reconnect->visitors));
	event_free(reconnect->ev);
	event_free(reconnect->again);
	unlink(reconnect->path);
	close(reconnect->fd);
	free(reconnect);
}
