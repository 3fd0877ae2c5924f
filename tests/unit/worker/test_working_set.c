/* test_working_set - which given sets are used, and what the supervisor gets of a recording */
#include "worker/working_set.h"

#include "common/io.h"
#include "common/wset_file.h"
#include "tests/support/servekit.h"

static const struct roots anywhere;

#define WINDOW_US (3600 * UINT64_C(1000000))

static const struct wset_key mine = {.kind = WSET_BUILD, .id = {1}, .number = JOBKIT_BYTES};
static const struct wset_key other = {.kind = WSET_BUILD, .id = {2}, .number = JOBKIT_BYTES};
static const struct wset_key files = {.kind = WSET_FILES, .id = {3}, .number = JOBKIT_BYTES};

/* A guest, and its job's working set, which nobody has begun with. */
static struct working_set *open_set(struct served *v, const struct wset_key *key)
{
	struct working_set *h = &v->s.job.working_set;

	served_open(v, 0);
	working_set_fini(h);
	working_set_init(h, &v->s.job.link);
	h->key = *key;
	h->span_bytes = JOBKIT_BYTES;
	h->file_bytes = WSET_FILE_MAX;
	h->window_us = WINDOW_US;
	return h;
}

/* The file of a set with one page of it. */
static int made(const struct wset_key *key, uint64_t span, uint64_t page_bytes, uint32_t page)
{
	struct wset s = {.key = *key, .page_bytes = page_bytes, .span_bytes = span, .restores = 1};
	const struct wset_run run = {page, 1, WSET_MEMBER, 0};
	cleanup_free void *bytes = NULL;
	struct err err;
	size_t len;
	int fd;

	ck_assert_int_eq(wset_add(&s, &run, &err), 0);
	ck_assert_int_eq(wset_file_encode(&s, &bytes, &len, &err), 0);
	ck_assert_int_eq(io_sealed("set", bytes, len, &fd, &err), 0);
	wset_fini(&s);
	return fd;
}

static void give(struct working_set *h, int first, int second)
{
	int fds[CHAN_FDS_MAX];

	memset(fds, -1, sizeof(fds));
	fds[0] = first;
	fds[1] = second;
	working_set_receive(h, fds);
	ck_assert_int_eq(fds[0], -1);
	ck_assert_int_eq(fds[1], -1);
}

/* The caller's, by a path. */
static void open_path(struct working_set *h, int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	working_set_open(h, &anywhere, path);
	working_set_read(h);
	close(fd);
}

static void begin(struct served *v, struct working_set *h, bool record)
{
	working_set_begin(h, &v->s.loop.prefetch, PAGE_4K, record, now_us());
}

static bool has_page(const struct working_set *h, uint32_t page)
{
	for (size_t i = 0; i < h->set.n; i++)
		if (page - h->set.v[i].page < h->set.v[i].pages)
			return true;
	return false;
}

static void must_note(struct served *v, const char *text)
{
	struct chan_msg msg;

	must_hear(v->s.sup, CHAN_NOTE, &msg);
	ck_assert_int_eq(chan_note_kind(msg.note.type), CHAN_NOTE_WSET_IGNORED);
	ck_assert_msg(strstr(msg.note.msg, text), "%s", msg.note.msg);
}

/* ---- which are used ---- */

/* Of another host flat files have another name, but stored sets are of this one. */
static const struct {
	const struct wset_key *snapshot, *set;
	uint64_t span;
	const char *path, *stored; /* why it is ignored; NULL: used */
} given[] = {
	{&mine, &mine, JOBKIT_BYTES, NULL, NULL},
	{&mine, &other, JOBKIT_BYTES, "it is of another snapshot", "it is of another snapshot"},
	{&files, &mine, JOBKIT_BYTES, NULL, "it is of another snapshot"},
	{&mine, &mine, 2 * JOBKIT_BYTES, "it is of a snapshot of 65536 bytes, this one has 32768",
	 "it is of a snapshot of 65536 bytes"},
};

START_TEST(test_given)
{
	const bool stored = _i % 2;
	const char *why = stored ? given[_i / 2].stored : given[_i / 2].path;
	struct working_set *h;
	struct served v;
	int fd;

	h = open_set(&v, given[_i / 2].snapshot);
	fd = made(given[_i / 2].set, given[_i / 2].span, PAGE_4K, 2);
	if (stored) {
		give(h, fd, -1);
	} else {
		open_path(h, fd);
		/* The supervisor does not expect a note yet. */
		must_hear_nothing(v.s.sup);
		working_set_send_notes(h);
	}
	if (why)
		must_note(&v, why);
	must_hear_nothing(v.s.sup);
	begin(&v, h, false);
	ck_assert_int_eq(has_page(h, 2), !why);
	ck_assert(wset_key_equal(&h->set.key, given[_i / 2].snapshot));
	served_end(&v);
}
END_TEST

START_TEST(test_damaged)
{
	struct working_set *h;
	struct served v;
	int fd = memfd_create("set", MFD_CLOEXEC), large = memfd_create("set", MFD_CLOEXEC);

	h = open_set(&v, &mine);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	ck_assert_int_eq(ftruncate(large, (off_t)WSET_FILE_MAX + 1), 0);
	give(h, fd, large);
	must_note(&v, "the stored working set: ");
	must_note(&v, "it has 16777217 bytes, at most 16777216 are taken");
	working_set_open(h, &anywhere, "/nonexistent/set");
	working_set_read(h);
	working_set_send_notes(h);
	must_note(&v, "/nonexistent/set: No such file");
	working_set_open(h, &anywhere, NULL);
	working_set_read(h);
	working_set_send_notes(h);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* A stored set of the guest's page size goes before one of the other size; the caller's is added. */
START_TEST(test_together)
{
	const bool small = _i;
	struct working_set *h;
	struct served v;

	h = open_set(&v, &mine);
	give(h, made(&mine, JOBKIT_BYTES, PAGE_2M, 0),
	     small ? made(&mine, JOBKIT_BYTES, PAGE_4K, 2) : -1);
	open_path(h, made(&mine, JOBKIT_BYTES, PAGE_4K, 6));
	begin(&v, h, false);
	ck_assert_uint_eq(h->set.page_bytes, PAGE_4K);
	ck_assert(has_page(h, 2) && has_page(h, 6));
	ck_assert_int_eq(has_page(h, 4), !small);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

/* It came while the guest was served: what prefetch left out until then is no sample. */
START_TEST(test_given_later)
{
	struct working_set *h;
	struct served v;

	h = open_set(&v, &mine);
	begin(&v, h, true);
	ck_assert_uint_ne(h->touch_log.seed, 0);
	give(h, made(&mine, JOBKIT_BYTES, PAGE_4K, 2), -1);
	ck_assert(has_page(h, 2));
	ck_assert_uint_eq(h->touch_log.seed, 0);
	ck_assert(h->touch_log.on);
	served_end(&v);
}
END_TEST

/* ---- a recording ---- */

/* What WSET_MADE brings; false: nothing beside it. */
static bool hear_made(int sup, struct wset *ret)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;
	char bytes[4096];
	struct err err;
	ssize_t n;

	ck_assert_int_eq(chan_recv(sup, &msg, fds, &err), CHAN_GOT);
	ck_assert_uint_eq(msg.type, CHAN_WSET_MADE);
	if (fds[0] < 0)
		return false;
	n = pread(fds[0], bytes, sizeof(bytes), 0);
	ck_assert_int_gt(n, 0);
	ck_assert_msg(wset_file_decode(bytes, (size_t)n, ret, &err) == 0, "%s", err.msg);
	chan_close_fds(fds);
	return true;
}

enum ending { TOUCHED, UNTOUCHED, DROPPED, NOT_RECORDED, TOO_LARGE };

START_TEST(test_recorded)
{
	struct working_set *h;
	struct wset s = {0};
	struct served v;

	h = open_set(&v, &mine);
	if (_i == TOO_LARGE)
		h->file_bytes = 88;
	begin(&v, h, _i != NOT_RECORDED);
	ck_assert(h->touch_log.on == (_i != NOT_RECORDED));
	if (_i != UNTOUCHED)
		touch_log_touch(&h->touch_log, 3, now_us());
	if (_i == DROPPED)
		working_set_drop(h);
	working_set_end(h, &v.s.guest.map, now_us());
	ck_assert(!h->touch_log.on);
	if (_i == TOUCHED || _i == TOO_LARGE) {
		ck_assert(hear_made(v.s.sup, &s));
		ck_assert(wset_key_equal(&s.key, &mine));
		ck_assert_uint_eq(s.restores, 1);
		ck_assert_uint_eq(s.pages, _i == TOUCHED ? 1 : 0);
		wset_fini(&s);
	} else if (_i != NOT_RECORDED) {
		ck_assert(!hear_made(v.s.sup, &s));
	}
	/* Once. */
	working_set_end(h, &v.s.guest.map, now_us());
	working_set_drop(h);
	working_set_replay(h);
	must_hear_nothing(v.s.sup);
	ck_assert_int_eq(h->made, -1);
	served_end(&v);
}
END_TEST

/* There was no supervisor: the next one gets it. */
START_TEST(test_replayed)
{
	struct working_set *h;
	struct wset s = {0};
	struct served v;
	struct err err;
	int pair[2];

	h = open_set(&v, &mine);
	begin(&v, h, true);
	touch_log_touch(&h->touch_log, 3, now_us());
	close_fd(&v.s.sup);
	working_set_end(h, &v.s.guest.map, now_us());
	ck_assert(h->unsent);
	ck_assert_int_eq(chan_pair(pair, &err), 0);
	v.s.sup = pair[0];
	v.s.job.link.chan = pair[1];
	working_set_replay(h);
	ck_assert(hear_made(v.s.sup, &s));
	ck_assert_uint_eq(s.pages, 1);
	wset_fini(&s);
	ck_assert(!h->unsent);
	working_set_replay(h);
	must_hear_nothing(v.s.sup);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("working_set");
	TCase *t = tcase_create("sets");

	tcase_add_loop_test(t, test_given, 0, 2 * ARRAY_LEN(given));
	tcase_add_test(t, test_damaged);
	tcase_add_loop_test(t, test_together, 0, 2);
	tcase_add_test(t, test_given_later);
	tcase_add_loop_test(t, test_recorded, TOUCHED, TOO_LARGE + 1);
	tcase_add_test(t, test_replayed);
	suite_add_tcase(s, t);
	return s;
}
