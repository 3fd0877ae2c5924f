/* test_restore - a restore's state, what is written of it, and what is let go */
#include "daemon/restore.h"

#include <sys/eventfd.h>

#include "tests/support/restorekit.h"

static struct restorekit k;

static void begin(void)
{
	restorekit_open(&k, "");
}

static void end(void)
{
	restorekit_close(&k);
}

/* A descriptor in the place of the VMM's, of a number that nobody else gets. */
static int hold_uffd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	k.r->hold.uffd = fcntl(fd, F_DUPFD_CLOEXEC, 500);
	close(fd);
	return k.r->hold.uffd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

START_TEST(test_fails_without_vmm)
{
	ck_assert(restore_stands(k.r));
	ck_assert(restore_fail(k.r, "a test"));
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_str_eq(k.r->rec.reason, "a test");
	/* Nobody hangs on it: all of it is gone at once. */
	ck_assert(k.r->rec.released && restore_released(k.r) && !restore_stands(k.r));
	ck_assert(!restorekit_exists(&k, "uffd") && !restorekit_exists(&k, "maps"));
	ck_assert_uint_eq(k.ended, 1);
	ck_assert_str_eq(restorekit_events(&k), "failed ");
	ck_assert(!restore_fail(k.r, "another"));
	ck_assert_str_eq(k.r->rec.reason, "a test");
	ck_assert_str_eq(restorekit_events(&k), "failed ");
}
END_TEST

/* What its guest hangs on stays until it is over; the socket goes, for nobody is to come. */
START_TEST(test_fails_with_vmm)
{
	int uffd = hold_uffd();

	ck_assert(restore_fail(k.r, "a test"));
	ck_assert(!k.r->rec.released && !restore_released(k.r) && restore_stands(k.r));
	ck_assert(is_open(uffd) && restorekit_exists(&k, "maps"));
	ck_assert(!restorekit_exists(&k, "uffd"));
	ck_assert_uint_eq(k.ended, 0);
	restore_end(k.r, "vmm-exited");
	ck_assert(k.r->rec.released && restore_released(k.r));
	ck_assert(!is_open(uffd) && !restorekit_exists(&k, "maps"));
	ck_assert_int_eq(k.r->rec.state, STATE_FAILED);
	ck_assert_str_eq(k.r->rec.reason, "a test");
	ck_assert_uint_eq(k.ended, 1);
	ck_assert_str_eq(restorekit_events(&k), "failed released ");
}
END_TEST

/* Whoever asked for the end gives the reason. */
START_TEST(test_ends)
{
	static const char *const stops[] = {"", "killed"};
	int uffd = hold_uffd();

	snprintf(k.r->rec.stop_reason, sizeof(k.r->rec.stop_reason), "%s", stops[_i]);
	restore_end(k.r, "vmm-exited");
	ck_assert_int_eq(k.r->rec.state, STATE_ENDED);
	ck_assert_str_eq(k.r->rec.reason, _i ? "killed" : "vmm-exited");
	ck_assert(!is_open(uffd) && restore_released(k.r) && !restore_stands(k.r));
	ck_assert(!restorekit_exists(&k, "uffd") && !restorekit_exists(&k, "maps"));
	ck_assert_str_eq(restorekit_events(&k), "ended ");
	ck_assert_uint_eq(k.ended, 1);
	ck_assert_uint_eq(k.changed, 1);
}
END_TEST

/* Only one that serves loses that with its worker, and gets it back. */
START_TEST(test_unserved)
{
	static const struct {
		enum restore_state before, unserved, served;
	} rows[] = {
		{STATE_WAITING, STATE_WAITING, STATE_WAITING},
		{STATE_SERVING, STATE_RECOVERING, STATE_SERVING},
		{STATE_RECOVERING, STATE_RECOVERING, STATE_SERVING},
		{STATE_FAILED, STATE_FAILED, STATE_FAILED},
	};
	uint64_t revision = k.r->rec.revision;

	k.r->rec.state = rows[_i].before;
	restore_unserved(k.r);
	ck_assert_int_eq(k.r->rec.state, rows[_i].unserved);
	ck_assert_uint_eq(k.r->rec.revision, revision + 1);
	restore_served(k.r);
	ck_assert_int_eq(k.r->rec.state, rows[_i].served);
}
END_TEST

/* A row of another boot has lost its VMM with that. */
START_TEST(test_over)
{
	snprintf(k.r->rec.boot_id, sizeof(k.r->rec.boot_id), "another");
	ck_assert(!restore_stands(k.r));
	k.r->slot.state = SLOT_DEFERRED;
	restore_over(k.r);
	ck_assert_int_eq(k.r->rec.state, STATE_ENDED);
	ck_assert_str_eq(k.r->rec.reason, "reboot");
	ck_assert(restore_released(k.r));
	ck_assert_str_eq(restorekit_events(&k), "ended ");
	/* One that had ended before is not told of again. */
	restore_over(k.r);
	ck_assert_str_eq(restorekit_events(&k), "ended ");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("restore");
	TCase *tc = tcase_create("restore");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_fails_without_vmm);
	tcase_add_test(tc, test_fails_with_vmm);
	tcase_add_loop_test(tc, test_ends, 0, 2);
	tcase_add_loop_test(tc, test_unserved, 0, 4);
	tcase_add_test(tc, test_over);
	suite_add_tcase(suite, tc);
	return suite;
}
