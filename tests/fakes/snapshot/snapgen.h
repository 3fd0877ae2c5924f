/*
 * snapgen - makes snapshots to test and measure with
 *
 * A snapshot is the outcome of some generations: the first fills all of memory
 * with runs of data and zeros, each further one rewrites or zeroes about a
 * quarter of the runs. The same options give the same bytes on every machine.
 *
 *   kind      files in the directory
 *   layers    memfile.header, memfile.<build id> of each generation
 *   memory    base.mem: the outcome, zero runs are real holes
 *   diffs     base.mem, diff1.mem, diff2.mem, …: a file per generation; what a
 *             generation left alone is a hole, what it zeroed are written zeros
 *
 * and, if wanted, expected.img: the outcome, sparse. The header comes last, and
 * no file is ever overwritten, because somebody may be serving from it.
 *
 * Not for Check alone: the benchmark and mksnapshot use it as well.
 */
#ifndef UFFDD_TESTS_SNAPGEN_H
#define UFFDD_TESTS_SNAPGEN_H

#include "common/header.h"

enum snapgen_kind { SNAPGEN_LAYERS, SNAPGEN_MEMORY, SNAPGEN_DIFFS, SNAPGEN_KINDS };
extern const char *const snapgen_kind_names[SNAPGEN_KINDS];

#define SNAPGEN_IMAGE "expected.img"
#define SNAPGEN_BASE "base.mem"
#define SNAPGEN_DIFF "diff%u.mem" /* from 1 */

struct snapgen_opts {
	enum snapgen_kind kind;
	uint64_t size_bytes;   /* multiple of 4096 */
	uint32_t nlayers;      /* generations, 1 .. HEADER_BUILDS_MAX */
	uint32_t zero_percent; /* of the runs; 100 leaves nothing but zeros */
	uint32_t run_pages;    /* mean length of what is drawn; like neighbours join up */
	uint64_t seed;
	bool image; /* write expected.img */
};
/* 256 MiB, 3 layers, 40 % zero, runs of 16 pages, seed 1, with image. */
extern const struct snapgen_opts snapgen_defaults;

/*
 * snapgen_write - the files, into @dir, which is made if it is missing
 *
 * Unless all is zero, every generation keeps at least one page to the end: page
 * i is of generation i, as far as there are pages. Returns 0, or -1 with
 * ERR_INVALID (an option), ERR_CONFLICT (a file is there already), ERR_SYSTEM.
 */
int snapgen_write(const struct snapgen_opts *o, const char *dir, struct err *err);

/* The 4096 bytes that generation @layer wrote into page @page; no two pages are alike. */
void snapgen_page(uint64_t seed, uint32_t layer, uint32_t page, void *buf);
/* The build id of a generation. */
void snapgen_build(uint64_t seed, uint32_t layer, uuid_t ret);

/* The next of a fixed sequence: below @below. @state is the seed. */
uint32_t snapgen_draw(uint64_t *state, uint32_t below);

/* Pieces of a header file, for tests that need a broken one. */
#define SNAPGEN_META_BYTES 64
#define SNAPGEN_ENTRY_BYTES 40
struct snapgen_entry {
	uint64_t offset, length, store; /* bytes */
	uuid_t build;                   /* nil: zeros */
};
/* The first 64 bytes: the scalar fields of @h and its two ids. */
void snapgen_put_meta(uint8_t *to, const struct header *h);
void snapgen_put_entry(uint8_t *to, const struct snapgen_entry *e);

#endif
