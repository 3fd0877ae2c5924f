/* test_header - every rule of the header format, one broken header each */
#include "common/header.h"

#include <string.h>
#include <time.h>

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

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
	return snapgen_draw(&random_state, below);
}

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

/* @n entries of a page each, entry i of build i * step % nbuilds, storage never contiguous. */
static uint8_t *many_entries(size_t n, size_t step, size_t nbuilds, size_t *ret_len)
{
	struct header h = {.version = 1, .block_bytes = PAGE_4K, .size_bytes = BLOCKS(n)};
	uint8_t *bytes;

	*ret_len = SNAPGEN_META_BYTES + n * SNAPGEN_ENTRY_BYTES;
	bytes = malloc(*ret_len);
	ck_assert_ptr_nonnull(bytes);
	uuid_copy(h.build, ids[A]);
	snapgen_put_meta(bytes, &h);
	for (size_t i = 0; i < n; i++) {
		struct snapgen_entry e = {
			.offset = BLOCKS(i),
			.length = BLOCKS(1),
			.store = BLOCKS(2 * i),
		};

		snapgen_build(1, (uint32_t)(i * step % nbuilds), e.build);
		snapgen_put_entry(bytes + SNAPGEN_META_BYTES + i * SNAPGEN_ENTRY_BYTES, &e);
	}
	return bytes;
}

START_TEST(too_many_builds)
{
	struct header h;
	struct err err;
	size_t len;
	uint8_t *bytes = many_entries(HEADER_BUILDS_MAX, 1, HEADER_BUILDS_MAX, &len);

	ck_assert_msg(header_parse(bytes, len, &h, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(h.nbuilds, HEADER_BUILDS_MAX);
	for (uint32_t i = 0; i < h.nbuilds; i++) {
		uuid_t id;

		snapgen_build(1, i, id);
		ck_assert_msg(uuid_compare(h.builds[i].id, id) == 0, "build %u", i);
		ck_assert_uint_eq(h.builds[i].end_bytes, BLOCKS(2 * i + 1));
	}
	header_fini(&h);
	free(bytes);

	bytes = many_entries(HEADER_BUILDS_MAX + 1, 1, SIZE_MAX, &len);
	ck_assert_int_eq(header_parse(bytes, len, &h, &err), -1);
	ck_assert_msg(strstr(err.msg, "entry 4096: BuildId is the 4097. different one"), "%s",
		      err.msg);
	free(bytes);
}
END_TEST

/* The cap holds before anything is read or allocated for the entries. */
START_TEST(too_many_entries)
{
	struct header in = {.version = 1, .block_bytes = PAGE_4K, .size_bytes = BLOCKS(4)}, h;
	uint8_t bytes[SNAPGEN_META_BYTES];
	struct err err;

	snapgen_put_meta(bytes, &in);
	ck_assert_int_eq(header_parse(bytes, HEADER_FILE_MAX + SNAPGEN_ENTRY_BYTES, &h, &err), -1);
	ck_assert_int_eq(err.code, ERR_SNAPSHOT);
	ck_assert_msg(strstr(err.msg, "8388609 entries, at most 8388608"), "%s", err.msg);
}
END_TEST

/* Were it not linear in entries and builds, this would take minutes. */
START_TEST(a_million_entries)
{
	/* A step of that kind puts each use of a build far away from the last. */
	const size_t n = 1000000, step = 2654435761;
	size_t len, cursor = 0;
	uint8_t *bytes = many_entries(n, step, HEADER_BUILDS_MAX, &len);
	clock_t start = clock();
	struct header h;
	struct err err;
	double seconds;

	ck_assert_msg(header_parse(bytes, len, &h, &err) == 0, "%s", err.msg);
	seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
	ck_assert_msg(seconds < 1, "%f s", seconds);
	ck_assert_uint_eq(h.extents.n, n);
	ck_assert_uint_eq(h.nbuilds, HEADER_BUILDS_MAX);
	for (uint32_t page = 0; page < n; page += 997) {
		struct extent_run run = extents_find(&h.extents, page, UINT32_MAX, &cursor);
		uuid_t id;

		snapgen_build(1, (uint32_t)(page * step % HEADER_BUILDS_MAX), id);
		ck_assert_msg(uuid_compare(h.builds[run.layer].id, id) == 0, "page %u", page);
		ck_assert(run.store == 2 * page && run.pages == 1);
	}
	header_fini(&h);
	free(bytes);
}
END_TEST

#define PAGES 300
#define BUILDS 6

struct model {
	uint32_t build; /* BUILDS: zeros */
	uint32_t store;
};

static size_t random_header(uint8_t *bytes, struct model *model, uint32_t npages)
{
	struct header h = {
		.version = 1 + draw(3),
		.block_bytes = PAGE_4K << draw(10),
		.size_bytes = BLOCKS(npages) - draw(2) * draw(PAGE_4K),
	};
	uint8_t *to = bytes + SNAPGEN_META_BYTES;

	uuid_copy(h.build, ids[A]);
	snapgen_put_meta(bytes, &h);
	for (uint32_t page = 0, run; page < npages; page += run) {
		uint32_t build = draw(BUILDS + 2), store = draw(2) ? page : draw(100);
		struct snapgen_entry e = {.offset = BLOCKS(page)};

		build = (uint32_t)min_u64(build, BUILDS);
		run = (uint32_t)min_u64(1 + draw(8), npages - page);
		e.length = BLOCKS(run);
		e.store = build == BUILDS ? draw(UINT32_MAX) : BLOCKS(store);
		if (build < BUILDS)
			snapgen_build(5, build, e.build);
		snapgen_put_entry(to, &e);
		to += SNAPGEN_ENTRY_BYTES;
		for (uint32_t i = 0; i < run; i++)
			model[page + i] = (struct model){build, store + i};
	}
	return (size_t)(to - bytes);
}

static void check_builds(const struct header *h, const struct model *model, uint32_t npages)
{
	for (uint32_t i = 0; i < h->nbuilds; i++) {
		uint64_t end = 0;

		for (uint32_t page = 0; page < npages; page++) {
			uuid_t id;

			snapgen_build(5, model[page].build, id);
			if (uuid_compare(id, h->builds[i].id) == 0)
				end = max_u64(end, BLOCKS(model[page].store + 1));
		}
		ck_assert_uint_eq(h->builds[i].end_bytes, end);
	}
}

START_TEST(random_headers)
{
	static uint8_t bytes[SNAPGEN_META_BYTES + PAGES * SNAPGEN_ENTRY_BYTES];
	struct model model[PAGES];

	random_state = 11;
	for (int round = 0; round < 300; round++) {
		uint32_t npages = 1 + draw(PAGES);
		size_t len = random_header(bytes, model, npages), cursor = 0;
		struct header h;
		struct err err;

		ck_assert_msg(header_parse(bytes, len, &h, &err) == 0, "round %d: %s", round,
			      err.msg);
		ck_assert_uint_eq(h.extents.npages, npages);
		for (uint32_t page = 0; page < npages; page++) {
			struct extent_run run = extents_find(&h.extents, page, 1, &cursor);
			uuid_t id;

			if (model[page].build == BUILDS) {
				ck_assert_uint_eq(run.layer, EXTENT_ZERO);
				continue;
			}
			ck_assert_uint_lt(run.layer, h.nbuilds);
			snapgen_build(5, model[page].build, id);
			ck_assert(uuid_compare(h.builds[run.layer].id, id) == 0);
			ck_assert_uint_eq(run.store, model[page].store);
		}
		check_builds(&h, model, npages);
		header_fini(&h);
	}
}
END_TEST

/* Whatever is accepted tiles memory, inside the ends it states. */
static void check_sound(const struct header *h)
{
	const struct extents *e = &h->extents;

	ck_assert(e->n > 0 && e->v[0].page == 0 && e->v[e->n].page == e->npages);
	ck_assert_uint_eq(BLOCKS(e->npages), align_up(h->size_bytes, PAGE_4K));
	for (size_t i = 0; i < e->n; i++) {
		const struct extent *x = &e->v[i];
		uint64_t end = BLOCKS((uint64_t)x->store + (x[1].page - x->page));

		ck_assert_uint_lt(x->page, x[1].page);
		if (x->layer == EXTENT_ZERO)
			continue;
		ck_assert_uint_lt(x->layer, h->nbuilds);
		ck_assert_uint_le(end, h->builds[x->layer].end_bytes);
	}
}

START_TEST(mutated_headers)
{
	static uint8_t bytes[SNAPGEN_META_BYTES + PAGES * SNAPGEN_ENTRY_BYTES];
	struct model model[PAGES];
	int accepted = 0;

	random_state = 12;
	for (int round = 0; round < 20000; round++) {
		size_t len = random_header(bytes, model, 1 + draw(12));
		struct header h;
		struct err err = {0};

		for (uint32_t i = 1 + draw(3); i > 0; i--)
			bytes[draw((uint32_t)len)] ^= (uint8_t)(1u << draw(8));
		if (header_parse(bytes, len, &h, &err) < 0) {
			ck_assert_int_eq(err.code, ERR_SNAPSHOT);
			ck_assert(err.msg[0]);
			continue;
		}
		accepted++;
		check_sound(&h);
		header_fini(&h);
	}
	ck_assert_int_gt(accepted, 1000);
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
	tcase_add_test(tc, too_many_builds);
	tcase_add_test(tc, too_many_entries);
	tcase_add_test(tc, a_million_entries);
	tcase_add_test(tc, random_headers);
	tcase_add_test(tc, mutated_headers);
	suite_add_tcase(suite, tc);
	return suite;
}
