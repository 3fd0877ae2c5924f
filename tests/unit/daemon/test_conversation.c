/* test_conversation - which message of a worker is lawful when, its price, and what a lie costs */
#include "daemon/conversation.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "daemon/phase.h"
#include "tests/support/vmmside.h"
#include "tests/support/workerside.h"

#define LATER_US ((uint64_t)3600 * 1000 * 1000)
#define PRICELESS 500

static struct restorekit k;
static struct workerside w;
/* What the creator of the restore was told. */
static struct {
	unsigned n;
	struct err why;
} answer;

static void note_answer(struct creator *c, struct restore *r, const struct err *why)
{
	(void)c;
	(void)r;
	answer.n++;
	answer.why = why ? *why : (struct err){.msg = "made"};
}

static struct creator creator = {.done = note_answer};

static void begin(void)
{
	answer.n = 0;
	restorekit_open(&k, "");
	workerside_open(&w, &k, &conversation_worker_hooks);
	k.host.conf.worker_restarts = 0;
	/* Time pays nothing. */
	k.r->worker->allowance = (struct allowance){PRICELESS, now_us() + LATER_US};
	TAILQ_INSERT_TAIL(&k.r->creators, &creator, link);
	creator.list = &k.r->creators;
}

static void end(void)
{
	workerside_close(&w);
	restorekit_close(&k);
}

static const struct {
	enum slot_state slot;
	enum restore_state state;
} scenes[PHASE_COUNT] = {
	[PHASE_CREATING] = {SLOT_CREATING, STATE_WAITING},
	[PHASE_SUCCEEDING] = {SLOT_LOADING, STATE_RECOVERING},
	[PHASE_WAITING] = {SLOT_READY, STATE_WAITING},
	[PHASE_SERVING] = {SLOT_READY, STATE_SERVING},
	[PHASE_FAILED] = {SLOT_READY, STATE_FAILED},
	[PHASE_OVER] = {SLOT_LEAVING, STATE_ENDED},
};

static void enter(enum phase phase)
{
	k.r->slot.state = scenes[phase].slot;
	k.r->rec.state = scenes[phase].state;
	ck_assert_int_eq(phase_of(k.r), phase);
}

/* ---- every message in every phase ---- */

/*
 * A letter for each phase: L a lie, since it is not for it to say now, and N never; f a lie by what
 * it says, for all its members are zero; . nothing comes of it; p, c: the event "paused",
 * "complete"; E the end. The price is that of a message that costs a transaction, or the other.
 */
/* clang-format off */
static const struct {
	enum chan_type type;
	const char *outcome; /* creating, succeeding, waiting, serving, failed, over */
	uint64_t price;
} grid[] = {
	{CHAN_HELLO,        "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_ASSIGN,       "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_READY,        "ffLLL.", ALLOWANCE_DEAR},
	{CHAN_REFUSED,      "LL.LL.", ALLOWANCE_DEAR},
	{CHAN_CONNECTED,    "LLfff.", ALLOWANCE_DEAR},
	{CHAN_PREFETCH,     "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_PAUSE,        "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_RESUME,       "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_PAUSED,       "LLLpp.", ALLOWANCE_DEAR},
	{CHAN_COMPLETE,     "LLLcc.", ALLOWANCE_DEAR},
	{CHAN_NOTE,         "LLfff.", ALLOWANCE_DEAR},
	{CHAN_STOP,         "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_GONE,         "LLLEE.", ALLOWANCE_DEAR},
	{CHAN_RELEASED,     "LLLEL.", ALLOWANCE_DEAR},
	{CHAN_FAILED,       "fffff.", ALLOWANCE_DEAR},
	{CHAN_FILES,        "LLfff.", ALLOWANCE_CHEAP},
	{CHAN_REATTACH,     "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_LEASE_ASK,    "LLL...", ALLOWANCE_CHEAP},
	{CHAN_LEASE_BACK,   "LLL...", ALLOWANCE_CHEAP},
	{CHAN_LEASE_GRANT,  "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_LEASE_REVOKE, "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_FORK,         "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_FORKED,       "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_WSET_GIVEN,   "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_WSET_MADE,    "LLL...", ALLOWANCE_DEAR},
	{CHAN_PEER,         "LLfLL.", ALLOWANCE_CHEAP},
	{CHAN_PRESENCE,     "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_CGROUPS,      "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_KNOWN,        "NNNNNN", ALLOWANCE_CHEAP},
	{CHAN_PROOF,        "LL....", ALLOWANCE_CHEAP},
};
/* clang-format on */

static bool is_lie(char outcome)
{
	return strchr("LNf", outcome) != NULL;
}

/* In the words that the event has: those of its members are each room's own. */
static void check_detail(enum chan_type type, enum phase phase, char outcome)
{
	const char *data = restorekit_data(&k);
	char said[128];

	snprintf(said, sizeof(said), "it says %s while %s, ", chan_type_name(type),
		 phase_name(phase));
	ck_assert_msg(strstr(data, said), "%s: %s", said, data);
	ck_assert_msg(!strstr(data, "which is not for it to say now") == (outcome != 'L'),
		      "%s is %c: %s", said, outcome, data);
	ck_assert_msg(!strstr(data, "which is never for it to say") == (outcome != 'N'),
		      "%s is %c: %s", said, outcome, data);
}

static const char *events_of(char outcome)
{
	switch (outcome) {
	case 'p':
		return "paused ";
	case 'c':
		return "complete ";
	case '.':
		return "";
	default:
		return "worker-lied ";
	}
}

static void check_outcome(enum chan_type type, enum phase phase, char outcome)
{
	const char *ended = phase == PHASE_FAILED ? "released " : "ended ";
	const char *expected = outcome == 'E' ? ended : events_of(outcome);
	struct chan_msg msg = {0};

	begin();
	enter(phase);
	workerside_say(&w, type, &msg, NULL, 0);
	ck_assert_msg(strcmp(restorekit_events(&k), expected) == 0, "%s while %s: %s",
		      chan_type_name(type), phase_name(phase), restorekit_events(&k));
	if (is_lie(outcome)) {
		check_detail(type, phase, outcome);
		ck_assert(workerside_was_killed(w.pid));
		/* Of what it is, only the end of a create is known yet. */
		ck_assert(phase == PHASE_CREATING ? !k.r : k.r->rec.state == scenes[phase].state);
		ck_assert_uint_eq(answer.n, phase == PHASE_CREATING);
	} else {
		ck_assert(!k.r->worker->silenced);
	}
	end();
}

START_TEST(test_every_message)
{
	ck_assert_uint_eq(ARRAY_LEN(grid), CHAN_TYPE_COUNT - 1);
	for (int phase = 0; phase < PHASE_COUNT; phase++)
		check_outcome(grid[_i].type, (enum phase)phase, grid[_i].outcome[phase]);
}
END_TEST

/* clang-format off */
static const struct {
	enum chan_type type;
	enum phase phase;
	size_t at; /* of its descriptors, the others are as they must be */
} foreign[] = {
	{CHAN_READY, PHASE_CREATING, 0},    {CHAN_READY, PHASE_SUCCEEDING, 0},
	{CHAN_PEER, PHASE_WAITING, 0},      {CHAN_CONNECTED, PHASE_WAITING, 0},
	{CHAN_CONNECTED, PHASE_WAITING, 1}, {CHAN_CONNECTED, PHASE_SERVING, 0},
	{CHAN_FAILED, PHASE_SERVING, 0},    {CHAN_WSET_MADE, PHASE_SERVING, 0},
	{CHAN_WSET_MADE, PHASE_OVER, 0},
};
/* clang-format on */

/* A file of any other kind could keep waiting whoever asks it: it is a lie before it is used. */
START_TEST(test_foreign_kind)
{
	cleanup_fd int file = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct err err = {.msg = ""};
	struct chan_msg msg = {0};
	int fds[2] = {file, file};

	begin();
	enter(foreign[_i].phase);
	if (foreign[_i].at)
		ck_assert_int_eq(uffd_open(0, &fds[0], &err), 0);
	workerside_say(&w, foreign[_i].type, &msg, fds, foreign[_i].at + 1);
	ck_assert_msg(strstr(restorekit_data(&k), "with a descriptor of another kind"), "%s",
		      restorekit_data(&k));
	ck_assert(workerside_was_killed(w.pid));
	if (foreign[_i].at)
		close(fds[0]);
	end();
}
END_TEST

/* What is never lawful is dear enough. */
START_TEST(test_price)
{
	struct chan_msg msg = {0};
	bool lies = grid[_i].outcome[PHASE_OVER] == 'N';

	begin();
	enter(PHASE_OVER);
	k.r->worker->allowance.left = grid[_i].price;
	workerside_say(&w, grid[_i].type, &msg, NULL, 0);
	ck_assert_uint_eq(k.r->worker->allowance.left, 0);
	ck_assert_int_eq(k.r->worker->silenced, lies);
	end();

	begin();
	enter(PHASE_OVER);
	k.r->worker->allowance.left = grid[_i].price - 1;
	workerside_say(&w, grid[_i].type, &msg, NULL, 0);
	ck_assert_uint_eq(k.r->worker->allowance.left, grid[_i].price - 1);
	ck_assert(k.r->worker->silenced);
	ck_assert_msg(strstr(restorekit_data(&k), "and far too much in all"), "%s",
		      restorekit_data(&k));
	end();
}
END_TEST

/* As many bytes as the channel takes for it, of a release that is not ours. */
static void say_of_version(uint32_t type, uint32_t version)
{
	struct chan_msg msg = {.type = type, .version = version};

	ck_assert_int_eq(send(w.chan, &msg, 8 + sizeof(struct chan_note), MSG_NOSIGNAL),
			 8 + sizeof(struct chan_note));
	workerside_turn(&w);
}

/* What only a newer release knows is nothing, but not for nothing. */
START_TEST(test_newer_release)
{
	static const uint32_t types[] = {CHAN_TYPE_COUNT, CHAN_NOTE};
	uint64_t price = _i ? ALLOWANCE_DEAR : ALLOWANCE_CHEAP;

	begin();
	enter(PHASE_SERVING);
	k.r->worker->allowance.left = price;
	say_of_version(types[_i], CHAN_VERSION + 1);
	ck_assert(!k.r->worker->silenced);
	ck_assert_uint_eq(k.r->worker->allowance.left, 0);
	ck_assert_str_eq(restorekit_events(&k), "");
	say_of_version(types[_i], CHAN_VERSION + 1);
	ck_assert_msg(strstr(restorekit_data(&k), "and far too much in all"), "%s",
		      restorekit_data(&k));
	end();
}
END_TEST

/* Its release kept the files with us. */
START_TEST(test_files_of_version_1)
{
	struct chan_msg msg = {.type = CHAN_FILES, .version = 1};
	ssize_t len = 8 + sizeof(msg.files);

	begin();
	enter(PHASE_WAITING);
	ck_assert_int_eq(send(w.chan, &msg, (size_t)len, MSG_NOSIGNAL), len);
	workerside_turn(&w);
	ck_assert(!k.r->worker->silenced);
	ck_assert_uint_eq(k.r->worker->allowance.left, PRICELESS - ALLOWANCE_CHEAP);
	end();
}
END_TEST

/* ---- a liar ---- */

static bool has_exited(void *arg)
{
	(void)arg;
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
	return !k.r || !k.r->worker;
}

static void await_exit(void)
{
	ck_assert(harness_wait(has_exited, NULL, HARNESS_MS));
}

/* It is heard no more, and its end counts as a death: here the first is one too many. */
START_TEST(test_liar_is_silenced)
{
	struct chan_msg msg = {0};
	struct err err;

	begin();
	enter(PHASE_WAITING);
	workerside_say(&w, CHAN_RELEASED, &msg, NULL, 0);
	ck_assert_int_eq(chan_send(w.chan, CHAN_PROOF, &msg, NULL, 0, &err), 0);
	ck_assert_int_eq(chan_send(w.chan, CHAN_RELEASED, &msg, NULL, 0, &err), 0);
	await_exit();
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_msg(strstr(k.r->rec.reason, "again and again"), "%s", k.r->rec.reason);
	ck_assert_str_eq(restorekit_events(&k), "worker-lied failed ");
	end();
}
END_TEST

/* What is not of the protocol at all. */
START_TEST(test_noise)
{
	begin();
	enter(PHASE_SERVING);
	ck_assert_int_eq(send(w.chan, "GET", 3, MSG_NOSIGNAL), 3);
	workerside_turn(&w);
	ck_assert_str_eq(restorekit_events(&k), "worker-lied ");
	ck_assert_msg(strstr(restorekit_data(&k), "too short"), "%s", restorekit_data(&k));
	ck_assert(workerside_was_killed(w.pid));
	end();
}
END_TEST

/* There is no restore, and an event that tells why. */
START_TEST(test_liar_creates_nothing)
{
	struct chan_msg msg = {0};

	begin();
	enter(PHASE_CREATING);
	workerside_say(&w, CHAN_PAUSED, &msg, NULL, 0);
	ck_assert_uint_eq(answer.n, 1);
	ck_assert_int_eq(answer.why.code, ERR_SYSTEM);
	ck_assert_msg(strstr(answer.why.msg, "restore r: its worker lies"), "%s", answer.why.msg);
	ck_assert_ptr_null(k.r);
	ck_assert(!restorekit_exists(&k, "maps") && !restorekit_exists(&k, "uffd"));
	end();
}
END_TEST

/* ---- the end of a worker ---- */

static void kill_worker(void)
{
	ck_assert_int_eq(kill(w.pid, SIGKILL), 0);
	await_exit();
}

START_TEST(test_dies_while_creating)
{
	begin();
	enter(PHASE_CREATING);
	kill_worker();
	ck_assert_uint_eq(answer.n, 1);
	ck_assert_int_eq(answer.why.code, ERR_SYSTEM);
	ck_assert_msg(strstr(answer.why.msg, "the worker died (signal 9"), "%s", answer.why.msg);
	ck_assert_str_eq(restorekit_events(&k), "");
	end();
}
END_TEST

/* The last of it: nobody needs the page map any more, and those who wait are told. */
START_TEST(test_leaves)
{
	char path[CONF_PATH_MAX + 1];

	begin();
	enter(PHASE_OVER);
	host_path(&k.host, "maps", "r", path);
	k.r->hold.map_fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(k.r->hold.map_fd, 0);
	kill_worker();
	ck_assert_int_eq(k.r->slot.state, SLOT_OVER);
	ck_assert_int_lt(k.r->hold.map_fd, 0);
	ck_assert_uint_eq(k.changed, 1);
	ck_assert_str_eq(restorekit_events(&k), "");
	end();
}
END_TEST

/* Only a death that nobody had wanted counts; the lease and the cgroups were its. */
START_TEST(test_dies)
{
	static const enum slot_state states[] = {SLOT_READY, SLOT_REPLACING};
	struct chan_msg msg = {.lease.ask = 1};

	begin();
	enter(PHASE_SERVING);
	workerside_say(&w, CHAN_LEASE_ASK, &msg, NULL, 0);
	ck_assert_int_ne(k.r->claim.state, CLAIM_NONE);
	ck_assert_uint_ne(k.r->limits_sent_us, 0);
	k.r->rec.state = STATE_WAITING;
	k.r->slot.state = states[_i];
	ck_assert_int_eq(kill(w.pid, SIGKILL), 0);
	ck_assert(workerside_was_killed(w.pid));
	workerside_turn(&w);
	ck_assert_int_eq(k.r->claim.state, CLAIM_NONE);
	ck_assert_uint_eq(k.r->limits_sent_us, 0);
	ck_assert_int_eq(k.r->rec.state, _i ? STATE_WAITING : STATE_FAILED);
	ck_assert_str_eq(restorekit_events(&k), _i ? "worker-died " : "failed ");
	ck_assert_int_eq(k.r->slot.state, _i ? SLOT_LOADING : SLOT_OVER);
	end();
}
END_TEST

/* ---- its channel is lost, for want of descriptors ---- */

START_TEST(test_cut)
{
	static const struct {
		enum phase phase;
		bool awaited;
	} rows[] = {{PHASE_CREATING, false}, {PHASE_WAITING, true}, {PHASE_OVER, false}};
	struct chan_msg msg = {0};
	struct rlimit limit;

	begin();
	enter(rows[_i].phase);
	limit = harness_limit_fds(0);
	workerside_say(&w, CHAN_WSET_MADE, &msg, &w.chan, 1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(k.r->slot.state == SLOT_AWAITED, rows[_i].awaited);
	ck_assert_int_eq(k.r->hold.old_worker >= 0, rows[_i].awaited);
	ck_assert_int_eq(k.r->worker == NULL, rows[_i].awaited);
	ck_assert_str_eq(restorekit_events(&k), "");
	/* Its pool does not wait for it any more, and it is not to come back here. */
	if (rows[_i].awaited) {
		timer_drop(&k.r->hold.back_by);
		kill(w.pid, SIGKILL);
		ck_assert_int_eq(waitpid(w.pid, NULL, 0), w.pid);
	}
	end();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("conversation");
	TCase *tc = tcase_create("table");

	tcase_add_loop_test(tc, test_every_message, 0, ARRAY_LEN(grid));
	tcase_add_loop_test(tc, test_foreign_kind, 0, ARRAY_LEN(foreign));
	tcase_add_loop_test(tc, test_price, 0, ARRAY_LEN(grid));
	tcase_add_loop_test(tc, test_newer_release, 0, 2);
	tcase_add_test(tc, test_files_of_version_1);
	suite_add_tcase(suite, tc);
	tc = tcase_create("liar");
	tcase_add_test(tc, test_liar_is_silenced);
	tcase_add_test(tc, test_noise);
	tcase_add_test(tc, test_liar_creates_nothing);
	suite_add_tcase(suite, tc);
	tc = tcase_create("end");
	tcase_add_test(tc, test_dies_while_creating);
	tcase_add_test(tc, test_leaves);
	tcase_add_loop_test(tc, test_dies, 0, 2);
	tcase_add_loop_test(tc, test_cut, 0, 3);
	suite_add_tcase(suite, tc);
	return suite;
}
