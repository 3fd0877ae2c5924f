/*
 * header - the snapshot header of wrenn and E2B (versions 1 to 3)
 *
 *   0x00 u64 Version      1, 2, 3 (upper 48 bits are reserved and ignored)
 *   0x08 u64 BlockSize    power of two, 4096 .. 2 MiB
 *   0x10 u64 Size         bytes of guest memory
 *   0x18 u64 Generation
 *   0x20 16B BuildId      0x30 16B BaseBuildId
 *   0x40 then entries of 40 bytes to the end of the file, little-endian:
 *        u64 Offset, u64 Length, 16B BuildId (all zero: zero-fill), u64 BuildStorageOffset
 *
 * A header without entries means one entry that covers all memory with the header's own build.
 * Parsing validates completely. The result is extents whose layer indices point into the table of
 * build ids.
 */
#ifndef UFFDD_HEADER_H
#define UFFDD_HEADER_H

#include <uuid/uuid.h>

#include "extents.h"

#define HEADER_ENTRIES_MAX (8u << 20)       /* 320 MiB of header */
#define HEADER_BUILDS_MAX 4096u             /* layers of one snapshot */
#define HEADER_SIZE_MAX ((uint64_t)1 << 43) /* 8 TiB of guest memory */
#define HEADER_FILE_MAX (64 + 40 * (uint64_t)HEADER_ENTRIES_MAX)

struct header_build {
	uuid_t id;
	uint64_t end_bytes; /* minimum length of the build's file */
};

struct header {
	uint64_t version, block_bytes, size_bytes, generation;
	uuid_t build, base;
	struct header_build *builds; /* owned; in order of first use */
	uint32_t nbuilds;
	struct extents extents; /* tiles [0, round_up(size_bytes, 4096)) */
};

/*
 * header_parse - parse the bytes of a header file
 * @bytes: may be unaligned; not referred to afterwards
 * @ret: released by header_fini(); untouched on failure
 *
 * Returns 0, or -1 with ERR_SNAPSHOT, whose text names the entry, the field and the value, or
 * ERR_SYSTEM: no memory. O(entries).
 */
int header_parse(const void *bytes, size_t len, struct header *ret, struct err *err);
void header_fini(struct header *h);
/* How many entries a header file of so many bytes has at most. */
uint64_t header_entries(uint64_t file_bytes);

#endif
