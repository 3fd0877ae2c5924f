/*
 * test_acceptor - many come to the UFFD socket of one restore: who waits for what, and what
 * is kept when somebody dies meanwhile
 */
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/chan.h"
#include "common/sock.h"
#include "tests/support/fds.h"
#include "tests/support/killing.h"
#include "tests/support/respawn.h"
#include "tests/support/runner.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"
#define TOUCHES "--hold --threads 4 --order rand --write 20"
#define IN_HALVES TOUCHES " --split-hold"

/* --- a crowd that says nothing --- */

static int come(const struct killing *k)
{
	struct err err;
	int fd;

	ck_assert_msg(sock_connect(k->s.socket, SOCK_STREAM, &fd, &err) == 0, "%s", err.msg);
	return fd;
}

static void crowd_comes(const struct killing *k, int *crowd, size_t n)
{
	for (size_t i = 0; i < n; i++)
		crowd[i] = come(k);
}

static void crowd_leaves(int *crowd, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close_fd(&crowd[i]);
}

struct wanted {
	const struct killing *k;
	int daemon, worker; /* descriptors */
};

static bool has_fds(void *arg)
{
	const struct wanted *w = arg;

	return scene_count_fds(&w->k->scene) == w->daemon && fds_count(w->k->s.worker) == w->worker;
}

static void await_fds(const struct killing *k, int daemon, int worker)
{
	struct wanted w = {k, daemon, worker};

	ck_assert_msg(harness_wait(has_fds, &w, SCENE_MS),
		      "%s: daemon and worker have %d and %d descriptors, not %d and %d", k->s.id,
		      scene_count_fds(&k->scene), fds_count(k->s.worker), daemon, worker);
}

static bool is_replaced(void *arg)
{
	const struct killing *k = arg;

	return harness_count_workers(k->scene.d.pid) == SCENE_POOL + 1;
}

/* And the pool has filled up again, so that descriptors can be counted. */
static void begin(struct killing *k, const char *name)
{
	killing_open(k, name, NULL);
	killing_create(k, ON_DEMAND);
	ck_assert(harness_wait(is_replaced, k, SCENE_MS));
	killing_look(k);
}

static void served(struct killing *k)
{
	json_object_put(stage_await(&k->s, "serving"));
	killing_recovered(k, "serving");
	killing_right(k);
	killing_close(k);
}

/* The longest that nothing may happen, to believe that nothing will. */
#define STILL_MS 300

/* No more than that are let in, and the next one when somebody has left. */
START_TEST(a_crowd)
{
	int crowd[CHAN_PEERS_MAX], daemon, worker;
	struct killing k;

	begin(&k, "crowd");
	daemon = scene_count_fds(&k.scene);
	worker = fds_count(k.s.worker);
	crowd_comes(&k, crowd, CHAN_PEERS_MAX);
	killing_vmm(&k, TOUCHES);
	scene_vmm_await(&k.s.vmm, "connected");
	/* Of each the worker has the pidfd, too. */
	await_fds(&k, daemon + CHAN_PEERS_MAX, worker + 2 * CHAN_PEERS_MAX);
	poll(NULL, 0, STILL_MS);
	await_fds(&k, daemon + CHAN_PEERS_MAX, worker + 2 * CHAN_PEERS_MAX);
	crowd_leaves(crowd, 1);
	json_object_put(stage_await(&k.s, "serving"));
	crowd_leaves(crowd, CHAN_PEERS_MAX);
	served(&k);
}
END_TEST

/* Who is turned away is not kept by anybody, however many they are. */
START_TEST(one_after_the_other)
{
	int fd[1], daemon, worker;
	struct killing k;

	begin(&k, "one-by-one");
	daemon = scene_count_fds(&k.scene);
	worker = fds_count(k.s.worker);
	for (int i = 0; i < 3 * CHAN_PEERS_MAX; i++) {
		crowd_comes(&k, fd, 1);
		await_fds(&k, daemon + 1, worker + 2);
		crowd_leaves(fd, 1);
		await_fds(&k, daemon, worker);
	}
	killing_vmm(&k, TOUCHES);
	served(&k);
}
END_TEST

/* Of all who are there a successor hears, also of the one who has said half of it. */
START_TEST(a_crowd_and_a_death)
{
	enum killing_who who = _i ? DIES_SUPERVISOR : DIES_WORKER;
	cleanup_free char *name = scene_format("crowd-%s", killing_who_names[who]);
	int crowd[CHAN_PEERS_MAX - 1];
	struct killing k;

	begin(&k, name);
	crowd_comes(&k, crowd, 10);
	killing_vmm(&k, IN_HALVES);
	scene_vmm_await(&k.s.vmm, "half\n");
	killing_end(&k, who);
	/* While there is no supervisor the worker lets them in itself. */
	crowd_comes(&k, crowd + 10, ARRAY_LEN(crowd) - 10);
	killing_revive(&k, who);
	killing_recovered(&k, "waiting");
	/* And again: now it is the new one of the two that must know them. */
	killing_end(&k, DIES_WORKER);
	killing_recovered(&k, "waiting");
	scene_vmm_go(&k.s.vmm);
	json_object_put(stage_await(&k.s, "serving"));
	crowd_leaves(crowd, ARRAY_LEN(crowd));
	served(&k);
}
END_TEST

/* The next supervisor lets nobody in before it knows how many are there. */
START_TEST(a_full_house)
{
	int crowd[CHAN_PEERS_MAX], worker;
	struct killing k;

	begin(&k, "full");
	worker = fds_count(k.s.worker);
	killing_end(&k, DIES_SUPERVISOR);
	crowd_comes(&k, crowd, CHAN_PEERS_MAX);
	killing_vmm(&k, TOUCHES);
	scene_vmm_await(&k.s.vmm, "connected");
	killing_revive(&k, DIES_SUPERVISOR);
	killing_recovered(&k, "waiting");
	poll(NULL, 0, STILL_MS);
	ck_assert_int_eq(fds_count(k.s.worker), worker + 2 * CHAN_PEERS_MAX);
	crowd_leaves(crowd, CHAN_PEERS_MAX);
	served(&k);
}
END_TEST

/* It was handed over, and lies unread in the channel of a supervisor that is dead. */
START_TEST(last_words_of_a_supervisor)
{
	struct killing k;
	pid_t next;

	begin(&k, "last-words");
	killing_vmm(&k, IN_HALVES);
	scene_vmm_await(&k.s.vmm, "half\n");
	killing_arm(&k, "loading:1:stop");
	ck_assert_int_eq(kill(k.s.worker, SIGKILL), 0);
	respawn_await_event(&k.scene, k.s.id, "worker-died", 1);
	killing_look(&k);
	next = k.s.worker;
	killing_await_stop(&k, next);
	k.tally.died = 1;
	killing_end(&k, DIES_SUPERVISOR);
	killing_revive(&k, DIES_SUPERVISOR);
	ck_assert_int_eq(kill(next, SIGCONT), 0);
	scene_vmm_go(&k.s.vmm);
	json_object_put(stage_await(&k.s, "serving"));
	ck_assert_int_eq(killing_worker(&k), next);
	served(&k);
}
END_TEST

/*
 * It came back, handed over all that it had, and died: that is unread where its death is known
 * already, and nobody else has the userfaultfd.
 */
START_TEST(last_words_of_a_worker)
{
	struct killing k;

	killing_open(&k, "last-words-worker", NULL);
	killing_arm(&k, "back:1:kill");
	killing_create(&k, ON_DEMAND);
	killing_vmm(&k, TOUCHES " --hold-before --no-keep");
	json_object_put(stage_await(&k.s, "serving"));
	killing_look(&k);
	killing_stop(&k, DIES_WORKER);
	killing_end(&k, DIES_SUPERVISOR);
	killing_revive(&k, DIES_SUPERVISOR);
	killing_stop(&k, DIES_SUPERVISOR);
	ck_assert_int_eq(kill(k.s.worker, SIGCONT), 0);
	killing_await_death(&k, k.s.worker);
	ck_assert_int_eq(kill(k.scene.d.pid, SIGCONT), 0);
	k.tally.died = k.tally.recovered = 1;
	scene_vmm_go(&k.s.vmm);
	served(&k);
}
END_TEST

/* --- its message --- */

/* Bytes in the queue of the VMM's connection, as the worker has it; -1: it has none. */
static int unread(struct stage *s, pid_t worker)
{
	cleanup_fd int pidfd = pidfd_open(worker, 0);
	int found = -1;

	for (int n = 0; n < 256; n++) {
		cleanup_fd int fd = (int)syscall(SYS_pidfd_getfd, pidfd, n, 0);
		struct ucred cred = {0};
		int type = 0, bytes;
		socklen_t len = sizeof(cred), size = sizeof(type);

		if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ||
		    cred.pid != s->vmm.pid || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) ||
		    type != SOCK_STREAM)
			continue;
		ck_assert_int_eq(ioctl(fd, SIOCINQ, &bytes), 0);
		stage_check(s, found < 0, "it has two connections of it");
		found = bytes;
	}
	return found;
}

static bool is_read(void *arg)
{
	struct stage *s = arg;

	return unread(s, s->worker) == 0;
}

static bool is_there(void *arg)
{
	struct stage *s = arg;

	return unread(s, s->worker) > 0;
}

/* It is taken once a supervisor was told, not before: a uffd in it would outlive the VMM. */
START_TEST(message_is_taken)
{
	struct killing k;

	if (geteuid() != 0)
		return; /* needs to look into the worker */
	begin(&k, _i ? "taken-later" : "taken");
	if (_i)
		scene_kill(&k.scene);
	killing_vmm(&k, TOUCHES " --fds 2");
	scene_vmm_await(&k.s.vmm, "holding");
	if (_i) {
		ck_assert(is_there(&k.s));
		killing_revive(&k, DIES_SUPERVISOR);
		k.tally.adopted = 1;
	}
	ck_assert(harness_wait(is_read, &k.s, SCENE_MS));
	served(&k);
}
END_TEST

/* --- those who come and go all the time --- */

#define BURST 32
#define PER_S 100
#define ENOUGH (BURST + PER_S)
/* Of processor time for one that is let in. Between two of them there are 10 ms to waste. */
#define COST_MAX_US 2000

static void flood(const char *path) __attribute__((noreturn));
static void flood(const char *path)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		struct err err;
		int fd;

		if (sock_connect(path, SOCK_STREAM, &fd, &err) == 0)
			close(fd);
	}
}

static uint64_t refused(const struct killing *k)
{
	cleanup_json struct json_object *o = stage_ask(&k->s, "GET", "", NULL);

	return scene_number(o, "errors.refused_peers");
}

static uint64_t cpu_us(pid_t pid)
{
	cleanup_free char *path = scene_format("/proc/%d/stat", (int)pid);
	cleanup_file FILE *f = fopen(path, "re");
	unsigned long user = 0, sys = 0;

	ck_assert(f && fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			      &user, &sys) == 2);
	return (user + sys) * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

struct flood {
	const struct killing *k;
	uint64_t began_us, refused;
};

static bool keeps_pace(void *arg)
{
	struct flood *f = arg;
	uint64_t ms;

	f->refused = refused(f->k);
	ms = (now_us() - f->began_us) / 1000 + 1;
	ck_assert_msg(f->refused <= BURST + PER_S * ms / 1000 + 2, "%llu in %llu ms",
		      (unsigned long long)f->refused, (unsigned long long)ms);
	return f->refused > ENOUGH;
}

/* They are let in at a pace, and neither of us is busy with them. */
START_TEST(a_flood)
{
	struct flood f = {0};
	struct killing k;
	uint64_t cost;
	pid_t pid;

	begin(&k, "flood");
	pid = fork();
	if (pid == 0)
		flood(k.s.socket);
	f = (struct flood){&k, now_us(), 0};
	cost = cpu_us(k.scene.d.pid);
	ck_assert_msg(harness_wait(keeps_pace, &f, SCENE_MS), "only %llu were let in",
		      (unsigned long long)f.refused);
	cost = (cpu_us(k.scene.d.pid) - cost) / f.refused;
	ck_assert_msg(cost < COST_MAX_US, "each of them costs %llu us", (unsigned long long)cost);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_uint_eq(respawn_count_events(&k.scene, k.s.id, "refused"), 16);
	killing_vmm(&k, TOUCHES);
	served(&k);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("door");
	TCase *tc = tcase_create("door");

	tcase_add_test(tc, a_crowd);
	tcase_add_test(tc, one_after_the_other);
	tcase_add_loop_test(tc, a_crowd_and_a_death, 0, 2);
	tcase_add_test(tc, a_full_house);
	tcase_add_test(tc, last_words_of_a_supervisor);
	tcase_add_test(tc, last_words_of_a_worker);
	tcase_add_loop_test(tc, message_is_taken, 0, 2);
	tcase_add_test(tc, a_flood);
	suite_add_tcase(suite, tc);
	return suite;
}
