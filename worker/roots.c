#include "worker/roots.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

int roots_take(struct roots *r, const char *text, size_t len, struct err *err)
{
	if (len == 0)
		return 0;
	if (text[len - 1] != '\0')
		return err_set(err, ERR_SYSTEM, "the assignment's roots are cut off");
	for (size_t at = 0; at < len; at += strlen(text + at) + 1)
		if (text[at] != '/')
			return err_set(err, ERR_SYSTEM, "a root of the assignment is no path");
	r->text = xcalloc(1, len);
	memcpy(r->text, text, len);
	r->len = len;
	return 0;
}

void roots_fini(struct roots *r)
{
	free(r->text);
	*r = (struct roots){.text = NULL};
}

/* What follows @root in @path, without a slash in front; NULL: @path is not beneath it. */
static const char *beneath(const char *root, const char *path)
{
	size_t len = strlen(root);

	if (strcmp(root, "/") == 0)
		len = 0;
	if (strncmp(root, path, len) != 0 || (path[len] && path[len] != '/'))
		return NULL;
	path += len;
	return path + strspn(path, "/");
}

static int open_beneath(const char *root, const char *rest, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	cleanup_fd int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return -1;
	return (int)syscall(SYS_openat2, dir, *rest ? rest : ".", &how, sizeof(how));
}

/* Of roots within each other the first that has the file: they are the same tenant's. */
int roots_open(const struct roots *r, const char *path, int flags)
{
	int fd = -1;

	if (!r->len)
		return open(path, flags);
	errno = EXDEV;
	for (size_t at = 0; fd < 0 && at < r->len; at += strlen(r->text + at) + 1) {
		const char *rest = beneath(r->text + at, path);

		if (rest)
			fd = open_beneath(r->text + at, rest, flags);
	}
	return fd;
}

int roots_open_at(const struct roots *r, int dirfd, const char *path, const char *name, int flags)
{
	cleanup_free char *whole = NULL;

	if (!r->len)
		return openat(dirfd, name, flags);
	if (asprintf(&whole, "%s/%s", path, name) < 0)
		abort();
	return roots_open(r, whole, flags);
}

/* clang-format off */
static const struct call needs[] = {
	CALL(openat), CALL(open), CALL(openat2),
};
/* clang-format on */
const struct calls roots_calls = CALLS(needs);
