/* test_supervisor_reattach - workers that come to the next supervisor: taken, turned away, noted */
#include "daemon/supervisor.h"

#include <fcntl.h>
#include <poll.h>

#include "daemon/caller.h"
#include "daemon/descriptors.h"
#include "tests/support/capacitykit.h"
#include "tests/support/supervisorkit.h"

static pid_t worker;               /* of the restore "r" */
static char key[PROTO_ID_MAX + 1]; /* likewise */
static int map; /* a page map: without any this process would be shown out unread */

static void begin_with_restore(void)
{
	const struct restore *r;

	begin();
	workerkit_snapshot(&at);
	r = make_restore("r");
	worker = r->worker->pid;
	memcpy(key, r->rec.key, sizeof(key));
	map = -1;
}

static void hold_map(void)
{
	cleanup_free char *path = NULL;

	ck_assert_int_gt(asprintf(&path, "%s/maps/%s", k.conf.run_dir, key), 0);
	map = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(map, 0);
}

static void end_with_restore(void)
{
	close_fd(&map);
	end();
}

static void lose_store(void)
{
	struct store *store;

	harness_rmtree(k.conf.state_dir);
	ck_assert_int_eq(mkdir(k.conf.state_dir, 0700), 0);
	open_store(&store);
	store_close(store);
}

static bool is_back(void *arg)
{
	struct restore *r;

	(void)arg;
	turn();
	r = supervisor_find(k.sup, "r", NULL);
	return r && r->worker;
}

static struct restore *await_back(void)
{
	struct restore *r;

	ck_assert_msg(harness_wait(is_back, NULL, HARNESS_MS), "its worker does not come back");
	r = supervisor_find(k.sup, "r", NULL);
	ck_assert_int_eq(r->worker->pid, worker);
	ck_assert_int_eq(r->slot.state, SLOT_READY);
	ck_assert_int_eq(r->rec.state, STATE_WAITING);
	ck_assert(acceptor_listens(r->hold.acceptor.fd));
	return r;
}

/* It was one while nobody knew better. */
static void note_worker(void)
{
	const struct sock_peer who = {.pid = worker};

	strays_note(&k.sup->strays, "r", &who, "a test");
}

/* ---- the worker of a restore ---- */

START_TEST(test_known)
{
	struct restore *r;

	stop();
	start();
	r = supervisor_find(k.sup, "r", NULL);
	ck_assert(r && !r->worker);
	ck_assert_int_eq(r->slot.state, SLOT_AWAITED);
	note_worker();
	ck_assert_ptr_eq(await_back(), r);
	ck_assert_str_eq(events_of("r"), "created adopted ");
	ck_assert_uint_eq(k.sup->strays.n, 0);
}
END_TEST

static bool is_let_in(void *arg)
{
	const struct restore *r = supervisor_find(k.sup, "r", NULL);

	(void)arg;
	turn();
	return r->hold.acceptor.n > 0 && r->hold.acceptor.peers[0].told;
}

/* The connections that it had been told of come with it, as many as it announces. */
START_TEST(test_known_with_a_peer)
{
	struct err err = {.msg = ""};
	cleanup_fd int vmm = -1;
	struct restore *r = supervisor_find(k.sup, "r", NULL);

	ck_assert_msg(sock_connect(r->spec.socket_path, SOCK_STREAM, &vmm, &err) == 0, "%s",
		      err.msg);
	ck_assert_msg(harness_wait(is_let_in, NULL, HARNESS_MS), "nobody is let in");
	stop();
	start();
	ck_assert_msg(harness_wait(is_let_in, NULL, HARNESS_MS), "its peer is lost");
	ck_assert_uint_eq(supervisor_find(k.sup, "r", NULL)->hold.acceptor.awaited, 0);
	ck_assert_str_eq(events_of("r"), "created adopted ");
}
END_TEST

/* The store was lost, and what the worker says is believed where it can be proved. */
START_TEST(test_unknown_with_proof)
{
	struct restore *r;

	stop();
	lose_store();
	start();
	ck_assert_str_eq(listed(), "");
	note_worker();
	r = await_back();
	ck_assert_str_eq(listed(), "r ");
	ck_assert_str_eq(rows(), "r:waiting ");
	ck_assert_str_eq(events_of("r"), "adopted ");
	ck_assert_uint_eq(k.sup->strays.n, 0);
	ck_assert_str_eq(r->rec.tenant, CALLER_DEFAULT_TENANT);
}
END_TEST

/* ---- strangers ---- */

static int come(const char *said, bool proof)
{
	cleanup_free char *path = NULL;
	struct chan_msg msg = {.reattach.proof = proof};
	struct err err = {.msg = ""};
	int fd;

	ck_assert_int_gt(asprintf(&path, "%s/workers.sock", k.conf.run_dir), 0);
	ck_assert_msg(sock_connect(path, SOCK_SEQPACKET | SOCK_NONBLOCK, &fd, &err) == 0, "%s",
		      err.msg);
	snprintf(msg.reattach.key, sizeof(msg.reattach.key), "%s", said);
	ck_assert_msg(chan_send(fd, CHAN_REATTACH, &msg, NULL, 0, &err) == 0, "%s", err.msg);
	return fd;
}

static void prove_nothing(int fd)
{
	struct chan_msg msg = {.proof.size_bytes = PAGE_4K};
	struct err err = {.msg = ""};

	ck_assert_msg(chan_send(fd, CHAN_PROOF, &msg, NULL, 0, &err) == 0, "%s", err.msg);
}

static bool is_answered(void *arg)
{
	struct pollfd p = {.fd = *(const int *)arg, .events = POLLIN};

	turn();
	return poll(&p, 1, 0) > 0;
}

/* It has been turned away. */
static void await_answer(int fd)
{
	ck_assert_msg(harness_wait(is_answered, &fd, HARNESS_MS), "it is not answered");
	close(fd);
}

static void check_is_stray(int fd, const char *said, const char *why)
{
	const struct stray *s;

	await_answer(fd);
	ck_assert_uint_eq(k.sup->strays.n, 1);
	s = k.sup->strays.v;
	ck_assert_int_eq(s->pid, getpid());
	ck_assert_str_eq(s->key, said);
	ck_assert_msg(strstr(s->why, why), "%s", s->why);
}

/* Nothing is read of a process that can be no worker: what it says names no stray. */
START_TEST(test_stranger)
{
	await_answer(come("nobody", false));
	ck_assert_uint_eq(k.sup->strays.n, 0);
}
END_TEST

/* Only who was looked at is read, and then it is a stray. */
static bool is_looked_at(uid_t uid, unsigned *n)
{
	char said[16];
	int fd;

	snprintf(said, sizeof(said), "n-%u", ++*n);
	ck_assert(uid == geteuid() || seteuid(uid) == 0);
	fd = come(said, false);
	ck_assert(uid == 0 || getuid() != 0 || seteuid(0) == 0);
	await_answer(fd);
	return k.sup->strays.n && strcmp(k.sup->strays.v[0].key, said) == 0;
}

static bool user_is_looked_at(void *arg)
{
	return is_looked_at(getuid() ? getuid() : APIKIT_OWNER, arg);
}

/* Looks take time: a user who has had too many of them, as if until a while ahead, gets none. */
START_TEST(test_too_many_looks)
{
	char user[PROTO_ID_MAX + 1];
	uint64_t wait_us, ahead = now_us() + (uint64_t)4 * 1000000;
	unsigned n = 0;

	hold_map();
	/* Another user has to reach the socket. */
	ck_assert_int_eq(chmod(at.dir, 0755), 0);
	ck_assert(user_is_looked_at(&n));
	caller_user_tenant(getuid() ? getuid() : APIKIT_OWNER, user);
	ck_assert(pace_take(&k.sup->looks, user, SUPERVISOR_LOOKS_PER_S, ahead, &wait_us));
	ck_assert(!user_is_looked_at(&n));
	/* All of root's workers are one user. */
	caller_user_tenant(0, user);
	ck_assert(pace_take(&k.sup->looks, user, SUPERVISOR_LOOKS_PER_S, ahead, &wait_us));
	ck_assert(getuid() || is_looked_at(0, &n));
	ck_assert(harness_wait(user_is_looked_at, &n, HARNESS_MS));
}
END_TEST

START_TEST(test_unknown_without_proof)
{
	int fd;

	hold_map();
	fd = come("nobody", false);

	check_is_stray(fd, "nobody", "no restore with key nobody is in the store");
	ck_assert_ptr_null(table_find(&k.sup->table, "nobody", NULL));
}
END_TEST

/* What it says proves nothing. */
START_TEST(test_unknown_with_a_lie)
{
	int fd;

	hold_map();
	fd = come("nobody", true);

	prove_nothing(fd);
	check_is_stray(fd, "nobody", "it does not have the page map with key nobody");
	ck_assert_ptr_null(table_find(&k.sup->table, "nobody", NULL));
}
END_TEST

/* No proof is waited for where a row knows better: of one that has ended, and of one that is served. */
START_TEST(test_not_its_worker)
{
	static const char *const ids[] = {"mine", "r"};
	const char *keys[] = {"mine", key};
	int fd;

	hold_map();
	fd = come(keys[_i], true);
	check_is_stray(fd, keys[_i], "it is not the worker of restore");
	ck_assert_ptr_nonnull(strstr(k.sup->strays.v[0].why, ids[_i]));
	ck_assert_int_eq(supervisor_find(k.sup, "r", NULL)->worker->pid, worker);
}
END_TEST

/* Before it has loaded a worker has nothing to come back with, even if it is the one. */
START_TEST(test_under_creation)
{
	struct restore *r;
	struct asker a;
	int fd;

	hold_map();
	ask(&a, "s", "\"tenant\":\"another\"");
	r = table_find(&k.sup->table, "s", NULL);
	fd = come(r->rec.key, false);
	/* As if we were its worker, which has closed its channel. */
	r->worker->closed = true;
	r->rec.worker_pid = (uint32_t)getpid();
	r->rec.worker_start = proc_start_time(getpid());
	event_del(r->worker->on_chan);
	check_is_stray(fd, r->rec.key, "it is not the worker of restore s");
	ck_assert(restore_is_creating(r));
}
END_TEST

/* ---- no room ---- */

/* Whatever the next supervisor opens, nothing is left for a restore. */
static void stop_and_leave_none(void)
{
	stop();
	set_limit(descriptors_used() + DESCRIPTORS_ASIDE);
}

/* While descriptors are short nobody is taken, and nobody is called a stray for that. */
START_TEST(test_no_room_for_a_row)
{
	stop_and_leave_none();
	start();
	ck_assert_int_eq(supervisor_find(k.sup, "r", NULL)->slot.state, SLOT_DEFERRED);
	hold_map();
	await_answer(come(key, true));
	ck_assert_uint_eq(k.sup->strays.n, 0);
	ck_assert_int_eq(supervisor_find(k.sup, "r", NULL)->slot.state, SLOT_DEFERRED);
	/* Once there is room, a row does not wait for its turn if its worker comes before. */
	event_del(k.sup->capacity.again);
	set_limit(PLENTY);
	await_back();
	ck_assert_uint_eq(k.sup->strays.n, 0);
}
END_TEST

START_TEST(test_no_room_for_an_unknown)
{
	int fd;

	stop_and_leave_none();
	lose_store();
	start();
	hold_map();
	fd = come("nobody", true);
	prove_nothing(fd);
	await_answer(fd);
	ck_assert_uint_eq(k.sup->strays.n, 0);
	ck_assert_str_eq(listed(), "");
	set_limit(PLENTY);
	await_back();
	ck_assert_uint_eq(k.sup->strays.n, 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("supervisor");
	TCase *tc = tcase_create("reattach");

	tcase_add_checked_fixture(tc, begin_with_restore, end_with_restore);
	tcase_add_test(tc, test_known);
	tcase_add_test(tc, test_known_with_a_peer);
	tcase_add_test(tc, test_unknown_with_proof);
	tcase_add_test(tc, test_stranger);
	tcase_add_test(tc, test_too_many_looks);
	tcase_add_test(tc, test_unknown_without_proof);
	tcase_add_test(tc, test_unknown_with_a_lie);
	tcase_add_loop_test(tc, test_not_its_worker, 0, 2);
	tcase_add_test(tc, test_under_creation);
	tcase_add_test(tc, test_no_room_for_a_row);
	tcase_add_test(tc, test_no_room_for_an_unknown);
	suite_add_tcase(suite, tc);
	return suite;
}
