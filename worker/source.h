/*
 * source - the bytes a restore is served from, whatever kind of snapshot it is
 *
 * Loading opens and maps every layer, checks everything and fixes each file's
 * identity (device, inode, size, mtime). Afterwards only two things can go
 * wrong, and each has its own answer: a file changes (source_check), or cannot
 * be read (UF_SOURCE from the install, or source_read).
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
 * Opens paths with the caller's own rights: the worker has become the caller.
 * @given: or takes these, in the order of source_fd(), so that a snapshot may be deleted
 *	while it is served
 */
int source_load(const struct spec *spec, const struct source_given *given, struct source **ret,
		struct err *err);
/* For a guest that needs nothing of it any more: @span_bytes of zeros, out of no file. */
struct source *source_none(uint64_t span_bytes);
void source_free(struct source *src);

/* Rounded up to 4096. */
uint64_t source_span_bytes(const struct source *src);
/* As the snapshot says. */
uint64_t source_size_bytes(const struct source *src);
size_t source_layers(const struct source *src);
size_t source_extents(const struct source *src);

/* What it is made of: the header, if there is one, then the layers. */
size_t source_nfds(const struct source *src);
int source_fd(const struct source *src, size_t i); /* borrowed */
/* What fstat() said when it was opened; what it is then worth: worker/identity.h. */
const struct stat *source_stat(const struct source *src, size_t i);
/* The build id of the header; false, and *ret untouched, where it has none. */
bool source_build(const struct source *src, uuid_t ret);

/* What lies at an offset: one origin, as long as it goes on. */
struct source_run {
	uint64_t len;     /* bytes, > 0 */
	const void *data; /* in the layer's mapping; NULL: zero */
	uint32_t layer;   /* for source_check(); EXTENT_ZERO: none */
};
struct source_run source_at(struct source *src, uint64_t off, uint64_t max_len);

/*
 * source_look - are the bytes of a run in memory? Does not wait for the disk
 * @run: not a zero run
 * @buf: room for the run, if it has at most RESIDENCY_READ_MAX bytes
 *
 * The owner's alone. RESIDENCY_COLD: have it warmed first.
 */
enum residency_answer source_look(struct source *src, const struct source_run *run, void *buf);
/* Is there anything in the range that may have to be waited for? The owner's alone. */
bool source_may_be_cold(struct source *src, uint64_t off, uint64_t len);
/* Is the range one run? Any thread. */
bool source_whole(const struct source *src, uint64_t off, uint64_t len);
/* Over all pieces of a range, as residency.h says. Any thread. */
void source_announce(const struct source *src, uint64_t off, uint64_t len);
void source_fill(const struct source *src, uint64_t off, uint64_t len);
void source_read_in(const struct source *src, uint64_t off, uint64_t len);

/* Has that layer changed since it was opened? 0, or -1 with ERR_SNAPSHOT that says how. */
int source_check(const struct source *src, uint32_t layer, struct err *err);

/*
 * source_read - assemble [off, off+len) into @buf by pread, over any number of extents
 *
 * Checks each layer it uses, before and after. A short read is an error, never
 * zeros; @buf is undefined after failure. Any thread may call it; source_at() is
 * the owner's alone.
 */
int source_read(const struct source *src, uint64_t off, uint64_t len, void *buf, struct err *err);

#endif
