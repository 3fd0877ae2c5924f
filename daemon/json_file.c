#include "daemon/json_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "common/io.h"

/* *ret is owned by the caller. */
static int read_whole(int fd, size_t max, char **ret, size_t *ret_len, struct err *err)
{
	cleanup_free char *text = xcalloc(1, max + 1);
	size_t len = io_read_at(fd, text, max + 1, 0);

	if (len <= max && errno)
		return err_sys(err, "cannot read it");
	if (len > max)
		return err_set(err, ERR_TOOBIG, "is larger than %zu bytes", max);
	*ret = steal_ptr(&text);
	*ret_len = len;
	return 0;
}

int json_file_read(const char *path, size_t max, struct json_object **ret, struct err *err)
{
	/* Non-blocking, so that a FIFO is refused instead of blocking us. */
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	cleanup_free char *text = NULL;
	struct stat st;
	size_t len = 0;

	*ret = NULL;
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_sys(err, "cannot open it");
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at it");
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_PATH, "is not a regular file");
	if (read_whole(fd, max, &text, &len, err) < 0)
		return -1;
	*ret = js_parse(text, len, true, err);
	return *ret ? 0 : -1;
}
