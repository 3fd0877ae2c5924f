/*
 * region - where guest memory lies in the VMM, and which part of the snapshot it is
 *
 *      VMM addresses      base ........ base+size        base ... base+size
 *                           |    region 0   |               |  region 1 |
 *      snapshot offsets   offset ... offset+size         offset ... offset+size
 *
 * A table is sorted by base and disjoint in both spaces. base, size and offset are multiples of
 * page_bytes, which is the same for all regions of a VMM. A table is plain data: the page map file
 * holds it, so that a successor finds it.
 */
#ifndef UFFDD_REGION_H
#define UFFDD_REGION_H

#include "common/base.h"
#include "common/err.h"

#define REGIONS_MAX 128

struct region {
	uint64_t base;   /* address in the VMM, bytes */
	uint64_t size;   /* bytes, > 0 */
	uint64_t offset; /* in the snapshot, bytes */
};

struct regions {
	uint64_t page_bytes; /* 4096 or 2 MiB */
	uint32_t n;
	uint32_t pad;
	struct region v[REGIONS_MAX];
};

/*
 * regions_check - validate a table from outside and sort it by base
 * @span_bytes: the snapshot's size, rounded up to 4096
 *
 * Returns 0, or -1 with ERR_PEER naming the region and its fault: no region or too many, page size,
 * zero size, misaligned, wraps, overlap in addresses, overlap in offsets, beyond the snapshot.
 */
int regions_check(struct regions *r, uint64_t span_bytes, struct err *err);

/* The region that holds address @addr, or NULL. Borrowed from @r. O(log n). */
const struct region *regions_at_addr(const struct regions *r, uint64_t addr);
/* The region that holds snapshot offset @off, or NULL. Borrowed from @r. O(n), n is small. */
const struct region *regions_at_offset(const struct regions *r, uint64_t off);
/* The region with the least offset > @off (or >= when @inclusive), or NULL. Borrowed from @r. */
const struct region *regions_next_offset(const struct regions *r, uint64_t off, bool inclusive);

/* Sum of the regions' sizes, bytes. */
uint64_t regions_bytes(const struct regions *r);

/*
 * regions_clip - the first part of the address range [start, end) that lies in some region
 *
 * Returns false if no part does; else sets its start address, length in bytes and snapshot offset.
 * Call again from *ret_start + *ret_len for the next part.
 */
bool regions_clip(const struct regions *r, uint64_t start, uint64_t end, uint64_t *ret_start,
		  uint64_t *ret_len, uint64_t *ret_off);

/*
 * regions_move - follow an mremap of [from, from+len) to @to
 *
 * Splits and joins regions where needed and keeps the table sorted. Addresses outside all regions
 * are ignored. Regions at the destination are dropped: mremap unmapped them. Returns 0, or -1 with
 * ERR_PEER when the table is full or the ranges wrap or are misaligned; then the table stays as it
 * was.
 */
int regions_move(struct regions *r, uint64_t from, uint64_t to, uint64_t len, struct err *err);

#endif
