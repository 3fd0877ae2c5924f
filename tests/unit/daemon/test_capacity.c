/* test_capacity - descriptors that are promised to restores, and rows that wait for theirs */
#include "daemon/capacity.h"

#include "daemon/descriptors.h"
#include "tests/support/capacitykit.h"
#include "tests/support/restorekit.h"

#define OTHERS 3

static struct restorekit k;
static struct table table;
static struct capacity capacity;
static struct restore others[OTHERS];

static void begin(void)
{
	struct err err = {.msg = ""};

	restorekit_open(&k, "");
	ck_assert_msg(pool_new(k.host.base, "/bin/true", 0, &k.host.pool, &err) == 0, "%s",
		      err.msg);
	table = (struct table){0};
	capacity = (struct capacity){.host = &k.host, .table = &table};
	for (size_t i = 0; i < OTHERS; i++) {
		others[i] = (struct restore){
			.hold = {.uffd = -1, .vmm = -1, .old_worker = -1},
			.slot.state = SLOT_READY,
		};
		snprintf(others[i].rec.id, sizeof(others[i].rec.id), "other-%zu", i);
	}
}

static void end(void)
{
	capacity_fini(&capacity);
	table_fini(&table);
	pool_free(k.host.pool);
	restorekit_close(&k);
}

/* What it has already is in use, and not promised any more. */
/* clang-format off */
static const struct {
	enum slot_state slot;
	bool worker, uffd, vmm, old_worker;
	int promised;
} shares[] = {
	{SLOT_READY, false, false, false, false, 4},
	{SLOT_CREATING, true, false, false, false, 2},
	{SLOT_READY, true, true, true, false, 0},
	{SLOT_EMPTY, false, true, true, false, 2},
	{SLOT_AWAITED, false, true, true, true, 1},
	{SLOT_DEFERRED, false, true, false, false, 0},
	{SLOT_LEAVING, true, false, false, false, 0},
	{SLOT_OVER, false, false, false, false, 0},
};
/* clang-format on */

START_TEST(test_share)
{
	struct worker worker = {0};
	int64_t before;

	leave(&capacity, 100);
	before = capacity_left(&capacity);
	others[0].slot.state = shares[_i].slot;
	others[0].worker = shares[_i].worker ? &worker : NULL;
	/* Numbers alone: nothing is open behind them. */
	others[0].hold.uffd = shares[_i].uffd ? 1000 : -1;
	others[0].hold.vmm = shares[_i].vmm ? 1001 : -1;
	others[0].hold.old_worker = shares[_i].old_worker ? 1002 : -1;
	table_insert(&table, &others[0]);
	ck_assert_int_eq(before - capacity_left(&capacity), shares[_i].promised);
}
END_TEST

START_TEST(test_one_more)
{
	struct err err = {.msg = ""};

	for (size_t i = 0; i < OTHERS; i++)
		table_insert(&table, &others[i]);
	leave(&capacity, DESCRIPTORS_PER_RESTORE);
	ck_assert_msg(capacity_check(&capacity, &err) == 0, "%s", err.msg);
	ck_assert(capacity_any(&capacity));
	leave(&capacity, 1);
	ck_assert_int_eq(capacity_check(&capacity, &err), -1);
	ck_assert_int_eq(err.code, ERR_QUOTA);
	ck_assert_msg(strstr(err.msg, "3 are missing"), "%s", err.msg);
	ck_assert(capacity_any(&capacity));
	leave(&capacity, -2);
	ck_assert_int_eq(capacity_check(&capacity, &err), -1);
	ck_assert_msg(strstr(err.msg, "6 are missing"), "%s", err.msg);
	ck_assert(!capacity_any(&capacity));
	set_limit(PLENTY);
}
END_TEST

static bool is_taken_up(void *arg)
{
	(void)arg;
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
	return capacity_waiting(&capacity) == 0;
}

/* Its page map is gone and nobody hangs on it: taken up, it has ended. */
static void make_row(void)
{
	char map[CONF_PATH_MAX + 1];

	host_path(&k.host, "maps", "r", map);
	ck_assert_int_eq(unlink(map), 0);
	k.r->slot.state = SLOT_DEFERRED;
	table_insert(&table, k.r);
}

START_TEST(test_row_is_taken_up)
{
	make_row();
	leave(&capacity, DESCRIPTORS_PER_RESTORE);
	capacity_take_up(&capacity, k.r);
	ck_assert_uint_eq(capacity_waiting(&capacity), 0);
	ck_assert_int_eq(k.r->rec.state, STATE_ENDED);
	set_limit(PLENTY);
}
END_TEST

START_TEST(test_row_waits)
{
	make_row();
	leave(&capacity, DESCRIPTORS_PER_RESTORE - 1);
	capacity_take_up(&capacity, k.r);
	ck_assert_uint_eq(capacity_waiting(&capacity), 1);
	ck_assert(!capacity_make(&capacity, k.r));
	ck_assert_int_eq(k.r->rec.state, STATE_WAITING);
	/* Nothing has to be asked again: it is looked at by itself. */
	set_limit(PLENTY);
	ck_assert(harness_wait(is_taken_up, NULL, HARNESS_MS));
	ck_assert_int_eq(k.r->rec.state, STATE_ENDED);
}
END_TEST

/* Its worker came before its turn, and there is room by now. */
START_TEST(test_row_is_made_room_for)
{
	make_row();
	leave(&capacity, 0);
	capacity_take_up(&capacity, k.r);
	leave(&capacity, DESCRIPTORS_PER_RESTORE);
	ck_assert(capacity_make(&capacity, k.r));
	ck_assert_uint_eq(capacity_waiting(&capacity), 0);
	set_limit(PLENTY);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("capacity");
	TCase *tc = tcase_create("capacity");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, test_share, 0, ARRAY_LEN(shares));
	tcase_add_test(tc, test_one_more);
	tcase_add_test(tc, test_row_is_taken_up);
	tcase_add_test(tc, test_row_waits);
	tcase_add_test(tc, test_row_is_made_room_for);
	suite_add_tcase(suite, tc);
	return suite;
}
