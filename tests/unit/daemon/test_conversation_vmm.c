/* test_conversation_vmm - what a worker says of its VMM: that it came, ended, or failed */
#include "daemon/conversation.h"

#include <sys/eventfd.h>

#include "common/uffd.h"
#include "tests/support/conversationkit.h"
#include "tests/support/vmmside.h"

/* ---- CONNECTED ---- */

static struct chan_msg a_vmm(void)
{
	return (struct chan_msg){.connected = {.pid = (uint32_t)vmm,
					       .uid = geteuid(),
					       .nregions = 1,
					       .page_bytes = PAGE_4K,
					       .memory_bytes = SPAN}};
}

/* What is wrong with it, in the order in which it is looked at. */
/* clang-format off */
static const struct {
	uint32_t pid, uid, nregions;      /* more than of a_vmm() */
	uint64_t page_bytes, memory_bytes; /* instead; 0: as it is */
	uint64_t known_page;
	uint32_t peer_pid; /* asked for, more than of a_vmm(); 0: any */
	const char *lie;
} connects[] = {
	{.nregions = REGIONS_MAX - 1, .lie = NULL},
	{.page_bytes = PAGE_4K, .memory_bytes = PAGE_4K, .known_page = PAGE_4K, .lie = NULL},
	{.uid = 1, .lie = "of a VMM of the wrong user"},
	{.pid = 1, .lie = "of a process that cannot be its VMM"},
	{.peer_pid = 1, .lie = "of a VMM that is the wrong process"},
	{.page_bytes = 2 * PAGE_4K, .lie = "with an impossible page size"},
	{.known_page = PAGE_2M, .lie = "with an impossible page size"},
	{.nregions = REGIONS_MAX, .lie = "with impossible memory"},
	{.memory_bytes = SPAN + PAGE_4K, .lie = "with impossible memory"},
	{.memory_bytes = SPAN - 1, .lie = "with impossible memory"},
	{.page_bytes = PAGE_2M, .memory_bytes = SPAN, .lie = "with impossible memory"},
};
/* clang-format on */

START_TEST(test_connected_is_checked)
{
	struct chan_msg msg;
	int fds[2];
	struct err err;

	begin("", SLOT_READY, STATE_WAITING);
	k.r->rec.page_bytes = connects[_i].known_page;
	msg = a_vmm();
	if (connects[_i].peer_pid)
		k.r->spec.peer_pid = msg.connected.pid + connects[_i].peer_pid;
	msg.connected.pid += connects[_i].pid;
	msg.connected.uid += connects[_i].uid;
	msg.connected.nregions += connects[_i].nregions;
	if (connects[_i].page_bytes)
		msg.connected.page_bytes = connects[_i].page_bytes;
	if (connects[_i].memory_bytes)
		msg.connected.memory_bytes = connects[_i].memory_bytes;
	ck_assert_msg(uffd_open(0, &fds[0], &err) == 0, "%s", err.msg);
	fds[1] = pidfd;
	workerside_say(&w, CHAN_CONNECTED, &msg, fds, 2);
	check_lie(connects[_i].lie);
	ck_assert_str_eq(restorekit_events(&k), connects[_i].lie ? "worker-lied " : "connected ");
	ck_assert_int_eq(k.r->hold.uffd >= 0, !connects[_i].lie);
	close(fds[0]);
	end();
}
END_TEST

START_TEST(test_connected_without_vmm)
{
	struct err err = {.msg = ""};
	struct chan_msg msg;
	int uffd;

	begin("", SLOT_READY, STATE_WAITING);
	msg = a_vmm();
	msg.connected.pid *= (uint32_t)_i;
	ck_assert_msg(uffd_open(0, &uffd, &err) == 0, "%s", err.msg);
	workerside_say(&w, CHAN_CONNECTED, &msg, &uffd, _i ? 0 : 1);
	check_lie("without a VMM");
	close(uffd);
	end();
}
END_TEST

/* The guest is served, and all of it known; a second time only of one that came back. */
START_TEST(test_connected)
{
	struct chan_msg msg;
	struct err err = {.msg = ""};
	int fds[2];

	begin("", SLOT_READY, STATE_WAITING);
	open_acceptor(0);
	msg = a_vmm();
	ck_assert_msg(uffd_open(0, &fds[0], &err) == 0, "%s", err.msg);
	fds[1] = pidfd;
	workerside_say(&w, CHAN_CONNECTED, &msg, fds, 2);
	check_last("connected ", "\"regions\":1,\"page_bytes\":4096,\"memory_bytes\":40960");
	ck_assert_int_eq(k.r->rec.state, STATE_SERVING);
	ck_assert_uint_eq(k.r->rec.vmm_pid, (uint32_t)vmm);
	ck_assert_uint_eq(k.r->rec.vmm_start, proc_start_time(vmm));
	ck_assert_uint_eq(k.r->rec.memory_bytes, SPAN);
	ck_assert(k.r->hold.vmm >= 0 && k.r->hold.acceptor.fd < 0);
	ck_assert(!restorekit_exists(&k, "uffd"));
	ck_assert_str_eq(workerside_told(&w), "PRESENCE ");
	k.r->worker->replays = true;
	workerside_say(&w, CHAN_CONNECTED, &msg, fds, 2);
	check_lie(NULL);
	workerside_say(&w, CHAN_CONNECTED, &msg, fds, 2);
	check_lie("for the second time");
	close(fds[0]);
	end();
}
END_TEST

/* Of root's worker that is not root: served, but by a process that nothing shows to be its VMM. */
START_TEST(test_connected_without_proof)
{
	struct chan_msg msg;
	struct err err = {.msg = ""};
	int fds[2];

	begin("", SLOT_READY, STATE_WAITING);
	k.host.user.apart = true;
	k.r->rec.caller_uid = 0;
	msg = a_vmm();
	ck_assert_msg(uffd_open(0, &fds[0], &err) == 0, "%s", err.msg);
	fds[1] = pidfd;
	workerside_say(&w, CHAN_CONNECTED, &msg, fds, 2);
	check_last("connected ", "\"regions\":1");
	ck_assert(k.r->hold.uffd >= 0 && k.r->hold.vmm < 0);
	ck_assert_uint_eq(k.r->rec.vmm_start, 0);
	ck_assert_str_eq(workerside_told(&w), "");
	close(fds[0]);
	end();
}
END_TEST

/* The one that it served must be it; of one that has ended nobody can be harmed. */
START_TEST(test_connected_again)
{
	struct chan_msg msg;
	struct err err = {.msg = ""};
	int fds[2];

	begin("", SLOT_READY, STATE_SERVING);
	k.r->worker->replays = true;
	k.r->rec.vmm_pid = (uint32_t)vmm + 1;
	msg = a_vmm();
	if (_i) {
		kill(vmm, SIGKILL);
		ck_assert(workerside_was_killed(vmm));
	}
	ck_assert_msg(uffd_open(0, &fds[0], &err) == 0, "%s", err.msg);
	fds[1] = pidfd;
	workerside_say(&w, CHAN_CONNECTED, &msg, fds, 2);
	check_lie(_i ? NULL : "of another VMM");
	ck_assert_uint_eq(k.r->rec.vmm_pid, (uint32_t)vmm + 1);
	close(fds[0]);
	end();
}
END_TEST

/*
 * A descriptor that is readable like the pidfd of an ended process, and not later. With it a worker
 * would be shown the page states of any process that it names.
 */
START_TEST(test_connected_with_no_process)
{
	struct chan_msg msg;
	struct err err = {.msg = ""};
	int fds[2];

	begin("", SLOT_READY, STATE_WAITING);
	msg = a_vmm();
	msg.connected.pid = 1;
	ck_assert_msg(uffd_open(0, &fds[0], &err) == 0, "%s", err.msg);
	fds[1] = eventfd(_i, EFD_CLOEXEC);
	ck_assert_int_ge(fds[1], 0);
	workerside_say(&w, CHAN_CONNECTED, &msg, fds, 2);
	check_lie("with a descriptor of another kind");
	ck_assert_str_eq(restorekit_events(&k), "worker-lied ");
	ck_assert(k.r->hold.vmm < 0 && !k.r->rec.vmm_pid);
	ck_assert_str_eq(workerside_told(&w), "");
	close(fds[0]);
	close(fds[1]);
	end();
}
END_TEST

/* Of huge pages it must know whether its guest can be left alone. */
START_TEST(test_connected_with_huge_pages)
{
	struct chan_msg msg;
	struct err err = {.msg = ""};
	int fds[2];

	begin("", SLOT_READY, STATE_WAITING);
	k.r->rec.size_bytes = PAGE_2M;
	msg = a_vmm();
	msg.connected.page_bytes = msg.connected.memory_bytes = PAGE_2M;
	ck_assert_msg(uffd_open(0, &fds[0], &err) == 0, "%s", err.msg);
	fds[1] = pidfd;
	workerside_say(&w, CHAN_CONNECTED, &msg, fds, 2);
	check_lie(NULL);
	ck_assert_ptr_nonnull(strstr(workerside_told(&w), "PRESENCE CGROUPS "));
	close(fds[0]);
	end();
}
END_TEST

/* ---- GONE, RELEASED ---- */

START_TEST(test_gone)
{
	struct err err = {.msg = ""};

	begin("", SLOT_READY, STATE_SERVING);
	if (_i == 0)
		ck_assert_msg(uffd_open(0, &k.r->hold.uffd, &err) == 0, "%s", err.msg);
	say(CHAN_GONE);
	check_lie(_i ? NULL : "of a VMM that lives");
	ck_assert_str_eq(k.r->rec.reason, _i ? "vmm-exited" : "");
	ck_assert_str_eq(restorekit_events(&k), _i ? "ended " : "worker-lied ");
	end();
}
END_TEST

START_TEST(test_released)
{
	begin("", SLOT_READY, STATE_SERVING);
	say(CHAN_RELEASED);
	check_last("ended ", "released");
	ck_assert_str_eq(k.r->rec.reason, "released");
	ck_assert_int_eq(k.r->slot.state, SLOT_LEAVING);
	ck_assert_str_eq(workerside_told(&w), "STOP ");
	end();
}
END_TEST

/* ---- FAILED ---- */

static struct chan_msg a_failure(enum err_code code)
{
	struct chan_msg msg = {.failed = {.code = code, .sys = 5}};

	snprintf(msg.failed.msg, sizeof(msg.failed.msg), "so it says");
	return msg;
}

/* What it could not load is the create's error; a code that we do not know is the system's. */
START_TEST(test_failed_creating)
{
	struct chan_msg msg = a_failure(_i ? ERR_COUNT : ERR_SNAPSHOT);

	begin("", SLOT_CREATING, STATE_WAITING);
	workerside_say(&w, CHAN_FAILED, &msg, NULL, 0);
	ck_assert_uint_eq(answers, 1);
	ck_assert_int_eq(answer.code, _i ? ERR_SYSTEM : ERR_SNAPSHOT);
	ck_assert_int_eq(answer.sys, 5);
	ck_assert_str_eq(answer.msg, "so it says");
	ck_assert_str_eq(restorekit_events(&k), "");
	end();
}
END_TEST

/* Nobody else can load it: the guest has none from now on, and the first reason stays. */
START_TEST(test_failed_succeeding)
{
	struct chan_msg msg = a_failure(ERR_SNAPSHOT);

	begin("\"on_failure\":\"hold\"", SLOT_LOADING, _i ? STATE_FAILED : STATE_RECOVERING);
	k.r->hold.vmm = steal_fd(&pidfd);
	snprintf(k.r->rec.reason, sizeof(k.r->rec.reason), "a first one");
	workerside_say(&w, CHAN_FAILED, &msg, NULL, 0);
	check_lie(NULL);
	ck_assert_int_eq(k.r->slot.state, SLOT_LOST);
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_str_eq(k.r->rec.reason, _i ? "a first one" : "so it says");
	check_last(_i ? "no-worker " : "failed ", "so it says");
	end();
}
END_TEST

/* What is to become of a guest: the request says, and where it says "poison" the worker. */
static const struct {
	const char *members;
	bool asked, killed;
} policies[] = {
	{"\"on_failure\":\"kill\"", false, true},    {"\"on_failure\":\"kill\"", true, true},
	{"\"on_failure\":\"poison\"", false, false}, {"\"on_failure\":\"poison\"", true, true},
	{"\"on_failure\":\"hold\"", false, false},   {"\"on_failure\":\"hold\"", true, false},
};

/* One that a signal is on its way to does not stop before it ends. */
static bool is_killed(void)
{
	siginfo_t how = {0};

	ck_assert_int_eq(kill(vmm, SIGSTOP), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)vmm, &how, WEXITED | WSTOPPED | WNOWAIT), 0);
	return how.si_code == CLD_KILLED;
}

START_TEST(test_failed_serving)
{
	struct chan_msg msg = a_failure(ERR_SYSTEM);

	begin(policies[_i].members, SLOT_READY, STATE_SERVING);
	k.r->rec.vmm_pid = (uint32_t)vmm;
	k.r->hold.vmm = steal_fd(&pidfd);
	msg.failed.kill = policies[_i].asked;
	workerside_say(&w, CHAN_FAILED, &msg, NULL, 0);
	check_lie(NULL);
	check_last("failed ", "so it says");
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert(!k.r->rec.released);
	ck_assert_int_eq(is_killed(), policies[_i].killed);
	/* Once is enough. */
	workerside_say(&w, CHAN_FAILED, &msg, NULL, 0);
	ck_assert_str_eq(restorekit_events(&k), "failed ");
	end();
}
END_TEST

/* A VMM whose message was wrong was never served, and hangs on its worker all the same. */
START_TEST(test_failed_with_vmm)
{
	struct chan_msg msg = a_failure(ERR_PEER);

	begin("\"on_failure\":\"hold\"", SLOT_READY, STATE_WAITING);
	msg.failed.vmm_pid = (uint32_t)vmm;
	msg.failed.vmm_uid = geteuid();
	workerside_say(&w, CHAN_FAILED, &msg, &pidfd, 1);
	check_last("failed ", "so it says");
	ck_assert_uint_eq(k.r->rec.vmm_pid, (uint32_t)vmm);
	ck_assert_int_ge(k.r->hold.vmm, 0);
	ck_assert(!k.r->rec.released && !restore_released(k.r));
	end();
}
END_TEST

/* clang-format off */
static const struct {
	enum slot_state slot;
	bool reason;
	uint32_t pid, uid; /* more than the VMM's */
	const char *lie;
} failures[] = {
	{SLOT_READY, false, 0, 0, "without a reason"},
	{SLOT_LOADING, true, 0, 0, "with a VMM that nobody has let in"},
	{SLOT_CREATING, true, 0, 0, "with a VMM that nobody has let in"},
	{SLOT_READY, true, 0, 1, "of a VMM of the wrong user"},
	{SLOT_READY, true, 1, 0, "of a process that cannot be its VMM"},
};
/* clang-format on */

START_TEST(test_failed_is_checked)
{
	struct chan_msg msg = a_failure(ERR_PEER);

	begin("\"on_failure\":\"kill\"", failures[_i].slot, STATE_WAITING);
	if (!failures[_i].reason)
		msg.failed.msg[0] = '\0';
	msg.failed.vmm_pid = (uint32_t)vmm + failures[_i].pid;
	msg.failed.vmm_uid = geteuid() + failures[_i].uid;
	workerside_say(&w, CHAN_FAILED, &msg, &pidfd, 1);
	check_lie(failures[_i].lie);
	ck_assert_str_eq(restorekit_events(&k), "worker-lied ");
	ck_assert(!is_killed());
	end();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("conversation vmm");
	TCase *tc = tcase_create("connected");

	tcase_add_loop_test(tc, test_connected_is_checked, 0, ARRAY_LEN(connects));
	tcase_add_loop_test(tc, test_connected_without_vmm, 0, 2);
	tcase_add_test(tc, test_connected);
	tcase_add_test(tc, test_connected_without_proof);
	tcase_add_loop_test(tc, test_connected_again, 0, 2);
	tcase_add_loop_test(tc, test_connected_with_no_process, 0, 2);
	tcase_add_test(tc, test_connected_with_huge_pages);
	suite_add_tcase(suite, tc);
	tc = tcase_create("end");
	tcase_add_loop_test(tc, test_gone, 0, 2);
	tcase_add_test(tc, test_released);
	suite_add_tcase(suite, tc);
	tc = tcase_create("failed");
	tcase_add_loop_test(tc, test_failed_creating, 0, 2);
	tcase_add_loop_test(tc, test_failed_succeeding, 0, 2);
	tcase_add_loop_test(tc, test_failed_serving, 0, ARRAY_LEN(policies));
	tcase_add_test(tc, test_failed_with_vmm);
	tcase_add_loop_test(tc, test_failed_is_checked, 0, ARRAY_LEN(failures));
	suite_add_tcase(suite, tc);
	return suite;
}
