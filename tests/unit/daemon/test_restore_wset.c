/* test_restore_wset - which working sets a restore gives its worker, and what is kept of a new one */
#include "daemon/restore_wset.h"

#include "tests/support/conversationkit.h"
#include "tests/support/fds.h"
#include "tests/support/wsetkit.h"

#define NUMBER 77
#define MINE "mine"

static const struct wset_key key = {.kind = WSET_FILES, .number = NUMBER};

static void begin_wset(void)
{
	begin("", SLOT_READY, STATE_SERVING);
	snprintf(k.r->rec.tenant, sizeof(k.r->rec.tenant), MINE);
	k.r->rec.size_bytes = WSETKIT_SPAN - 1;
	k.r->rec.page_bytes = PAGE_4K;
	k.r->rec.recording = true;
	restore_wset_ready(k.r, &key);
	/* The store's file is open from then on. */
	ck_assert_str_eq(restorekit_events(&k), "");
}

/* As another restore of @tenant has left it. */
static void put(const char *tenant, uint64_t number, uint64_t page_bytes, uint32_t runs)
{
	const struct wset_key of = {.kind = WSET_FILES, .number = number};
	char text[WSET_KEY_LEN + 1];
	const struct wset_store_name name = {tenant, text, page_bytes};
	cleanup_fd int fd = wsetkit_send(wsetkit_make(number, page_bytes, runs));
	struct err err = {.msg = ""};
	struct wset_head head;

	wset_key_text(&of, text);
	ck_assert_msg(wset_store_put(k.host.wset_store, &name, WSETKIT_SPAN, fd, &head, &err) == 0,
		      "%s", err.msg);
}

static uint64_t runs_in(const void *bytes, size_t len)
{
	struct err err = {.msg = ""};
	struct wset_head head;

	ck_assert_msg(wset_file_head(bytes, len, &head, &err) == 0, "%s", err.msg);
	return head.runs;
}

/* What the API gets; 0: no set, for which @ret_err says why. */
static uint64_t read_runs(struct err *ret_err)
{
	cleanup_free void *bytes = NULL;
	size_t len = 0;

	if (restore_wset_read(k.r, &bytes, &len, ret_err)) {
		ck_assert_ptr_null(bytes);
		return 0;
	}
	return runs_in(bytes, len);
}

/* ---- READY ---- */

static const struct {
	uint32_t kind;
	const char *text; /* of the key in the record */
} keys[] = {
	{0, "as it was"},
	{WSET_BUILD, "b00000000000000000000000000000000-000000000000004d"},
	{WSET_HASH, "f-000000000000004d"},
	{WSET_FILES, "f00000000000000000000000000000000-000000000000004d"},
	{WSET_KIND_COUNT, "as it was"},
	{UINT32_MAX, "as it was"},
};

/* A successor's recording would lack the beginning. READY begins no recording. */
START_TEST(test_ready)
{
	const struct wset_key said = {.kind = keys[_i].kind, .number = NUMBER};

	for (int turn = 0; turn < 4; turn++) {
		bool recording = turn & 1, vmm_came = turn & 2;

		snprintf(k.r->rec.wset_key, sizeof(k.r->rec.wset_key), "as it was");
		k.r->rec.recording = recording;
		k.r->rec.vmm_pid = vmm_came ? (uint32_t)vmm : 0;
		restore_wset_ready(k.r, &said);
		ck_assert_str_eq(k.r->rec.wset_key, keys[_i].text);
		ck_assert_int_eq(k.r->rec.recording, recording && !vmm_came);
	}
	ck_assert_uint_eq(k.changed, 0);
}
END_TEST

/* ---- the stored sets go to the worker ---- */

#define RUNS_4K 3
#define RUNS_2M 4

static uint64_t runs_behind(int fd)
{
	char bytes[4096];
	ssize_t len = pread(fd, bytes, sizeof(bytes), 0);

	ck_assert_int_gt(len, 0);
	return runs_in(bytes, (size_t)len);
}

static void hear_given(bool small, bool large)
{
	struct err err = {.msg = ""};
	int fds[CHAN_FDS_MAX], n = 0;
	struct chan_msg msg;

	ck_assert_msg(chan_recv(w.chan, &msg, fds, &err) == CHAN_GOT, "it is told nothing");
	ck_assert_int_eq(msg.type, CHAN_WSET_GIVEN);
	if (small)
		ck_assert_uint_eq(runs_behind(fds[n++]), RUNS_4K);
	if (large)
		ck_assert_uint_eq(runs_behind(fds[n++]), RUNS_2M);
	ck_assert_int_lt(fds[n], 0);
	chan_close_fds(fds);
}

/* Those of this snapshot and tenant, of both page sizes: the VMM's is not known yet. */
START_TEST(test_give)
{
	bool small = _i & 1, large = _i & 2;
	int before;

	put(MINE, NUMBER + 1, PAGE_4K, 1);
	put("another", NUMBER, PAGE_2M, 1);
	if (small)
		put(MINE, NUMBER, PAGE_4K, RUNS_4K);
	if (large)
		put(MINE, NUMBER, PAGE_2M, RUNS_2M);
	before = fds_count(getpid());
	restore_wset_give(k.r);
	if (small || large)
		hear_given(small, large);
	ck_assert_str_eq(workerside_told(&w), "");
	ck_assert_int_eq(fds_count(getpid()), before);
	ck_assert_str_eq(restorekit_events(&k), "");
}
END_TEST

/* No worker, or one that is gone: nothing is left open. */
START_TEST(test_give_nobody)
{
	struct worker *worker = k.r->worker;
	int before;

	put(MINE, NUMBER, PAGE_4K, RUNS_4K);
	put(MINE, NUMBER, PAGE_2M, RUNS_2M);
	if (_i)
		close_fd(&w.chan);
	else
		k.r->worker = NULL;
	before = fds_count(getpid());
	restore_wset_give(k.r);
	ck_assert_int_eq(fds_count(getpid()), before);
	k.r->worker = worker;
	if (!_i)
		ck_assert_str_eq(workerside_told(&w), "");
}
END_TEST

/* ---- WSET_MADE ---- */

/* Nothing was stored, and no event was published. */
static void check_unchanged(uint64_t revision)
{
	struct err err;

	ck_assert_str_eq(restorekit_events(&k), "");
	ck_assert_uint_eq(k.changed, 0);
	ck_assert_uint_eq(k.r->rec.revision, revision);
	ck_assert_uint_eq(k.r->rec.wset_pages, 0);
	ck_assert_uint_eq(read_runs(&err), 0);
}

/* A set has the guest's page size, and spans the snapshot in whole pages of 4 KiB. */
START_TEST(test_made)
{
	uint64_t revision = k.r->rec.revision;
	cleanup_fd int fd = -1, again = -1;
	struct err err = {.msg = ""};

	k.r->rec.page_bytes = _i ? PAGE_2M : PAGE_4K;
	fd = wsetkit_send(wsetkit_make(NUMBER, k.r->rec.page_bytes, 5));
	again = wsetkit_send(wsetkit_make(NUMBER, k.r->rec.page_bytes, 6));
	restore_wset_made(k.r, fd);
	check_last("working-set-recorded ", "{\"pages\":10,\"runs\":5,\"restores\":1}");
	ck_assert_uint_eq(k.r->rec.wset_pages, 10);
	ck_assert_uint_eq(k.r->rec.revision, revision + 1);
	ck_assert_uint_eq(k.changed, 1);
	ck_assert(!k.r->rec.recording);
	ck_assert_uint_eq(read_runs(&err), 5);
	/* Still the caller's. */
	ck_assert_uint_eq(runs_behind(fd), 5);
	/* A worker that goes on sending fills neither the store nor the disk. */
	restore_wset_made(k.r, again);
	check_last("working-set-recorded ", "\"runs\":5");
	ck_assert_uint_eq(k.r->rec.revision, revision + 1);
	ck_assert_uint_eq(k.changed, 1);
	ck_assert_uint_eq(read_runs(&err), 5);
}
END_TEST

static int add_recorded(void *arg, struct restore_record *rec, struct err *err)
{
	(void)err;
	*(uint64_t *)arg = rec->recording ? 0 : rec->wset_pages;
	return 0;
}

/* With its event, the row. */
START_TEST(test_made_is_stored)
{
	cleanup_fd int fd = wsetkit_send(wsetkit_make(NUMBER, PAGE_4K, 5));
	struct err err = {.msg = ""};
	uint64_t pages = 0;

	restore_wset_made(k.r, fd);
	ck_assert_int_eq(store_restores(k.store, add_recorded, &pages, &err), 0);
	ck_assert_uint_eq(pages, 10);
}
END_TEST

static int add_revision(void *arg, struct restore_record *rec, struct err *err)
{
	(void)err;
	*(uint64_t *)arg = rec->recording ? 0 : rec->revision;
	return 0;
}

/* Without an event: else a new supervisor would show a recording, and an older revision. */
START_TEST(test_made_none_is_stored)
{
	struct err err = {.msg = ""};
	uint64_t revision = 0;

	restore_changed(k.r, "before", NULL);
	restore_wset_made(k.r, -1);
	ck_assert_int_eq(store_restores(k.store, add_revision, &revision, &err), 0);
	ck_assert_uint_eq(revision, k.r->rec.revision);
	ck_assert_str_eq(restorekit_events(&k), "before ");
}
END_TEST

/* Nothing is recorded, or the restore is not there yet: and then it may still be recorded. */
START_TEST(test_made_unasked)
{
	cleanup_fd int fd = wsetkit_send(wsetkit_make(NUMBER, PAGE_4K, 5));
	uint64_t revision = k.r->rec.revision;

	if (_i)
		k.r->slot.state = SLOT_CREATING;
	else
		k.r->rec.recording = false;
	restore_wset_made(k.r, fd);
	check_unchanged(revision);
	ck_assert_int_eq(k.r->rec.recording, _i);
}
END_TEST

/* The recording is over, and gave nothing. */
START_TEST(test_made_none)
{
	cleanup_fd int fd = wsetkit_send(wsetkit_make(NUMBER, PAGE_4K, 5));
	uint64_t revision = k.r->rec.revision;

	restore_wset_made(k.r, -1);
	ck_assert(!k.r->rec.recording);
	check_unchanged(revision + 1);
	restore_wset_made(k.r, fd);
	check_unchanged(revision + 1);
}
END_TEST

static int unsealed(void)
{
	return wsetkit_memfd("", 0, 0);
}

static int of_another_snapshot(void)
{
	return wsetkit_send(wsetkit_make(NUMBER + 1, PAGE_4K, 5));
}

static int of_other_pages(void)
{
	return wsetkit_send(wsetkit_make(NUMBER, PAGE_2M, 5));
}

static int of_a_shorter_snapshot(void)
{
	struct wset s = wsetkit_make(NUMBER, PAGE_4K, 5);

	s.span_bytes -= PAGE_4K;
	return wsetkit_send(s);
}

/* As large as the store may be: conversationkit has opened it. */
static int too_large(void)
{
	static char bytes[(1 << 20) + 1];

	return wsetkit_memfd(bytes, sizeof(bytes), WSETKIT_SEALS);
}

static const struct {
	int (*make)(void);
	const char *why;
} refusals[] = {
	{unsealed, "sealed"},           {of_another_snapshot, "another snapshot"},
	{of_other_pages, "page size"},  {of_a_shorter_snapshot, "a snapshot of 1073737728 bytes"},
	{too_large, "at most 1048576"},
};

/* The store says why, and the set stays as it was. The worker gets no second chance. */
START_TEST(test_made_is_refused)
{
	cleanup_fd int fd = refusals[_i].make(), good = -1;
	uint64_t revision = k.r->rec.revision;
	struct err err = {.msg = ""};

	put(MINE, NUMBER, PAGE_4K, 3);
	restore_wset_made(k.r, fd);
	check_last("working-set-ignored ", refusals[_i].why);
	ck_assert_ptr_nonnull(strstr(restorekit_data(&k), "{\"detail\":\""));
	ck_assert_uint_eq(k.changed, 1);
	ck_assert_uint_eq(k.r->rec.revision, revision + 1);
	ck_assert_uint_eq(k.r->rec.wset_pages, 0);
	ck_assert(!k.r->rec.recording);
	good = wsetkit_send(wsetkit_make(NUMBER, PAGE_4K, 5));
	restore_wset_made(k.r, good);
	ck_assert_str_eq(restorekit_events(&k), "working-set-ignored ");
	ck_assert_uint_eq(read_runs(&err), 3);
}
END_TEST

/* ---- for the API ---- */

static const struct {
	uint64_t pages;
	bool recording;
	enum restore_state state;
	const char *text;
} states[] = {
	{0, false, STATE_SERVING, "off"},      {0, true, STATE_WAITING, "recording"},
	{0, true, STATE_SERVING, "recording"}, {0, true, STATE_RECOVERING, "recording"},
	{0, true, STATE_FAILED, "off"},        {0, true, STATE_ENDED, "off"},
	{1, false, STATE_SERVING, "recorded"}, {1, true, STATE_SERVING, "recorded"},
	{1, false, STATE_ENDED, "recorded"},
};

START_TEST(test_state)
{
	k.r->rec.wset_pages = states[_i].pages;
	k.r->rec.recording = states[_i].recording;
	k.r->rec.state = states[_i].state;
	ck_assert_str_eq(restore_wset_state(k.r), states[_i].text);
}
END_TEST

static const struct {
	uint64_t page_bytes; /* of the guest; 0: none has come */
	bool small, large;   /* is stored */
	uint64_t runs;
} readings[] = {
	{0, true, true, RUNS_4K},        {0, false, true, RUNS_2M},
	{PAGE_4K, true, true, RUNS_4K},  {PAGE_4K, false, true, RUNS_2M},
	{PAGE_4K, true, false, RUNS_4K}, {PAGE_2M, true, true, RUNS_2M},
	{PAGE_2M, true, false, RUNS_4K}, {PAGE_2M, false, true, RUNS_2M},
};

/* The set for its own pages; else the other one. */
START_TEST(test_read)
{
	struct err err = {.msg = ""};

	k.r->rec.page_bytes = readings[_i].page_bytes;
	if (readings[_i].small)
		put(MINE, NUMBER, PAGE_4K, RUNS_4K);
	if (readings[_i].large)
		put(MINE, NUMBER, PAGE_2M, RUNS_2M);
	ck_assert_uint_eq(read_runs(&err), readings[_i].runs);
}
END_TEST

START_TEST(test_read_none)
{
	struct err err = {.msg = ""};

	put(MINE, NUMBER + 1, PAGE_4K, 1);
	put("another", NUMBER, PAGE_4K, 1);
	/* Neither the snapshot nor its sets are known. */
	if (_i)
		k.r->rec.wset_key[0] = '\0';
	ck_assert_uint_eq(read_runs(&err), 0);
	ck_assert_int_eq(err.code, ERR_NOTFOUND);
	ck_assert_msg(strstr(err.msg, "restore r has no working set (one is there once a recording "
				      "has ended, by its window or with the VMM)"),
		      "%s", err.msg);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("restore_wset");
	TCase *tc = tcase_create("restore_wset");

	tcase_add_checked_fixture(tc, begin_wset, end);
	tcase_add_loop_test(tc, test_ready, 0, ARRAY_LEN(keys));
	tcase_add_loop_test(tc, test_give, 0, 4);
	tcase_add_loop_test(tc, test_give_nobody, 0, 2);
	tcase_add_loop_test(tc, test_made, 0, 2);
	tcase_add_test(tc, test_made_is_stored);
	tcase_add_test(tc, test_made_none_is_stored);
	tcase_add_loop_test(tc, test_made_unasked, 0, 2);
	tcase_add_test(tc, test_made_none);
	tcase_add_loop_test(tc, test_made_is_refused, 0, ARRAY_LEN(refusals));
	tcase_add_loop_test(tc, test_state, 0, ARRAY_LEN(states));
	tcase_add_loop_test(tc, test_read, 0, ARRAY_LEN(readings));
	tcase_add_loop_test(tc, test_read_none, 0, 2);
	suite_add_tcase(suite, tc);
	return suite;
}
