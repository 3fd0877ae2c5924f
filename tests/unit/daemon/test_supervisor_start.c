/* test_supervisor_start - what a supervisor takes up of former runs, and a start that fails */
#include "daemon/supervisor.h"

#include "daemon/descriptors.h"
#include "tests/support/capacitykit.h"
#include "tests/support/fds.h"
#include "tests/support/supervisorkit.h"

static struct restore *must_find(const char *id)
{
	struct restore *r = supervisor_find(k.sup, id, NULL);

	ck_assert_msg(r, "no restore %s", id);
	return r;
}

/* No supervisor is there, and nothing of one waits in the loop. */
static void check_no_events(void)
{
	ck_assert_int_eq(event_base_get_num_events(k.base, EVENT_BASE_COUNT_ADDED), 0);
}

static bool exists(const char *what)
{
	cleanup_free char *path = NULL;

	ck_assert_int_gt(asprintf(&path, "%s/%s", at.dir, what), 0);
	return access(path, F_OK) == 0;
}

static void make_file(const char *what, const char *text)
{
	cleanup_free char *path = NULL;
	FILE *f;

	ck_assert_int_gt(asprintf(&path, "%s/%s", at.dir, what), 0);
	f = fopen(path, "w");
	ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* ---- rows of former runs ---- */

START_TEST(test_ended_in_order)
{
	put_ended("a", 300);
	put_ended("b", 100);
	put_ended("c", 200);
	start();
	ck_assert_str_eq(listed(), "a b c mine roots ");
	ck_assert_msg(strncmp(ended(), "b c a ", 6) == 0, "%s", ended());
	ck_assert(restore_released(must_find("a")) && restore_released(must_find("c")));
	ck_assert_str_eq(must_find("a")->rec.reason, "stopped");
	/* They had ended before, and nothing more happens to them. */
	ck_assert_str_eq(events_of("a"), "");
	ck_assert_str_eq(events_of("mine"), "created ");
}
END_TEST

/* Its VMM has ended with that boot. */
START_TEST(test_of_another_boot)
{
	struct restore_record rec;

	make_row(&rec, "r");
	snprintf(rec.boot_id, sizeof(rec.boot_id), "another");
	put_row(&rec);
	start();
	ck_assert_int_eq(must_find("r")->rec.state, STATE_ENDED);
	ck_assert_str_eq(must_find("r")->rec.reason, "reboot");
	ck_assert(restore_released(must_find("r")));
	ck_assert_str_eq(events_of("r"), "ended ");
	ck_assert_str_eq(rows(), "mine:ended r:ended roots:ended ");
	ck_assert_ptr_nonnull(strstr(ended(), "r "));
}
END_TEST

/* It had failed, and was held for its VMM, which has ended with that boot: nothing is left of it. */
START_TEST(test_failed_in_another_boot)
{
	struct restore_record rec;

	make_row(&rec, "r");
	record_move(&rec, STATE_FAILED, "a test", 100);
	snprintf(rec.boot_id, sizeof(rec.boot_id), "another");
	put_row(&rec);
	start();
	ck_assert_int_eq(must_find("r")->rec.state, STATE_FAILED);
	ck_assert(must_find("r")->rec.released && restore_released(must_find("r")));
	ck_assert_str_eq(events_of("r"), "released ");
}
END_TEST

/* What ends only now is kept longer than what has ended before. */
START_TEST(test_reboot_in_order)
{
	struct restore_record rec;

	make_row(&rec, "r");
	snprintf(rec.boot_id, sizeof(rec.boot_id), "another");
	put_row(&rec);
	put_ended("a", 100);
	start();
	ck_assert_msg(strncmp(ended(), "a ", 2) == 0, "%s", ended());
	ck_assert_ptr_nonnull(strstr(ended(), " r "));
}
END_TEST

/* Nobody serves it, and its page map is gone: taken up, it has ended. */
START_TEST(test_stands)
{
	struct restore_record rec;

	make_row(&rec, "r");
	put_row(&rec);
	start();
	ck_assert_str_eq(must_find("r")->rec.reason, "vmm-exited");
	ck_assert_str_eq(rows(), "mine:ended r:ended roots:ended ");
	ck_assert_str_eq(events_of("r"), "ended ");
	ck_assert_uint_eq(strlen(ended()), strlen("mine roots r "));
}
END_TEST

START_TEST(test_has_to_wait)
{
	struct restore_record rec;

	start();
	leave(&k.sup->capacity, DESCRIPTORS_PER_RESTORE - 1);
	stop();
	make_row(&rec, "r");
	put_row(&rec);
	start();
	ck_assert_int_eq(must_find("r")->slot.state, SLOT_DEFERRED);
	ck_assert_int_eq(must_find("r")->rec.state, STATE_WAITING);
	ck_assert_uint_eq(capacity_waiting(&k.sup->capacity), 1);
	/* The next supervisor finds it as it was. */
	stop();
	check_no_events();
	start();
	ck_assert_int_eq(must_find("r")->slot.state, SLOT_DEFERRED);
	set_limit(PLENTY);
	event_active(k.sup->capacity.again, EV_TIMEOUT, 0);
	turn();
	ck_assert_str_eq(must_find("r")->rec.reason, "vmm-exited");
}
END_TEST

/* What the request of a row asks for counts from then on. */
START_TEST(test_request_of_a_row)
{
	struct restore_record rec;

	make_row(&rec, "r");
	put_row(&rec);
	start();
	ck_assert_ptr_nonnull(strstr(must_find("r")->spec.path, "/snapshot"));
	ck_assert_str_eq(must_find("r")->spec.tenant, "t");
	ck_assert_ptr_nonnull(strstr(must_find("r")->rec.spec, "\"tenant\":\"t\""));
}
END_TEST

/* Files of nobody go, and those of a restore that waits for its worker stay. */
START_TEST(test_sweeps)
{
	struct restore_record rec;

	start();
	stop();
	make_file("run/maps/nobody", "");
	make_file("run/maps/r", "");
	make_row(&rec, "r");
	rec.worker_pid = (uint32_t)getpid();
	rec.worker_start = proc_start_time(getpid());
	put_row(&rec);
	start();
	ck_assert_int_eq(must_find("r")->slot.state, SLOT_AWAITED);
	ck_assert(exists("run/maps/r") && !exists("run/maps/nobody"));
}
END_TEST

START_TEST(test_open)
{
	struct err err = {.msg = ""};
	struct timeval tv, now;

	start();
	ck_assert(exists("run/workers.sock") && exists("run/uffd") && exists("run/files"));
	ck_assert(exists("state/working-sets"));
	ck_assert_ptr_nonnull(k.sup->host.leases);
	ck_assert_int_eq(supervisor_ready(k.sup, &err), 0);
	ck_assert(event_pending(k.sup->housekeeping, EV_TIMEOUT, &tv));
	event_base_gettimeofday_cached(k.base, &now);
	evutil_timersub(&tv, &now, &tv);
	ck_assert_int_le(tv.tv_sec, 10);
	/* A copy: later changes of the caller's do not count. */
	k.conf.max_restores++;
	ck_assert_uint_ne(k.sup->host.conf.max_restores, k.conf.max_restores);
	ck_assert_str_eq(k.sup->host.conf.run_dir, k.conf.run_dir);
	ck_assert_ptr_eq(k.sup->host.base, k.base);
	stop();
	ck_assert(!exists("run/workers.sock"));
}
END_TEST

START_TEST(test_free_nothing)
{
	supervisor_free(NULL);
}
END_TEST

/* ---- a start that fails ---- */

static int lock = -1; /* of the run directory, in the place of another daemon */

static void be_another(void)
{
	struct err err = {.msg = ""};

	ck_assert_msg(run_dir_open(&k.conf, &lock, &err) == 0, "%s", err.msg);
}

static void spoil_store(void)
{
	make_file("state/uffdd.db", "this is no database, whatever its name says");
}

static void take_working_sets(void)
{
	make_file("state/working-sets", "");
}

static void take_socket(void)
{
	make_file("run/workers.sock", "");
}

static void lose_worker(void)
{
	snprintf(k.conf.worker, sizeof(k.conf.worker), "%s/no-worker", at.dir);
}

static void put_spec(const char *text)
{
	struct restore_record rec;

	make_row(&rec, "a-row");
	free(rec.spec);
	rec.spec = strdup(text);
	put_row(&rec);
}

static void put_no_json(void)
{
	put_spec("{\"snapshot\":");
}

static void put_no_request(void)
{
	put_spec("{\"snapshot\":{\"dir\":\"/nowhere\"},\"speed\":9}");
}

static const struct {
	void (*spoil)(void);
	const char *text; /* in the error */
} failures[] = {
	{be_another, "another uffdd uses the run directory"},
	{spoil_store, "uffdd.db"},
	{take_working_sets, "working-sets"},
	{take_socket, "workers.sock"},
	{lose_worker, "no-worker"},
	{put_no_json, "the store's row of restore a-row: "},
	{put_no_request, "the store's row of restore a-row: "},
};

static void check_fails(const char *text)
{
	struct supervisor *sup = NULL;
	struct err err = {.msg = ""};
	int before = fds_count(getpid());

	ck_assert_int_eq(supervisor_new(k.base, &k.conf, &sup, &err), -1);
	ck_assert_msg(strstr(err.msg, text), "%s: %s", text, err.msg);
	ck_assert_msg(fds_count(getpid()) == before, "%s: descriptors", text);
	check_no_events();
}

START_TEST(test_fails)
{
	struct store *store;

	/* The directories are there. */
	start();
	stop();
	if (failures[_i].spoil == take_working_sets) {
		cleanup_free char *path = NULL;

		ck_assert_int_gt(asprintf(&path, "%s/working-sets", k.conf.state_dir), 0);
		ck_assert_int_eq(rmdir(path), 0);
	}
	failures[_i].spoil();
	check_fails(failures[_i].text);
	close_fd(&lock);
	if (failures[_i].spoil != spoil_store) {
		/* Nobody holds it any more. */
		open_store(&store);
		store_close(store);
	}
}
END_TEST

/* Whatever there are too few descriptors for: all of it, or nothing. */
START_TEST(test_fails_without_descriptors)
{
	struct err err = {.msg = ""};
	int before, rc = -1, spare = 0;

	start();
	stop();
	before = fds_count(getpid());
	for (; rc && spare <= 8; spare++) {
		struct rlimit limit = harness_limit_fds(spare);

		rc = supervisor_new(k.base, &k.conf, &k.sup, &err);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (rc == 0)
			stop();
		ck_assert_msg(fds_count(getpid()) == before, "%s: %d descriptors", err.msg, spare);
		check_no_events();
	}
	ck_assert_int_gt(spare, 4);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("supervisor");
	TCase *tc = tcase_create("start");

	tcase_add_checked_fixture(tc, prepare, end);
	tcase_add_test(tc, test_ended_in_order);
	tcase_add_test(tc, test_of_another_boot);
	tcase_add_test(tc, test_failed_in_another_boot);
	tcase_add_test(tc, test_reboot_in_order);
	tcase_add_test(tc, test_stands);
	tcase_add_test(tc, test_has_to_wait);
	tcase_add_test(tc, test_request_of_a_row);
	tcase_add_test(tc, test_sweeps);
	tcase_add_test(tc, test_open);
	tcase_add_test(tc, test_free_nothing);
	tcase_add_loop_test(tc, test_fails, 0, ARRAY_LEN(failures));
	tcase_add_test(tc, test_fails_without_descriptors);
	suite_add_tcase(suite, tc);
	return suite;
}
