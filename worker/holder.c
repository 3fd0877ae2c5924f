#include "worker/holder.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "worker/sandbox.h"

#define NAME "uffdd-holder"
#define BACKLOG 4
/* A holder has nothing else to do, but the tenant owns its process and may have stopped it. */
#define ANSWER_MS 5000
/* Pause while too many descriptors are in flight. */
#define AGAIN_MS 5
/* By then a restore without VMM and worker has a successor, or has ended. */
#define ALONE_US ((uint64_t)60 * 1000 * 1000)

/* ---- in the holder ---- */

struct holder {
	int worker;                   /* owned; -1: the worker has died */
	int listen;                   /* owned; -1: not assigned yet */
	int vmm;                      /* owned pidfd; -1: no VMM yet */
	int fds[SPEC_LAYERS_MAX + 1]; /* owned */
	size_t n, total;
	size_t sent;       /* files sent to the worker that connected; @n: all */
	bool known;        /* the restore is in the store: the holder outlives its worker */
	uint64_t until_us; /* when the holder ends without VMM and worker, now_us() */
};

/* clang-format off */
static const struct call needs[] = {
	CALL(recvmsg), CALL(sendmsg), CALL(poll), CALL(ppoll), CALL(accept4), CALL(listen),
	CALL(close), CALL(clock_gettime), CALL(exit), CALL(exit_group), CALL(rt_sigreturn),
	CALL(restart_syscall),
};
/* clang-format on */
const struct calls holder_calls = CALLS(needs);

/* A holder opens no path, so it is at once what its worker will be. */
static int become(const struct chan_assign *a, struct err *err)
{
	if (a->serve.uid)
		return sandbox_become(a->serve.uid, a->serve.gid, NULL, 0, err);
	return a->become ? sandbox_become(a->uid, a->gid, a->groups, a->ngroups, err) : 0;
}

static bool on_assign(struct holder *h, const struct chan_msg *msg, int *fds)
{
	const struct chan_assign *a = &msg->assign;
	struct err err;

	if (h->listen >= 0 || fds[0] < 0)
		return false;
	h->listen = steal_fd(&fds[0]);
	h->until_us = now_us() + a->connect_ms * 1000 + ALONE_US;
	if (become(a, &err))
		return false;
	/*
	 * The process that calls listen() is the one that SO_PEERCRED shows to connecting
	 * processes.
	 */
	return sandbox_holder(&holder_calls, &err) == 0 && listen(h->listen, BACKLOG) == 0;
}

static bool has_all(const struct holder *h)
{
	return h->total && h->n == h->total;
}

static bool on_files(struct holder *h, const struct chan_msg *msg, int *fds)
{
	const struct chan_files *f = &msg->files;
	struct chan_msg ready = {0};
	struct err err;

	if (h->listen < 0 || f->first != h->n || f->count > CHAN_FDS_MAX ||
	    h->n + f->count > ARRAY_LEN(h->fds))
		return false;
	h->total = f->total;
	for (uint32_t i = 0; i < f->count; i++)
		h->fds[h->n++] = steal_fd(&fds[i]);
	h->sent = h->n;
	return !has_all(h) || chan_send(h->worker, CHAN_READY, &ready, NULL, 0, &err) == 0;
}

static bool on_known(struct holder *h, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	h->known = has_all(h);
	return h->known;
}

static bool on_connected(struct holder *h, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	if (h->vmm < 0)
		h->vmm = steal_fd(&fds[0]);
	return true;
}

static bool on_stop(struct holder *h, const struct chan_msg *msg, int *fds)
{
	(void)h;
	(void)msg;
	(void)fds;
	return false;
}

/* The handlers return false when the holder shall end. */
static const struct {
	enum chan_type type;
	bool (*handle)(struct holder *h, const struct chan_msg *msg, int *fds);
} handlers[] = {
	{CHAN_ASSIGN, on_assign},       {CHAN_FILES, on_files}, {CHAN_KNOWN, on_known},
	{CHAN_CONNECTED, on_connected}, {CHAN_STOP, on_stop},
};

static bool obey(struct holder *h, const struct chan_msg *msg, int *fds)
{
	for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
		if (handlers[i].type == msg->type)
			return handlers[i].handle(h, msg, fds);
	return true;
}

static bool hear(struct holder *h)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;
	struct err err;
	bool on;

	switch (chan_recv(h->worker, &msg, fds, &err)) {
	case CHAN_GOT:
		on = obey(h, &msg, fds);
		chan_close_fds(fds);
		return on;
	case CHAN_AGAIN:
		return true;
	default:
		close_fd(&h->worker);
		return h->known;
	}
}

/* Accepts the next worker. */
static bool let_in(struct holder *h)
{
	int sock = accept4(h->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (sock < 0)
		return true;
	close_fd(&h->worker);
	h->worker = sock;
	h->sent = 0;
	return h->known;
}

static void send_files(struct holder *h)
{
	while (h->worker >= 0 && h->sent < h->n) {
		struct chan_msg msg = {0};
		struct err err;

		msg.files.first = (uint32_t)h->sent;
		msg.files.count = (uint32_t)min_u64(h->n - h->sent, CHAN_FDS_MAX);
		msg.files.total = (uint32_t)h->n;
		if (chan_send(h->worker, CHAN_FILES, &msg, h->fds + h->sent, msg.files.count, &err))
			return;
		h->sent += msg.files.count;
	}
}

static int wait_ms(const struct holder *h)
{
	uint64_t now = now_us();

	if (h->worker >= 0)
		return h->sent < h->n ? AGAIN_MS : -1;
	if (h->vmm >= 0)
		return -1;
	return h->until_us > now ? (int)((h->until_us - now) / 1000 + 1) : 0;
}

static bool turn(struct holder *h)
{
	struct pollfd p[] = {
		{.fd = h->worker, .events = POLLIN},
		{.fd = h->listen, .events = POLLIN},
		{.fd = h->vmm, .events = POLLIN},
	};
	int wait = wait_ms(h);

	if (wait == 0 || poll(p, ARRAY_LEN(p), wait) < 0)
		return wait != 0;
	if (p[2].revents || (p[0].revents && !hear(h)) || (p[1].revents && !let_in(h)))
		return false;
	send_files(h);
	return true;
}

/* Until ASSIGN the holder only waits; it has nothing but its channel and stderr. */
static void keep(int worker) __attribute__((noreturn));
static void keep(int worker)
{
	static struct holder h = {.worker = CHAN_FD, .listen = -1, .vmm = -1};

	prctl(PR_SET_NAME, NAME);
	dup2(worker, CHAN_FD);
	syscall(SYS_close_range, CHAN_FD + 1, ~0u, 0);
	while (turn(&h))
		;
	_exit(0);
}

/* ---- in the worker ---- */

int holder_start(void)
{
	struct err err;
	int ends[2];
	pid_t pid;

	if (chan_pair(ends, &err))
		return -1;
	/* No process waits for the holder. */
	signal(SIGCHLD, SIG_IGN);
	pid = fork();
	if (pid == 0)
		keep(ends[1]);
	close(ends[1]);
	if (pid < 0)
		close_fd(&ends[0]);
	return ends[0];
}

static void tell(int holder, enum chan_type type, struct chan_msg *msg, const int *fds, size_t n)
{
	struct err ignored;

	if (holder >= 0)
		chan_send(holder, type, msg, fds, n, &ignored);
}

/* Waits for a message of that type; anything else, and a timeout, closes the channel. */
static bool await(int *holder, enum chan_type type, struct chan_msg *msg, int *fds, uint64_t by_us)
{
	struct pollfd p = {.fd = *holder, .events = POLLIN};
	enum chan_step step;
	struct err err;

	while ((step = chan_recv(*holder, msg, fds, &err)) == CHAN_AGAIN) {
		uint64_t now = now_us();

		if (now >= by_us)
			break;
		poll(&p, 1, (int)((by_us - now) / 1000 + 1));
	}
	if (step == CHAN_GOT && msg->type == type)
		return true;
	chan_close_fds(fds);
	close_fd(holder);
	return false;
}

void holder_assign(int holder, const struct chan_assign *assign, int socket)
{
	struct chan_msg msg = {.assign = *assign};

	tell(holder, CHAN_ASSIGN, &msg, &socket, 1);
}

/* Sends as many files as one message takes; false: not possible now. */
static bool give_some(int holder, const struct source *src, size_t *done, struct err *err)
{
	struct chan_msg msg = {0};
	int fds[CHAN_FDS_MAX];

	msg.files.first = (uint32_t)*done;
	msg.files.total = (uint32_t)source_nfds(src);
	msg.files.count = (uint32_t)min_u64(msg.files.total - *done, CHAN_FDS_MAX);
	for (size_t i = 0; i < msg.files.count; i++)
		fds[i] = source_fd(src, *done + i);
	if (chan_send(holder, CHAN_FILES, &msg, fds, msg.files.count, err))
		return false;
	*done += msg.files.count;
	return true;
}

void holder_give(int *holder, const struct source *src)
{
	uint64_t by_us = now_us() + ANSWER_MS * 1000;
	struct err err;

	for (size_t done = 0; *holder >= 0 && done < source_nfds(src);) {
		struct pollfd p = {.fd = *holder, .events = POLLOUT};

		if (give_some(*holder, src, &done, &err))
			continue;
		if ((poll(&p, 1, 0) == 1 && p.revents & POLLHUP) || now_us() > by_us)
			close_fd(holder);
		else
			poll(NULL, 0, AGAIN_MS);
	}
}

void holder_settle(int *holder)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;

	if (*holder >= 0)
		await(holder, CHAN_READY, &msg, fds, now_us() + ANSWER_MS * 1000);
}

/* True if more files follow. */
static bool take_some(struct source_given *given, const struct chan_files *f, int *fds)
{
	if (f->first != given->n || f->count == 0 || f->count > CHAN_FDS_MAX ||
	    given->n + f->count > SPEC_LAYERS_MAX + 1)
		return false;
	if (!given->fds)
		given->fds = xcalloc(SPEC_LAYERS_MAX + 1, sizeof(*given->fds));
	if (!given->seen)
		given->seen = xcalloc(SPEC_LAYERS_MAX + 1, sizeof(*given->seen));
	for (uint32_t i = 0; i < f->count; i++, given->n++) {
		given->fds[given->n] = steal_fd(&fds[i]);
		/* Of what cannot be asked all is zero: it is no regular file then. */
		if (fstat(given->fds[given->n], &given->seen[given->n]))
			given->seen[given->n] = (struct stat){0};
	}
	return given->n < f->total;
}

void holder_take(int *holder, struct source_given *ret)
{
	uint64_t by_us = now_us() + ANSWER_MS * 1000;
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;
	uint32_t total = 0;
	bool more = true;

	*ret = (struct source_given){0};
	while (more) {
		if (!await(holder, CHAN_FILES, &msg, fds, by_us)) {
			source_given_fini(ret);
			return;
		}
		more = take_some(ret, &msg.files, fds);
		total = msg.files.total;
		chan_close_fds(fds);
	}
	if (ret->n != total)
		source_given_fini(ret);
}

void holder_known(int holder)
{
	struct chan_msg msg = {0};

	tell(holder, CHAN_KNOWN, &msg, NULL, 0);
}

void holder_watch(int holder, int vmm)
{
	struct chan_msg msg = {0};

	tell(holder, CHAN_CONNECTED, &msg, &vmm, 1);
}

void holder_leave(int *holder)
{
	struct chan_msg msg = {.stop.how = CHAN_STOP_WAITING};

	tell(*holder, CHAN_STOP, &msg, NULL, 0);
	close_fd(holder);
}
