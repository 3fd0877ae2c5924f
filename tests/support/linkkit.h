/*
 * linkkit - what the tests of the supervisor link share: a link whose supervisor is this process,
 * and a directory with sockets of the next one
 */
#ifndef UFFDD_TESTS_LINKKIT_H
#define UFFDD_TESTS_LINKKIT_H

#include <check.h>
#include <sys/socket.h>

#include "common/sock.h"
#include "tests/support/harness.h"
#include "worker/supervisor_link.h"

#define FIRST_US 20000 /* the first pause before an attempt, without its jitter */

static char *dir; /* of the test case */

/* Unchecked: they run in the runner, so that a failed test leaves nothing behind. */
static inline void make_dir(void)
{
	dir = harness_tmpdir();
}

static inline void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

struct scene {
	struct supervisor_link l;
	int sup;     /* the supervisor's end of its first channel */
	int returns; /* to a supervisor */
};

static inline void turn(struct scene *s, uint64_t now)
{
	bool found = supervisor_link_turn(&s->l, now);

	s->returns += found;
	ck_assert(!found || !supervisor_link_away(&s->l));
}

/* @home: a name in the directory, or NULL. */
static inline void setup(struct scene *s, const char *home)
{
	int pair[2];
	struct err err;

	ck_assert_int_eq(chan_pair(pair, &err), 0);
	s->sup = pair[0];
	s->returns = 0;
	supervisor_link_init(&s->l, pair[1]);
	if (home)
		snprintf(s->l.reconnect_path, sizeof(s->l.reconnect_path), "%.80s/%s", dir, home);
}

static inline void lose(struct scene *s)
{
	struct chan_msg msg = {0};

	close_fd(&s->sup);
	supervisor_link_send(&s->l, CHAN_GONE, &msg, NULL, 0);
	ck_assert_int_eq(s->l.chan, -1);
}

static inline void teardown(struct scene *s)
{
	supervisor_link_fini(&s->l);
	ck_assert_int_eq(s->l.chan, -1);
	ck_assert_uint_eq(supervisor_link_wait_us(&s->l, now_us()), UINT64_MAX);
	close_fd(&s->sup);
}

static inline int listen_at(const char *name)
{
	cleanup_free char *path = NULL;
	struct err err;
	int fd;

	ck_assert_int_gt(asprintf(&path, "%s/%s", dir, name), 0);
	ck_assert_msg(sock_listen(path, SOCK_SEQPACKET, sock_mode(0666), &fd, &err) == 0, "%s",
		      err.msg);
	return fd;
}

/* The next attempt, as soon as it is due. */
static inline void try_now(struct scene *s)
{
	ck_assert_uint_ne(supervisor_link_wait_us(&s->l, s->l.try_us), UINT64_MAX);
	turn(s, s->l.try_us);
}

#endif
