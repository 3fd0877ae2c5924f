/* test_conversation_words - READY, peers, and what is said of a guest: members, and what follows */
#include "daemon/conversation.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/support/conversationkit.h"

/* ---- READY ---- */

/* clang-format off */
static const struct {
	struct chan_ready ready;
	bool listens;
	const char *lie;
} readies[] = {
	{{.size_bytes = SIZE, .layers = SPEC_LAYERS_MAX + 1}, true, NULL},
	{{.size_bytes = 0}, true, "of an impossible snapshot"},
	{{.size_bytes = SIZE, .layers = SPEC_LAYERS_MAX + 2}, true, "of an impossible snapshot"},
	{{.size_bytes = SIZE}, false, "without a socket"},
};
/* clang-format on */

START_TEST(test_ready_creates)
{
	struct chan_msg msg = {.ready = readies[_i].ready};
	cleanup_fd int fd = -1;

	begin("", SLOT_CREATING, STATE_WAITING);
	k.r->rec.size_bytes = 0;
	msg.ready.key = (struct wset_key){.kind = WSET_BUILD, .number = SIZE};
	fd = readies[_i].listens ? listening() : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	workerside_say(&w, CHAN_READY, &msg, &fd, 1);
	check_lie(readies[_i].lie);
	ck_assert_uint_eq(answers, 1);
	if (!readies[_i].lie) {
		check_last("created ", "\"size_bytes\":40959,\"layers\":4097,\"extents\":0");
		ck_assert_str_eq(answer.msg, "made");
		ck_assert_int_eq(k.r->slot.state, SLOT_READY);
		ck_assert_uint_eq(k.r->rec.size_bytes, SIZE);
		ck_assert_uint_ne(strlen(k.r->rec.wset_key), 0);
		ck_assert_int_ge(k.r->hold.acceptor.fd, 0);
		ck_assert_str_eq(workerside_told(&w), "KNOWN ");
	}
	end();
}
END_TEST

/* What was recorded of the snapshot; nobody looks into it before the worker. */
static void store_working_set(const struct wset_key *key)
{
	char path[CONF_PATH_MAX + 1], text[WSET_KEY_LEN + 1];

	wset_key_text(key, text);
	snprintf(path, sizeof(path), "%s/working-sets/t", k.dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/working-sets/t/%s-4k", k.dir, text);
	close(open(path, O_CREAT | O_CLOEXEC, 0600));
}

/* A successor has the snapshot of its predecessor, as far as pages go. */
START_TEST(test_ready_succeeds)
{
	struct chan_msg msg = {.ready = {.size_bytes = _i ? SPAN + 1 : SPAN}};

	begin("", SLOT_LOADING, STATE_RECOVERING);
	msg.ready.key = (struct wset_key){.kind = WSET_BUILD, .number = SIZE};
	store_working_set(&msg.ready.key);
	workerside_say(&w, CHAN_READY, &msg, NULL, 0);
	check_lie(_i ? "of a snapshot of another size" : NULL);
	ck_assert_str_eq(restorekit_events(&k), _i ? "worker-lied " : "recovered ");
	ck_assert_int_eq(k.r->rec.state, _i ? STATE_RECOVERING : STATE_SERVING);
	ck_assert_int_eq(k.r->slot.state, _i ? SLOT_LOADING : SLOT_READY);
	ck_assert_str_eq(workerside_told(&w), _i ? "" : "KNOWN WSET_GIVEN ");
	end();
}
END_TEST

/* While nobody was served the files may be others now, and honestly so. */
START_TEST(test_ready_of_other_files)
{
	struct chan_msg msg = {.ready = {.size_bytes = SPAN + 1}};
	cleanup_fd int fd = -1;

	begin("", SLOT_LOADING, STATE_WAITING);
	fd = listening();
	workerside_say(&w, CHAN_READY, &msg, &fd, 1);
	check_lie(NULL);
	check_last("failed ", "the snapshot had 40959 bytes of memory and has 40961 now");
	end();
}
END_TEST

/* ---- REFUSED, PEER ---- */

START_TEST(test_peer)
{
	struct chan_msg msg = {0};
	int pair[2];

	begin("", SLOT_READY, STATE_WAITING);
	open_acceptor((size_t)_i);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	workerside_say(&w, CHAN_PEER, &msg, pair, 1);
	check_lie(_i ? NULL : "that it has not announced");
	ck_assert_uint_eq(k.r->hold.acceptor.n, _i > 0);
	if (_i) {
		ck_assert_uint_eq(sock_cookie(k.r->hold.acceptor.peers[0].sock),
				  sock_cookie(pair[0]));
		/* One too many, or one that is none. */
		workerside_say(&w, CHAN_PEER, &msg, pair, _i == 1);
		check_lie("that it has not announced");
	}
	close(pair[0]);
	close(pair[1]);
	end();
}
END_TEST

/* Who is turned away is let go; not more than some are worth an event. */
START_TEST(test_refused)
{
	struct chan_msg msg = {.refused = {.pid = 7, .uid = 8, .why = "a stranger"}};
	int pair[2];

	begin("", SLOT_READY, STATE_WAITING);
	open_acceptor(1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	msg.refused.peer = sock_cookie(pair[0]);
	acceptor_keep(&k.r->hold.acceptor, &pair[0], NULL);
	workerside_say(&w, CHAN_REFUSED, &msg, NULL, 0);
	ck_assert_uint_eq(k.r->hold.acceptor.n, 0);
	check_last("refused ", "{\"pid\":7,\"uid\":8,\"detail\":\"a stranger\"}");
	for (int i = 0; i < CHAN_TOLD_MAX; i++)
		workerside_say(&w, CHAN_REFUSED, &msg, NULL, 0);
	ck_assert_uint_eq(strlen(restorekit_events(&k)), CHAN_TOLD_MAX * strlen("refused "));
	close(pair[1]);
	end();
}
END_TEST

/* ---- of a guest ---- */

START_TEST(test_paused_and_complete)
{
	uint64_t revision;

	begin("", SLOT_READY, STATE_SERVING);
	revision = k.r->rec.revision;
	say(CHAN_PAUSED);
	ck_assert(k.r->rec.paused && !k.r->rec.complete);
	say(CHAN_COMPLETE);
	ck_assert(k.r->rec.complete);
	ck_assert_uint_eq(k.r->rec.revision, revision + 2);
	say(CHAN_PAUSED);
	say(CHAN_COMPLETE);
	ck_assert_str_eq(restorekit_events(&k), "paused complete ");
	ck_assert_uint_eq(k.r->rec.revision, revision + 2);
	end();
}
END_TEST

/* Each kind has its own share of events. */
START_TEST(test_notes)
{
	struct chan_msg msg = {.note = {.type = "forked", .msg = "so it is"}};

	begin("", SLOT_READY, STATE_SERVING);
	for (int i = 0; i <= CHAN_TOLD_MAX; i++)
		workerside_say(&w, CHAN_NOTE, &msg, NULL, 0);
	ck_assert_uint_eq(strlen(restorekit_events(&k)), CHAN_TOLD_MAX * strlen("forked "));
	snprintf(msg.note.type, sizeof(msg.note.type), "memory-short");
	workerside_say(&w, CHAN_NOTE, &msg, NULL, 0);
	ck_assert_ptr_nonnull(strstr(restorekit_events(&k), "memory-short "));
	ck_assert_str_eq(restorekit_data(&k), "{\"detail\":\"so it is\"}");
	snprintf(msg.note.type, sizeof(msg.note.type), "a-test");
	workerside_say(&w, CHAN_NOTE, &msg, NULL, 0);
	check_lie("of an unknown type");
	end();
}
END_TEST

/* Only where a guest is served, and behind what its VMM may have. */
START_TEST(test_lease)
{
	struct chan_msg msg = {.lease.ask = 4711}, told;

	begin("", SLOT_READY, _i ? STATE_SERVING : STATE_FAILED);
	workerside_say(&w, CHAN_LEASE_ASK, &msg, NULL, 0);
	ck_assert_int_eq(k.r->claim.state, _i ? CLAIM_WAITING : CLAIM_NONE);
	if (_i) {
		workerside_turn(&w);
		ck_assert_int_eq(workerside_hear(&w, &told), CHAN_CGROUPS);
		while (workerside_hear(&w, &told) == CHAN_CGROUPS)
			;
		ck_assert_int_eq(told.type, CHAN_LEASE_GRANT);
		ck_assert_uint_eq(told.lease.ask, 4711);
		say(CHAN_LEASE_BACK);
		ck_assert_int_eq(k.r->claim.state, CLAIM_NONE);
	}
	ck_assert_str_eq(workerside_told(&w), "");
	end();
}
END_TEST

/* A recording ends once, also behind the guest's end. */
START_TEST(test_wset_made)
{
	cleanup_fd int fd = memfd_create("a test", MFD_CLOEXEC);
	struct chan_msg msg = {0};

	begin("", _i ? SLOT_LEAVING : SLOT_READY, _i ? STATE_ENDED : STATE_SERVING);
	k.r->rec.recording = true;
	workerside_say(&w, CHAN_WSET_MADE, &msg, &fd, 1);
	ck_assert(!k.r->rec.recording);
	workerside_say(&w, CHAN_WSET_MADE, &msg, &fd, 1);
	ck_assert_str_eq(restorekit_events(&k), "working-set-ignored ");
	end();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("conversation words");
	TCase *tc = tcase_create("ready");

	tcase_add_loop_test(tc, test_ready_creates, 0, ARRAY_LEN(readies));
	tcase_add_loop_test(tc, test_ready_succeeds, 0, 2);
	tcase_add_test(tc, test_ready_of_other_files);
	suite_add_tcase(suite, tc);
	tc = tcase_create("peers");
	tcase_add_loop_test(tc, test_peer, 0, 3);
	tcase_add_test(tc, test_refused);
	suite_add_tcase(suite, tc);
	tc = tcase_create("guest");
	tcase_add_test(tc, test_paused_and_complete);
	tcase_add_test(tc, test_notes);
	tcase_add_loop_test(tc, test_lease, 0, 2);
	tcase_add_loop_test(tc, test_wset_made, 0, 2);
	suite_add_tcase(suite, tc);
	return suite;
}
