#include "daemon/home.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "common/proc.h"
#include "common/sock.h"
#include "daemon/log.h"
#include "daemon/timer.h"

/* Who has connected says who it is at once, and so with its proof. */
#define SPEAK_S 5
#define ACCEPT_AGAIN_MS 100
/* Two descriptors each are set aside for so many. */
#define FEW 16

struct visitor {
	TAILQ_ENTRY(visitor) link;
	struct home *home;
	int chan, pidfd; /* owned */
	struct sock_peer who;
	struct chan_back back; /* once it has said that; else the id is "" */
	int listen_fd;         /* owned; that came with it, or -1 */
	struct event *ev;
};

struct home {
	struct event_base *base;
	struct pool *pool;
	const struct home_hooks *hooks;
	void *arg;
	char path[PROTO_SUN_MAX + 1];
	int fd;
	struct event *ev, *again;
	size_t n;
	TAILQ_HEAD(, visitor) visitors;
};

static void visitor_free(struct visitor *v)
{
	TAILQ_REMOVE(&v->home->visitors, v, link);
	v->home->n--;
	timer_drop(&v->ev);
	close_fd(&v->chan);
	close_fd(&v->pidfd);
	close_fd(&v->listen_fd);
	free(v);
}

static void turn_away(struct visitor *v, const char *why)
{
	static struct log_limit limit = LOG_LIMIT(5, 10 * 1000 * 1000);

	if (log_allow(&limit, now_us()))
		log_warning("a stranger came as a worker", "pid=%d why=%s", (int)v->who.pid, why);
	visitor_free(v);
}

/* It waits for a VMM: its restore was never finished, or has ended without it. */
static void send_away(struct worker *w)
{
	struct chan_msg stop = {.stop.how = CHAN_STOP_WAITING};
	struct err err;

	worker_send(w, CHAN_STOP, &stop, NULL, 0, &err);
}

/* @proof: what it said last, or NULL; with @fds. */
static void welcome(struct visitor *v, const struct chan_proof *proof, int *fds)
{
	struct home *home = v->home;
	struct home_guest guest = {&v->back, proof, &v->who, NULL, &v->listen_fd, fds};
	enum home_answer answer;
	struct err err;

	guest.worker = pool_adopt(home->pool, v->who.pid, steal_fd(&v->pidfd), steal_fd(&v->chan),
				  v->back.release);
	answer = home->hooks->back(home->arg, &guest, &err);
	if (answer == HOME_STRANGE && v->listen_fd >= 0 && !proof)
		send_away(guest.worker);
	if (answer != HOME_TAKEN)
		worker_leave(guest.worker);
	if (answer == HOME_STRANGE)
		turn_away(v, err.msg);
	else
		visitor_free(v);
}

static void speak(struct visitor *v)
{
	timer_add(v->ev, SPEAK_S * TIMER_S);
}

static void hear(struct visitor *v, const struct chan_msg *msg, int *fds)
{
	bool first = !v->back.id[0];

	if (first && msg->type == CHAN_BACK && proto_id_valid(msg->back.id)) {
		v->back = msg->back;
		v->listen_fd = steal_fd(&fds[0]);
		if (v->back.proof && !v->home->hooks->knows(v->home->arg, v->back.id))
			speak(v);
		else
			welcome(v, NULL, fds);
	} else if (!first && msg->type == CHAN_PROOF) {
		welcome(v, &msg->proof, fds);
	} else {
		turn_away(v, "it does not say BACK");
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
		turn_away(v, "it says nothing");
		return;
	}
	step = chan_recv((int)fd, &msg, fds, &err);
	if (step != CHAN_GOT) {
		turn_away(v, step == CHAN_LOST ? err.msg : "it does not keep to the protocol");
		return;
	}
	hear(v, &msg, fds);
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		close_fd(&fds[i]);
}

static void admit(struct home *home, int chan)
{
	struct visitor *v = xcalloc(1, sizeof(*v));
	struct err err;

	v->home = home;
	v->chan = chan;
	v->pidfd = v->listen_fd = -1;
	TAILQ_INSERT_TAIL(&home->visitors, v, link);
	home->n++;
	if (sock_peer(chan, &v->who, &err) || sock_peer_pidfd(chan, v->who.pid, &v->pidfd, &err)) {
		turn_away(v, err.msg);
		return;
	}
	v->ev = event_new(home->base, chan, EV_READ, on_message, v);
	speak(v);
}

static void pause_accepting(struct home *home)
{
	event_del(home->ev);
	timer_add(home->again, ACCEPT_AGAIN_MS * TIMER_MS);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct home *home = arg;

	(void)fd;
	(void)what;
	event_add(home->ev, NULL);
}

/* False: there is nobody (more). */
static bool accept_one(struct home *home)
{
	int chan;

	if (home->n >= FEW && !home->hooks->room(home->arg)) {
		pause_accepting(home);
		return false;
	}
	chan = accept4(home->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (chan >= 0 && home->n < HOME_VISITORS_MAX)
		admit(home, chan);
	else if (chan >= 0)
		close(chan);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
		pause_accepting(home);
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

void home_hear_all(struct home *home)
{
	struct visitor *v, *next;

	for (size_t i = 0; i < HOME_VISITORS_MAX && accept_one(home); i++)
		;
	for (v = TAILQ_FIRST(&home->visitors); v; v = next) {
		next = TAILQ_NEXT(v, link);
		if (has_spoken(v))
			on_message(v->chan, EV_READ, v);
	}
}

int home_open(struct event_base *base, const char *path, struct pool *pool,
	      const struct home_hooks *hooks, void *arg, struct home **ret, struct err *err)
{
	struct home *home = xcalloc(1, sizeof(*home));

	home->base = base;
	home->pool = pool;
	home->hooks = hooks;
	home->arg = arg;
	TAILQ_INIT(&home->visitors);
	snprintf(home->path, sizeof(home->path), "%s", path);
	/* Workers have become their callers, so anybody must be able to connect. */
	if (sock_listen(path, SOCK_SEQPACKET, 0666, SOCK_KEEP_OWNER, SOCK_KEEP_OWNER, &home->fd,
			err)) {
		free(home);
		return -1;
	}
	home->ev = event_new(base, home->fd, EV_READ | EV_PERSIST, on_accept, home);
	home->again = evtimer_new(base, on_again, home);
	event_add(home->ev, NULL);
	*ret = home;
	return 0;
}

void home_close(struct home *home)
{
	if (!home)
		return;
	while (!TAILQ_EMPTY(&home->visitors))
		visitor_free(TAILQ_FIRST(&home->visitors));
	event_free(home->ev);
	event_free(home->again);
	unlink(home->path);
	close(home->fd);
	free(home);
}
