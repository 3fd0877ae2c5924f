/*
 * fuzz_conf - the configuration: a file and a command line
 *
 * Input: the file up to a NUL, then arguments with a NUL between them.
 */
#include "daemon/conf.h"

#include <sys/mman.h>

#include "tests/fuzz/fuzz.h"

#define ARGS_MAX 16
#define ARGS_BYTES 4096

struct outcome {
	int rc;
	struct conf conf;
	enum conf_outcome how;
	struct err err;
};

/*
 * Only the input's file is read: an argument that may name another file (--config) is left out,
 * since opening a device can do harm.
 */
static int split(char *text, size_t len, char **argv)
{
	int argc = 0;

	for (size_t at = 0; at < len && argc < ARGS_MAX; at += strlen(text + at) + 1)
		if (strncmp(text + at, "--c", 3) != 0)
			argv[argc++] = text + at;
	return argc;
}

/* Each time from the same words: getopt may have sorted them. */
static void parse(const char *file, const uint8_t *words, size_t len, struct outcome *ret)
{
	char *argv[ARGS_MAX + 4] = {(char *)"uffdd", (char *)"--config", (char *)(uintptr_t)file};
	char text[ARGS_BYTES + 1] = "";
	int argc = 3;

	len = min_u64(len, ARGS_BYTES);
	if (len)
		memcpy(text, words, len);
	argc += split(text, len, argv + argc);
	memset(&ret->conf, 0x5a, sizeof(ret->conf));
	ret->err = (struct err){.msg = ""};
	ret->rc = conf_parse_args(argc, argv, &ret->conf, &ret->how, &ret->err);
}

static bool is_untouched(const struct conf *c)
{
	const uint8_t *byte = (const uint8_t *)c;

	for (size_t i = 0; i < sizeof(*c); i++)
		if (byte[i] != 0x5a)
			return false;
	return true;
}

/* Some of the bounds in the table, each of another type. */
static void check_bounds(const struct conf *c)
{
	FUZZ_CHECK(c->run_dir[0] == '/' && c->state_dir[0] == '/');
	FUZZ_CHECK(memchr(c->run_dir, 0, sizeof(c->run_dir)));
	FUZZ_CHECK(memchr(c->socket_group, 0, sizeof(c->socket_group)));
	FUZZ_CHECK(c->socket_mode <= 0777 && c->pool_workers <= 64);
	FUZZ_CHECK(c->snapshot_bytes_max >= PAGE_4K && c->max_restores > 0);
	FUZZ_CHECK(c->http_idle_ms >= 1000 && c->http_idle_ms <= 3600 * 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *end = len ? memchr(data, 0, len) : NULL;
	size_t n = end ? (size_t)(end - data) : len;
	cleanup_fd int fd = memfd_create("conf", MFD_CLOEXEC);
	static struct outcome first, second;
	char file[64];

	FUZZ_CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	parse(file, data + n + !!end, len - n - !!end, &first);
	parse(file, data + n + !!end, len - n - !!end, &second);
	FUZZ_CHECK(first.rc == second.rc);
	FUZZ_CHECK(memcmp(&first.conf, &second.conf, sizeof(first.conf)) == 0);
	if (first.rc)
		FUZZ_CHECK_ERR(&first.err);
	if (first.rc || first.how == CONF_HELP || first.how == CONF_VERSION)
		FUZZ_CHECK(is_untouched(&first.conf));
	else
		check_bounds(&first.conf);
	return 0;
}
