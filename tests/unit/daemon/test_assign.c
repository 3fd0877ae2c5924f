/* test_assign - what a worker is given with its restore: numbers, descriptors, and who waits */
#include "daemon/assign.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

#include "daemon/conversation.h"
#include "daemon/tenant_cgroup.h"
#include "tests/support/workerside.h"

#define LATER_MS 3600000

static struct restorekit k;
static struct workerside w;
/* What the worker was told last, with its descriptors; those are closed by end(). */
static struct chan_msg msg;
static int fds[CHAN_FDS_MAX];
static size_t nfds;

static void begin(void)
{
	restorekit_open(&k, "\"connect_timeout\":\"3600s\"");
	workerside_open(&w, &k, &conversation_worker_hooks);
	memset(fds, -1, sizeof(fds));
}

static void end(void)
{
	chan_close_fds(fds);
	workerside_close(&w);
	restorekit_close(&k);
}

static void hear(enum chan_type type)
{
	struct err err = {.msg = ""};

	chan_close_fds(fds);
	ck_assert_msg(chan_recv(w.chan, &msg, fds, &err) == CHAN_GOT, "%s is not told: %s",
		      chan_type_name(type), err.msg);
	ck_assert_int_eq(msg.type, type);
	for (nfds = 0; nfds < CHAN_FDS_MAX && fds[nfds] >= 0;)
		nfds++;
}

static ino_t inode_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

static ino_t inode_at(const char *what)
{
	char path[CONF_PATH_MAX + 1];
	struct stat st;

	host_path(&k.host, what, "r", path);
	ck_assert_int_eq(lstat(path, &st), 0);
	return st.st_ino;
}

static void must(int rc, const struct err *err)
{
	ck_assert_msg(rc == 0, "%s", err->msg);
}

static void check_request(int fd)
{
	char text[4096] = "";

	ck_assert_int_gt(pread(fd, text, sizeof(text) - 1, 0), 0);
	ck_assert_str_eq(text, k.r->rec.spec);
	/* Nobody changes it behind the worker's back. */
	ck_assert_int_ne(fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE, 0);
}

/* ---- descriptors ---- */

/* A page map that is empty, a socket that listens at our own path, and one for a holder. */
START_TEST(test_new)
{
	ino_t before = inode_at("maps");
	struct err err = {.msg = ""};

	k.r->slot.state = SLOT_CREATING;
	k.r->hold.own_socket = false;
	must(assign_new(k.r, &err), &err);
	hear(CHAN_ASSIGN);
	ck_assert_uint_eq(nfds, 4);
	ck_assert_uint_eq(msg.assign.kind, CHAN_ASSIGN_WAIT);
	check_request(fds[0]);
	ck_assert_uint_ne(inode_at("maps"), before);
	ck_assert_uint_eq(inode_of(fds[1]), inode_at("maps"));
	ck_assert_uint_eq(sock_cookie(fds[2]), sock_cookie(k.r->hold.acceptor.fd));
	ck_assert(k.r->hold.own_socket && acceptor_listens(fds[2]));
	ck_assert(!k.r->hold.foreign_dir);
	ck_assert_uint_eq(msg.assign.holder, CHAN_HOLDER_NEW);
	ck_assert(restorekit_exists(&k, "files"));
	ck_assert_uint_eq(msg.assign.unlink_socket, 0);
}
END_TEST

/* A path of somebody else's is the worker's to bind, with the caller's rights; and to remove. */
START_TEST(test_socket_elsewhere)
{
	struct err err = {.msg = ""};
	int fd;

	k.r->slot.state = SLOT_CREATING;
	k.r->hold.own_socket = false;
	snprintf(k.r->spec.socket_path, sizeof(k.r->spec.socket_path), "%s/elsewhere", k.dir);
	k.r->rec.caller_uid = _i ? geteuid() : geteuid() + 1;
	must(assign_new(k.r, &err), &err);
	hear(CHAN_ASSIGN);
	ck_assert_uint_eq(nfds, _i ? 4 : 3);
	ck_assert_int_eq(k.r->hold.own_socket, _i);
	ck_assert(k.r->hold.foreign_dir);
	ck_assert_int_eq(access(k.r->spec.socket_path, F_OK) == 0, _i);
	if (_i)
		return;
	/* Its successor gets what the worker has bound. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	k.r->hold.acceptor.fd = fd;
	must(assign_successor(k.r, &err), &err);
	hear(CHAN_ASSIGN);
	ck_assert_uint_eq(nfds, 4);
	ck_assert_uint_eq(inode_of(fds[2]), inode_of(fd));
	ck_assert_uint_eq(msg.assign.unlink_socket, 1);
}
END_TEST

/* Nothing was installed: another page map, and the same socket. */
START_TEST(test_successor_waits)
{
	ino_t before = inode_at("maps");
	struct err err = {.msg = ""};
	int listening = k.r->hold.acceptor.fd;

	k.r->slot.state = SLOT_LOADING;
	must(assign_successor(k.r, &err), &err);
	hear(CHAN_ASSIGN);
	ck_assert_uint_eq(msg.assign.kind, CHAN_ASSIGN_WAIT);
	ck_assert_uint_ne(inode_of(fds[1]), before);
	ck_assert_int_lt(listening, 0);
	listening = k.r->hold.acceptor.fd;
	must(assign_successor(k.r, &err), &err);
	hear(CHAN_ASSIGN);
	ck_assert_int_eq(k.r->hold.acceptor.fd, listening);
}
END_TEST

/* The page map of its predecessor, the userfaultfd, and the VMM unless it has ended. */
START_TEST(test_successor_serves)
{
	ino_t before = inode_at("maps");
	struct err err = {.msg = ""};

	k.r->slot.state = SLOT_LOADING;
	k.r->hold.uffd = eventfd(7, EFD_CLOEXEC);
	if (_i)
		ck_assert_int_eq(proc_pidfd(getpid(), &k.r->hold.vmm, &err), 0);
	must(assign_successor(k.r, &err), &err);
	hear(CHAN_ASSIGN);
	ck_assert_uint_eq(nfds, _i ? 5 : 4);
	ck_assert_uint_eq(msg.assign.kind, CHAN_ASSIGN_SERVE);
	ck_assert_uint_eq(inode_of(fds[1]), before);
	ck_assert_uint_eq(inode_at("maps"), before);
	ck_assert_uint_eq(read(fds[2], &(uint64_t){0}, 8), 8);
	ck_assert_uint_eq(msg.assign.holder, CHAN_HOLDER_NEW);
	/* A pidfd of ourselves can be asked; the socket of a holder cannot. */
	ck_assert_int_eq(sock_cookie(fds[3]) == 0, _i);
}
END_TEST

/* Those who have come are told to the new worker, behind its assignment. */
START_TEST(test_peers_are_handed_over)
{
	struct err err = {.msg = ""};
	int pair[2], listening;

	k.r->slot.state = SLOT_LOADING;
	unlink(k.r->spec.socket_path);
	must(sock_listen(k.r->spec.socket_path, SOCK_STREAM, sock_mode(0600), &listening, &err),
	     &err);
	restore_listen(k.r, &listening, 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	acceptor_keep(&k.r->hold.acceptor, &pair[0], NULL);
	must(assign_successor(k.r, &err), &err);
	hear(CHAN_ASSIGN);
	hear(CHAN_PEER);
	ck_assert_uint_eq(nfds, 1);
	ck_assert_uint_eq(sock_cookie(fds[0]), sock_cookie(k.r->hold.acceptor.peers[0].sock));
	close(pair[1]);
}
END_TEST

/* ---- numbers ---- */

START_TEST(test_identity)
{
	cleanup_free char *back = NULL;
	struct err err = {.msg = ""};

	ck_assert_int_gt(asprintf(&back, "%s/workers.sock", k.dir), 0);
	k.r->slot.state = SLOT_LOADING;
	k.r->rec.caller_uid = 1;
	k.r->rec.caller_gid = 2;
	snprintf(k.r->rec.caller_groups, sizeof(k.r->rec.caller_groups), "4 27 100");
	must(assign_successor(k.r, &err), &err);
	hear(CHAN_ASSIGN);
	ck_assert_str_eq(msg.assign.id, "r");
	ck_assert_str_eq(msg.assign.reconnect_path, back);
	ck_assert_uint_eq(msg.assign.become, geteuid() == 0);
	ck_assert(msg.assign.uid == 1 && msg.assign.gid == 2 && msg.assign.ngroups == 3);
	ck_assert(msg.assign.groups[0] == 4 && msg.assign.groups[1] == 27 &&
		  msg.assign.groups[2] == 100);
}
END_TEST

/* As it is now, not as it was asked for. */
START_TEST(test_state)
{
	struct restore_record *r = &k.r->rec;
	struct err err = {.msg = ""};

	k.r->slot.state = SLOT_LOADING;
	k.host.conf.working_set_bytes = 77;
	k.host.conf.working_set_bytes_per_tenant = _i ? 66 : 88;
	k.host.conf.record_window_ms = 55;
	k.host.conf.prefetch_margin_bytes = 44;
	r->prefetch = PREFETCH_NONE;
	r->prefetch_held = _i;
	r->paused = !_i;
	r->state = _i ? STATE_FAILED : STATE_SERVING;
	r->recording = _i;
	r->rate_bytes_per_s = 33;
	r->max_resident_bytes = 22;
	must(assign_successor(k.r, &err), &err);
	hear(CHAN_ASSIGN);
	ck_assert_uint_eq(msg.assign.prefetch, PREFETCH_NONE);
	ck_assert_uint_eq(msg.assign.prefetch_held, _i);
	ck_assert_uint_eq(msg.assign.paused, !_i);
	ck_assert_uint_eq(msg.assign.failed, _i);
	ck_assert_uint_eq(msg.assign.record_ms, _i ? 55 : 0);
	ck_assert_uint_eq(msg.assign.wset_bytes, _i ? 66 : 77);
	ck_assert_uint_eq(msg.assign.rate_bytes_per_s, 33);
	ck_assert_uint_eq(msg.assign.max_resident_bytes, 22);
	ck_assert_uint_eq(msg.assign.prefetch_margin_bytes, 44);
}
END_TEST

/* A worker's death does not give a VMM more time to come. */
START_TEST(test_time_to_connect)
{
	struct err err = {.msg = ""};

	k.r->slot.state = SLOT_LOADING;
	if (_i)
		k.r->rec.created_ms -= LATER_MS + 1;
	else
		k.r->rec.created_ms -= LATER_MS / 2;
	must(assign_successor(k.r, &err), &err);
	hear(CHAN_ASSIGN);
	ck_assert_uint_le(msg.assign.connect_ms, _i ? 0 : LATER_MS / 2);
	ck_assert_int_eq(msg.assign.connect_ms == 0, _i);
}
END_TEST

/* ---- what cannot be ---- */

START_TEST(test_no_map)
{
	char path[CONF_PATH_MAX + 1];
	struct err err = {.msg = ""};

	k.r->slot.state = SLOT_LOADING;
	if (_i)
		k.r->hold.uffd = eventfd(0, EFD_CLOEXEC);
	host_path(&k.host, "maps", "r", path);
	unlink(path);
	host_path(&k.host, "maps", "", path);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(assign_successor(k.r, &err), -1);
	ck_assert_msg(strstr(err.msg, "the page map") && strstr(err.msg, "/maps/r"), "%s", err.msg);
}
END_TEST

START_TEST(test_worker_is_gone)
{
	struct err err = {.msg = ""};

	k.r->slot.state = SLOT_LOADING;
	close_fd(&w.chan);
	ck_assert_int_eq(assign_successor(k.r, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
}
END_TEST

/* Where it cannot be placed in its tenant's cgroup, a first worker is told nothing. */
START_TEST(test_not_placed)
{
	struct tenant_cgroup nowhere = {.dir = -1};
	struct err err = {.msg = ""};

	k.host.cgroup = &nowhere;
	k.r->slot.state = _i ? SLOT_LOADING : SLOT_CREATING;
	k.r->hold.own_socket = false;
	if (_i) {
		must(assign_successor(k.r, &err), &err);
		hear(CHAN_ASSIGN);
	} else {
		ck_assert_int_eq(assign_new(k.r, &err), -1);
		ck_assert_int_eq(err.code, ERR_UNREADY);
		ck_assert_int_eq(chan_recv(w.chan, &msg, fds, &err), CHAN_AGAIN);
	}
	k.host.cgroup = NULL;
}
END_TEST

/* From now on the record names it. */
START_TEST(test_choose)
{
	struct worker *first = k.r->worker;
	struct err err = {.msg = ""};

	must(assign_choose(k.r, &err), &err);
	ck_assert_ptr_ne(k.r->worker, first);
	ck_assert_uint_eq(k.r->rec.worker_pid, (uint32_t)k.r->worker->pid);
	ck_assert_uint_eq(k.r->rec.worker_start, k.r->worker->start);
	ck_assert_uint_ne(k.r->rec.worker_start, 0);
	ck_assert_ptr_eq(k.r->worker->arg, k.r);
	worker_abandon(k.r->worker, "t");
	k.r->worker = first;
}
END_TEST

/* ---- which pages are there ---- */

START_TEST(test_presence)
{
	static const bool heard[] = {true, false, false};
	struct err err = {.msg = ""};
	pid_t vmm = workerside_fork();

	k.r->rec.vmm_pid = (uint32_t)vmm;
	if (_i != 1)
		must(proc_pidfd(vmm, &k.r->hold.vmm, &err), &err);
	if (_i == 2) {
		kill(vmm, SIGKILL);
		ck_assert(workerside_was_killed(vmm));
		/* And its number is another process's by now. */
		k.r->rec.vmm_pid = (uint32_t)getpid();
	}
	assign_presence(k.r);
	if (heard[_i]) {
		hear(CHAN_PRESENCE);
		ck_assert_uint_eq(nfds, 1);
	}
	ck_assert_str_eq(workerside_told(&w), "");
	kill(vmm, SIGKILL);
	ck_assert_int_eq(waitpid(vmm, NULL, 0), vmm);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("assign");
	TCase *tc = tcase_create("assign");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_new);
	tcase_add_loop_test(tc, test_socket_elsewhere, 0, 2);
	tcase_add_test(tc, test_successor_waits);
	tcase_add_loop_test(tc, test_successor_serves, 0, 2);
	tcase_add_test(tc, test_peers_are_handed_over);
	tcase_add_test(tc, test_identity);
	tcase_add_loop_test(tc, test_state, 0, 2);
	tcase_add_loop_test(tc, test_time_to_connect, 0, 2);
	tcase_add_loop_test(tc, test_no_map, 0, 2);
	tcase_add_test(tc, test_worker_is_gone);
	tcase_add_loop_test(tc, test_not_placed, 0, 2);
	tcase_add_test(tc, test_choose);
	tcase_add_loop_test(tc, test_presence, 0, 3);
	suite_add_tcase(suite, tc);
	return suite;
}
