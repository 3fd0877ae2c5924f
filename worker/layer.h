/*
 * layer - one data file of a snapshot: opened once, mapped, and fixed in identity
 */
#ifndef UFFDD_LAYER_H
#define UFFDD_LAYER_H

#include <sys/stat.h>

#include "common/err.h"
#include "worker/residency.h"

struct layer {
	char *path;                 /* owned; for error texts */
	int fd;                     /* owned; -1: not open */
	struct stat id;             /* as it was when opened */
	uint64_t size_bytes;        /* st_size of that */
	const uint8_t *map;         /* owned; NULL: no byte of it is used */
	uint64_t map_bytes;         /* everything that extents refer to */
	struct residency residency; /* of the map; what of it is in memory */
};

/*
 * @dir: the path behind @dirfd, or "" where @name is a whole path
 *
 * ERR_PATH: not there, not readable, not a regular file; err->sys tells ENOENT.
 */
int layer_open(int dirfd, const char *dir, const char *name, struct layer *ret, struct err *err);
/* The same for a descriptor that a predecessor had opened; owned from here on. */
int layer_take(int fd, const char *dir, const char *name, struct layer *ret, struct err *err);
/* @need: the highest byte that extents refer to; 0 for a layer that none of them uses. */
int layer_map(struct layer *l, uint64_t need, struct err *err);
/* Is it still the file that was opened? -1 with ERR_SNAPSHOT that says what changed. */
int layer_check(const struct layer *l, struct err *err);
/* All of it or an error. */
int layer_read(const struct layer *l, uint64_t off, uint64_t len, void *buf, struct err *err);
void layer_close(struct layer *l);

/* How a failed open (errno @sys) is told; returns -1. */
int layer_open_failed(const char *path, int sys, struct err *err);
/* The end of a long path, for error texts. */
const char *layer_shown(const char *path);

#endif
