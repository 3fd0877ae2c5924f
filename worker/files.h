/*
 * files - the files of a snapshot, open before any of them is read
 *
 * Which files a snapshot needs is known only once its header is parsed, and by then the worker can
 * open nothing any more (sandbox.h). So every file that may be needed is opened before. A file that
 * cannot be opened is no fault until the snapshot turns out to need it.
 *
 *   the request has paths     each of them, in its order; the header first
 *   the request has a         memfile.header, then every name in the directory that a header
 *   directory                 could mean, sorted
 *   a predecessor's holder    its descriptors, in the order of source_fd(); no path counts
 */
#ifndef UFFDD_FILES_H
#define UFFDD_FILES_H

#include "common/spec.h"
#include "worker/layer.h"
#include "worker/calls.h"
#include "worker/roots.h"

/* Files that a predecessor had opened: the header, if there is one, then the layers. */
struct source_given {
	int *fds;          /* owned; source_load() takes descriptors, and sets those to -1 */
	struct stat *seen; /* owned: of each, what fstat() said; zeros: nothing */
	size_t n;          /* 0: none, the paths count */
};

/* Closes the files that are left, and frees. Accepts a struct of zeros. Safe to repeat. */
void source_given_fini(struct source_given *given);

#define FILES_NAME_MAX 47

struct file {
	char name[FILES_NAME_MAX + 1]; /* in the directory; "" without one */
	int fd;                        /* owned; -1: not open, or taken */
	int sys;                       /* errno of the failed open, or 0 */
	struct stat seen;              /* when it was opened */
};

struct files {
	struct source_given given; /* owned */
	struct file *v;            /* owned */
	size_t n;
	int dir_sys; /* errno if the directory could not be opened, or 0 */
	bool more;   /* the directory has more names than may be opened */
};

/*
 * files_open - open what a request names, with this process's rights
 * @roots: beneath which all of them must be
 * @f: all zeros before; released by files_fini(), also after failure
 *
 * Returns 0, or -1 with ERR_SYSTEM: no memory.
 */
int files_open(const struct spec *spec, const struct roots *roots, struct files *f,
	       struct err *err);
/* Closes what was not taken. Accepts a struct of zeros. Safe to repeat. */
void files_fini(struct files *f);

/* False with files of a predecessor, which has judged them. */
bool files_are_new(const struct files *f);
/* The place of a file in the directory; SIZE_MAX: there is none of that name. */
size_t files_find(const struct files *f, const char *name);
/*
 * files_take - take a file out of @f
 * @i: its place in f->v, or SIZE_MAX
 * @dir, @name: for error texts, as for layer_open()
 *
 * Only for new files. Returns 0, or -1 as layer_open(), or with ERR_SNAPSHOT: the file may be one
 * of those that were too many.
 */
int files_take(struct files *f, size_t i, const char *dir, const char *name, struct layer *ret,
	       struct err *err);

/* What these functions need of the kernel (calls.h). */
extern const struct calls files_calls;

#endif
