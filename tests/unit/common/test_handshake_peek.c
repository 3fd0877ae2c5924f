/* handshake: looked at, not taken, so that a successor finds it */
#include <poll.h>

#include "tests/support/fds.h"
#include "tests/support/handkit.h"

/* How a message is cut into sends: bytes of each; the descriptors come with send @with. */
static const struct cut {
	const char *name;
	size_t len, piece;
	size_t with;
	bool between; /* look after each send, else once at the end */
} cuts[] = {
	{"at once", 1000, 1000, 0, false},
	{"64 KiB at once", HANDSHAKE_BYTES_MAX, HANDSHAKE_BYTES_MAX, 0, false},
	{"halves", 1000, 500, 0, true},
	{"halves, descriptors in the second", 1000, 500, 1, true},
	{"many sends", 180, 1, 0, true},
	{"many sends, looked at once", 180, 1, 0, false},
	{"many sends, descriptors last", 180, 1, 179, true},
	{"many sends, descriptors last, looked at once", 180, 1, 179, false},
	{"64 KiB in pieces", HANDSHAKE_BYTES_MAX, 1000, 3, true},
	{"64 KiB in large pieces", HANDSHAKE_BYTES_MAX, 40000, 1, false},
};

static void check_parcel(const struct handshake *hs, const struct parcel *p, const char *name)
{
	ck_assert_msg(hs->nfds == p->n, "%s: %zu descriptors", name, hs->nfds);
	for (size_t i = 0; i < p->n; i++) {
		struct stat st;

		ck_assert_int_eq(fstat(hs->fds[i], &st), 0);
		ck_assert_msg(st.st_ino == p->inodes[i], "%s: descriptor %zu", name, i);
	}
}

/* Another one looks at the same connection, from the beginning on. */
static void look_again(const struct handshake_link *l, const struct parcel *p, const char *name)
{
	struct err err = {.msg = ""};
	struct handshake hs;
	struct regions r;

	ck_assert_int_eq(handshake_init(&hs, fcntl(l->hs.sock, F_DUPFD_CLOEXEC, 0), &err), 0);
	ck_assert_msg(handshake_read(&hs, &r, &err) == HANDSHAKE_DONE, "%s: %s", name, err.msg);
	ck_assert_uint_eq(r.v[0].base, SOME_BASE);
	check_parcel(&hs, p, name);
	handshake_fini(&hs);
}

static void check_first_fd(const struct handshake_link *l, const struct parcel *p, const char *name)
{
	int fd = handshake_first_fd(l->hs.sock);
	struct stat st;

	ck_assert_msg(fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == p->inodes[0], "%s: %d", name,
		      fd);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static bool is_empty(int sock)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};

	return poll(&p, 1, 0) == 0;
}

static void send_cut(struct handshake_link *l, const struct cut *c, const char *t, struct parcel *p)
{
	struct regions r;
	struct err err;

	for (size_t at = 0, i = 0; at < c->len; at += c->piece, i++) {
		cleanup_free char *piece = strndup(t + at, c->piece);

		send_all(l, piece, p->fds, i == c->with ? p->n : 0);
		if (c->between && at + c->piece < c->len)
			ck_assert_msg(handshake_read(&l->hs, &r, &err) == HANDSHAKE_MORE, "%s",
				      c->name);
	}
}

/* Every successor finds all of it; once it is consumed nothing is left, also of descriptors. */
START_TEST(stays_until_consumed)
{
	const struct cut *c = &cuts[_i];
	cleanup_free char *t = message_of(c->len);
	int before = fds_count(getpid()), pipes[2];
	struct err err = {.msg = ""};
	struct pollfd hup;
	struct regions r;
	struct stat st;
	struct parcel p;
	struct handshake_link l;

	link_open(&l);
	parcel_open(&p, 2);
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	close(p.fds[1]);
	p.fds[1] = pipes[1];
	ck_assert_int_eq(fstat(pipes[1], &st), 0);
	p.inodes[1] = st.st_ino;
	send_cut(&l, c, t, &p);
	parcel_close(&p);
	ck_assert_msg(handshake_read(&l.hs, &r, &err) == HANDSHAKE_DONE, "%s: %s", c->name,
		      err.msg);
	check_parcel(&l.hs, &p, c->name);
	for (int i = 0; i < 3; i++) {
		look_again(&l, &p, c->name);
		check_first_fd(&l, &p, c->name);
	}
	/* The queue alone keeps the descriptors open. */
	for (size_t i = 0; i < l.hs.nfds; i++)
		close_fd(&l.hs.fds[i]);
	hup = (struct pollfd){.fd = pipes[0]};
	ck_assert_int_eq(poll(&hup, 1, 0), 0);
	ck_assert(!is_empty(l.hs.sock));
	handshake_consume(&l.hs);
	ck_assert_msg(is_empty(l.hs.sock), "%s: something is left", c->name);
	ck_assert_msg(poll(&hup, 1, 0) == 1, "%s: a descriptor is left", c->name);
	handshake_consume(&l.hs);
	ck_assert_int_eq(handshake_first_fd(l.hs.sock), -1);
	close(pipes[0]);
	link_close(&l);
	ck_assert_msg(fds_count(getpid()) == before, "%s: leak", c->name);
}
END_TEST

/* Half of it was looked at by one that died. */
START_TEST(successor_begins_anew)
{
	struct err err = {.msg = ""};
	struct handshake next;
	struct regions r;
	struct parcel p;
	struct handshake_link l;
	int before = fds_count(getpid());

	link_open(&l);
	parcel_open(&p, 1);
	send_all(&l, "[{\"x\":1,", p.fds, p.n);
	ck_assert_int_eq(handshake_read(&l.hs, &r, &err), HANDSHAKE_MORE);
	check_first_fd(&l, &p, "half");
	ck_assert_int_eq(handshake_init(&next, fcntl(l.hs.sock, F_DUPFD_CLOEXEC, 0), &err), 0);
	handshake_fini(&l.hs);
	ck_assert_int_eq(handshake_read(&next, &r, &err), HANDSHAKE_MORE);
	check_parcel(&next, &p, "half");
	send_all(&l, R "}]", NULL, 0);
	ck_assert_msg(handshake_read(&next, &r, &err) == HANDSHAKE_DONE, "%s", err.msg);
	check_parcel(&next, &p, "whole");
	handshake_consume(&next);
	ck_assert(is_empty(next.sock));
	/* What is said later is not ours to take. */
	send_all(&l, "more", NULL, 0);
	handshake_consume(&next);
	ck_assert(!is_empty(next.sock));
	handshake_fini(&next);
	close_fd(&l.vmm);
	parcel_close(&p);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

START_TEST(first_fd_of_nothing)
{
	struct parcel p;
	struct handshake_link l;
	int before = fds_count(getpid());

	link_open(&l);
	ck_assert_int_eq(handshake_first_fd(-1), -1);
	ck_assert_int_eq(handshake_first_fd(l.hs.sock), -1);
	send_all(&l, "[{", NULL, 0);
	ck_assert_int_eq(handshake_first_fd(l.hs.sock), -1);
	parcel_open(&p, 32);
	send_all(&l, "x", p.fds, p.n);
	check_first_fd(&l, &p, "more than fit");
	parcel_close(&p);
	link_close(&l);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("peek");
	TCase *tc = tcase_create("peek");

	tcase_add_loop_test(tc, stays_until_consumed, 0, ARRAY_LEN(cuts));
	tcase_add_test(tc, successor_begins_anew);
	tcase_add_test(tc, first_fd_of_nothing);
	suite_add_tcase(s, tc);
	return s;
}
