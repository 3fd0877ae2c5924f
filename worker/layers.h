/*
 * layers - which files a snapshot is made of, and how each comes to be open
 *
 * By its path, with the caller's own rights; or it was open before, and a predecessor's
 * descriptor stands for it.
 */
#ifndef UFFDD_LAYERS_H
#define UFFDD_LAYERS_H

#include "common/header.h"
#include "common/spec.h"
#include "worker/layer.h"

/* Files that a predecessor had opened: the header, if there is one, then the layers. */
struct source_given {
	int *fds; /* the descriptors are taken over by source_load(), and set to -1 */
	size_t n; /* 0: none, open the paths */
};

/* @name in the directory @dir, which @dirfd is open for; dir "": @name is a whole path. */
struct layers_place {
	int dirfd;
	const char *dir, *name;
};

/* No predecessor has served it: paths are opened, and the files judged. */
bool layers_are_new(const struct source_given *given);
/* @i: the file's place in @given. */
int layers_open(const struct source_given *given, size_t i, const struct layers_place *at,
		struct layer *ret, struct err *err);

/*
 * layers_in_dir - opens the layer of each of the header's builds, by its name in a directory
 * layers_listed - by the path that the caller has given for its build id
 * @files: as many as the header has builds, none open; those that were opened stay open on failure
 *
 * Listed layers that the header does not refer to are left alone: one list may serve a chain.
 */
int layers_in_dir(const struct source_given *given, const struct layers_place *dir,
		  const struct header *h, struct layer *files, struct err *err);
int layers_listed(const struct source_given *given, const struct spec *spec, const struct header *h,
		  struct layer *files, struct err *err);

#endif
