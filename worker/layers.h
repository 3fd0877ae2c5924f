/*
 * layers - which files a snapshot is made of, and how each comes to be open
 *
 * A file is opened by its path, with the caller's own rights, or a predecessor's descriptor is
 * used.
 */
#ifndef UFFDD_LAYERS_H
#define UFFDD_LAYERS_H

#include "common/header.h"
#include "common/spec.h"
#include "worker/layer.h"

/* Files that a predecessor had opened: the header, if there is one, then the layers. */
struct source_given {
	int *fds; /* owned; source_load() takes descriptors, and sets those to -1 */
	size_t n; /* 0: none, open the paths */
};

/* @name in directory @dir, for which @dirfd is open; dir "": @name is a whole path. */
struct layers_place {
	int dirfd;
	const char *dir, *name;
};

/* True without files of a predecessor (@given may be NULL): then files are opened and judged. */
bool layers_are_new(const struct source_given *given);
/* Opens or takes one file. @i: its place in @given. Errors as for layer_open() and layer_take(). */
int layers_open(const struct source_given *given, size_t i, const struct layers_place *at,
		struct layer *ret, struct err *err);

/*
 * layers_in_dir - open the layer of each of the header's builds, by its name in a directory
 * layers_listed - open them by the paths that the caller has given for the build ids
 * @files: as many as the header has builds, none open; those that were opened stay open on
 *	failure
 *
 * A listed layer that the header does not refer to is ignored: one list may serve a chain. Returns
 * 0, or -1 with ERR_SNAPSHOT (layers are missing), ERR_INVALID (a build id is listed twice), or as
 * layer_open().
 */
int layers_in_dir(const struct source_given *given, const struct layers_place *dir,
		  const struct header *h, struct layer *files, struct err *err);
int layers_listed(const struct source_given *given, const struct spec *spec, const struct header *h,
		  struct layer *files, struct err *err);

#endif
