/*
 * replay - runs a fuzz target over its corpus, once for each file: TAP
 *
 * The program's name says which corpus: fuzz_js reads tests/fuzz/corpus/js. With arguments, these
 * files are run instead. A corpus that is not there, or is empty, is a failure.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "common/io.h"
#include "tests/fuzz/fuzz.h"

#define PREFIX "fuzz_"

/* The whole file, owned by the caller: of exactly its length, so that a read beyond it is seen. */
static uint8_t *read_file(const char *path, size_t *ret_len)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *bytes;

	if (fd < 0 || fstat(fd, &st))
		return NULL;
	*ret_len = (size_t)st.st_size;
	bytes = malloc(*ret_len ? *ret_len : 1);
	if (bytes && io_read_at(fd, bytes, *ret_len, 0) != *ret_len)
		free(steal_ptr(&bytes));
	return bytes;
}

static int run(size_t i, const char *path)
{
	cleanup_free uint8_t *bytes = NULL;
	size_t len;

	bytes = read_file(path, &len);
	if (!bytes) {
		printf("not ok %zu - %s: %s\n", i, path, strerror(errno));
		return 1;
	}
	/* A crash is blamed on the file that was named last. */
	printf("# %s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(bytes, len);
	printf("ok %zu - %s\n", i, path);
	return 0;
}

static int is_input(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int run_corpus(const char *dir)
{
	struct dirent **names = NULL;
	int n = scandir(dir, &names, is_input, alphasort), bad = 0;

	if (n <= 0)
		printf("1..1\nnot ok 1 - %s: %s\n", dir, n < 0 ? strerror(errno) : "is empty");
	else
		printf("1..%d\n", n);
	for (int i = 0; i < n; i++) {
		cleanup_free char *path = NULL;

		if (asprintf(&path, "%s/%s", dir, names[i]->d_name) < 0)
			abort();
		bad += run((size_t)i + 1, path);
		free(names[i]);
	}
	free(names);
	return n <= 0 || bad;
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	cleanup_free char *dir = NULL;
	int bad = 0;

	name = name ? name + 1 : argv[0];
	if (fuzz_needs_root && fuzz_needs_root() && geteuid() != 0) {
		puts("1..0 # SKIP needs root");
		return 0;
	}
	if (argc > 1)
		printf("1..%d\n", argc - 1);
	for (int i = 1; i < argc; i++)
		bad += run((size_t)i, argv[i]);
	if (argc > 1)
		return bad != 0;
	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 ||
	    asprintf(&dir, "%s/%s", FUZZ_CORPUS, name + strlen(PREFIX)) < 0)
		return 1;
	return run_corpus(dir);
}
