/*
 * roots - the directories beneath which a tenant's files must be
 *
 * A path is opened by the kernel beneath the root that it names (openat2, RESOLVE_BENEATH): no "..",
 * no symbolic link and no /proc link leads out of it, whoever changes the directories meanwhile.
 * Without roots a path may be any that the worker's user can open.
 */
#ifndef UFFDD_ROOTS_H
#define UFFDD_ROOTS_H

#include "common/base.h"
#include "common/err.h"
#include "worker/calls.h"

struct roots {      /* all zero: none */
	char *text; /* owned: the paths, each with its NUL */
	size_t len; /* bytes of that */
};

/*
 * roots_take - the roots that came with a request
 * @text: @len bytes, copied; absolute paths without "." and "..", each with its NUL
 *
 * Returns 0, or -1 with ERR_SYSTEM: that is not what it is.
 */
int roots_take(struct roots *r, const char *text, size_t len, struct err *err);
/* Safe to repeat. */
void roots_fini(struct roots *r);

/*
 * roots_open - opens @path, which is absolute
 * @flags: of open()
 *
 * Returns the descriptor, owned by the caller, or -1 with errno; EXDEV: it is beneath no root.
 */
int roots_open(const struct roots *r, const char *path, int flags);
/*
 * The same for @name in the directory @path, which is open as @dirfd. With roots it is opened by
 * its whole path: a link in the directory may lead anywhere beneath them.
 */
int roots_open_at(const struct roots *r, int dirfd, const char *path, const char *name, int flags);

/* What these functions need of the kernel (calls.h). */
extern const struct calls roots_calls;

#endif
