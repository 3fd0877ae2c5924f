/*
 * layer - one data file of a snapshot: opened once, mapped, and fixed in identity
 */
#ifndef UFFDD_LAYER_H
#define UFFDD_LAYER_H

#include <fcntl.h>
#include <sys/stat.h>

#include "common/err.h"
#include "worker/residency.h"

struct layer {
	char *path;                 /* owned; for error texts */
	int fd;                     /* owned; -1: not open */
	struct stat id;             /* fstat() at the time of opening */
	uint64_t size_bytes;        /* id.st_size */
	const uint8_t *map;         /* owned; NULL: no byte of the layer is used */
	uint64_t map_bytes;         /* all that extents refer to */
	struct residency residency; /* which parts of the map are in memory */
};

/*
 * layer_open - open a file for reading
 * @dir: the path behind @dirfd, or "" where @name is a whole path
 * @ret: closed by layer_close(); untouched on failure
 *
 * Returns 0, or -1: ERR_PATH (not there, not readable, not a regular file; err->sys has the errno
 * of a failed open), ERR_QUOTA (no descriptor left) or ERR_SYSTEM.
 */
int layer_open(int dirfd, const char *dir, const char *name, struct layer *ret, struct err *err);
/* As layer_open(), for a predecessor's descriptor. Takes @fd over, also on failure. */
int layer_take(int fd, const char *dir, const char *name, struct layer *ret, struct err *err);
/* The same for a file of which fstat() has said @st before, when the process still might ask. */
int layer_take_seen(int fd, const struct stat *st, const char *dir, const char *name,
		    struct layer *ret, struct err *err);
/*
 * Maps the first @need bytes: all that extents refer to; 0 for a layer without an extent. Returns
 * 0, or -1: ERR_SNAPSHOT (the file is too short) or ERR_SYSTEM.
 */
int layer_map(struct layer *l, uint64_t need, struct err *err);
/*
 * Is the file still as it was when opened? Returns 0, or -1 with ERR_SNAPSHOT that says what
 * changed. Of a file on a FUSE that only another user may look at nothing is found out.
 */
int layer_check(const struct layer *l, struct err *err);
/*
 * Reads all of [off, off + len) into @buf. Returns 0, or -1 with ERR_SNAPSHOT (too short) or
 * ERR_SYSTEM.
 */
int layer_read(const struct layer *l, uint64_t off, uint64_t len, void *buf, struct err *err);
/* Safe to repeat. */
void layer_close(struct layer *l);

/* Of open(). O_NONBLOCK: a FIFO or a device under that name must not block the worker. */
#define LAYER_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
/* Fills @err for a failed open of @path with errno @sys. Returns -1. */
int layer_open_failed(const char *path, int sys, struct err *err);
/* The end of a long path, for error texts. Borrowed from @path. */
const char *layer_shown(const char *path);

#endif
