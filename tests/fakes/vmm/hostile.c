/* hostile - a table of bad behaviour */
#include "tests/fakes/vmm/hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "common/sock.h"
#include "tests/fakes/vmm/pages.h"

#define MANY_FDS 32
#define GARBAGE_BYTES 512
#define STORM_THREADS 4
#define STORM_RUN_PAGES 4

/* A region as sent: page sizes may differ. */
struct entry {
	uint64_t base, size, offset, page;
};

/* What is said. Two entries, the halves of guest memory's first region, are bent. */
struct message {
	struct entry e[2];
	size_t n;
	char *text; /* owned */
	size_t len;
};

enum hand { HAND_UFFD, HAND_NOTHING, HAND_PIPE, HAND_MANY };

struct attack {
	const struct hostile *h;
	struct vmm *v;
	const char *path;
	uint64_t deadline_us;
};

struct hostile {
	const char *name;
	enum hand hand;
	void (*bend)(struct message *m, const struct vmm *v); /* NULL: an honest message */
	/* Instead of saying it and waiting. */
	int (*run)(struct attack *a, enum hostile_end *ret, struct err *err);
	bool unregistered;
};

static void bend_none(struct message *m, const struct vmm *v)
{
	(void)v;
	m->n = 0;
}

static void bend_overlap_addr(struct message *m, const struct vmm *v)
{
	m->e[1].base = m->e[0].base + m->e[0].size - v->page_bytes;
}

static void bend_overlap_off(struct message *m, const struct vmm *v)
{
	m->e[1].offset = m->e[0].offset + m->e[0].size - v->page_bytes;
}

static void bend_beyond(struct message *m, const struct vmm *v)
{
	m->e[1].offset = v->size;
}

static void bend_wrap(struct message *m, const struct vmm *v)
{
	m->e[1].base = 0 - v->page_bytes;
	m->e[1].size = 2 * v->page_bytes;
}

static void bend_unaligned(struct message *m, const struct vmm *v)
{
	(void)v;
	m->e[1].base += sizeof(uint64_t);
}

static void bend_page_size(struct message *m, const struct vmm *v)
{
	(void)v;
	m->e[0].page = m->e[1].page = 2 * PAGE_4K;
}

static void bend_mixed(struct message *m, const struct vmm *v)
{
	m->e[1].page = v->page_bytes == PAGE_4K ? PAGE_2M : PAGE_4K;
}

static void bend_garbage(struct message *m, const struct vmm *v)
{
	m->len = GARBAGE_BYTES;
	m->text = xcalloc(1, m->len);
	for (size_t i = 0; i < m->len; i++)
		m->text[i] = (char)(vmm_mix(v->seed + i) | 0x80);
}

/* Might still become an honest message: only its length tells. */
static void bend_huge(struct message *m, const struct vmm *v)
{
	(void)v;
	m->len = HANDSHAKE_BYTES_MAX + 1;
	m->text = xcalloc(1, m->len);
	memset(m->text, ' ', m->len);
	m->text[0] = '[';
}

static void bend_slow(struct message *m, const struct vmm *v)
{
	(void)v;
	m->len = 1;
	m->text = xcalloc(1, 1);
	m->text[0] = '[';
}

static void write_text(struct message *m)
{
	FILE *f = open_memstream(&m->text, &m->len);

	if (!f)
		abort();
	fputc('[', f);
	for (size_t i = 0; i < m->n; i++)
		fprintf(f,
			"%s{\"base_host_virt_addr\":%" PRIu64 ",\"size\":%" PRIu64
			",\"offset\":%" PRIu64 ",\"page_size\":%" PRIu64
			",\"page_size_kib\":%" PRIu64 "}",
			i ? "," : "", m->e[i].base, m->e[i].size, m->e[i].offset, m->e[i].page,
			m->e[i].page);
	fputc(']', f);
	fclose(f);
}

static void compose(struct message *m, const struct hostile *h, const struct vmm *v)
{
	const struct region *r = &v->regions.v[0];
	uint64_t half = align_down(r->size / 2, v->page_bytes);

	*m = (struct message){
		.e = {{r->base, half, r->offset, v->page_bytes},
		      {r->base + half, r->size - half, r->offset + half, v->page_bytes}},
		.n = 2,
	};
	if (h->bend)
		h->bend(m, v);
	if (m->text)
		return;
	if (h->bend) {
		write_text(m);
		return;
	}
	m->text = handshake_format(&v->regions, HANDSHAKE_BOTH);
	m->len = strlen(m->text);
}

/* A server that has had enough may close in the middle: that is no failure of ours. */
static int say(int sock, const char *text, size_t len, const int *fds, size_t nfds)
{
	char control[CMSG_SPACE(MANY_FDS * sizeof(int))] = {0};
	struct cmsghdr *c = (struct cmsghdr *)(void *)control;
	struct iovec iov = {(char *)(uintptr_t)text, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (nfds) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	}
	for (size_t done = 0; done < len; done += (size_t)n) {
		iov = (struct iovec){(char *)(uintptr_t)text + done, len - done};
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EPIPE || errno == ECONNRESET ? 0 : -1;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return 0;
}

static int send_message(struct attack *a, int sock, struct err *err)
{
	struct message m;
	int fds[MANY_FDS];
	int pipes[2] = {-1, -1};
	size_t nfds = a->h->hand == HAND_MANY ? MANY_FDS : a->h->hand != HAND_NOTHING;
	int rc;

	if (a->h->hand == HAND_PIPE && pipe2(pipes, O_CLOEXEC))
		return err_sys(err, "making a pipe");
	for (size_t i = 0; i < nfds; i++)
		fds[i] = a->h->hand == HAND_PIPE ? pipes[0] : a->v->uffd;
	compose(&m, a->h, a->v);
	rc = say(sock, m.text, m.len, fds, nfds);
	if (rc)
		(void)err_sys(err, "sending what %s sends", a->h->name);
	free(m.text);
	close_fd(&pipes[0]);
	close_fd(&pipes[1]);
	return rc;
}

static enum hostile_end wait_closed(int sock, uint64_t deadline_us)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	char byte;

	for (;;) {
		uint64_t now = now_us();
		int ms = now < deadline_us ? (int)((deadline_us - now) / 1000 + 1) : 0;

		if (poll(&p, 1, ms) > 0 && recv(sock, &byte, 1, MSG_DONTWAIT) <= 0)
			return HOSTILE_CLOSED;
		if (now >= deadline_us)
			return HOSTILE_OPEN;
	}
}

static int run_message(struct attack *a, enum hostile_end *ret, struct err *err)
{
	if (sock_connect(a->path, SOCK_STREAM, &a->v->sock, err) ||
	    send_message(a, a->v->sock, err))
		return -1;
	*ret = wait_closed(a->v->sock, a->deadline_us);
	return 0;
}

/* The first one is honest, and must not suffer from the second. */
static int run_twice(struct attack *a, enum hostile_end *ret, struct err *err)
{
	const struct vmm_link link = {.style = HANDSHAKE_BOTH};
	cleanup_fd int second = -1;
	struct err refused;

	if (vmm_connect(a->v, a->path, &link, err))
		return -1;
	if (sock_connect(a->path, SOCK_STREAM, &second, &refused)) {
		puts("refused");
	} else {
		if (send_message(a, second, err))
			return -1;
		puts(wait_closed(second, a->deadline_us) == HOSTILE_CLOSED ? "closed" : "open");
	}
	*ret = HOSTILE_SERVED;
	return 0;
}

static int run_die(struct attack *a, enum hostile_end *ret, struct err *err)
{
	(void)ret;
	if (sock_connect(a->path, SOCK_STREAM, &a->v->sock, err))
		return -1;
	_exit(0);
}

static int run_send_die(struct attack *a, enum hostile_end *ret, struct err *err)
{
	(void)ret;
	if (sock_connect(a->path, SOCK_STREAM, &a->v->sock, err) ||
	    send_message(a, a->v->sock, err))
		return -1;
	_exit(0);
}

struct storm {
	struct vmm *v;
	uint64_t seed;
	const _Atomic bool *over;
	pthread_t id;
	bool started;
};

static void *storm_main(void *arg)
{
	struct storm *s = arg;
	struct walker w;
	struct err err;
	uint64_t n;
	int rc = 0;

	walker_init(&w, s->v, "storm", s->seed);
	while (!rc && !atomic_load(s->over))
		rc = pages_remove(&w, walker_random(&w, s->v->npages),
				  1 + walker_random(&w, STORM_RUN_PAGES), &n, &err);
	if (rc)
		fprintf(stderr, "standin: %s\n", err.msg);
	walker_fini(&w);
	return NULL;
}

static void await_end_of_stdin(uint64_t deadline_us)
{
	struct pollfd p = {.fd = STDIN_FILENO};
	uint64_t now = now_us();

	poll(&p, 1, now < deadline_us ? (int)((deadline_us - now) / 1000 + 1) : 0);
}

static int run_storm(struct attack *a, enum hostile_end *ret, struct err *err)
{
	const struct vmm_link link = {.style = HANDSHAKE_BOTH};
	struct storm storms[STORM_THREADS];
	_Atomic bool over = false;

	if (vmm_connect(a->v, a->path, &link, err))
		return -1;
	for (uint64_t i = 0; i < STORM_THREADS; i++) {
		struct storm *s = &storms[i];

		*s = (struct storm){.v = a->v, .seed = a->v->seed + i, .over = &over};
		s->started = !pthread_create(&s->id, NULL, storm_main, s);
	}
	await_end_of_stdin(a->deadline_us);
	atomic_store(&over, true);
	for (size_t i = 0; i < STORM_THREADS; i++)
		if (storms[i].started)
			pthread_join(storms[i].id, NULL);
	*ret = HOSTILE_SERVED;
	return 0;
}

static const struct hostile table[] = {
	{"no-fd", HAND_NOTHING, NULL, run_message},
	{"two-connections", HAND_UFFD, NULL, run_twice},
	{"garbage", HAND_UFFD, bend_garbage, run_message},
	{"huge", HAND_UFFD, bend_huge, run_message},
	{"slow", HAND_NOTHING, bend_slow, run_message},
	{"not-uffd", HAND_PIPE, NULL, run_message},
	{"zero-regions", HAND_UFFD, bend_none, run_message},
	{"overlap-addr", HAND_UFFD, bend_overlap_addr, run_message},
	{"overlap-off", HAND_UFFD, bend_overlap_off, run_message},
	{"beyond", HAND_UFFD, bend_beyond, run_message},
	{"wrap", HAND_UFFD, bend_wrap, run_message},
	{"unaligned", HAND_UFFD, bend_unaligned, run_message},
	{"bad-page-size", HAND_UFFD, bend_page_size, run_message},
	{"mixed-page-size", HAND_UFFD, bend_mixed, run_message},
	{"many-fds", HAND_MANY, NULL, run_message},
	{"die-after-send", HAND_UFFD, NULL, run_send_die},
	{"die-before-send", HAND_NOTHING, NULL, run_die},
	{"unregistered", HAND_UFFD, NULL, run_message, .unregistered = true},
	{"flood-remove", HAND_UFFD, NULL, run_storm},
};

const struct hostile *hostile_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

void hostile_list(FILE *f)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		fprintf(f, "%s%s", i ? " " : "", table[i].name);
	fputc('\n', f);
}

bool hostile_unregistered(const struct hostile *h)
{
	return h->unregistered;
}

int hostile_run(const struct hostile *h, struct vmm *v, const char *path, uint64_t deadline_us,
		enum hostile_end *ret, struct err *err)
{
	struct attack a = {.h = h, .v = v, .path = path, .deadline_us = deadline_us};

	if (v->regions.v[0].size < 2 * v->page_bytes)
		return err_set(err, ERR_INVALID, "%s needs a first region of two pages", h->name);
	return h->run(&a, ret, err);
}
