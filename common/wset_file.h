/*
 * wset_file - a working set as bytes: what is stored, exported and imported
 *
 *   byte  0  8  magic "uffdwset"
 *         8  4  version, 1
 *        12  4  CRC-32 (as of Ethernet and zip) of the whole file, with these four bytes zero
 *        16  8  length of the file
 *        24  8  bytes of memory of the snapshot, rounded up to 4096
 *        32  4  page size, 4096 or 2097152
 *        36  4  number of restores that were recorded, > 0
 *        40  4  kind of key: 1 build, 2 files by a hash (release 0.1), 3 files by their name
 *        44  4  0
 *        48 16  build id of the header; kind 2: 0; kind 3: name of the files (a UUID)
 *        64  8  bytes of memory; kind 2: a hash of the files' identity
 *        72  8  number of runs
 *        80  8  number of pages in them
 *        88     the runs in order of page, each
 *                 LEB128  pages between the end of the run before (or 0) and this run
 *                 LEB128  its pages, > 0
 *                 1       bits 0-1 score 1..3, bits 2-4 group, bits 5-7 zero
 *
 * Little-endian. LEB128 must be as short as possible, and neighbours that could be one run must be
 * one: equal sets are equal files. Anything else is refused before memory is allocated for it.
 */
#ifndef UFFDD_WSET_FILE_H
#define UFFDD_WSET_FILE_H

#include "wset.h"

#define WSET_FILE_MAX ((uint64_t)16 << 20) /* bytes */
#define WSET_FILE_VERSION 1

/* The header, decoded. */
struct wset_head {
	struct wset_key key;
	uint64_t page_bytes, span_bytes, runs, pages;
	uint32_t restores;
};

/* Length of the file of @s, in bytes. O(runs). */
uint64_t wset_file_bytes(const struct wset *s);
/* Drops candidates, then the latest groups, until the file of @s is at most @bytes long. */
void wset_file_trim(struct wset *s, uint64_t bytes);
/*
 * Encodes @s into *ret_bytes, owned by the caller, of wset_file_bytes(@s) bytes. Returns 0, or -1
 * with ERR_SYSTEM: no memory.
 */
int wset_file_encode(const struct wset *s, void **ret_bytes, size_t *ret_len, struct err *err);

/* Decodes header and checksum only. Returns 0, or -1 with ERR_INVALID that says what is wrong. */
int wset_file_head(const void *bytes, size_t len, struct wset_head *ret, struct err *err);
/*
 * Decodes all of the file, strictly. @ret is released by wset_fini(), untouched on failure. Returns
 * 0, or -1 with ERR_INVALID, or ERR_SYSTEM: no memory.
 */
int wset_file_decode(const void *bytes, size_t len, struct wset *ret, struct err *err);

#endif
