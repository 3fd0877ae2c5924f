/* test_store - what was written of restores is there, whole */
#include "daemon/store.h"

#include <string.h>

#include "tests/support/runner.h"
#include "tests/support/storekit.h"

/* ---- random records ---- */

/* Anything but NUL, invalid UTF-8 included, up to what fits. */
static void random_text(char *to, size_t size)
{
	size_t len = rnd() % size;

	for (size_t i = 0; i < len; i++)
		to[i] = (char)(rnd() % 255 + 1);
	to[len] = '\0';
}

/* A tenant's name is part of paths, so the store gives back no other. */
static void random_tenant(char *to, size_t size)
{
	static const char letters[] = "azAZ09._-";
	size_t len = 1 + rnd() % (size - 1);

	for (size_t i = 0; i < len; i++)
		to[i] = letters[rnd() % (i ? sizeof(letters) - 1 : 6)];
	to[len] = '\0';
}

static uint64_t random_u64(void)
{
	static const uint64_t edge[] = {0, 1, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
	uint64_t v = rnd();

	return v % 3 ? v : edge[v / 3 % ARRAY_LEN(edge)];
}

static void random_record(struct restore_record *r, int i)
{
	static const uint32_t edge[] = {0, 1, INT32_MAX, (uint32_t)INT32_MAX + 1, UINT32_MAX};
	char spec[3000];

	memset(r, 0, sizeof(*r));
	snprintf(r->key, sizeof(r->key), "%d-%d", i * 7 % RECORDS, i);
	snprintf(r->id, sizeof(r->id), "r%03d", i);
	random_tenant(r->tenant, sizeof(r->tenant));
	r->state = (enum restore_state)(i % STATE_COUNT);
	random_text(r->reason, sizeof(r->reason));
	r->revision = random_u64();
	random_text(r->boot_id, sizeof(r->boot_id));
	random_text(spec, sizeof(spec));
	r->spec = strdup(spec);
	random_text(r->socket_path, sizeof(r->socket_path));
	r->caller_uid = edge[rnd() % ARRAY_LEN(edge)];
	r->caller_gid = (uint32_t)rnd();
	r->vmm_pid = (uint32_t)rnd();
	r->vmm_uid = edge[rnd() % ARRAY_LEN(edge)];
	r->vmm_start = random_u64();
	r->worker_pid = (uint32_t)rnd();
	r->worker_restarts = (uint32_t)rnd();
	r->worker_start = random_u64();
	r->size_bytes = random_u64();
	r->page_bytes = random_u64();
	r->memory_bytes = random_u64();
	r->complete = rnd() & 1;
	r->paused = rnd() & 1;
	r->released = rnd() & 1;
	r->prefetch = (enum spec_prefetch)(rnd() % PREFETCH_COUNT);
	r->prefetch_held = rnd() & 1;
	r->rate_bytes_per_s = random_u64();
	r->max_resident_bytes = random_u64();
	random_text(r->wset_key, sizeof(r->wset_key));
	r->recording = rnd() & 1;
	r->wset_pages = random_u64();
	random_text(r->stop_reason, sizeof(r->stop_reason));
	r->stop_by_us = random_u64();
	r->created_ms = (int64_t)random_u64();
	r->connected_ms = (int64_t)random_u64();
	r->ended_ms = (int64_t)random_u64();
}

/* Text behind the NUL does not count; everything else of the struct does. */
static void wipe(char *text, size_t size)
{
	size_t len = strlen(text);

	memset(text + len, 0, size - len);
}

static void must_equal(const struct restore_record *a, const struct restore_record *b)
{
	struct restore_record x = *a, y = *b;
	struct restore_record *both[] = {&x, &y};

	ck_assert_str_eq(a->id, b->id);
	ck_assert_str_eq(a->spec, b->spec);
	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		wipe(both[i]->key, sizeof(both[i]->key));
		wipe(both[i]->id, sizeof(both[i]->id));
		wipe(both[i]->tenant, sizeof(both[i]->tenant));
		wipe(both[i]->reason, sizeof(both[i]->reason));
		wipe(both[i]->boot_id, sizeof(both[i]->boot_id));
		wipe(both[i]->socket_path, sizeof(both[i]->socket_path));
		wipe(both[i]->wset_key, sizeof(both[i]->wset_key));
		wipe(both[i]->stop_reason, sizeof(both[i]->stop_reason));
		both[i]->spec = NULL;
	}
	ck_assert_msg(memcmp(&x, &y, sizeof(x)) == 0, "%s differs", a->id);
}

/* ---- what is kept ---- */

START_TEST(test_reopen)
{
	static struct restore_record want[RECORDS];
	struct store *s;
	struct all *got;

	empty_dir();
	seed = 0x9e3779b97f4a7c15u + (uint64_t)_i;
	s = must_open();
	for (int i = RECORDS - 1; i >= 0; i--) {
		random_record(&want[i], i);
		must_write(s, &want[i], NULL, 0);
	}
	/* Replace some: same key and id, everything else new. */
	for (int i = 0; i < RECORDS; i += 3) {
		free(want[i].spec);
		random_record(&want[i], i);
		must_write(s, &want[i], NULL, 0);
	}
	store_close(s);
	ck_assert_msg(!exists("-wal") && !exists("-shm"), "a clean close leaves one file");
	s = must_open();
	got = read_all(s);
	ck_assert_uint_eq(got->n, RECORDS);
	for (int i = 0; i < RECORDS; i++) {
		must_equal(&want[i], &got->v[i]);
		free(want[i].spec);
	}
	free_all(got);
	store_close(s);
}
END_TEST

START_TEST(test_private)
{
	static const char *const files[] = {"", "-wal", "-shm", ".lock"};
	struct store_event e = event_at(1, "t", "a");
	struct store *s;

	empty_dir();
	umask(0);
	s = must_open();
	must_write(s, NULL, &e, 1);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		cleanup_free char *name = beside(files[i]);
		struct stat st;

		ck_assert_msg(stat(name, &st) == 0, "%s", name);
		ck_assert_msg((st.st_mode & 0777) == 0600, "%s: %o", name, st.st_mode);
	}
	store_close(s);
}
END_TEST

START_TEST(test_forget)
{
	struct restore_record r;
	struct store *s;
	struct all *got;
	struct err err;

	empty_dir();
	s = must_open();
	for (const char *id = "abc"; *id; id++) {
		const char name[] = {*id, '\0'};

		r = plain(name, 1);
		must_write(s, &r, NULL, 0);
	}
	ck_assert_int_eq(store_forget(s, "b", &err), 0);
	ck_assert_int_eq(store_forget(s, "b", &err), 0);
	got = read_all(s);
	ck_assert_uint_eq(got->n, 2);
	ck_assert_str_eq(got->v[0].id, "a");
	ck_assert_str_eq(got->v[1].id, "c");
	free_all(got);
	store_close(s);
}
END_TEST

/* Tenants know nothing of each other's ids; none has one twice. */
START_TEST(test_one_id)
{
	struct restore_record r = plain("a", 1), other = plain("b", 1), again = plain("c", 1);
	struct store *s;
	struct all *got;
	struct err err;

	snprintf(other.id, sizeof(other.id), "a");
	snprintf(other.tenant, sizeof(other.tenant), "another");
	snprintf(again.id, sizeof(again.id), "a");
	empty_dir();
	s = must_open();
	must_write(s, &r, NULL, 0);
	must_write(s, &other, NULL, 0);
	ck_assert_int_lt(store_write(s, &again, NULL, NULL, &err), 0);
	ck_assert_int_eq(err.code, ERR_INVALID);
	r.revision = 2;
	must_write(s, &r, NULL, 0);
	got = read_all(s);
	ck_assert_uint_eq(got->n, 2);
	ck_assert_str_eq(got->v[0].tenant, "another");
	ck_assert_uint_eq(got->v[0].revision, 1);
	ck_assert_str_eq(got->v[1].tenant, "t");
	ck_assert_uint_eq(got->v[1].revision, 2);
	free_all(got);
	/* Now it is free. */
	ck_assert_int_eq(store_forget(s, "a", &err), 0);
	must_write(s, &again, NULL, 0);
	store_close(s);
}
END_TEST

static int refuse_restore(void *arg, struct restore_record *rec, struct err *err)
{
	(void)rec;
	(*(int *)arg)++;
	return err_set(err, ERR_TIMEOUT, "enough");
}

static int refuse_event(void *arg, const struct store_event *e, struct err *err)
{
	(void)e;
	(*(int *)arg)++;
	return err_set(err, ERR_TIMEOUT, "enough");
}

/* A visitor may also write: the daemon does when it closes rows of another boot. */
static int write_within(void *arg, struct restore_record *rec, struct err *err)
{
	struct store_event e = event_at(1, rec->tenant, rec->id);

	return store_write(arg, NULL, &e, NULL, err);
}

START_TEST(test_visitors)
{
	struct restore_record a = plain("a", 1), b = plain("b", 1);
	struct store_event e = event_at(1, "t", "a");
	struct store *s;
	struct err err;
	int calls = 0;

	empty_dir();
	s = must_open();
	must_write(s, &a, &e, 1);
	must_write(s, &b, &e, 2);
	ck_assert_int_lt(store_restores(s, refuse_restore, &calls, &err), 0);
	ck_assert_int_eq(calls, 1);
	ck_assert_int_eq(err.code, ERR_TIMEOUT);
	ck_assert_int_lt(store_events(s, NULL, 10, refuse_event, &calls, &err), 0);
	ck_assert_int_eq(calls, 2);
	ck_assert_int_eq(err.code, ERR_TIMEOUT);
	ck_assert_int_eq(store_restores(s, write_within, s, &err), 0);
	must_range(s, 1, 4);
	store_close(s);
}
END_TEST

/* ---- rows that somebody else wrote ---- */

static const struct {
	const char *assignment, *complaint;
} bad_rows[] = {
	{"state = 'zombie'", "damaged"},
	{"complete = 2", "damaged"},
	{"prefetch = 'some'", "bad prefetch"},
	{"caller_uid = -1", "bad caller_uid"},
	{"vmm_pid = 4294967296", "bad vmm_pid"},
	{"tenant = printf('%064d', 0)", "bad tenant"},
	{"tenant = 'a/b'", "bad tenant"},
	{"id = '../../x'", "bad id"},
	{"key = '../../x'", "bad key"},
	{"key = ''", "damaged"},
	{"id = '..'", "bad id"},
	{"reason = printf('%0512d', 0)", "bad reason"},
	{"boot_id = CAST(x'610062' AS TEXT)", "bad boot_id"},
	{"spec = CAST(x'7b007d' AS TEXT)", "bad spec"},
};

START_TEST(test_bad_row)
{
	struct restore_record r = plain("a", 1);
	struct store *s;
	struct err err = {.msg = ""};
	struct all all = {.n = 0};
	char text[200];

	empty_dir();
	s = must_open();
	must_write(s, &r, NULL, 0);
	store_close(s);
	snprintf(text, sizeof(text), "PRAGMA ignore_check_constraints = ON; UPDATE restores SET %s",
		 bad_rows[_i].assignment);
	in_shell(text);
	if (store_open(path, &s, &err) == 0) {
		ck_assert_msg(store_restores(s, collect, &all, &err) < 0, "%s",
			      bad_rows[_i].assignment);
		store_close(s);
	}
	ck_assert_msg(strstr(err.msg, bad_rows[_i].complaint) != NULL, "%s: %s",
		      bad_rows[_i].assignment, err.msg);
	ck_assert_uint_eq(all.n, 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("store");
	TCase *t = tcase_create("kept");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_loop_test(t, test_reopen, 0, 3);
	tcase_add_test(t, test_private);
	tcase_add_test(t, test_forget);
	tcase_add_test(t, test_one_id);
	tcase_add_test(t, test_visitors);
	tcase_add_loop_test(t, test_bad_row, 0, ARRAY_LEN(bad_rows));
	suite_add_tcase(s, t);
	return s;
}
