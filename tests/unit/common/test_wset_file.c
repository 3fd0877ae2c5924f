/* The working-set file: bytes that are known, all that is refused, and what noise does to it. */
#include "common/wset_file.h"

#include <endian.h>
#include <string.h>

#include "common/crc.h"
#include "tests/support/runner.h"

#define HEAD 88

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

/* Makes the checksum right again. */
static void seal(uint8_t *bytes, size_t len)
{
	uint32_t crc;

	memset(bytes + 12, 0, 4);
	crc = htole32(crc_add(0, bytes, len));
	memcpy(bytes + 12, &crc, 4);
}

/* Three runs over 1 GiB in pages of 4 KiB. */
/* clang-format off */
static const uint8_t known[] = {
	'u', 'f', 'f', 'd', 'w', 's', 'e', 't', 1, 0, 0, 0, 0x6d, 0x7a, 0x93, 0x86,
	99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0,
	0, 0x10, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	0, 0, 0, 0x40, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
	0x2f, 1, 0, 0, 0, 0, 0, 0,
	3, 2, 0x02,          /* pages 3, 4: score 2, group 0 */
	0, 1, 0x1d,          /* page 5: score 1, group 7 */
	0xfa, 1, 0xac, 2, 0x07, /* 250 further on, 300 pages: score 3, group 1 */
};
/* clang-format on */

static struct wset known_set(void)
{
	static const struct wset_run runs[] = {{3, 2, 2, 0}, {5, 1, 1, 7}, {256, 300, 3, 1}};
	struct wset s = {
		.key = {.kind = WSET_BUILD, .number = 1 << 30},
		.page_bytes = PAGE_4K,
		.span_bytes = 1 << 30,
		.restores = 5,
	};
	struct err err;

	for (uint8_t i = 0; i < 16; i++)
		s.key.id[i] = i;
	for (size_t i = 0; i < ARRAY_LEN(runs); i++)
		ck_assert_int_eq(wset_add(&s, &runs[i], &err), 0);
	return s;
}

static void check_equal(const struct wset *a, const struct wset *b)
{
	ck_assert(wset_key_equal(&a->key, &b->key));
	ck_assert_uint_eq(a->page_bytes, b->page_bytes);
	ck_assert_uint_eq(a->span_bytes, b->span_bytes);
	ck_assert_uint_eq(a->restores, b->restores);
	ck_assert_uint_eq(a->pages, b->pages);
	ck_assert_uint_eq(a->n, b->n);
	for (size_t i = 0; i < a->n; i++)
		ck_assert(a->v[i].page == b->v[i].page && a->v[i].pages == b->v[i].pages &&
			  a->v[i].score == b->v[i].score && a->v[i].group == b->v[i].group);
}

START_TEST(test_known_bytes)
{
	struct wset s = known_set(), back;
	struct wset_head head;
	struct err err = {.msg = ""};
	void *bytes;
	size_t len;

	ck_assert_int_eq(wset_file_encode(&s, &bytes, &len, &err), 0);
	ck_assert_uint_eq(len, wset_file_bytes(&s));
	ck_assert_uint_eq(len, sizeof(known));
	ck_assert_mem_eq(bytes, known, len);
	ck_assert_msg(wset_file_head(known, len, &head, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(head.runs, 3);
	ck_assert_uint_eq(head.pages, 303);
	ck_assert_uint_eq(head.restores, 5);
	ck_assert_msg(wset_file_decode(known, len, &back, &err) == 0, "%s", err.msg);
	check_equal(&s, &back);
	free(bytes);
	wset_fini(&s);
	wset_fini(&back);
}
END_TEST

/* A random set whose pages may lie anywhere in the largest snapshot. */
static struct wset random_set(uint64_t nruns)
{
	struct wset s = {
		.key = {.kind = WSET_FILES, .number = rnd(UINT64_MAX)},
		.page_bytes = rnd(2) ? PAGE_4K : PAGE_2M,
		.span_bytes = WSET_SPAN_MAX,
		.restores = 1 + (uint32_t)rnd(UINT32_MAX),
	};
	uint64_t page = 0, all = wset_span_pages(s.span_bytes, s.page_bytes);
	struct err err;

	for (uint64_t i = 0; i < nruns; i++) {
		uint64_t gap = rnd((uint64_t)1 << rnd(28)), n = 1 + rnd((uint64_t)1 << rnd(26));
		struct wset_run run = {(uint32_t)(page + gap), (uint32_t)n, (uint8_t)(1 + rnd(3)),
				       (uint8_t)rnd(8)};

		page += gap + n;
		if (page > all)
			break;
		ck_assert_int_eq(wset_add(&s, &run, &err), 0);
	}
	return s;
}

START_TEST(test_round_trip)
{
	struct wset s, back;
	struct err err = {.msg = ""};
	void *bytes;
	size_t len;

	seed = (uint64_t)_i + 1;
	s = random_set(rnd(500));
	ck_assert_int_eq(wset_file_encode(&s, &bytes, &len, &err), 0);
	ck_assert_uint_eq(len, wset_file_bytes(&s));
	ck_assert_msg(wset_file_decode(bytes, len, &back, &err) == 0, "%s", err.msg);
	check_equal(&s, &back);
	free(bytes);
	wset_fini(&s);
	wset_fini(&back);
}
END_TEST

/* All pages of the largest snapshot: a run that counts to the end of 32 bits, and one page. */
START_TEST(test_largest)
{
	struct wset s = {.key.kind = WSET_FILES,
			 .page_bytes = PAGE_4K,
			 .span_bytes = WSET_SPAN_MAX,
			 .restores = 1},
		    back;
	const struct wset_run runs[] = {{0, UINT32_MAX, 2, 0}, {UINT32_MAX, 1, 2, 0}};
	struct err err = {.msg = ""};
	void *bytes;
	size_t len;

	ck_assert_int_eq(wset_add(&s, &runs[0], &err) || wset_add(&s, &runs[1], &err), 0);
	ck_assert_uint_eq(s.n, 2);
	ck_assert_int_eq(wset_file_encode(&s, &bytes, &len, &err), 0);
	ck_assert_msg(wset_file_decode(bytes, len, &back, &err) == 0, "%s", err.msg);
	check_equal(&s, &back);
	free(bytes);
	wset_fini(&s);
	wset_fini(&back);
}
END_TEST

/* Each on the known file, its checksum made right again. */
static const struct {
	const char *what;
	size_t at;
	const char *bytes;
	size_t n;
	const char *text;
} lies[] = {
	{"magic", 0, "v", 1, "no working-set file"},
	{"version 0", 8, "\0", 1, "version 0"},
	{"version 2", 8, "\2", 1, "version 2"},
	{"length", 16, "\142", 1, "length"},
	{"length of 64 bits", 16, "\377\377\377\377\377\377\377\377", 8, "length"},
	{"no memory", 24, "\0\0\0\0", 4, "bytes of memory 0"},
	{"odd memory", 24, "\1", 1, "bytes of memory"},
	{"more than 16 TiB", 24, "\0\20\0\0\0\20", 6, "bytes of memory"},
	{"memory of 64 bits", 24, "\0\360\377\377\377\377\377\377", 8, "bytes of memory"},
	{"pages of 8 KiB", 32, "\0\40", 2, "page size 8192"},
	{"pages of 0", 32, "\0\0", 2, "page size 0"},
	{"no restores", 36, "\0", 1, "restores 0"},
	{"key 0", 40, "\0", 1, "kind of key"},
	{"key 4", 40, "\4", 1, "kind of key"},
	{"a hash with a build", 40, "\2", 1, "kind of key"},
	{"padding", 44, "\1", 1, "byte 44"},
	{"a run more", 72, "\4", 1, "number of runs"},
	{"a run less", 72, "\2", 1, "behind its runs"},
	{"runs of 64 bits", 72, "\377\377\377\377\377\377\377\377", 8, "number of runs"},
	{"a page more", 80, "\060", 1, "number of pages"},
	{"fewer pages than runs", 80, "\2\0", 2, "number of pages"},
	{"more pages than memory", 80, "\377\377\377", 3, "number of pages"},
	{"no pages in a run", 89, "\0", 1, "run 0"},
	{"score 0", 90, "\0", 1, "score or group of run 0"},
	{"bit 5", 90, "\042", 1, "score or group of run 0"},
	{"bit 7", 90, "\202", 1, "score or group of run 0"},
	{"like the one before", 93, "\2", 1, "joins the one before: run 1"},
	{"LEB128 that is too long", 94, "\200\0\254\2", 4, "no whole run 2"},
	{"LEB128 without an end", 94, "\377\377\377\377", 4, "no whole run 2"},
	{"LEB128 of 35 bits", 92, "\200\200\200\200\20", 5, "no whole run 1"},
	{"a gap beyond memory", 91, "\200\200\20\1\2\0\1\2", 8, "run 1"},
	{"pages beyond memory", 92, "\200\200\20\2\0\1\2", 7, "run 1"},
	{"cut in the middle of a run", 96, "\254\254\254", 3, "no whole run 2"},
};

START_TEST(test_lies)
{
	uint8_t bytes[sizeof(known)];
	struct wset s = {.n = 77};
	struct err err = {.msg = ""};

	memcpy(bytes, known, sizeof(bytes));
	memcpy(bytes + lies[_i].at, lies[_i].bytes, lies[_i].n);
	seal(bytes, sizeof(bytes));
	ck_assert_msg(wset_file_decode(bytes, sizeof(bytes), &s, &err) < 0, "%s", lies[_i].what);
	ck_assert_msg(strstr(err.msg, lies[_i].text), "%s: %s", lies[_i].what, err.msg);
	ck_assert_int_eq(err.code, ERR_INVALID);
	ck_assert_uint_eq(s.n, 77);
}
END_TEST

START_TEST(test_every_flip_and_every_cut)
{
	const size_t len = sizeof(known);
	uint8_t bytes[sizeof(known) + 1] = {0};
	struct wset_head head;
	struct wset s;
	struct err err;

	for (size_t bit = 0; bit < len * 8; bit++) {
		memcpy(bytes, known, len);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_msg(wset_file_head(bytes, len, &head, &err) < 0, "bit %zu", bit);
		ck_assert_msg(wset_file_decode(bytes, len, &s, &err) < 0, "bit %zu", bit);
	}
	memcpy(bytes, known, len);
	for (size_t cut = 0; cut < len; cut++)
		ck_assert_msg(wset_file_decode(bytes, cut, &s, &err) < 0, "cut %zu", cut);
	bytes[len] = 0;
	ck_assert_int_lt(wset_file_decode(bytes, len + 1, &s, &err), 0);
	ck_assert_int_lt(wset_file_head(known, WSET_FILE_MAX + 1, &head, &err), 0);
}
END_TEST

/* Whatever passes is a set that writes the very same file. */
START_TEST(test_noise)
{
	struct err err;
	size_t taken = 0;

	seed = 99;
	for (int round = 0; round < 20000; round++) {
		uint8_t bytes[sizeof(known) + 40], *again;
		size_t len = sizeof(known) + rnd(8), n;
		uint64_t length = htole64(len);
		struct wset s;

		memset(bytes, 0, sizeof(bytes));
		memcpy(bytes, known, sizeof(known));
		memcpy(bytes + 16, &length, 8);
		for (uint64_t i = rnd(4); i > 0; i--)
			bytes[24 + rnd(len - 24)] = (uint8_t)rnd(256);
		for (uint64_t i = rnd(3); i > 0; i--)
			bytes[HEAD + rnd(len - HEAD)] = (uint8_t)rnd(4);
		seal(bytes, len);
		if (wset_file_decode(bytes, len, &s, &err))
			continue;
		taken++;
		ck_assert_int_eq(wset_file_encode(&s, (void **)&again, &n, &err), 0);
		ck_assert_uint_eq(n, len);
		ck_assert_mem_eq(again, bytes, len);
		free(again);
		wset_fini(&s);
	}
	ck_assert_uint_gt(taken, 100);
}
END_TEST

/* Candidates go first, then the latest groups, and it always fits in the end. */
START_TEST(test_trim)
{
	struct wset s, before;
	uint64_t limit, whole;

	seed = (uint64_t)_i + 1;
	s = random_set(400);
	before = s;
	whole = wset_file_bytes(&s);
	wset_file_trim(&s, whole);
	ck_assert_uint_eq(s.pages, before.pages);
	limit = HEAD + rnd(whole - HEAD);
	wset_file_trim(&s, limit);
	ck_assert_uint_le(wset_file_bytes(&s), limit);
	for (size_t i = 0; i < s.n; i++)
		ck_assert_uint_ge(s.v[i].score, WSET_MEMBER);
	wset_file_trim(&s, HEAD);
	ck_assert_uint_eq(s.n, 0);
	ck_assert_uint_eq(s.pages, 0);
	wset_fini(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("wset_file");
	TCase *t = tcase_create("file");

	tcase_add_test(t, test_known_bytes);
	tcase_add_loop_test(t, test_round_trip, 0, 100);
	tcase_add_test(t, test_largest);
	tcase_add_loop_test(t, test_lies, 0, ARRAY_LEN(lies));
	tcase_add_test(t, test_every_flip_and_every_cut);
	tcase_add_test(t, test_noise);
	tcase_add_loop_test(t, test_trim, 0, 50);
	suite_add_tcase(s, t);
	return s;
}
