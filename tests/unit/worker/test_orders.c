/* test_orders - every message of the supervisor in every phase of a job */
#include "worker/orders.h"

#include "tests/support/fds.h"
#include "tests/support/jobkit.h"

/* What a message has visibly done; a bit each. */
enum effect {
	ASSIGNED,
	KNOWN,
	TOLD_HOLDER,
	STOPPED,
	HAS_PEER,
	WISHED,     /* prefetch, of the guest that will come */
	PREFETCHES, /* in another mode */
	SEES_PAGES,
	SEES_CGROUPS,
	LEASE_CHANGED,
	PAUSE_CHANGED,
	STOPPING,
	SET_REFUSED, /* a working set that is none: a note says so */
	EFFECTS
};

/* clang-format off */
static const char *const effect_names[EFFECTS] = {
	[ASSIGNED] = "assigned",         [KNOWN] = "known",         [TOLD_HOLDER] = "told holder",
	[STOPPED] = "stopped",           [HAS_PEER] = "has peer",   [WISHED] = "wished",
	[PREFETCHES] = "prefetches",     [SEES_PAGES] = "sees pages",
	[SEES_CGROUPS] = "sees cgroups", [LEASE_CHANGED] = "lease changed",
	[PAUSE_CHANGED] = "pause changed", [STOPPING] = "stopping",
	[SET_REFUSED] = "working set refused",
};
/* clang-format on */

#define DID(effect) (1u << (effect))

/* What is not here does nothing anywhere. */
/* clang-format off */
static const struct {
	enum chan_type type;
	unsigned does[JOB_PHASE_COUNT]; /* idle, loading, waiting, serving, refused */
} rows[] = {
	{CHAN_ASSIGN, {DID(ASSIGNED)}},
	{CHAN_KNOWN, {0, 0, DID(KNOWN) | DID(TOLD_HOLDER), DID(KNOWN) | DID(TOLD_HOLDER),
		      DID(KNOWN) | DID(TOLD_HOLDER)}},
	{CHAN_WSET_GIVEN, {0, 0, DID(SET_REFUSED), DID(SET_REFUSED), 0}},
	{CHAN_PEER, {0, 0, DID(HAS_PEER), 0, 0}},
	{CHAN_PREFETCH, {0, 0, DID(WISHED), DID(PREFETCHES), 0}},
	{CHAN_PRESENCE, {0, 0, 0, DID(SEES_PAGES), 0}},
	{CHAN_CGROUPS, {0, 0, 0, DID(SEES_CGROUPS), 0}},
	{CHAN_LEASE_GRANT, {0, 0, 0, DID(LEASE_CHANGED), 0}},
	{CHAN_LEASE_REVOKE, {0, 0, 0, DID(LEASE_CHANGED), 0}},
	{CHAN_PAUSE, {0, 0, 0, DID(PAUSE_CHANGED), 0}},
	{CHAN_RESUME, {0, 0, 0, DID(PAUSE_CHANGED), 0}},
	{CHAN_STOP, {0, 0, DID(STOPPED), DID(STOPPING), DID(STOPPED)}},
};
/* clang-format on */

static unsigned wanted(enum chan_type type, enum job_phase phase)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].type == type)
			return rows[i].does[phase];
	return 0;
}

/* Such that the message changes something if anything can. */
static void prepare(struct scene *s, enum chan_type type, struct chan_msg *msg)
{
	memset(msg, 0, sizeof(*msg));
	switch (type) {
	case CHAN_ASSIGN:
		snprintf(msg->assign.id, sizeof(msg->assign.id), "some-id");
		break;
	case CHAN_PREFETCH:
		msg->prefetch.mode = PREFETCH_WORKING_SET;
		break;
	case CHAN_LEASE_GRANT:
		s->loop.lease.state = LEASE_ASKED;
		msg->lease.ask = s->loop.lease.ask = 7;
		break;
	case CHAN_LEASE_REVOKE:
		s->loop.lease.state = LEASE_HELD;
		break;
	case CHAN_RESUME:
		s->loop.paused = true;
		break;
	default:
		break;
	}
}

static bool was_noted(struct scene *s)
{
	struct chan_msg msg;
	size_t nfds;

	return hear(s->sup, &msg, &nfds) == CHAN_NOTE &&
	       chan_note_kind(msg.note.type) == CHAN_NOTE_WSET_IGNORED;
}

static bool holder_knows(struct scene *s)
{
	struct chan_msg msg;
	size_t nfds;

	return hear(s->holder, &msg, &nfds) == CHAN_KNOWN;
}

static unsigned effects(struct scene *s, const struct loop *before)
{
	const struct job *j = &s->job;
	const struct loop *l = &s->loop;
	const bool seen[EFFECTS] = {
		[ASSIGNED] = j->assign.id[0],
		[KNOWN] = j->known,
		[TOLD_HOLDER] = holder_knows(s),
		[STOPPED] = j->stop,
		[HAS_PEER] = j->peers && j->peers->peers[0].hs.sock >= 0,
		[WISHED] = j->spec.prefetch != PREFETCH_NONE,
		[PREFETCHES] = l->prefetch.mode != before->prefetch.mode,
		[SEES_PAGES] = j->loop && s->guest.presence.pagemap >= 0,
		[SEES_CGROUPS] = l->prefetch.room.told,
		[LEASE_CHANGED] = l->lease.state != before->lease.state,
		[PAUSE_CHANGED] = l->paused != before->paused,
		[STOPPING] = l->stopping,
		[SET_REFUSED] = was_noted(s),
	};
	unsigned bits = 0;

	for (int i = 0; i < EFFECTS; i++)
		bits |= (unsigned)seen[i] << i;
	return bits;
}

static void check_effects(unsigned did, unsigned want, const char *what, const char *when)
{
	for (int i = 0; i < EFFECTS; i++)
		ck_assert_msg((did & DID(i)) == (want & DID(i)), "%s while %s: %s%s", what, when,
			      did & DID(i) ? "" : "not ", effect_names[i]);
}

/* Of two that came: what a handler has kept is closed with the job, anything else at once. */
static void check_message(enum chan_type type, enum job_phase phase)
{
	int before = fds_count(getpid()), kept[2], open;
	unsigned want = wanted(type, phase);
	const char *name = chan_type_name(type);
	enum orders_step step;
	struct chan_msg msg;
	struct loop was;
	struct scene s;

	scene_open(&s);
	close_fd(&s.job.request);
	close_fd(&s.job.map_fd);
	scene_enter(&s, phase);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, kept), 0);
	prepare(&s, type, &msg);
	was = s.loop;
	say(&s, type, &msg, kept, 2);
	open = fds_count(getpid());
	step = orders_receive(&s.job);
	ck_assert_msg(step == (want ? ORDERS_DONE : ORDERS_IGNORED), "%s while %s: %d", name,
		      phase_names[phase], step);
	ck_assert_msg(want || fds_count(getpid()) == open, "%s while %s: %d stay open", name,
		      phase_names[phase], fds_count(getpid()) - open);
	check_effects(effects(&s, &was), want, name, phase_names[phase]);
	ck_assert_int_eq(orders_receive(&s.job), ORDERS_NOTHING);
	if (type == CHAN_ASSIGN && want)
		ck_assert_int_eq(s.job.phase, JOB_LOADING);
	else
		ck_assert_int_eq(s.job.phase, phase);
	scene_close(&s);
	close(kept[0]);
	close(kept[1]);
	ck_assert_msg(fds_count(getpid()) == before, "%s while %s: %d leaked", name,
		      phase_names[phase], fds_count(getpid()) - before);
}

START_TEST(test_phase)
{
	for (int type = CHAN_NONE + 1; type < CHAN_TYPE_COUNT; type++)
		check_message((enum chan_type)type, (enum job_phase)_i);
}
END_TEST

/* A type that only a newer supervisor knows is no reason to leave. */
START_TEST(test_unknown_type)
{
	uint32_t raw[4] = {CHAN_TYPE_COUNT + 5, CHAN_VERSION + 1};
	struct scene s;

	scene_open(&s);
	ck_assert_int_eq(send(s.sup, raw, sizeof(raw), 0), sizeof(raw));
	ck_assert_int_eq(orders_receive(&s.job), ORDERS_DONE);
	ck_assert_int_eq(s.job.phase, JOB_IDLE);
	scene_close(&s);
}
END_TEST

/* What a supervisor said before it died counts, also that the restore is in its store. */
START_TEST(test_last_words)
{
	struct chan_msg msg = {0};
	struct scene s;

	scene_open(&s);
	scene_enter(&s, JOB_SERVING);
	say(&s, CHAN_KNOWN, &msg, NULL, 0);
	close_fd(&s.sup);
	supervisor_link_send(&s.job.link, CHAN_COMPLETE, &msg, NULL, 0);
	ck_assert(supervisor_link_away(&s.job.link));
	orders_read(&s.job);
	ck_assert(s.job.known);
	scene_close(&s);
}
END_TEST

/* Nothing is heard beyond the one that ends the wait. */
START_TEST(test_nothing_after_the_end)
{
	struct chan_msg msg = {0};
	struct scene s;

	scene_open(&s);
	scene_enter(&s, JOB_WAITING);
	say(&s, CHAN_STOP, &msg, NULL, 0);
	say(&s, CHAN_KNOWN, &msg, NULL, 0);
	orders_read(&s.job);
	ck_assert(s.job.stop);
	ck_assert(!s.job.known);
	scene_close(&s);
}
END_TEST

/* The holder's descriptor is the last one, whatever comes before it. */
START_TEST(test_assignment)
{
	/* clang-format off */
	static const struct {
		enum chan_assign_kind kind;
		enum chan_holder holder;
		size_t nfds;
	} assigned[] = {
		{CHAN_ASSIGN_WAIT, CHAN_HOLDER_NONE, 3},  {CHAN_ASSIGN_WAIT, CHAN_HOLDER_NONE, 2},
		{CHAN_ASSIGN_WAIT, CHAN_HOLDER_NEW, 4},   {CHAN_ASSIGN_WAIT, CHAN_HOLDER_NEW, 3},
		{CHAN_ASSIGN_SERVE, CHAN_HOLDER_NONE, 4}, {CHAN_ASSIGN_SERVE, CHAN_HOLDER_NONE, 3},
		{CHAN_ASSIGN_SERVE, CHAN_HOLDER_THERE, 5},
		{CHAN_ASSIGN_SERVE, CHAN_HOLDER_THERE, 4}, {CHAN_ASSIGN_WAIT, CHAN_HOLDER_NEW, 0},
	};
	/* clang-format on */
	const bool wait = assigned[_i].kind == CHAN_ASSIGN_WAIT;
	const bool holder = assigned[_i].holder != CHAN_HOLDER_NONE && assigned[_i].nfds;
	const size_t n = assigned[_i].nfds - holder; /* without the holder's */
	struct chan_msg msg = {0};
	int fds[8];
	struct scene s;

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = memfd_create("some", MFD_CLOEXEC);
	scene_open(&s);
	close_fd(&s.job.request);
	close_fd(&s.job.map_fd);
	msg.assign.kind = assigned[_i].kind;
	msg.assign.holder = assigned[_i].holder;
	say(&s, CHAN_ASSIGN, &msg, fds, assigned[_i].nfds);
	ck_assert_int_eq(orders_receive(&s.job), ORDERS_DONE);
	ck_assert_int_eq(s.job.request >= 0, n > 0);
	ck_assert_int_eq(s.job.map_fd >= 0, n > 1);
	ck_assert_int_eq(s.job.listen_fd >= 0, wait && n > 2);
	ck_assert_int_eq(s.job.uffd >= 0, !wait && n > 2);
	ck_assert_int_eq(s.job.vmm >= 0, !wait && n > 3);
	ck_assert_int_eq(s.job.holder_given >= 0, holder);
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("orders");
	TCase *t = tcase_create("phases");

	tcase_add_loop_test(t, test_phase, 0, JOB_PHASE_COUNT);
	tcase_add_test(t, test_unknown_type);
	tcase_add_test(t, test_last_words);
	tcase_add_test(t, test_nothing_after_the_end);
	tcase_add_loop_test(t, test_assignment, 0, 9);
	suite_add_tcase(s, t);
	return s;
}
