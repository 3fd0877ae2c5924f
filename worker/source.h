/*
 * source - the bytes a restore is served from, whatever kind of snapshot it is
 *
 * Loading maps every layer, checks everything and fixes each file's identity (device,
 * inode, size, mtime). Afterwards only two things can go wrong, and each has its own answer: a file
 * changes (source_check), or cannot be read (UF_SOURCE from the install, or source_read).
 *
 * Offsets are bytes into the snapshot, multiples of 4096.
 */
#ifndef UFFDD_SOURCE_H
#define UFFDD_SOURCE_H

#include <sys/stat.h>
#include <uuid/uuid.h>

#include "common/extents.h"
#include "common/spec.h"
#include "worker/residency.h"
#include "worker/layers.h"

struct source;

/*
 * source_load - map and check a snapshot
 * @files: of files_open(), or of a predecessor; those that the snapshot needs are taken
 * @entries_max: of a header, which are refused before they are read; 0: no bound
 * @ret: owned by the caller, released by source_free(); untouched on failure
 *
 * Opens nothing. Returns 0, or -1 with ERR_PATH, ERR_SNAPSHOT, ERR_INVALID, ERR_QUOTA or
 * ERR_SYSTEM.
 */
int source_load(const struct spec *spec, struct files *files, uint64_t entries_max,
		struct source **ret, struct err *err);
/*
 * For a guest that needs no snapshot data any more: @span_bytes of zeros, without a file. Owned by
 * the caller. Aborts without memory.
 */
struct source *source_none(uint64_t span_bytes);
/* Accepts NULL. */
void source_free(struct source *src);

/* Bytes of the snapshot, rounded up to 4096. */
uint64_t source_span_bytes(const struct source *src);
/* Bytes of the snapshot, not rounded. */
uint64_t source_size_bytes(const struct source *src);
size_t source_layers(const struct source *src);
size_t source_extents(const struct source *src);

/* The snapshot's files: the header, if there is one, then the layers. */
size_t source_nfds(const struct source *src);
int source_fd(const struct source *src, size_t i); /* borrowed */
/* fstat() of a file when it was opened, borrowed; see worker/identity.h. */
const struct stat *source_stat(const struct source *src, size_t i);
/* The build id of the header; false, and *ret untouched, if the snapshot has none. */
bool source_build(const struct source *src, uuid_t ret);

/* The bytes at an offset, as far as they have one origin. */
struct source_run {
	uint64_t len;     /* bytes, > 0 */
	const void *data; /* borrowed: in the layer's mapping; NULL: zeros */
	uint32_t layer;   /* for source_check(); EXTENT_ZERO: no layer */
};
/* For the owner thread only, which uses a cursor in @src. @off is below the span. */
struct source_run source_at(struct source *src, uint64_t off, uint64_t max_len);

/*
 * source_look - are the bytes of a run in memory? Does not wait for the disk
 * @run: not a zero run
 * @buf: room for the run, if the run has at most RESIDENCY_READ_MAX bytes
 *
 * For the owner thread only. RESIDENCY_COLD: let readahead read the run first.
 */
enum residency_answer source_look(struct source *src, const struct source_run *run, void *buf);
/* May a read of any byte in the range have to wait for a disk? For the owner thread only. */
bool source_may_be_cold(struct source *src, uint64_t off, uint64_t len);
/* Is the range a single run? Any thread. */
bool source_whole(const struct source *src, uint64_t off, uint64_t len);
/* Calls the function of residency.h for all pieces of the range. Any thread. */
void source_announce(const struct source *src, uint64_t off, uint64_t len);
void source_fill(const struct source *src, uint64_t off, uint64_t len);
void source_read_in(const struct source *src, uint64_t off, uint64_t len);

/* Has that layer changed since it was opened? Returns 0, or -1 with ERR_SNAPSHOT that says how. */
int source_check(const struct source *src, uint32_t layer, struct err *err);

/*
 * source_read - read [off, off+len) into @buf by pread, over any number of extents
 *
 * Checks each layer it uses, before and after. A short read is an error, never zeros. @buf is
 * undefined after failure. Returns 0, or -1 with ERR_SNAPSHOT or ERR_SYSTEM. Any thread may call
 * it.
 */
int source_read(const struct source *src, uint64_t off, uint64_t len, void *buf, struct err *err);

#endif
