#include "tests/support/shelf.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define GOLDEN TEST_DATA "/golden"

static uint64_t count_zeros(const char *image)
{
	static const uint8_t zeros[PAGE_4K];
	cleanup_fd int fd = open(image, O_RDONLY | O_CLOEXEC);
	uint64_t bytes = 0;
	const uint8_t *p;
	struct stat st;

	ck_assert_msg(fd >= 0 && fstat(fd, &st) == 0, "cannot open %s", image);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	for (off_t off = 0; off < st.st_size; off += PAGE_4K)
		bytes += memcmp(p + off, zeros, PAGE_4K) == 0 ? PAGE_4K : 0;
	munmap((void *)(uintptr_t)p, (size_t)st.st_size);
	return bytes;
}

/* @json is taken over. */
static void shelve(struct shelf *shelf, const char *name, char *json, const char *dir)
{
	struct shelf_snapshot *s = &shelf->v[shelf->n++];

	ck_assert_uint_le(shelf->n, SHELF_MAX);
	s->name = strdup(name);
	s->json = json;
	ck_assert_int_gt(asprintf(&s->image, "%s/" SNAPGEN_IMAGE, dir), 0);
	s->zero_bytes = count_zeros(s->image);
}

void shelf_clear(struct shelf *shelf)
{
	for (; shelf->n > 0; shelf->n--) {
		struct shelf_snapshot *s = &shelf->v[shelf->n - 1];

		free(s->name);
		free(s->json);
		free(s->image);
	}
}

void shelf_fill_golden(struct shelf *shelf)
{
	DIR *dir = opendir(GOLDEN);

	ck_assert_msg(dir != NULL, "no " GOLDEN);
	for (struct dirent *e; (e = readdir(dir));) {
		cleanup_free char *path = NULL;
		char *json;

		if (e->d_name[0] == '.')
			continue;
		ck_assert_int_gt(asprintf(&path, GOLDEN "/%s", e->d_name), 0);
		ck_assert_int_gt(asprintf(&json, "{\"dir\": \"%s\"}", path), 0);
		shelve(shelf, e->d_name, json, path);
	}
	closedir(dir);
	ck_assert_uint_gt(shelf->n, 0);
}

static char *list_files(const char *dir, const struct snapgen_opts *o)
{
	uint32_t n = o->kind == SNAPGEN_DIFFS ? o->nlayers : 1;
	char *json, *longer;

	ck_assert_int_gt(asprintf(&json, "{\"memory\": [\"%s/" SNAPGEN_BASE "\"", dir), 0);
	for (uint32_t i = 1; i <= n; i++) {
		if (i < n)
			ck_assert_int_gt(asprintf(&longer, "%s, \"%s/" SNAPGEN_DIFF "\"", json, dir,
						  i),
					 0);
		else
			ck_assert_int_gt(asprintf(&longer, "%s]}", json), 0);
		free(json);
		json = longer;
	}
	return json;
}

void shelf_make(struct shelf *shelf, const char *parent, const char *name,
		const struct snapgen_opts *o)
{
	cleanup_free char *dir = NULL;
	struct err err = {.msg = ""};
	char *json;

	ck_assert_int_gt(asprintf(&dir, "%s/%s", parent, name), 0);
	ck_assert_msg(snapgen_write(o, dir, &err) == 0, "%s", err.msg);
	if (o->kind == SNAPGEN_LAYERS)
		ck_assert_int_gt(asprintf(&json, "{\"dir\": \"%s\"}", dir), 0);
	else
		json = list_files(dir, o);
	shelve(shelf, name, json, dir);
	shelf->v[shelf->n - 1].zeros_stored = o->kind == SNAPGEN_DIFFS;
}
