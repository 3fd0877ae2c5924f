/* test_job_state - what a worker has in hand from its start to its end, and in which place */
#include "worker/job_state.h"

#include <sys/resource.h>

#include "tests/support/fds.h"
#include "tests/support/servekit.h"

static char *dir;

static void make_dir(void)
{
	dir = harness_tmpdir();
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

static int new_fd(void)
{
	int fd = memfd_create("a descriptor", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* ---- begin ---- */

START_TEST(test_init)
{
	struct rlimit limit = {.rlim_cur = 100, .rlim_max = 200};
	struct chan_msg msg = {0};
	int chan[2], holder;
	struct job j;
	struct err err;
	size_t nfds;

	ck_assert_int_eq(chan_pair(chan, &err), 0);
	holder = new_fd();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	memset(&j, 0x55, sizeof(j));
	job_init(&j, chan[1], holder);
	ck_assert_int_eq(j.phase, JOB_IDLE);
	ck_assert(!j.stop && !j.known && !j.prefetch_held && !j.assign.unlink_socket);
	ck_assert(!j.src && !j.peers && !j.loop && !j.refusal);
	ck_assert_int_eq(j.request, -1);
	ck_assert_int_eq(j.map_fd, -1);
	ck_assert_int_eq(j.listen_fd, -1);
	ck_assert_int_eq(j.uffd, -1);
	ck_assert_int_eq(j.vmm, -1);
	ck_assert_int_eq(j.holder_given, -1);
	ck_assert_int_eq(j.holder, holder);
	ck_assert_uint_eq(j.fds_max, 100);
	/* The channel is the link's, and the working set uses the link. */
	supervisor_link_send(&j.link, CHAN_COMPLETE, &msg, NULL, 0);
	ck_assert_int_eq(hear(chan[0], &msg, &nfds), CHAN_COMPLETE);
	ck_assert_ptr_eq(j.working_set.link, &j.link);
	ck_assert_int_eq(j.working_set.made, -1);
	job_fini(&j);
	close(chan[0]);
}
END_TEST

/* A worker may have no holder. */
START_TEST(test_init_without_holder)
{
	int before = fds_count(getpid()), chan[2];
	struct job j;
	struct err err;

	ck_assert_int_eq(chan_pair(chan, &err), 0);
	job_init(&j, chan[1], -1);
	ck_assert_int_eq(j.holder, -1);
	job_fini(&j);
	close(chan[0]);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* ---- assign ---- */

#define NONE (-1)

/* Where the descriptor of each place in the message goes to. */
/* clang-format off */
static const struct {
	enum chan_assign_kind kind;
	enum chan_holder holder;
	size_t sent; /* places that have a descriptor: the first ones */
	/* Which of them is found there; NONE: none. */
	int request, map, listen, uffd, vmm, given;
	int left; /* the first that stays in the message; NONE: none does */
} assigns[] = {
	{CHAN_ASSIGN_WAIT, CHAN_HOLDER_NONE,   3, 0, 1, 2, NONE, NONE, NONE, NONE},
	{CHAN_ASSIGN_WAIT, CHAN_HOLDER_NEW,    4, 0, 1, 2, NONE, NONE, 3, NONE},
	{CHAN_ASSIGN_WAIT, CHAN_HOLDER_THERE,  4, 0, 1, 2, NONE, NONE, 3, NONE},
	/* The worker binds. */
	{CHAN_ASSIGN_WAIT, CHAN_HOLDER_NONE,   2, 0, 1, NONE, NONE, NONE, NONE, NONE},
	{CHAN_ASSIGN_WAIT, CHAN_HOLDER_NEW,    3, 0, 1, NONE, NONE, NONE, 2, NONE},
	{CHAN_ASSIGN_SERVE, CHAN_HOLDER_NONE,  4, 0, 1, NONE, 2, 3, NONE, NONE},
	{CHAN_ASSIGN_SERVE, CHAN_HOLDER_THERE, 5, 0, 1, NONE, 2, 3, 4, NONE},
	/* The VMM has ended. */
	{CHAN_ASSIGN_SERVE, CHAN_HOLDER_NONE,  3, 0, 1, NONE, 2, NONE, NONE, NONE},
	{CHAN_ASSIGN_SERVE, CHAN_HOLDER_THERE, 4, 0, 1, NONE, 2, NONE, 3, NONE},
	/* No supervisor sends too many, or too few. */
	{CHAN_ASSIGN_WAIT, CHAN_HOLDER_NONE,   4, 0, 1, 2, NONE, NONE, NONE, 3},
	{CHAN_ASSIGN_SERVE, CHAN_HOLDER_NONE,  5, 0, 1, NONE, 2, 3, NONE, 4},
	{CHAN_ASSIGN_WAIT, CHAN_HOLDER_NEW,    0, NONE, NONE, NONE, NONE, NONE, NONE, NONE},
	{CHAN_ASSIGN_SERVE, CHAN_HOLDER_THERE, 0, NONE, NONE, NONE, NONE, NONE, NONE, NONE},
	{CHAN_ASSIGN_WAIT, CHAN_HOLDER_NEW,    1, NONE, NONE, NONE, NONE, NONE, 0, NONE},
};
/* clang-format on */

static void check_place(const char *what, int fd, const int *sent, int want)
{
	ck_assert_msg(fd == (want == NONE ? -1 : sent[want]), "%s is %d, not that of place %d",
		      what, fd, want);
}

START_TEST(test_assign)
{
	struct chan_assign a = {.kind = assigns[_i].kind,
				.holder = assigns[_i].holder,
				.id = "r",
				.connect_ms = 77};
	int fds[CHAN_FDS_MAX], sent[CHAN_FDS_MAX], chan[2], before;
	struct job j;
	struct err err;

	before = fds_count(getpid());
	ck_assert_int_eq(chan_pair(chan, &err), 0);
	job_init(&j, chan[1], -1);
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		sent[i] = fds[i] = i < assigns[_i].sent ? new_fd() : -1;
	job_assign(&j, &a, fds);
	/* The job has a copy of the message. */
	a = (struct chan_assign){0};
	ck_assert_int_eq(j.phase, JOB_LOADING);
	ck_assert_uint_eq(j.assign.kind, assigns[_i].kind);
	ck_assert_str_eq(j.assign.id, "r");
	ck_assert_uint_eq(j.assign.connect_ms, 77);
	check_place("the request", j.request, sent, assigns[_i].request);
	check_place("the page map", j.map_fd, sent, assigns[_i].map);
	check_place("the socket", j.listen_fd, sent, assigns[_i].listen);
	check_place("the uffd", j.uffd, sent, assigns[_i].uffd);
	check_place("the VMM", j.vmm, sent, assigns[_i].vmm);
	check_place("the holder's", j.holder_given, sent, assigns[_i].given);
	ck_assert_int_eq(j.holder, -1);
	for (int i = 0; i < CHAN_FDS_MAX; i++)
		check_place("what is left", fds[i], sent, i == assigns[_i].left ? i : NONE);
	chan_close_fds(fds);
	job_fini(&j);
	close(chan[0]);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* 0 is a descriptor as any other. */
START_TEST(test_assign_number_zero)
{
	const struct chan_assign a = {.kind = CHAN_ASSIGN_WAIT, .holder = CHAN_HOLDER_NEW};
	int fds[CHAN_FDS_MAX], chan[2];
	struct job j;
	struct err err;

	ck_assert_int_eq(chan_pair(chan, &err), 0);
	job_init(&j, chan[1], -1);
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		fds[i] = i < 2 ? new_fd() : -1;
	ck_assert_int_eq(dup2(fds[1], 0), 0);
	fds[2] = 0;
	job_assign(&j, &a, fds);
	ck_assert_int_eq(j.holder_given, 0);
	ck_assert_int_eq(j.listen_fd, -1);
	job_fini(&j);
	ck_assert_int_eq(fcntl(0, F_GETFD), -1);
	close(chan[0]);
}
END_TEST

/* ---- the socket's path ---- */

/* The job has the path of a socket; a file serves as the socket. */
static void open_at(struct scene *s, bool unlinks)
{
	scene_open(s);
	ck_assert_int_lt(snprintf(s->job.spec.socket_path, sizeof(s->job.spec.socket_path), "%s/s",
				  dir),
			 (int)sizeof(s->job.spec.socket_path));
	s->job.assign.unlink_socket = unlinks;
	close(open(s->job.spec.socket_path, O_CREAT | O_CLOEXEC, 0600));
}

static bool is_there(void)
{
	char path[PROTO_SUN_MAX + 1];

	snprintf(path, sizeof(path), "%s/s", dir);
	return access(path, F_OK) == 0;
}

START_TEST(test_unlink)
{
	struct scene s;

	open_at(&s, true);
	job_unlink_socket(&s.job);
	ck_assert(!is_there());
	/* What lies there later is another restore's. */
	close(open(s.job.spec.socket_path, O_CREAT | O_CLOEXEC, 0600));
	job_unlink_socket(&s.job);
	ck_assert(is_there());
	scene_close(&s);
	ck_assert(is_there());
}
END_TEST

/* The supervisor removes the socket. */
START_TEST(test_unlink_nothing)
{
	struct scene s;

	open_at(&s, false);
	job_unlink_socket(&s.job);
	ck_assert(is_there());
	scene_close(&s);
	ck_assert(is_there());
}
END_TEST

START_TEST(test_end_unlinks)
{
	struct scene s;

	open_at(&s, true);
	scene_close(&s);
	ck_assert(!is_there());
}
END_TEST

/* ---- the end ---- */

/* Nothing is left of all that a job can have, and the holder is told to end. */
START_TEST(test_end)
{
	struct chan_msg msg = {0};
	int before = fds_count(getpid()), chan[2], holder[2], layer = new_fd();
	char path[64];
	struct job j;
	struct err err;
	size_t nfds;

	ck_assert_int_eq(chan_pair(chan, &err), 0);
	ck_assert_int_eq(chan_pair(holder, &err), 0);
	job_init(&j, chan[1], holder[1]);
	j.phase = JOB_WAITING;
	j.request = new_fd();
	j.map_fd = new_fd();
	j.listen_fd = new_fd();
	j.uffd = new_fd();
	j.vmm = new_fd();
	j.holder_given = new_fd();
	j.working_set.made = new_fd();
	j.spec.path = strdup("/a/snapshot");
	write_layer(layer);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", layer);
	j.src = load_files((const char *[]){path}, 1);
	close(layer);
	ck_assert_msg(pagemap_create(j.map_fd, JOBKIT_BYTES, &j.map, &err) == 0, "%s", err.msg);
	job_fini(&j);
	ck_assert_int_eq(hear(holder[0], &msg, &nfds), CHAN_STOP);
	ck_assert_uint_eq(msg.stop.how, CHAN_STOP_WAITING);
	ck_assert_int_eq(j.holder, -1);
	ck_assert_ptr_null(j.map.head);
	ck_assert_ptr_null(j.spec.path);
	ck_assert(supervisor_link_away(&j.link));
	close(chan[0]);
	close(holder[0]);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("job state");
	TCase *t = tcase_create("begin and end");

	tcase_add_test(t, test_init);
	tcase_add_test(t, test_init_without_holder);
	tcase_add_test(t, test_end);
	suite_add_tcase(s, t);
	t = tcase_create("assign");
	tcase_add_loop_test(t, test_assign, 0, ARRAY_LEN(assigns));
	tcase_add_test(t, test_assign_number_zero);
	suite_add_tcase(s, t);
	t = tcase_create("socket");
	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, test_unlink);
	tcase_add_test(t, test_unlink_nothing);
	tcase_add_test(t, test_end_unlinks);
	suite_add_tcase(s, t);
	return s;
}
