/* handshake over a connection: the message in pieces, its descriptors, and what a VMM may do */
#include <sys/resource.h>

#include "tests/support/fds.h"
#include "tests/support/handkit.h"

START_TEST(descriptors)
{
	static const size_t counts[] = {1, 2, 3, HANDSHAKE_FDS_MAX};
	int before = fds_count(getpid()), taken;

	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		struct parcel p;
		struct handshake_link l;
		struct regions r;
		struct err err = {.msg = ""};

		link_open(&l);
		parcel_open(&p, counts[i]);
		ck_assert_int_eq(handshake_read(&l.hs, &r, &err), HANDSHAKE_MORE);
		send_all(&l, "[{" R "}]", p.fds, p.n);
		parcel_close(&p);
		ck_assert_msg(handshake_read(&l.hs, &r, &err) == HANDSHAKE_DONE, "%s", err.msg);
		ck_assert_uint_eq(l.hs.nfds, counts[i]);
		for (size_t k = 0; k < counts[i]; k++) {
			struct stat st;

			ck_assert_int_eq(fstat(l.hs.fds[k], &st), 0);
			ck_assert_msg(st.st_ino == p.inodes[k], "%zu of %zu", k, counts[i]);
			ck_assert(fcntl(l.hs.fds[k], F_GETFD) & FD_CLOEXEC);
		}
		/* What the caller has taken, stays open. */
		taken = steal_fd(&l.hs.fds[0]);
		link_close(&l);
		handshake_fini(&l.hs);
		ck_assert_int_ge(fcntl(taken, F_GETFD), 0);
		close(taken);
		ck_assert_msg(fds_count(getpid()) == before, "leak with %zu", counts[i]);
	}
}
END_TEST

/* One byte at a time, with the descriptors at byte @at and their twins at byte @again. */
static enum handshake_step trickle(struct handshake_link *l, struct parcel *p, size_t at,
				   size_t again)
{
	static const char t[] = "[{" R ",\"page_size\":4096},{" R ",\"x\":\"\\\"]\"}]";
	enum handshake_step step = HANDSHAKE_MORE;
	size_t len = strlen(t);
	struct err err;

	for (size_t i = 0; i < len && step == HANDSHAKE_MORE; i++) {
		char byte[2] = {t[i], 0};
		struct regions r;

		send_all(l, byte, p->fds, i == at || i == again ? p->n : 0);
		step = handshake_read(&l->hs, &r, &err);
		if (step == HANDSHAKE_DONE) {
			ck_assert_uint_eq(i, len - 1);
			ck_assert_uint_eq(r.n, 2);
		}
	}
	return step;
}

START_TEST(byte_by_byte)
{
	static const struct {
		const char *name;
		size_t nfds, at, again;
		enum handshake_step step;
		size_t kept;
	} cases[] = {
		{"with the first byte", 1, 0, SIZE_MAX, HANDSHAKE_DONE, 1},
		{"in the middle", 2, 20, SIZE_MAX, HANDSHAKE_DONE, 2},
		{"in two parts", 8, 0, 20, HANDSHAKE_DONE, 16},
		{"too many in two parts", 9, 0, 20, HANDSHAKE_BAD, 16},
		{"none", 0, 0, SIZE_MAX, HANDSHAKE_BAD, 0},
	};
	int before = fds_count(getpid());

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct parcel p;
		struct handshake_link l;
		enum handshake_step step;

		link_open(&l);
		parcel_open(&p, cases[i].nfds);
		step = trickle(&l, &p, cases[i].at, cases[i].again);
		ck_assert_msg(step == cases[i].step, "%s: %s", cases[i].name, step_name(step));
		ck_assert_msg(l.hs.nfds == cases[i].kept, "%s: kept %zu", cases[i].name, l.hs.nfds);
		parcel_close(&p);
		link_close(&l);
		ck_assert_msg(fds_count(getpid()) == before, "%s: leak", cases[i].name);
	}
}
END_TEST

START_TEST(longest_message)
{
	cleanup_free char *t = message_of(HANDSHAKE_BYTES_MAX);
	struct parcel p;
	struct handshake_link l;
	struct regions r;
	struct err err = {.msg = ""};

	link_open(&l);
	parcel_open(&p, 1);
	send_all(&l, t, p.fds, p.n);
	parcel_close(&p);
	ck_assert_msg(handshake_read(&l.hs, &r, &err) == HANDSHAKE_DONE, "%s", err.msg);
	ck_assert_uint_eq(r.v[0].base, SOME_BASE);
	link_close(&l);
}
END_TEST

/* What an ill-behaved VMM does; the connection is closed where @close_it says so. */
static const struct hostile {
	const char *name;
	const char *text; /* NULL: one byte more than is allowed */
	size_t nfds;
	bool close_it;
	enum handshake_step step;
	const char *needle;
} hostile_cases[] = {
	{"silent", "", 0, false, HANDSHAKE_MORE, NULL},
	{"closes at once", "", 0, true, HANDSHAKE_EMPTY, NULL},
	{"closes early", "[{", 0, true, HANDSHAKE_BAD, "the VMM closed after 2 bytes"},
	{"closes early, with descriptors", "[{\"size\"", 2, true, HANDSHAKE_BAD,
	 "the VMM closed after 8 bytes"},
	{"only blanks", "  ", 1, true, HANDSHAKE_BAD, "the VMM closed after 2 bytes"},
	{"no descriptor", "[{" R "}]", 0, false, HANDSHAKE_BAD,
	 "no descriptor came with the message"},
	{"complete, closes", "[{" R "}]", 1, true, HANDSHAKE_DONE, NULL},
	{"rubbish with a descriptor", "rubbish", 1, false, HANDSHAKE_BAD, "expected an array"},
	{"bad region with descriptors", "[{\"size\":1}]", 3, false, HANDSHAKE_BAD, "is missing"},
	{"trailing with a descriptor", "[{" R "}]x", 1, false, HANDSHAKE_BAD, "follows the end"},
	{"one byte too long", NULL, 1, false, HANDSHAKE_BAD, "longer than 65536 bytes"},
	{"17 descriptors", "[{" R "}]", 17, false, HANDSHAKE_BAD, "at most 16 may be sent"},
	{"32 descriptors", "[{" R "}]", 32, false, HANDSHAKE_BAD, "at most 16 may be sent"},
	{"32 descriptors, closes", "[", 32, true, HANDSHAKE_BAD, "at most 16 may be sent"},
};

START_TEST(hostile)
{
	const struct hostile *c = &hostile_cases[_i];
	cleanup_free char *t = c->text ? strdup(c->text) : message_of(HANDSHAKE_BYTES_MAX + 1);
	int before = fds_count(getpid());
	struct parcel p;
	struct handshake_link l;
	struct regions r, untouched;
	struct err err = {.msg = ""};
	enum handshake_step step;

	memset(&untouched, 0xa5, sizeof(untouched));
	r = untouched;
	link_open(&l);
	parcel_open(&p, c->nfds);
	send_all(&l, t, p.fds, p.n);
	parcel_close(&p);
	if (c->close_it)
		close_fd(&l.vmm);
	step = handshake_read(&l.hs, &r, &err);
	ck_assert_msg(step == c->step, "%s: %s %s", c->name, step_name(step), err.msg);
	ck_assert_msg(!l.hs.nfds == !c->nfds, "%s: handed over %zu", c->name, l.hs.nfds);
	if (step != HANDSHAKE_DONE)
		ck_assert_msg(!memcmp(&r, &untouched, sizeof(r)), "%s: changed", c->name);
	if (step == HANDSHAKE_BAD)
		ck_assert_msg(err.code == ERR_PEER && strstr(err.msg, c->needle), "%s: %s", c->name,
			      err.msg);
	link_close(&l);
	ck_assert_msg(fds_count(getpid()) == before, "%s: leak", c->name);
}
END_TEST

/* Where we have no descriptor left, the kernel drops the VMM's: nothing must be believed. */
START_TEST(no_descriptor_left)
{
	struct rlimit old, none;
	int before = fds_count(getpid());
	struct parcel p;
	struct handshake_link l;
	struct regions r;
	struct err err = {.msg = ""};
	enum handshake_step step;

	link_open(&l);
	parcel_open(&p, 1);
	send_all(&l, "[{" R "}]", p.fds, p.n);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){.rlim_cur = 3, .rlim_max = old.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	step = handshake_read(&l.hs, &r, &err);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	ck_assert_msg(step == HANDSHAKE_BAD, "%s", step_name(step));
	ck_assert_msg(strstr(err.msg, "not all descriptors could be received"), "%s", err.msg);
	ck_assert_uint_gt(l.hs.nfds, 0);
	parcel_close(&p);
	link_close(&l);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

START_TEST(closed_by_either)
{
	struct handshake_link l;
	struct regions r;
	struct err err = {.msg = ""};

	link_open(&l);
	/* Unread bytes in the VMM's direction turn its close into a reset. */
	ck_assert_int_eq(send(l.hs.sock, "x", 1, 0), 1);
	close_fd(&l.vmm);
	ck_assert_int_eq(handshake_read(&l.hs, &r, &err), HANDSHAKE_EMPTY);
	link_close(&l);

	link_open(&l);
	handshake_fini(&l.hs);
	ck_assert_int_eq(handshake_send(l.vmm, "[]", NULL, 0, &err), -1);
	ck_assert_msg(strstr(err.msg, "sending the handshake"), "%s", err.msg);
	link_close(&l);
}
END_TEST

START_TEST(life_cycle)
{
	struct handshake zero = {.sock = -1};
	int before = fds_count(getpid());
	struct handshake hs;
	struct err err = {.msg = ""};
	struct parcel p;

	handshake_fini(&zero);
	handshake_fini(&zero);
	ck_assert_int_eq(handshake_init(&hs, -1, &err), -1);
	ck_assert_int_eq(err.code, ERR_SYSTEM);
	handshake_fini(&hs);
	/* A reader that is not a socket: an error, and still no leak. */
	parcel_open(&p, 2);
	ck_assert_int_eq(handshake_first_fd(p.fds[1]), -1);
	ck_assert_int_eq(handshake_init(&hs, p.fds[0], &err), -1);
	ck_assert_msg(strstr(err.msg, "without reading it"), "%s", err.msg);
	close(p.fds[1]);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("handshake");
	TCase *tc = tcase_create("handshake");

	tcase_add_test(tc, descriptors);
	tcase_add_test(tc, byte_by_byte);
	tcase_add_test(tc, longest_message);
	tcase_add_loop_test(tc, hostile, 0, ARRAY_LEN(hostile_cases));
	tcase_add_test(tc, no_descriptor_left);
	tcase_add_test(tc, closed_by_either);
	tcase_add_test(tc, life_cycle);
	suite_add_tcase(s, tc);
	return s;
}
