/* test_scan - where the data and the holes of real files are, and which diffs cannot be right */
#include "worker/scan.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/header.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define DIFF 4 /* index of the layer */

struct file {
	struct layer l;
	struct extents out;
	struct scan s;
	size_t budget;
	struct err err;
};

/* @pages: '.' a hole, 'd' data; then a hole of @more bytes. */
static void file_open(struct file *f, const char *pages, uint64_t more, uint32_t layer)
{
	int fd = memfd_create("scan", MFD_CLOEXEC);
	uint64_t n = strlen(pages);
	char page[PAGE_4K];

	memset(page, 'd', sizeof(page));
	ck_assert_int_eq(ftruncate(fd, (off_t)(n * PAGE_4K + more)), 0);
	for (uint64_t i = 0; i < n; i++)
		if (pages[i] == 'd')
			ck_assert_int_eq(pwrite(fd, page, PAGE_4K, (off_t)(i * PAGE_4K)), PAGE_4K);
	memset(f, 0, sizeof(*f));
	ck_assert_int_eq(layer_take(fd, "/some", "memory", &f->l, &f->err), 0);
	extents_init(&f->out);
	f->budget = 100;
	f->s = (struct scan){.f = &f->l, .layer = layer, .budget = &f->budget, .out = &f->out};
}

static void file_close(struct file *f)
{
	extents_fini(&f->out);
	layer_close(&f->l);
}

/* ---- what is found ---- */

static const struct {
	const char *pages;
	uint64_t end, runs; /* of data */
} found[] = {
	{"d", 1, 1},    {".", 0, 0},    {"dddd", 4, 1},     {"....", 0, 0}, {"d..d", 4, 2},
	{".dd.", 3, 1}, {"dd..", 2, 1}, {"d.d.d.d.", 7, 4}, {"..dd", 4, 1}, {"", 0, 0},
};

/* Each page of the file is at its own place, or zero. */
static void check_tiling(const struct file *f, const char *pages, uint32_t layer)
{
	uint32_t npages = (uint32_t)(align_up(f->l.size_bytes, PAGE_4K) / PAGE_4K);
	size_t cursor = 0;

	ck_assert_uint_eq(f->out.npages, npages);
	for (uint32_t i = 0; i < npages; i++) {
		struct extent_run run = extents_find(&f->out, i, 1, &cursor);
		bool data = i < strlen(pages) && pages[i] == 'd';

		ck_assert_msg(run.layer == (data ? layer : EXTENT_ZERO), "%s: page %u: layer %u",
			      pages, i, run.layer);
		ck_assert_msg(!data || run.store == i, "%s: page %u: from %u", pages, i, run.store);
	}
}

START_TEST(test_found)
{
	struct file f;

	file_open(&f, found[_i].pages, 0, 0);
	ck_assert_msg(scan_file(&f.s, &f.err) == 0, "%s", f.err.msg);
	check_tiling(&f, found[_i].pages, 0);
	ck_assert_uint_eq(f.s.end, found[_i].end * PAGE_4K);
	ck_assert_uint_eq(f.budget, 100 - found[_i].runs);
	file_close(&f);
}
END_TEST

START_TEST(test_found_in_diff)
{
	struct file f;

	file_open(&f, ".d..dd.", 0, DIFF);
	ck_assert_msg(scan_file(&f.s, &f.err) == 0, "%s", f.err.msg);
	check_tiling(&f, ".d..dd.", DIFF);
	file_close(&f);
}
END_TEST

/* ---- what is refused ---- */

static void check_refused(struct file *f, enum err_code code, const char *text)
{
	ck_assert_int_eq(scan_file(&f->s, &f->err), -1);
	ck_assert_msg(f->err.code == code && strstr(f->err.msg, text), "%s", f->err.msg);
	ck_assert_msg(strstr(f->err.msg, "/some/memory"), "%s", f->err.msg);
}

/* In a diff, a page that is half there would be half the parent's. */
START_TEST(test_half_page)
{
	struct file f;

	file_open(&f, "d.", 5, DIFF);
	ck_assert_int_eq(pwrite(f.l.fd, "xxxxx", 5, 2 * PAGE_4K), 5);
	check_refused(&f, ERR_SNAPSHOT,
		      "data from 8192 to 8197 is not whole pages: write diffs by pages of 4096");
	file_close(&f);
}
END_TEST

/* Of all files together. */
START_TEST(test_budget)
{
	struct file f;

	file_open(&f, "d.d.d", 0, 0);
	f.budget = 3;
	ck_assert_msg(scan_file(&f.s, &f.err) == 0, "%s", f.err.msg);
	ck_assert_uint_eq(f.budget, 0);
	file_close(&f);
	file_open(&f, "d.d.d.", 0, 0);
	f.budget = 2;
	check_refused(&f, ERR_SNAPSHOT, "runs of data: merge the diffs or write the file without");
	file_close(&f);
	/* Holes cost nothing. */
	file_open(&f, "......", 0, 0);
	f.budget = 0;
	ck_assert_msg(scan_file(&f.s, &f.err) == 0, "%s", f.err.msg);
	file_close(&f);
}
END_TEST

START_TEST(test_unreadable)
{
	struct file f;

	file_open(&f, "d.d", 0, 0);
	close_fd(&f.l.fd);
	check_refused(&f, ERR_SYSTEM, "looking for holes from 0: Bad file descriptor");
	file_close(&f);
}
END_TEST

/* ---- what is thought of a diff ---- */

static const struct {
	const char *pages;
	bool dense;
	int blocks_of; /* pages that its file system has blocks for; -1: as it says */
	const char *says;
} judged[] = {
	{"d.d", false, -1, NULL},
	{"...", false, -1, NULL},
	{"ddd", true, -1, NULL},
	{"ddd", false, -1, "has no hole, so nothing of its base would be left"},
	{"ddd", false, -1, "tar --sparse, or say dense_diffs"},
	/* Room that was given ahead, and is not used. */
	{"d.d", false, 3, NULL},
	{"d.d", false, 1,
	 "does not tell where its holes are (data of 8192 bytes in blocks of 4096)"},
	{"ddd", false, 2, "does not tell where its holes are"},
	{"ddd", true, 2, "does not tell where its holes are"},
};

START_TEST(test_judged)
{
	struct file f;
	int rc;

	file_open(&f, judged[_i].pages, 0, DIFF);
	ck_assert_int_eq(scan_file(&f.s, &f.err), 0);
	if (judged[_i].blocks_of >= 0)
		f.l.id.st_blocks = judged[_i].blocks_of * (long)(PAGE_4K / 512);
	rc = scan_judge(&f.s, judged[_i].dense, &f.err);
	ck_assert_msg(rc == (judged[_i].says ? -1 : 0), "row %d: %s", _i, rc ? f.err.msg : "good");
	if (judged[_i].says) {
		ck_assert_int_eq(f.err.code, ERR_SNAPSHOT);
		ck_assert_msg(strstr(f.err.msg, judged[_i].says), "%s", f.err.msg);
	}
	file_close(&f);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("scan");
	TCase *t = tcase_create("scan");

	tcase_add_loop_test(t, test_found, 0, ARRAY_LEN(found));
	tcase_add_test(t, test_found_in_diff);
	tcase_add_test(t, test_half_page);
	tcase_add_test(t, test_budget);
	tcase_add_test(t, test_unreadable);
	tcase_add_loop_test(t, test_judged, 0, ARRAY_LEN(judged));
	suite_add_tcase(s, t);
	return s;
}
