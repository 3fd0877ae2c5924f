/*
 * sourcekit - what the tests of the source share: snapshots to be tampered with, in directories of
 * their own, and a look at every byte that is served from one
 */
#ifndef UFFDD_TESTS_SOURCEKIT_H
#define UFFDD_TESTS_SOURCEKIT_H

#include <check.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fakes/snapshot/snapgen.h"
#include "tests/support/harness.h"
#include "tests/support/openkit.h"
#include "worker/source.h"

/* The layers of vectors/g2. */
#define A_ID "00112233-4455-6677-8899-aabbccddeeff"
#define B_ID "11111111-2222-3333-4444-555555555555"
#define A_LAYER "memfile." A_ID
#define B_LAYER "memfile." B_ID

struct path {
	char text[512];
};

static char *top; /* of all that these tests write */

static inline void setup(void)
{
	top = harness_tmpdir();
}

static inline void teardown(void)
{
	harness_rmtree(top);
	free(top);
}

static inline struct path in(const char *dir, const char *name)
{
	struct path p;

	ck_assert_int_lt(snprintf(p.text, sizeof(p.text), "%s/%s", dir, name), 512);
	return p;
}

/* A new directory of this test. */
static inline struct path room(void)
{
	struct path p = in(top, "roomXXXXXX");

	ck_assert_ptr_nonnull(mkdtemp(p.text));
	ck_assert_int_eq(chmod(p.text, 0755), 0);
	return p;
}

static inline void *read_file(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	void *bytes;

	ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
	ck_assert_int_eq(fstat(fileno(f), &st), 0);
	*ret_len = (size_t)st.st_size;
	bytes = malloc(*ret_len + 1);
	ck_assert_ptr_nonnull(bytes);
	ck_assert_uint_eq(fread(bytes, 1, *ret_len, f), *ret_len);
	fclose(f);
	return bytes;
}

static inline void write_file(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "we");

	ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
	ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

/* The files of a folder of tests/data, to be tampered with. */
static inline struct path copy_of(const char *name, const char *const *files)
{
	struct path from = in(TEST_DATA, name), to = room();

	for (; *files; files++) {
		size_t len;
		void *bytes = read_file(in(from.text, *files).text, &len);

		write_file(in(to.text, *files).text, bytes, len);
		free(bytes);
	}
	return to;
}

static inline struct path copy_of_g2(void)
{
	return copy_of("vectors/g2", (const char *const[]){"memfile.header", A_LAYER, B_LAYER,
							   "expected.img", NULL});
}

static inline struct spec dir_spec(struct path *dir)
{
	return (struct spec){.source = SOURCE_DIR, .path = dir->text};
}

static inline struct source *load(const struct spec *spec)
{
	struct source *src;
	struct err err;

	ck_assert_msg(source_open(spec, &src, &err) == 0, "%s", err.msg);
	return src;
}

static inline void check_read(struct source *src, const uint8_t *want, uint64_t off, uint64_t len)
{
	uint8_t *got = malloc(len);
	struct err err;

	ck_assert_ptr_nonnull(got);
	memset(got, 0x5a, len);
	ck_assert_msg(source_read(src, off, len, got, &err) == 0, "%s", err.msg);
	ck_assert_msg(memcmp(got, want + off, len) == 0, "%llu bytes at %llu are wrong",
		      (unsigned long long)len, (unsigned long long)off);
	free(got);
}

static inline void check_at(struct source *src, const uint8_t *want, uint64_t off, uint64_t max_len)
{
	static const uint8_t zeros[PAGE_4K];
	struct source_run run = source_at(src, off, max_len);

	ck_assert(run.len > 0 && run.len <= max_len && is_aligned(run.len, PAGE_4K));
	ck_assert((run.data == NULL) == (run.layer == EXTENT_ZERO));
	for (uint64_t i = 0; i < run.len; i += PAGE_4K)
		ck_assert_msg(memcmp(run.data ? (const uint8_t *)run.data + i : zeros,
				     want + off + i, PAGE_4K) == 0,
			      "page at %llu is wrong", (unsigned long long)(off + i));
}

/* All of it: at once, by pages, in random odd runs, and through the mappings. */
static inline void check_all(struct source *src, const uint8_t *want, uint64_t span)
{
	uint64_t state = span;
	uint32_t npages = (uint32_t)(span / PAGE_4K);

	ck_assert_uint_eq(source_span_bytes(src), span);
	check_read(src, want, 0, span);
	for (uint64_t off = 0; off < span; off += PAGE_4K) {
		check_read(src, want, off, PAGE_4K);
		check_at(src, want, off, PAGE_4K);
	}
	for (int i = 0; i < 200; i++) {
		uint32_t page = snapgen_draw(&state, npages);
		uint64_t len = (1 + snapgen_draw(&state, npages - page)) * PAGE_4K;

		check_read(src, want, page * PAGE_4K, min_u64(len, 37 * PAGE_4K));
		check_at(src, want, page * PAGE_4K, len);
	}
	for (uint64_t off = 0; off < span;) {
		struct source_run run = source_at(src, off, UINT64_MAX);

		check_at(src, want, off, UINT64_MAX);
		off += run.len;
	}
}

static inline void check_image(struct source *src, const char *image)
{
	size_t len;
	uint8_t *want = read_file(image, &len);

	check_all(src, want, len);
	free(want);
}

#endif
