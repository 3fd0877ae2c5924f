/* test_limits - what limits a VMM is told to its worker: whole, not too often, or not at all */
#include "daemon/limits.h"

#include "common/cgroup.h"
#include "common/proc.h"
#include "daemon/conversation.h"
#include "tests/support/fds.h"
#include "tests/support/workerside.h"

#define AGAIN_US 1000000 /* so long it stays told */

static struct restorekit k;
static struct workerside w;
static pid_t vmm;

static void must_pidfd(pid_t pid, int *ret)
{
	struct err err = {.msg = ""};

	ck_assert_msg(proc_pidfd(pid, ret, &err) == 0, "%s", err.msg);
}

static void begin(void)
{
	vmm = workerside_fork();
	restorekit_open(&k, "");
	workerside_open(&w, &k, &conversation_worker_hooks);
	k.r->rec.vmm_pid = (uint32_t)vmm;
	must_pidfd(vmm, &k.r->hold.vmm);
	k.r->rec.page_bytes = PAGE_4K;
}

static void end(void)
{
	workerside_close(&w);
	restorekit_close(&k);
	kill(vmm, SIGKILL);
	waitpid(vmm, NULL, 0);
}

static size_t count_fds(const int *fds)
{
	size_t n = 0;

	while (n < CHAN_FDS_MAX && fds[n] >= 0)
		n++;
	return n;
}

/* One message for each kind that limits it, and the first takes back what was told before. */
static void check_told(const struct cgroup_files *files)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;
	unsigned heard = 0;
	struct err err;

	while (chan_recv(w.chan, &msg, fds, &err) == CHAN_GOT) {
		ck_assert_int_eq(msg.type, CHAN_CGROUPS);
		ck_assert_uint_lt(msg.cgroups.kind, CGROUP_KIND_COUNT);
		ck_assert_uint_eq(msg.cgroups.anew, heard == 0);
		ck_assert_uint_eq(msg.cgroups.levels, files[msg.cgroups.kind].levels);
		ck_assert_uint_eq(count_fds(fds),
				  cgroup_nfds(msg.cgroups.kind, &files[msg.cgroups.kind]));
		chan_close_fds(fds);
		heard |= 1u << msg.cgroups.kind;
	}
	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++)
		ck_assert_msg(!files[kind].levels || heard & 1u << kind, "kind %d is not told",
			      kind);
	ck_assert_uint_ne(heard, 0);
}

/* The pages of the VMM decide what limits it. */
START_TEST(test_told)
{
	struct cgroup_files files[CGROUP_KIND_COUNT];
	struct err err = {.msg = ""};

	k.r->rec.page_bytes = _i ? PAGE_2M : PAGE_4K;
	ck_assert_msg(cgroup_open("", vmm, k.r->rec.page_bytes, files, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(limits_send(k.r), 0);
	ck_assert_uint_ne(k.r->limits_sent_us, 0);
	check_told(files);
	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++)
		cgroup_close(kind, &files[kind]);
}
END_TEST

/* That nothing limits it is said, too. */
START_TEST(test_nothing)
{
	const struct cgroup_files none[CGROUP_KIND_COUNT] = {0};
	struct chan_msg msg;

	kill(vmm, SIGKILL);
	ck_assert_int_eq(waitpid(vmm, NULL, 0), vmm);
	ck_assert_int_eq(limits_send(k.r), 0);
	check_told(none);
	ck_assert_int_eq(workerside_hear(&w, &msg), CHAN_NONE);
}
END_TEST

/*
 * Another process may have the VMM's pid by now: its cgroups are not told. Where no cgroup limits
 * this test, there are none.
 */
START_TEST(test_another_process)
{
	const struct cgroup_files none[CGROUP_KIND_COUNT] = {0};
	struct chan_msg msg;
	pid_t ended = workerside_fork();

	close_fd(&k.r->hold.vmm);
	if (_i)
		must_pidfd(ended, &k.r->hold.vmm);
	kill(ended, SIGKILL);
	ck_assert_int_eq(waitpid(ended, NULL, 0), ended);
	ck_assert_int_eq(limits_send(k.r), 0);
	check_told(none);
	ck_assert_int_eq(workerside_hear(&w, &msg), CHAN_NONE);
}
END_TEST

/* A worker may ask as often as it likes. */
START_TEST(test_not_too_often)
{
	uint64_t since;
	struct chan_msg msg;
	enum chan_type told;

	do {
		since = now_us();
		k.r->limits_sent_us = 0;
		ck_assert_int_eq(limits_send(k.r), 0);
		ck_assert_str_ne(workerside_told(&w), "");
		ck_assert_int_eq(limits_send(k.r), 0);
		told = workerside_hear(&w, &msg);
	} while (now_us() - since >= AGAIN_US);
	ck_assert_int_eq(told, CHAN_NONE);
	k.r->limits_sent_us = now_us() - AGAIN_US;
	ck_assert_int_eq(limits_send(k.r), 0);
	ck_assert_int_eq(workerside_hear(&w, &msg), CHAN_CGROUPS);
}
END_TEST

/* Then it must not prefetch, and is told as soon as it asks again. */
START_TEST(test_cannot_be_told)
{
	struct rlimit limit;

	if (_i) {
		close_fd(&w.chan);
		ck_assert_int_eq(limits_send(k.r), -1);
	} else {
		limit = harness_limit_fds(0);
		ck_assert_int_eq(limits_send(k.r), -1);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ck_assert_str_eq(workerside_told(&w), "");
	}
	ck_assert_uint_eq(k.r->limits_sent_us, 0);
}
END_TEST

/* Descriptors are few: none of these files stays open. */
START_TEST(test_keeps_nothing)
{
	int before = fds_count(getpid());

	k.r->rec.page_bytes = PAGE_2M;
	ck_assert_int_eq(limits_send(k.r), 0);
	ck_assert_str_ne(workerside_told(&w), "");
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("limits");
	TCase *tc = tcase_create("limits");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, test_told, 0, 2);
	tcase_add_test(tc, test_nothing);
	tcase_add_loop_test(tc, test_another_process, 0, 2);
	tcase_add_test(tc, test_not_too_often);
	tcase_add_loop_test(tc, test_cannot_be_told, 0, 2);
	tcase_add_test(tc, test_keeps_nothing);
	suite_add_tcase(suite, tc);
	return suite;
}
