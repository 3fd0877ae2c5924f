/* test_supervisor_housekeeping - what is tidied up now and then, and who hears of changes */
#include "daemon/supervisor.h"

#include <errno.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "tests/support/capacitykit.h"
#include "tests/support/guestkit.h"
#include "tests/support/supervisorkit.h"

#define HOUR_MS ((int64_t)3600 * 1000)
#define MINUTE_MS ((int64_t)60 * 1000)

/* As if its time had come. */
static void tidy(void)
{
	event_active(k.sup->housekeeping, EV_TIMEOUT, 0);
	turn();
	/* And it will come again. */
	ck_assert(event_pending(k.sup->housekeeping, EV_TIMEOUT, NULL));
}

/* ---- those that have ended ---- */

START_TEST(test_forgets_ended)
{
	int64_t now = wall_ms();

	k.conf.ended_retention_ms = (uint64_t)HOUR_MS;
	put_ended("a", now - HOUR_MS - MINUTE_MS);
	put_ended("b", now - HOUR_MS + MINUTE_MS);
	put_ended("c", 1);
	start();
	tidy();
	ck_assert_str_eq(listed(), "b mine roots ");
	ck_assert_str_eq(rows(), "b:ended mine:ended roots:ended ");
	ck_assert_ptr_null(table_find(&k.sup->table, "a", NULL));
	ck_assert_msg(strncmp(ended(), "b ", 2) == 0, "%s", ended());
	tidy();
	ck_assert_str_eq(listed(), "b mine roots ");
}
END_TEST

/* The rest takes memory: requests of what is over are in the store alone, and read from there. */
START_TEST(test_leaves_requests_to_the_store)
{
	cleanup_json struct json_object *body = NULL;
	cleanup_free char *was = NULL;
	struct restore *r, *leaving;
	struct err err = {.msg = ""};
	struct spec spec;
	struct asker a;

	put_ended("a", 1);
	put_ended("b", 2);
	k.conf.ended_retention_ms = (uint64_t)wall_ms() + (uint64_t)HOUR_MS;
	start();
	r = supervisor_find(k.sup, "a", NULL);
	leaving = supervisor_find(k.sup, "b", NULL);
	was = strdup(r->rec.spec);
	leaving->slot.state = SLOT_LEAVING;
	tidy();
	ck_assert_ptr_null(r->rec.spec);
	ck_assert_ptr_nonnull(leaving->rec.spec);
	body = js_parse(was, strlen(was), false, &err);
	ck_assert(body && spec_parse(body, &spec, &err) == 0);
	ck_assert_msg(ask_with(&a, "a", &spec, geteuid(), &err) == 0, "%s", err.msg);
	ck_assert_ptr_eq(a.with, r);
	ask_in_vain("a", "", ERR_CONFLICT, "restore a exists");
	leaving->slot.state = SLOT_OVER;
}
END_TEST

/* Its worker is still leaving: until then it is kept. Others do not wait for that. */
START_TEST(test_forgets_what_is_over)
{
	put_ended("a", 1);
	put_ended("b", 2);
	start();
	supervisor_find(k.sup, "a", NULL)->slot.state = SLOT_LEAVING;
	tidy();
	ck_assert_str_eq(listed(), "a mine roots ");
	ck_assert_str_eq(rows(), "a:ended mine:ended roots:ended ");
	supervisor_find(k.sup, "a", NULL)->slot.state = SLOT_OVER;
	tidy();
	ck_assert_str_eq(listed(), "mine roots ");
	ck_assert_str_eq(rows(), "mine:ended roots:ended ");
}
END_TEST

/* One that ends under this supervisor joins them at the end. */
START_TEST(test_forgets_its_own)
{
	struct restore *r;

	start();
	workerkit_snapshot(&at);
	r = make_restore("a");
	restore_end(r, "stopped");
	ck_assert_str_eq(ended(), "mine roots a ");
}
END_TEST

/* ---- guests ---- */

/* The process that connected may outlive the VMM: only the userfaultfd knows. */
START_TEST(test_ends_without_a_vmm)
{
	struct guestkit ended_one, other;
	struct restore *r, *s;

	start();
	workerkit_snapshot(&at);
	guestkit_start(&ended_one);
	guestkit_start(&other);
	r = make_restore("r");
	s = make_restore("s");
	r->hold.uffd = guestkit_dup(ended_one.uffd);
	s->hold.uffd = guestkit_dup(other.uffd);
	tidy();
	ck_assert(r->rec.state == STATE_WAITING && s->rec.state == STATE_WAITING);
	guestkit_kill(&ended_one);
	tidy();
	ck_assert_int_eq(r->rec.state, STATE_ENDED);
	ck_assert_str_eq(r->rec.reason, "vmm-exited");
	ck_assert_int_eq(s->rec.state, STATE_WAITING);
	ck_assert_str_eq(events_of("r"), "created ended ");
	ck_assert_int_eq(r->hold.uffd, -1);
	guestkit_end(&ended_one);
	guestkit_end(&other);
}
END_TEST

/* Of a VMM that only its pidfd knows, the end is heard of by other ways. */
START_TEST(test_leaves_alone_without_uffd)
{
	struct guestkit guest;
	struct restore *r;

	start();
	workerkit_snapshot(&at);
	guestkit_start(&guest);
	r = make_restore("r");
	r->hold.vmm = guestkit_dup(guest.pidfd);
	guestkit_kill(&guest);
	tidy();
	ck_assert_int_eq(r->rec.state, STATE_WAITING);
	guestkit_end(&guest);
}
END_TEST

/* A kill that was asked for before anybody knew which process is the VMM. */
START_TEST(test_found)
{
	struct guestkit guest;
	struct restore *r;

	start();
	workerkit_snapshot(&at);
	guestkit_start(&guest);
	r = make_restore("r");
	r->hold.vmm = guestkit_dup(guest.pidfd);
	r->rec.state = STATE_SERVING;
	r->rec.stop_by_us = 1;
	snprintf(r->rec.stop_reason, sizeof(r->rec.stop_reason), "killed");
	k.sup->host.hooks->found(k.sup->host.arg, r);
	ck_assert(guestkit_was_killed(&guest));
	guestkit_end(&guest);
}
END_TEST

/* ---- the rest ---- */

static void put_events(int64_t time_ms, unsigned n)
{
	struct store_event event = {
		.time_ms = time_ms,
		.type = "old",
		.tenant = "t",
		.restore = "gone",
	};
	struct err err = {.msg = ""};
	struct store *store;

	open_store(&store);
	while (n--)
		ck_assert_msg(store_write(store, NULL, &event, NULL, &err) == 0, "%s", err.msg);
	store_close(store);
}

START_TEST(test_trims_by_count)
{
	put_events(wall_ms(), 5);
	k.conf.event_retention_count = 4;
	start();
	tidy();
	/* The others have one each. */
	ck_assert_str_eq(events_of(""), "created created old old ");
}
END_TEST

START_TEST(test_trims_by_age)
{
	int64_t now = wall_ms();
	struct store *store;

	/* Those of the ended restores are in front of them, and would be kept. */
	harness_rmtree(k.conf.state_dir);
	ck_assert_int_eq(mkdir(k.conf.state_dir, 0700), 0);
	open_store(&store);
	store_close(store);
	k.conf.event_retention_age_ms = (uint64_t)HOUR_MS;
	put_events(now - HOUR_MS - MINUTE_MS, 3);
	put_events(now - HOUR_MS + MINUTE_MS, 2);
	start();
	tidy();
	ck_assert_str_eq(events_of(""), "old old ");
}
END_TEST

static pid_t fork_one(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	while (pid == 0)
		pause();
	return pid;
}

START_TEST(test_drops_strays)
{
	struct sock_peer who = {.pid = fork_one()};

	start();
	strays_note(&k.sup->strays, "r", &who, "a test");
	tidy();
	ck_assert_uint_eq(k.sup->strays.n, 1);
	ck_assert_int_eq(kill(who.pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(who.pid, NULL, 0), who.pid);
	tidy();
	ck_assert_uint_eq(k.sup->strays.n, 0);
}
END_TEST

/* A child that nobody knows is reaped when it is found for the second time. */
START_TEST(test_reaps_unknown)
{
	siginfo_t how;
	pid_t pid;

	start();
	pid = fork_one();
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &how, WEXITED | WNOWAIT), 0);
	tidy();
	tidy();
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}
END_TEST

START_TEST(test_room)
{
	start();
	leave(&k.sup->capacity, 1);
	ck_assert(k.sup->host.hooks->room(k.sup->host.arg));
	leave(&k.sup->capacity, 0);
	ck_assert(!k.sup->host.hooks->room(k.sup->host.arg));
	set_limit(PLENTY);
}
END_TEST

/* ---- the observer ---- */

static struct news {
	unsigned changed, events;
	const struct restore *last;
} news;

static void note_changed(void *arg, struct restore *r)
{
	struct news *n = arg;

	n->changed++;
	n->last = r;
}

static void note_events(void *arg)
{
	struct news *n = arg;

	n->events++;
}

static const struct observer observer = {note_changed, note_events};

START_TEST(test_observer)
{
	struct restore *r;

	start();
	workerkit_snapshot(&at);
	supervisor_observe(k.sup, &observer, &news);
	r = make_restore("r");
	ck_assert_uint_eq(news.changed, 0);
	ck_assert_uint_eq(news.events, 1);
	r->rec.revision++;
	restore_changed(r, "a-test", NULL);
	ck_assert_uint_eq(news.changed, 1);
	ck_assert_uint_eq(news.events, 2);
	ck_assert_ptr_eq(news.last, r);
	supervisor_observe(k.sup, NULL, NULL);
	restore_changed(r, "a-test", NULL);
	ck_assert_uint_eq(news.changed, 1);
	ck_assert_uint_eq(news.events, 2);
}
END_TEST

static bool is_ready(void *arg)
{
	struct err err;

	(void)arg;
	turn();
	return supervisor_ready(k.sup, &err) == 0;
}

/* An operator's shell has the store. */
static sqlite3 *hold_store(void)
{
	char path[CONF_PATH_MAX + 16];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/uffdd.db", k.conf.state_dir);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static void let_go(sqlite3 *db)
{
	ck_assert_int_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* What waits for the store is nowhere else. */
START_TEST(test_keeps_requests_that_wait)
{
	struct restore *r;
	sqlite3 *db;

	start();
	r = supervisor_find(k.sup, "mine", NULL);
	db = hold_store();
	restore_changed(r, "waits", NULL);
	tidy();
	ck_assert_ptr_nonnull(r->rec.spec);
	let_go(db);
}
END_TEST

/* Changes wait, and are told of once they are written. */
START_TEST(test_store_is_held)
{
	struct err err = {.msg = ""};
	struct asker a;
	struct restore *r;
	sqlite3 *db;

	start();
	workerkit_snapshot(&at);
	r = make_restore("r");
	supervisor_observe(k.sup, &observer, &news);
	db = hold_store();
	r->rec.revision++;
	restore_changed(r, "a-test", NULL);
	ck_assert_uint_eq(news.changed, 1);
	ck_assert_uint_eq(news.events, 0);
	ck_assert_int_eq(supervisor_ready(k.sup, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	/* The row is written as it is then. */
	r->rec.state = STATE_FAILED;
	ask(&a, "s", "");
	await_told(&a);
	ck_assert_ptr_null(a.with);
	let_go(db);
	ck_assert_msg(harness_wait(is_ready, NULL, HARNESS_MS), "its changes still wait");
	ck_assert_uint_gt(news.events, 0);
	ck_assert_str_eq(rows(), "mine:ended r:failed roots:ended ");
	ck_assert_str_eq(events_of("r"), "created a-test ");
}
END_TEST

/* A supervisor that goes tries once more to write what waits: the row, not only its event. */
START_TEST(test_store_is_held_to_the_end)
{
	struct restore *r;
	sqlite3 *db;

	start();
	r = supervisor_find(k.sup, "mine", NULL);
	db = hold_store();
	r->rec.worker_restarts = 4711;
	restore_changed(r, "a-test", NULL);
	let_go(db);
	stop();
	start();
	ck_assert_uint_eq(supervisor_find(k.sup, "mine", NULL)->rec.worker_restarts, 4711);
	ck_assert_str_eq(events_of("mine"), "created a-test ");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("supervisor");
	TCase *tc = tcase_create("housekeeping"), *guests = tcase_create("guests");

	tcase_add_checked_fixture(tc, prepare, end);
	tcase_add_test(tc, test_forgets_ended);
	tcase_add_test(tc, test_forgets_what_is_over);
	tcase_add_test(tc, test_keeps_requests_that_wait);
	tcase_add_test(tc, test_leaves_requests_to_the_store);
	tcase_add_test(tc, test_forgets_its_own);
	tcase_add_test(tc, test_trims_by_count);
	tcase_add_test(tc, test_trims_by_age);
	tcase_add_test(tc, test_drops_strays);
	tcase_add_test(tc, test_reaps_unknown);
	tcase_add_test(tc, test_room);
	tcase_add_test(tc, test_observer);
	tcase_add_test(tc, test_store_is_held);
	tcase_add_test(tc, test_store_is_held_to_the_end);
	suite_add_tcase(suite, tc);
	if (geteuid() != 0) {
		printf("# a process with a userfaultfd needs root\n");
		return suite;
	}
	tcase_add_checked_fixture(guests, prepare, end);
	tcase_add_test(guests, test_ends_without_a_vmm);
	tcase_add_test(guests, test_leaves_alone_without_uffd);
	tcase_add_test(guests, test_found);
	suite_add_tcase(suite, guests);
	return suite;
}
