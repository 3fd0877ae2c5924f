#include "common/header.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

#define PREFIX_BYTES 64
#define ENTRY_BYTES 40
#define STORE_MAX ((uint64_t)EXTENT_PAGES_MAX * PAGE_4K)
/* Twice the builds, so that probing soon meets a free slot. */
#define SLOTS (2 * HEADER_BUILDS_MAX)

struct entry {
	uint64_t offset, length, store;
	uuid_t build;
};

struct parser {
	const uint8_t *bytes;
	size_t nentries;
	uint64_t span_bytes; /* Size rounded up to 4096 */
	struct header h;
	uint16_t slots[SLOTS]; /* open addressing: index into h.builds + 1, or 0 */
};

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static int check_version(uint64_t version, struct err *err)
{
	if (version >= 1 && version <= 3)
		return 0;
	if (version == 4 || version == 5)
		return err_set(err, ERR_SNAPSHOT,
			       "version %" PRIu64 " is not supported: write the snapshot "
			       "uncompressed, with a header of version 1 to 3",
			       version);
	return err_set(err, ERR_SNAPSHOT,
		       "Version %" PRIu64 " is unknown: this is not a snapshot header, or it is "
		       "damaged; known are 1 to 3",
		       version);
}

static int check_size(uint64_t size, struct err *err)
{
	if (size == 0)
		return err_set(err, ERR_SNAPSHOT,
			       "Size is 0: the header is damaged, "
			       "take the snapshot again");
	if (size > INT64_MAX)
		return err_set(err, ERR_SNAPSHOT,
			       "Size %" PRIu64 " is beyond 2^63: the header is "
			       "damaged, take the snapshot again",
			       size);
	if (size > HEADER_SIZE_MAX)
		return err_set(err, ERR_SNAPSHOT,
			       "Size %" PRIu64 " is more than the supported "
			       "%" PRIu64 ": use a smaller guest",
			       size, HEADER_SIZE_MAX);
	return 0;
}

static int check_count(size_t len, struct err *err)
{
	if ((len - PREFIX_BYTES) % ENTRY_BYTES != 0)
		return err_set(err, ERR_SNAPSHOT,
			       "%zu bytes follow the last whole entry: the "
			       "header is truncated or damaged, copy it again",
			       (len - PREFIX_BYTES) % ENTRY_BYTES);
	if ((len - PREFIX_BYTES) / ENTRY_BYTES > HEADER_ENTRIES_MAX)
		return err_set(err, ERR_SNAPSHOT,
			       "%zu entries, at most %u are supported: merge "
			       "the snapshot's generations",
			       (len - PREFIX_BYTES) / ENTRY_BYTES, HEADER_ENTRIES_MAX);
	return 0;
}

static int parse_prefix(struct parser *p, size_t len, struct err *err)
{
	struct header *h = &p->h;

	if (len < PREFIX_BYTES)
		return err_set(err, ERR_SNAPSHOT,
			       "%zu bytes, a header has at least %d: the file "
			       "is truncated or no header, copy it again",
			       len, PREFIX_BYTES);
	h->version = get64(p->bytes) & 0xffff;
	h->block_bytes = get64(p->bytes + 0x08);
	h->size_bytes = get64(p->bytes + 0x10);
	h->generation = get64(p->bytes + 0x18);
	memcpy(h->build, p->bytes + 0x20, sizeof(h->build));
	memcpy(h->base, p->bytes + 0x30, sizeof(h->base));

	if (check_version(h->version, err) < 0)
		return -1;
	if (h->block_bytes < PAGE_4K || h->block_bytes > PAGE_2M ||
	    !is_aligned(h->block_bytes, h->block_bytes))
		return err_set(err, ERR_SNAPSHOT,
			       "BlockSize %" PRIu64 " is not a power of two "
			       "from 4096 to 2097152: the header is damaged, take the snapshot "
			       "again",
			       h->block_bytes);
	if (check_size(h->size_bytes, err) < 0 || check_count(len, err) < 0)
		return -1;
	p->nentries = (len - PREFIX_BYTES) / ENTRY_BYTES;
	p->span_bytes = align_up(h->size_bytes, PAGE_4K);
	return 0;
}

static int bad(struct err *err, size_t i, const char *field, uint64_t value, const char *why)
{
	return err_set(err, ERR_SNAPSHOT,
		       "entry %zu: %s %#" PRIx64 " %s: the header is damaged, "
		       "take the snapshot again",
		       i, field, value, why);
}

/* @end: end of the entry before, bytes; @last_offset: its start */
static int check_place(const struct parser *p, size_t i, const struct entry *e, uint64_t end,
		       uint64_t last_offset, struct err *err)
{
	if (!is_aligned(e->offset, PAGE_4K))
		return bad(err, i, "Offset", e->offset, "is not a multiple of 4096");
	if (!is_aligned(e->length, PAGE_4K))
		return bad(err, i, "Length", e->length, "is not a multiple of 4096");
	if (e->length == 0)
		return bad(err, i, "Length", 0, "is zero");
	if (e->offset + e->length < e->offset)
		return bad(err, i, "Offset + Length", e->offset, "overflows 64 bits");
	if (e->offset >= p->h.size_bytes)
		return bad(err, i, "Offset", e->offset, "is at or after the end of memory (Size)");
	if (i == 0 && e->offset != 0)
		return bad(err, i, "Offset", e->offset, "leaves the start of memory unmapped");
	if (i > 0 && e->offset == last_offset)
		return bad(err, i, "Offset", e->offset, "repeats that of the entry before");
	if (i > 0 && e->offset < last_offset)
		return bad(err, i, "Offset", e->offset,
			   "is lower than that of the entry before "
			   "(unsorted)");
	if (e->offset < end)
		return bad(err, i, "Offset", e->offset, "overlaps the entry before");
	if (e->offset > end)
		return bad(err, i, "Offset", e->offset, "leaves a gap after the entry before");
	if (e->offset + e->length > p->span_bytes)
		return bad(err, i, "Length", e->length, "reaches beyond the end of memory (Size)");
	return 0;
}

static int check_store(size_t i, const struct entry *e, struct err *err)
{
	if (!is_aligned(e->store, PAGE_4K))
		return bad(err, i, "BuildStorageOffset", e->store, "is not a multiple of 4096");
	if (e->store + e->length < e->store)
		return bad(err, i, "BuildStorageOffset", e->store, "plus Length overflows 64 bits");
	if (e->store + e->length > STORE_MAX)
		return bad(err, i, "BuildStorageOffset", e->store,
			   "plus Length is beyond the supported 16 TiB of one layer");
	return 0;
}

static size_t slot_of(const uuid_t id)
{
	uint64_t mix = (get64(id) ^ get64(id + 8) * 0x9e3779b97f4a7c15) * 0xd6e8feb86659fd93;

	return mix >> 32 & (SLOTS - 1);
}

/* The index of a build, which is added if it is new. O(1), however many builds there are. */
static int intern(struct parser *p, size_t i, const uuid_t id, uint32_t *ret, struct err *err)
{
	struct header *h = &p->h;
	size_t slot = slot_of(id);

	for (; p->slots[slot]; slot = (slot + 1) & (SLOTS - 1)) {
		uint32_t known = p->slots[slot] - 1u;

		if (memcmp(h->builds[known].id, id, sizeof(uuid_t)) == 0) {
			*ret = known;
			return 0;
		}
	}
	if (h->nbuilds == HEADER_BUILDS_MAX)
		return err_set(err, ERR_SNAPSHOT,
			       "entry %zu: BuildId is the %u. different one, at "
			       "most %u are supported: merge the snapshot's generations",
			       i, HEADER_BUILDS_MAX + 1, HEADER_BUILDS_MAX);
	uuid_copy(h->builds[h->nbuilds].id, id);
	*ret = h->nbuilds++;
	p->slots[slot] = (uint16_t)h->nbuilds;
	return 0;
}

static int add_entry(struct parser *p, size_t i, const struct entry *e, struct err *err)
{
	uint32_t layer = EXTENT_ZERO, store = 0;

	/* Writers leave anything in the storage offset of a zero run. */
	if (!uuid_is_null(e->build)) {
		struct header_build *build;

		if (check_store(i, e, err) < 0 || intern(p, i, e->build, &layer, err) < 0)
			return -1;
		build = &p->h.builds[layer];
		build->end_bytes = max_u64(build->end_bytes, e->store + e->length);
		store = (uint32_t)(e->store / PAGE_4K);
	}
	return extents_add(&p->h.extents, (uint32_t)(e->length / PAGE_4K), layer, store, err);
}

static void get_entry(const struct parser *p, size_t i, struct entry *ret)
{
	const uint8_t *at = p->bytes + PREFIX_BYTES + i * ENTRY_BYTES;

	ret->offset = get64(at);
	ret->length = get64(at + 0x08);
	memcpy(ret->build, at + 0x10, sizeof(ret->build));
	ret->store = get64(at + 0x20);
}

/*
 * A header without entries means the header's own build. If that is nil, all of memory would be
 * zeros only because nothing says otherwise. A header that lost its bytes looks the same, so it is
 * refused; writers state zero memory with a nil entry.
 */
static int add_whole(struct parser *p, struct err *err)
{
	struct entry e = {.length = p->span_bytes};

	if (uuid_is_null(p->h.build))
		return err_set(err, ERR_SNAPSHOT,
			       "BuildId is nil and there are no entries, so "
			       "nothing says where memory comes from: take the snapshot again");
	uuid_copy(e.build, p->h.build);
	return add_entry(p, 0, &e, err);
}

static int parse_entries(struct parser *p, struct err *err)
{
	size_t room = min_u64(max_u64(p->nentries, 1), HEADER_BUILDS_MAX);
	uint64_t end = 0, last_offset = 0;
	struct entry e;

	p->h.builds = calloc(room, sizeof(*p->h.builds));
	if (!p->h.builds)
		return err_sys(err, "cannot hold %zu build ids", room);
	if (p->nentries == 0)
		return add_whole(p, err) < 0 ? -1 : extents_end(&p->h.extents, err);

	for (size_t i = 0; i < p->nentries; i++) {
		get_entry(p, i, &e);
		if (check_place(p, i, &e, end, last_offset, err) < 0 ||
		    add_entry(p, i, &e, err) < 0)
			return -1;
		last_offset = e.offset;
		end = e.offset + e.length;
	}
	if (end != p->span_bytes)
		return bad(err, p->nentries - 1, "Offset + Length", end,
			   "is the last and ends before memory does (Size)");
	return extents_end(&p->h.extents, err);
}

uint64_t header_entries(uint64_t file_bytes)
{
	return file_bytes > PREFIX_BYTES ? (file_bytes - PREFIX_BYTES) / ENTRY_BYTES : 0;
}

int header_parse(const void *bytes, size_t len, struct header *ret, struct err *err)
{
	struct parser p = {.bytes = bytes};

	extents_init(&p.h.extents);
	if (parse_prefix(&p, len, err) < 0 || parse_entries(&p, err) < 0) {
		header_fini(&p.h);
		return -1;
	}
	*ret = p.h;
	return 0;
}

void header_fini(struct header *h)
{
	free(h->builds);
	h->builds = NULL;
	h->nbuilds = 0;
	extents_fini(&h->extents);
}
