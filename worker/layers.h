/*
 * layers - which of the files that were opened a snapshot is made of
 */
#ifndef UFFDD_LAYERS_H
#define UFFDD_LAYERS_H

#include "common/header.h"
#include "common/spec.h"
#include "worker/files.h"

/* @name in directory @dir; dir "": @name is a whole path. */
struct layers_place {
	const char *dir, *name;
	size_t at; /* place in the opened files; SIZE_MAX: not there */
};

/*
 * Takes one file. @i: its place among a predecessor's files. Errors as for files_take() and
 * layer_take().
 */
int layers_take(struct files *files, size_t i, const struct layers_place *at, struct layer *ret,
		struct err *err);

/*
 * layers_in_dir - take the layer of each of the header's builds, by its name in directory @dir
 * layers_listed - take them by the paths that the caller has given for the build ids
 * @ret: as many as the header has builds, none open; those that were taken stay open on failure
 *
 * A listed layer that the header does not refer to is ignored: one list may serve a chain. Returns
 * 0, or -1 with ERR_SNAPSHOT (layers are missing), ERR_INVALID (a build id is listed twice), or as
 * files_take().
 */
int layers_in_dir(struct files *files, const char *dir, const struct header *h, struct layer *ret,
		  struct err *err);
int layers_listed(struct files *files, const struct spec *spec, const struct header *h,
		  struct layer *ret, struct err *err);

#endif
