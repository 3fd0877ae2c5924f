/* test_holdings - what is held of a restore, and what of it is let go when */
#include "daemon/holdings.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "daemon/timer.h"
#include "tests/support/restorekit.h"

static struct restorekit k;
static struct holdings *h;

static void ignore(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void begin(void)
{
	restorekit_open(&k, "");
	h = &k.r->hold;
}

static void end(void)
{
	restorekit_close(&k);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* A descriptor of a number that nobody else gets. */
static int some_fd(int number)
{
	int fd = eventfd(0, EFD_CLOEXEC), high = fcntl(fd, F_DUPFD_CLOEXEC, number);

	close(fd);
	return high;
}

static void set_deadlines(void)
{
	struct event **const deadlines[] = {&h->back_by, &h->load_by, &h->no_memory,
					    &h->grace,   &h->on_vmm,  &h->ask_vmm};

	for (size_t i = 0; i < ARRAY_LEN(deadlines); i++) {
		*deadlines[i] = evtimer_new(k.host.base, ignore, NULL);
		timer_add(*deadlines[i], 3600 * TIMER_S);
	}
}

static bool has_deadline(void)
{
	return h->back_by || h->load_by || h->no_memory || h->grace || h->on_vmm || h->ask_vmm;
}

static void open_map(uint64_t span)
{
	struct pagemap map;
	struct err err = {.msg = ""};
	char path[CONF_PATH_MAX + 1];
	cleanup_fd int fd = -1;

	host_path(&k.host, "maps", "r", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_msg(pagemap_create(fd, span, &map, &err) == 0, "%s", err.msg);
	map.stats->faults = 4711;
	pagemap_close(&map);
}

/* Nothing is held at first: descriptor 0 is somebody else's. */
START_TEST(test_nothing)
{
	ck_assert(h->uffd == -1 && h->vmm == -1 && h->old_worker == -1 && h->map_fd == -1);
	ck_assert_int_eq(h->acceptor.fd, -1);
	ck_assert(!has_deadline());
}
END_TEST

/* All but the page map, of which the last counters are still to come. */
START_TEST(test_release)
{
	int uffd = h->uffd = some_fd(500), vmm = h->vmm = some_fd(510);
	int worker = h->old_worker = some_fd(520);

	open_map(PAGE_4K);
	set_deadlines();
	holdings_release(h, &k.host, "r", k.r->spec.socket_path);
	ck_assert(!is_open(uffd) && !is_open(vmm) && !is_open(worker));
	ck_assert(h->uffd == -1 && h->vmm == -1 && h->old_worker == -1);
	ck_assert(!has_deadline());
	ck_assert(!restorekit_exists(&k, "maps") && !restorekit_exists(&k, "uffd"));
	ck_assert_int_ge(h->map_fd, 0);
	ck_assert_uint_eq(h->last.stats.faults, 0);
	holdings_close_map(h);
	ck_assert_int_eq(h->map_fd, -1);
	ck_assert_uint_eq(h->last.stats.faults, 4711);
}
END_TEST

/* The page map that is there already is the one: its file may be another's by now. */
START_TEST(test_release_again)
{
	int map;

	open_map(PAGE_4K);
	holdings_release(h, &k.host, "r", k.r->spec.socket_path);
	map = h->map_fd;
	holdings_release(h, &k.host, "r", k.r->spec.socket_path);
	ck_assert_int_eq(h->map_fd, map);
	holdings_close_map(h);
	holdings_close_map(h);
	ck_assert_uint_eq(h->last.stats.faults, 4711);
}
END_TEST

/* What is no page map has no counters. */
START_TEST(test_map_is_none)
{
	memset(&h->last, 1, sizeof(h->last));
	holdings_release(h, &k.host, "r", k.r->spec.socket_path);
	ck_assert_int_ge(h->map_fd, 0);
	holdings_close_map(h);
	ck_assert_int_eq(h->map_fd, -1);
	ck_assert_uint_eq(h->last.stats.faults, 0);
	ck_assert_uint_eq(h->last.head.magic, 0);
}
END_TEST

/* The process that keeps the snapshot's files is ended with the restore. */
START_TEST(test_release_ends_the_holder)
{
	char path[CONF_PATH_MAX + 1];
	struct err err = {.msg = ""};
	int fd, status, ready[2];
	pid_t pid;
	char c;

	host_path(&k.host, "files", "r", path);
	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		if (sock_listen(path, SOCK_SEQPACKET, sock_mode(0600), &fd, &err) == 0 &&
		    write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	holdings_release(h, &k.host, "r", k.r->spec.socket_path);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ck_assert(!restorekit_exists(&k, "files"));
}
END_TEST

/* Only a path that we bound is ours to remove, and only once. */
START_TEST(test_close_socket)
{
	const char *path = k.r->spec.socket_path;
	int fd;
	struct err err = {.msg = ""};

	unlink(path);
	ck_assert_msg(sock_listen(path, SOCK_STREAM, sock_mode(0600), &fd, &err) == 0, "%s",
		      err.msg);
	acceptor_open(&h->acceptor, &fd, 0, true);
	h->own_socket = _i;
	holdings_close_socket(h, path);
	ck_assert_int_eq(restorekit_exists(&k, "uffd"), !_i);
	ck_assert(!h->own_socket && h->acceptor.fd == -1 && !h->acceptor.on_peer);
	close(open(path, O_CREAT | O_CLOEXEC, 0600));
	holdings_close_socket(h, path);
	ck_assert(restorekit_exists(&k, "uffd"));
}
END_TEST

/* Only <run>/uffd/ID is in a directory of ours. */
START_TEST(test_place_of_the_socket)
{
	char path[CONF_PATH_MAX + 1];

	host_path(&k.host, "uffd", "r", path);
	h->foreign_dir = true;
	ck_assert(!holdings_place_socket(h, &k.host, "r", path) && !h->foreign_dir);
	ck_assert(holdings_place_socket(h, &k.host, "another", path) && h->foreign_dir);
	host_path(&k.host, "maps", "r", path);
	ck_assert(holdings_place_socket(h, &k.host, "r", path) && h->foreign_dir);
}
END_TEST

/* The path leads elsewhere by now: what is there is not ours, though it has the name. */
START_TEST(test_close_socket_in_a_foreign_directory)
{
	char home[128], away[128], path[160];
	struct err err = {.msg = ""};
	int fd, other = -1;

	snprintf(home, sizeof(home), "%s/home", k.dir);
	snprintf(away, sizeof(away), "%s/away", k.dir);
	snprintf(path, sizeof(path), "%.100s/s", home);
	ck_assert_int_eq(mkdir(home, 0755), 0);
	ck_assert_msg(sock_listen(path, SOCK_STREAM, sock_mode(0600), &fd, &err) == 0, "%s",
		      err.msg);
	acceptor_open(&h->acceptor, &fd, 0, true);
	if (_i) {
		ck_assert(rename(home, away) == 0 && mkdir(home, 0755) == 0);
		ck_assert_int_eq(sock_listen(path, SOCK_STREAM, sock_mode(0600), &other, &err), 0);
	}
	h->own_socket = h->foreign_dir = true;
	holdings_close_socket(h, path);
	ck_assert_int_eq(access(path, F_OK), _i ? 0 : -1);
	close_fd(&other);
}
END_TEST

/* Another process is the VMM: the userfaultfd is the same one. */
START_TEST(test_forget_vmm)
{
	int vmm = h->vmm = some_fd(510);

	h->uffd = some_fd(500);
	set_deadlines();
	life_begin(&h->life, now_us());
	holdings_forget_vmm(h);
	ck_assert(!is_open(vmm) && h->vmm == -1 && is_open(h->uffd));
	ck_assert(!h->on_vmm && !h->ask_vmm && h->grace && h->no_memory);
	ck_assert_uint_eq(h->life.since_us, 0);
}
END_TEST

/* We leave, and others go on: what they have to find again stays. */
START_TEST(test_fini)
{
	int uffd = h->uffd = some_fd(500), vmm = h->vmm = some_fd(510);
	int worker = h->old_worker = some_fd(520), map = h->map_fd = some_fd(530);

	set_deadlines();
	holdings_fini(h);
	ck_assert(!is_open(uffd) && !is_open(vmm) && !is_open(worker) && !is_open(map));
	ck_assert(!has_deadline());
	ck_assert(restorekit_exists(&k, "maps") && restorekit_exists(&k, "uffd"));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("holdings");
	TCase *tc = tcase_create("holdings");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_nothing);
	tcase_add_test(tc, test_release);
	tcase_add_test(tc, test_release_again);
	tcase_add_test(tc, test_map_is_none);
	tcase_add_test(tc, test_release_ends_the_holder);
	tcase_add_loop_test(tc, test_close_socket, 0, 2);
	tcase_add_test(tc, test_place_of_the_socket);
	tcase_add_loop_test(tc, test_close_socket_in_a_foreign_directory, 0, 2);
	tcase_add_test(tc, test_forget_vmm);
	tcase_add_test(tc, test_fini);
	suite_add_tcase(suite, tc);
	return suite;
}
