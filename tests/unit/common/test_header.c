/* test_header - every rule of the header format, one broken header each */
#include "common/header.h"

#include <string.h>

#include "tests/support/runner.h"
#include "tests/fakes/snapshot/snapgen.h"

#define BLOCKS(n) ((uint64_t)(n)*PAGE_4K)
#define NENTRIES_MAX 4
#define MIB ((uint64_t)1 << 20)

/* Builds of the tables: 0 is nil. */
enum { NIL, A, B };
/* clang-format off */
static const uuid_t ids[] = {
	[NIL] = {0},
	[A] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	       0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
	[B] = {0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33,
	       0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55},
};
/* clang-format on */

/* Bytes, so that what is not aligned can be told as well. */
struct entry {
	uint64_t offset, length;
	int build;
	uint64_t store;
};

static void put_entry(uint8_t *to, const struct entry *e)
{
	struct snapgen_entry out = {e->offset, e->length, e->store, {0}};

	uuid_copy(out.build, ids[e->build]);
	snapgen_put_entry(to, &out);
}

/* A header of 4 blocks unless the case says otherwise. */
struct bad_case {
	const char *name, *says;       /* says: in the error text */
	uint64_t version, block, size; /* 0: 1, 4096, 4 blocks; see the flags for a real 0 */
	bool zero_version, zero_block, zero_size, nil_build;
	size_t extra; /* bytes after the last entry; cut: bytes missing at the end */
	size_t cut;
	size_t n;
	struct entry e[NENTRIES_MAX];
};

/* clang-format off */
static const struct bad_case bad_cases[] = {
	/* the file as a whole */
	{"empty file", "0 bytes, a header has at least 64", .cut = 64},
	{"63 bytes", "63 bytes, a header has at least 64", .cut = 1},
	{"1 byte after the last entry", "1 bytes follow the last whole entry", .extra = 1,
	 .n = 1, .e = {{0, BLOCKS(4), A, 0}}},
	{"39 bytes after the prefix", "39 bytes follow the last whole entry", .extra = 39},
	{"last entry truncated", "39 bytes follow", .cut = 1, .n = 1, .e = {{0, BLOCKS(4), A, 0}}},
	/* the prefix */
	{"version 0", "Version 0 is unknown", .zero_version = true},
	{"version 4", "version 4 is not supported", .version = 4},
	{"version 5", "version 5 is not supported", .version = 5},
	{"version 7", "Version 7 is unknown", .version = 7},
	{"version 0xffff", "Version 65535 is unknown", .version = 0xffff},
	{"version 0x10000", "Version 0 is unknown", .version = 0x10000},
	{"block size 0", "BlockSize 0 is not a power of two", .zero_block = true},
	{"block size 12", "BlockSize 12 is not", .block = 12},
	{"block size 2048", "BlockSize 2048 is not", .block = 2048},
	{"block size 12288", "BlockSize 12288 is not", .block = 12288},
	{"block size 3 MiB", "BlockSize 3145728 is not", .block = 3 * MIB},
	{"block size 4 MiB", "BlockSize 4194304 is not", .block = 4 * MIB},
	{"size 0", "Size is 0", .zero_size = true},
	{"size 2^63", "Size 9223372036854775808 is beyond 2^63", .size = (uint64_t)1 << 63},
	{"size 2^64-1", "Size 18446744073709551615 is beyond", .size = UINT64_MAX},
	{"size over the cap", "Size 8796093022209 is more than", .size = HEADER_SIZE_MAX + 1},
	{"no entries, nil build", "BuildId is nil and there are no entries", .nil_build = true},
	/* alignment */
	{"unaligned offset", "entry 1: Offset 0x1200 is not a multiple", .n = 2,
	 .e = {{0, BLOCKS(1), A, 0}, {4608, BLOCKS(3), B, 0}}},
	{"unaligned length", "entry 0: Length 0x1200 is not a multiple", .n = 2,
	 .e = {{0, 4608, A, 0}, {4608, 11776, B, 0}}},
	{"unaligned storage", "entry 0: BuildStorageOffset 0x64 is not a multiple", .n = 1,
	 .e = {{0, BLOCKS(4), A, 100}}},
	/* length */
	{"zero length last", "entry 2: Length 0 is zero", .n = 3,
	 .e = {{0, BLOCKS(2), A, 0}, {BLOCKS(2), BLOCKS(2), A, BLOCKS(2)}, {BLOCKS(2), 0, B, 0}}},
	{"zero length first", "entry 0: Length 0 is zero", .n = 2,
	 .e = {{0, 0, B, 0}, {0, BLOCKS(4), A, 0}}},
	/* overflow */
	{"offset + length overflows", "entry 1: Offset + Length 0x1000 overflows", .n = 2,
	 .e = {{0, BLOCKS(1), A, 0}, {BLOCKS(1), (uint64_t)0 - BLOCKS(1), A, 0}}},
	{"storage at 2^64 - 4096", "entry 0: BuildStorageOffset 0xfffffffffffff000 plus Length "
	 "overflows", .n = 1, .e = {{0, BLOCKS(4), A, (uint64_t)0 - BLOCKS(1)}}},
	{"storage ends at 2^64", "plus Length overflows", .n = 1,
	 .e = {{0, BLOCKS(4), A, (uint64_t)0 - BLOCKS(4)}}},
	{"storage beyond 16 TiB", "plus Length is beyond the supported 16 TiB", .n = 1,
	 .e = {{0, BLOCKS(4), A, BLOCKS(UINT32_MAX) - BLOCKS(3)}}},
	/* the tiling */
	{"first missing", "entry 0: Offset 0x1000 leaves the start of memory", .n = 1,
	 .e = {{BLOCKS(1), BLOCKS(3), A, 0}}},
	{"gap", "entry 1: Offset 0x2000 leaves a gap", .n = 2,
	 .e = {{0, BLOCKS(1), A, 0}, {BLOCKS(2), BLOCKS(2), A, BLOCKS(1)}}},
	{"overlap", "entry 1: Offset 0x2000 overlaps", .n = 2,
	 .e = {{0, BLOCKS(3), A, 0}, {BLOCKS(2), BLOCKS(2), B, 0}}},
	{"unsorted", "entry 0: Offset 0x2000 leaves the start", .n = 2,
	 .e = {{BLOCKS(2), BLOCKS(2), B, 0}, {0, BLOCKS(2), A, 0}}},
	{"unsorted further on", "entry 2: Offset 0 is lower than that of the entry before", .n = 3,
	 .e = {{0, BLOCKS(1), A, 0}, {BLOCKS(1), BLOCKS(1), B, 0}, {0, BLOCKS(1), A, 0}}},
	{"duplicate start", "entry 1: Offset 0 repeats", .n = 2,
	 .e = {{0, BLOCKS(4), A, 0}, {0, BLOCKS(4), B, 0}}},
	{"starts past size", "entry 1: Offset 0x8000 is at or after the end of memory", .n = 2,
	 .e = {{0, BLOCKS(4), A, 0}, {BLOCKS(8), BLOCKS(1), B, 0}}},
	{"starts at size", "entry 1: Offset 0x4000 is at or after the end of memory", .n = 2,
	 .e = {{0, BLOCKS(4), A, 0}, {BLOCKS(4), BLOCKS(1), NIL, 0}}},
	{"ends beyond size", "entry 1: Length 0x4000 reaches beyond", .n = 2,
	 .e = {{0, BLOCKS(1), A, 0}, {BLOCKS(1), BLOCKS(4), A, BLOCKS(1)}}},
	{"ends before size", "entry 0: Offset + Length 0x3000 is the last and ends before", .n = 1,
	 .e = {{0, BLOCKS(3), A, 0}}},
	/* Size 3 blocks and 100 bytes */
	{"unaligned size, a block too few", "Offset + Length 0x3000 is the last", .size = 12388,
	 .n = 1, .e = {{0, BLOCKS(3), A, 0}}},
	{"unaligned size, a block too many", "Length 0x5000 reaches beyond", .size = 12388,
	 .n = 1, .e = {{0, BLOCKS(5), A, 0}}},
	{"unaligned size, exact end", "Length 0x3064 is not a multiple", .size = 12388, .n = 1,
	 .e = {{0, 12388, A, 0}}},
};
/* clang-format on */

static size_t build_case(const struct bad_case *c, uint8_t *bytes)
{
	struct header h = {
		.version = c->zero_version ? 0
			   : c->version    ? c->version
					   : 1,
		.block_bytes = c->zero_block ? 0
			       : c->block    ? c->block
					     : PAGE_4K,
		.size_bytes = c->zero_size ? 0
			      : c->size    ? c->size
					   : BLOCKS(4),
	};

	if (!c->nil_build)
		uuid_copy(h.build, ids[A]);
	snapgen_put_meta(bytes, &h);
	for (size_t i = 0; i < c->n; i++)
		put_entry(bytes + SNAPGEN_META_BYTES + i * SNAPGEN_ENTRY_BYTES, &c->e[i]);
	return SNAPGEN_META_BYTES + c->n * SNAPGEN_ENTRY_BYTES + c->extra - c->cut;
}

START_TEST(rejects)
{
	const struct bad_case *c = &bad_cases[_i];
	uint8_t *bytes = calloc(1, 1024), *exact;
	struct header h, untouched;
	struct err err = {0};
	size_t len;

	ck_assert_ptr_nonnull(bytes);
	len = build_case(c, bytes);
	/* At its exact length, for address checkers to see a read behind it. */
	exact = malloc(len ? len : 1);
	ck_assert_ptr_nonnull(exact);
	memcpy(exact, bytes, len);
	memset(&h, 0xa5, sizeof(h));
	memset(&untouched, 0xa5, sizeof(untouched));
	ck_assert_msg(header_parse(exact, len, &h, &err) == -1, "%s: accepted", c->name);
	ck_assert_msg(err.code == ERR_SNAPSHOT, "%s: code %d", c->name, err.code);
	ck_assert_msg(strstr(err.msg, c->says), "%s: %s", c->name, err.msg);
	ck_assert_msg(memcmp(&h, &untouched, sizeof(h)) == 0, "%s: output touched", c->name);
	free(exact);
	free(bytes);
}
END_TEST

/* clang-format off */
static const struct good_case {
	const char *name;
	uint64_t version, block, size;
	size_t n;
	struct entry e[NENTRIES_MAX];
	size_t nextents;
	uint32_t nbuilds;
	uint64_t end[2]; /* end_bytes by build, in order of first use */
} good_cases[] = {
	{"version 1", 1, 4096, BLOCKS(4), 1, {{0, BLOCKS(4), A, 0}}, 1, 1, {BLOCKS(4)}},
	{"version 2", 2, 4096, BLOCKS(4), 1, {{0, BLOCKS(4), A, 0}}, 1, 1, {BLOCKS(4)}},
	{"version 3", 3, 4096, BLOCKS(4), 1, {{0, BLOCKS(4), A, 0}}, 1, 1, {BLOCKS(4)}},
	{"upper 48 bits of the version", 0xabcdef0123450002, 4096, BLOCKS(4), 1,
	 {{0, BLOCKS(4), A, 0}}, 1, 1, {BLOCKS(4)}},
	{"block size 8192", 1, 8192, BLOCKS(4), 1, {{0, BLOCKS(4), A, 0}}, 1, 1, {BLOCKS(4)}},
	{"4 KiB entries in 2 MiB blocks", 3, 2 * MIB, BLOCKS(4), 2,
	 {{0, BLOCKS(1), A, BLOCKS(9)}, {BLOCKS(1), BLOCKS(3), B, 0}}, 2, 2,
	 {BLOCKS(10), BLOCKS(3)}},
	{"storage of zeros is not looked at", 1, 4096, BLOCKS(4), 3,
	 {{0, BLOCKS(1), NIL, 100}, {BLOCKS(1), BLOCKS(1), NIL, UINT64_MAX},
	  {BLOCKS(2), BLOCKS(2), A, 0}}, 2, 1, {BLOCKS(2)}},
	{"all zero", 1, 4096, BLOCKS(4), 1, {{0, BLOCKS(4), NIL, 0}}, 1, 0, {0}},
	{"contiguous neighbours join", 1, 4096, BLOCKS(4), 3,
	 {{0, BLOCKS(1), A, BLOCKS(2)}, {BLOCKS(1), BLOCKS(1), A, BLOCKS(3)},
	  {BLOCKS(2), BLOCKS(2), A, BLOCKS(4)}}, 1, 1, {BLOCKS(6)}},
	{"same storage twice", 1, 4096, BLOCKS(4), 2,
	 {{0, BLOCKS(2), A, 0}, {BLOCKS(2), BLOCKS(2), A, 0}}, 2, 1, {BLOCKS(2)}},
	{"end is that of the highest, not the last", 1, 4096, BLOCKS(4), 4,
	 {{0, BLOCKS(1), B, BLOCKS(7)}, {BLOCKS(1), BLOCKS(1), A, 0},
	  {BLOCKS(2), BLOCKS(1), B, 0}, {BLOCKS(3), BLOCKS(1), A, BLOCKS(5)}}, 4, 2,
	 {BLOCKS(8), BLOCKS(6)}},
	{"no entries", 1, 4096, BLOCKS(4), 0, {{0}}, 1, 1, {BLOCKS(4)}},
	{"no entries, unaligned size", 1, 4096, 12388, 0, {{0}}, 1, 1, {BLOCKS(4)}},
	{"largest size", 1, 4096, HEADER_SIZE_MAX, 1, {{0, HEADER_SIZE_MAX, A, 0}}, 1, 1,
	 {HEADER_SIZE_MAX}},
	{"one byte", 1, 4096, 1, 1, {{0, BLOCKS(1), A, 0}}, 1, 1, {BLOCKS(1)}},
	{"storage to the very limit", 1, 4096, BLOCKS(4), 1,
	 {{0, BLOCKS(4), A, BLOCKS(UINT32_MAX) - BLOCKS(4)}}, 1, 1, {BLOCKS(UINT32_MAX)}},
};
/* clang-format on */

START_TEST(accepts)
{
	const struct good_case *c = &good_cases[_i];
	struct header in = {c->version, c->block, c->size, .generation = 77};
	uint8_t bytes[SNAPGEN_META_BYTES + NENTRIES_MAX * SNAPGEN_ENTRY_BYTES];
	size_t len = SNAPGEN_META_BYTES + c->n * SNAPGEN_ENTRY_BYTES;
	struct header h;
	struct err err;

	uuid_copy(in.build, ids[A]);
	uuid_copy(in.base, ids[B]);
	snapgen_put_meta(bytes, &in);
	for (size_t i = 0; i < c->n; i++)
		put_entry(bytes + SNAPGEN_META_BYTES + i * SNAPGEN_ENTRY_BYTES, &c->e[i]);
	ck_assert_msg(header_parse(bytes, len, &h, &err) == 0, "%s: %s", c->name, err.msg);
	ck_assert_msg(h.version == (c->version & 0xffff), "%s", c->name);
	ck_assert_msg(h.block_bytes == c->block && h.size_bytes == c->size, "%s", c->name);
	ck_assert_msg(h.generation == 77 && uuid_compare(h.build, ids[A]) == 0 &&
			      uuid_compare(h.base, ids[B]) == 0,
		      "%s", c->name);
	ck_assert_msg(h.extents.n == c->nextents, "%s: %zu extents", c->name, h.extents.n);
	ck_assert_msg(h.extents.npages == align_up(c->size, PAGE_4K) / PAGE_4K, "%s", c->name);
	ck_assert_msg(h.nbuilds == c->nbuilds, "%s: %u builds", c->name, h.nbuilds);
	for (uint32_t i = 0; i < h.nbuilds; i++)
		ck_assert_msg(h.builds[i].end_bytes == c->end[i], "%s: end of build %u is %llu",
			      c->name, i, (unsigned long long)h.builds[i].end_bytes);
	header_fini(&h);
	ck_assert_ptr_null(h.builds);
}
END_TEST

static uint8_t *read_vector(const char *name, size_t *ret_len)
{
	char path[512];
	uint8_t *bytes = malloc(4096);
	FILE *f;

	snprintf(path, sizeof(path), "%s/vectors/%s", TEST_DATA, name);
	f = fopen(path, "re");
	ck_assert_msg(f && bytes, "%s", path);
	*ret_len = fread(bytes, 1, 4096, f);
	fclose(f);
	return bytes;
}

struct lookup {
	uint32_t page;
	int build;
	uint32_t store, left;
};

/* clang-format off */
static const struct vector {
	const char *name;
	uint64_t size, generation;
	int build, base;
	size_t nlookups;
	struct lookup at[8];
} vectors[] = {
	{"g1/memfile.header", 32768, 0, A, A, 8,
	 {{0, A, 0, 2}, {1, A, 1, 1}, {2, NIL, 0, 2}, {3, NIL, 0, 1}, {4, A, 2, 1}, {5, NIL, 0, 1},
	  {6, A, 3, 2}, {7, A, 4, 1}}},
	{"g2/memfile.header", 32768, 1, B, A, 8,
	 {{0, A, 0, 1}, {1, B, 0, 2}, {2, B, 1, 1}, {3, NIL, 0, 1}, {4, A, 2, 1}, {5, B, 2, 1},
	  {6, A, 3, 2}, {7, A, 4, 1}}},
	{"g3/memfile.header", 12288, 7, B, A, 3, {{0, B, 0, 3}, {1, B, 1, 2}, {2, B, 2, 1}}},
	{"g4/memfile.header", 12388, 0, A, A, 4,
	 {{0, A, 0, 1}, {1, NIL, 0, 1}, {2, A, 1, 2}, {3, A, 2, 1}}},
	{"g5/memfile.header", 32768, 0, A, A, 4,
	 {{0, A, 0, 1}, {1, NIL, 0, 1}, {2, A, 1, 6}, {7, A, 6, 1}}},
	{"g7/memfile.header", 16384, 0, A, A, 4,
	 {{0, A, 0, 1}, {1, A, 4, 1}, {2, NIL, 0, 2}, {3, NIL, 0, 1}}},
};
/* clang-format on */

START_TEST(vector)
{
	const struct vector *v = &vectors[_i];
	size_t len, cursor = 0;
	uint8_t *bytes = read_vector(v->name, &len);
	struct header h;
	struct err err;

	ck_assert_msg(header_parse(bytes, len, &h, &err) == 0, "%s: %s", v->name, err.msg);
	ck_assert_msg(h.size_bytes == v->size && h.generation == v->generation, "%s", v->name);
	ck_assert_msg(uuid_compare(h.build, ids[v->build]) == 0, "%s", v->name);
	ck_assert_msg(uuid_compare(h.base, ids[v->base]) == 0, "%s", v->name);
	for (size_t i = 0; i < v->nlookups; i++) {
		const struct lookup *at = &v->at[i];
		struct extent_run run = extents_find(&h.extents, at->page, UINT32_MAX, &cursor);
		int build = run.layer == EXTENT_ZERO                            ? NIL
			    : uuid_compare(h.builds[run.layer].id, ids[A]) == 0 ? A
										: B;

		ck_assert_msg(build == at->build && run.store == at->store && run.pages == at->left,
			      "%s: page %u: build %d store %u left %u", v->name, at->page, build,
			      run.store, run.pages);
	}
	header_fini(&h);
	free(bytes);
}
END_TEST

START_TEST(compressed_versions)
{
	for (int version = 4; version <= 5; version++) {
		char name[32], says[48];
		struct header h;
		struct err err;
		uint8_t *bytes;
		size_t len;

		snprintf(name, sizeof(name), "g8/v%d.header", version);
		snprintf(says, sizeof(says), "version %d is not supported", version);
		bytes = read_vector(name, &len);
		ck_assert_msg(header_parse(bytes, len, &h, &err) == -1, "%s", name);
		ck_assert_msg(strstr(err.msg, says), "%s: %s", name, err.msg);
		free(bytes);
	}
}
END_TEST

/* Only a cut right behind the prefix cannot be told from a header without entries. */
START_TEST(truncated_anywhere)
{
	size_t whole;
	uint8_t *bytes = read_vector("g2/memfile.header", &whole);

	ck_assert_uint_eq(whole, 304);
	for (size_t len = 0; len < whole; len++) {
		struct header h;
		struct err err;
		int rc = header_parse(bytes, len, &h, &err);

		ck_assert_msg(rc == (len == 64 ? 0 : -1), "cut to %zu bytes: %d", len, rc);
		if (rc == 0)
			header_fini(&h);
	}
	free(bytes);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("header");
	TCase *tc = tcase_create("header");

	tcase_add_loop_test(tc, rejects, 0, ARRAY_LEN(bad_cases));
	tcase_add_loop_test(tc, accepts, 0, ARRAY_LEN(good_cases));
	tcase_add_loop_test(tc, vector, 0, ARRAY_LEN(vectors));
	tcase_add_test(tc, compressed_versions);
	tcase_add_test(tc, truncated_anywhere);
	suite_add_tcase(suite, tc);
	return suite;
}
