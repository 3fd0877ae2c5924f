/* test_sweep - which files of former runs go, when, and which ids are not free yet */
#include "daemon/sweep.h"

#include <event2/event.h>

#include "daemon/timer.h"
#include "tests/support/restorekit.h"

static struct restorekit k;
static struct table table;
static struct sweep s;
static const char *const places[] = {"maps", "uffd", "files"};

static void make(const char *what, const char *id)
{
	char path[CONF_PATH_MAX + 1];

	host_path(&k.host, what, id, path);
	close(open(path, O_CREAT | O_CLOEXEC, 0600));
}

static bool is_there(const char *what, const char *id)
{
	char path[CONF_PATH_MAX + 1];

	host_path(&k.host, what, id, path);
	return access(path, F_OK) == 0;
}

/* In all places, or in none. */
static void check_id(const char *id, bool there)
{
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		ck_assert_msg(is_there(places[i], id) == there, "%s/%s is%s there", places[i], id,
			      there ? " not" : "");
}

/* As a worker that has lost its supervisor has it. */
static int open_map(const char *id)
{
	char path[CONF_PATH_MAX + 1];
	int fd;

	host_path(&k.host, "maps", id, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void begin(void)
{
	restorekit_open(&k, "");
	table = (struct table){0};
	s = (struct sweep){.host = &k.host, .table = &table};
	table_insert(&table, k.r);
	make("files", "r");
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		make(places[i], "old");
}

static void end(void)
{
	sweep_stop(&s);
	table_fini(&table);
	restorekit_close(&k);
}

static void start(void)
{
	struct err err = {.msg = ""};

	ck_assert_msg(sweep_start(&s, &err) == 0, "%s", err.msg);
}

/* As if its time had come. */
static void sweep_again(void)
{
	event_active(s.again, EV_TIMEOUT, 0);
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
	ck_assert_ptr_null(s.again);
}

/* What no row knows, and what a row does not stand for any more. */
START_TEST(test_goes)
{
	start();
	check_id("old", false);
	check_id("r", true);
	snprintf(k.r->rec.boot_id, sizeof(k.r->rec.boot_id), "another");
	sweep_again();
	check_id("r", false);
}
END_TEST

/* What is not named as a restore is, is not ours to remove. */
START_TEST(test_other_names)
{
	make("maps", ".fresh");
	make("uffd", "not an id");
	start();
	ck_assert(is_there("maps", ".fresh") && is_there("uffd", "not an id"));
	ck_assert(is_there("maps", "") && is_there("uffd", ""));
}
END_TEST

/* The store may be lost: who has its page map open may come back, for a while. */
START_TEST(test_may_come_back)
{
	int map = open_map("old");
	struct err err;

	start();
	ck_assert_ptr_nonnull(s.again);
	ck_assert(event_pending(s.again, EV_TIMEOUT, NULL));
	check_id("old", true);
	ck_assert_int_eq(sweep_check(&s, &err), -1);
	ck_assert_int_eq(err.code, ERR_UNREADY);
	ck_assert_msg(strstr(err.msg, "a worker of a former daemon"), "%s", err.msg);
	if (_i) {
		/* It has ended meanwhile. */
		close_fd(&map);
		ck_assert_int_eq(sweep_check(&s, &err), 0);
	}
	sweep_again();
	check_id("old", false);
	ck_assert_int_eq(sweep_check(&s, &err), 0);
	close_fd(&map);
}
END_TEST

/* Nobody waits for a worker whose restore is in a row. */
START_TEST(test_known_is_open)
{
	int map = open_map("r");
	struct err err;

	start();
	ck_assert_ptr_nonnull(s.again);
	ck_assert_int_eq(sweep_check(&s, &err), 0);
	close_fd(&map);
}
END_TEST

/* A row that stands keeps its files, although nobody has them open. */
START_TEST(test_row_stands)
{
	start();
	k.r->rec.state = STATE_FAILED;
	sweep_again();
	check_id("r", true);
	k.r->rec.released = true;
	start();
	check_id("r", false);
}
END_TEST

START_TEST(test_no_directory)
{
	cleanup_free char *moved = NULL;
	char path[CONF_PATH_MAX + 1];
	struct err err = {.msg = ""};

	host_path(&k.host, places[_i], "", path);
	ck_assert_int_gt(asprintf(&moved, "%s/moved", k.dir), 0);
	path[strlen(path) - 1] = '\0';
	ck_assert_int_eq(rename(path, moved), 0);
	ck_assert_int_eq(sweep_start(&s, &err), -1);
	ck_assert_msg(strstr(err.msg, path), "%s", err.msg);
}
END_TEST

START_TEST(test_stop)
{
	start();
	for (int i = 0; i < 2; i++)
		sweep_stop(&s);
	ck_assert_ptr_null(s.again);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("sweep");
	TCase *tc = tcase_create("sweep");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_goes);
	tcase_add_test(tc, test_other_names);
	tcase_add_loop_test(tc, test_may_come_back, 0, 2);
	tcase_add_test(tc, test_known_is_open);
	tcase_add_test(tc, test_row_stands);
	tcase_add_loop_test(tc, test_no_directory, 0, 3);
	tcase_add_test(tc, test_stop);
	suite_add_tcase(suite, tc);
	return suite;
}
