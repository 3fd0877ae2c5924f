/* test_layers - files of a predecessor, and what is left open where one of several fails */
#include "worker/layers.h"

#include <errno.h>
#include <fcntl.h>

#include "tests/support/runner.h"
#include "tests/support/sourcekit.h"

static const struct roots anywhere;

#define BUILDS 3

/* Of three builds; the file of each begins with its number. */
struct chain {
	struct path dir;
	struct path header;
	struct header_build builds[BUILDS];
	struct header h;
	struct layer files[BUILDS];
	struct spec_layer listed[BUILDS];
	struct path paths[BUILDS];
};

static void chain_open(struct chain *c)
{
	memset(c, 0, sizeof(*c));
	c->dir = room();
	c->header = in(c->dir.text, "memfile.header");
	c->h.nbuilds = BUILDS;
	c->h.builds = c->builds;
	for (int i = 0; i < BUILDS; i++) {
		char name[64], id[UUID_STR_LEN];

		uuid_generate(c->builds[i].id);
		uuid_unparse_lower(c->builds[i].id, id);
		snprintf(name, sizeof(name), "memfile.%s", id);
		c->paths[i] = in(c->dir.text, name);
		write_file(c->paths[i].text, (char[]){(char)('0' + i)}, 1);
		c->files[i].fd = -1;
		/* In another order than the header's. */
		c->listed[BUILDS - 1 - i].path = c->paths[i].text;
		uuid_copy(c->listed[BUILDS - 1 - i].build, c->builds[i].id);
	}
	uuid_copy(c->h.base, c->builds[2].id);
}

static void chain_close(struct chain *c)
{
	for (int i = 0; i < BUILDS; i++)
		layer_close(&c->files[i]);
}

static void check_files(const struct chain *c, int n)
{
	for (int i = 0; i < BUILDS; i++) {
		char byte = 0;

		ck_assert_msg((c->files[i].fd >= 0) == (i < n), "file %d", i);
		if (i >= n)
			continue;
		ck_assert_int_eq(pread(c->files[i].fd, &byte, 1, 0), 1);
		ck_assert_int_eq(byte, '0' + i);
		ck_assert_str_eq(c->files[i].path, c->paths[i].text);
	}
}

enum way { IN_DIR, LISTED };

static int take_files(struct chain *c, enum way way, struct files *files, struct err *err)
{
	const struct spec spec = {.layers = c->listed, .nlayers = BUILDS};

	if (way == IN_DIR)
		return layers_in_dir(files, c->dir.text, &c->h, c->files, err);
	return layers_listed(files, &spec, &c->h, c->files, err);
}

static int load_files(struct chain *c, enum way way, struct err *err)
{
	const struct spec spec = {.source = way == IN_DIR ? SOURCE_DIR : SOURCE_HEADER,
				  .path = way == IN_DIR ? c->dir.text : c->header.text,
				  .layers = way == IN_DIR ? NULL : c->listed,
				  .nlayers = way == IN_DIR ? 0 : BUILDS};
	struct files files = {0};
	int rc;

	ck_assert_int_eq(files_open(&spec, &anywhere, &files, err), 0);
	rc = take_files(c, way, &files, err);
	files_fini(&files);
	return rc;
}

START_TEST(test_opened)
{
	struct chain c;
	struct err err;

	chain_open(&c);
	ck_assert_msg(load_files(&c, (enum way)_i, &err) == 0, "%s", err.msg);
	check_files(&c, BUILDS);
	chain_close(&c);
}
END_TEST

/* One that cannot be used ends it; what was opened before is the caller's to close. */
START_TEST(test_one_is_bad)
{
	struct chain c;
	struct err err;

	chain_open(&c);
	ck_assert_int_eq(unlink(c.paths[1].text), 0);
	ck_assert_int_eq(mkdir(c.paths[1].text, 0755), 0);
	ck_assert_int_eq(load_files(&c, (enum way)_i, &err), -1);
	ck_assert_int_eq(err.code, ERR_PATH);
	ck_assert_msg(strstr(err.msg, strrchr(c.paths[1].text, '/')), "%s", err.msg);
	ck_assert_msg(strstr(err.msg, "is not a regular file"), "%s", err.msg);
	check_files(&c, 1);
	chain_close(&c);
}
END_TEST

/* The old name stands for the base alone, and is told of when it is there and of no use. */
START_TEST(test_memfile)
{
	struct path old;
	struct chain c;
	struct err err;

	chain_open(&c);
	old = in(c.dir.text, "memfile");
	ck_assert_int_eq(unlink(c.paths[2].text), 0);
	ck_assert_int_eq(mkdir(old.text, 0755), 0);
	ck_assert_int_eq(load_files(&c, IN_DIR, &err), -1);
	ck_assert_int_eq(err.code, ERR_PATH);
	ck_assert_msg(strstr(err.msg, "memfile is not a regular file"), "%s", err.msg);
	chain_close(&c);
	chain_open(&c);
	old = in(c.dir.text, "memfile");
	ck_assert_int_eq(rename(c.paths[2].text, old.text), 0);
	c.paths[2] = old;
	ck_assert_msg(load_files(&c, IN_DIR, &err) == 0, "%s", err.msg);
	check_files(&c, BUILDS);
	chain_close(&c);
	/* Not while another one is missing. */
	chain_open(&c);
	ck_assert_int_eq(unlink(c.paths[1].text), 0);
	ck_assert_int_eq(rename(c.paths[2].text, in(c.dir.text, "memfile").text), 0);
	ck_assert_int_eq(load_files(&c, IN_DIR, &err), -1);
	ck_assert_int_eq(err.code, ERR_SNAPSHOT);
	check_files(&c, 1);
	chain_close(&c);
	/* Of another build it may be anything. */
	chain_open(&c);
	ck_assert_int_eq(rename(c.paths[1].text, in(c.dir.text, "memfile").text), 0);
	ck_assert_int_eq(load_files(&c, IN_DIR, &err), -1);
	ck_assert_int_eq(err.code, ERR_SNAPSHOT);
	ck_assert_msg(strstr(err.msg, strrchr(c.paths[1].text, '/') + 1), "%s", err.msg);
	ck_assert_msg(strstr(err.msg, "copy the layers of the parent"), "%s", err.msg);
	chain_close(&c);
}
END_TEST

/* ---- a predecessor's ---- */

/* The header comes first; nothing is opened by its path, which may be gone. */
static void give(struct chain *c, int fds[1 + BUILDS], struct stat seen[1 + BUILDS])
{
	fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	seen[0] = (struct stat){0};
	for (int i = 0; i < BUILDS; i++) {
		fds[1 + i] = open(c->paths[i].text, O_RDONLY | O_CLOEXEC);
		ck_assert_int_eq(unlink(c->paths[i].text), 0);
		seen[1 + i] = (struct stat){.st_mode = S_IFREG, .st_size = 50 + i};
	}
}

/* A file is what it was when it came. */
START_TEST(test_given)
{
	int fds[1 + BUILDS], header;
	struct stat seen[ARRAY_LEN(fds)];
	struct files files = {.given = {.fds = fds, .seen = seen, .n = ARRAY_LEN(fds)}};
	struct chain c;
	struct err err;

	chain_open(&c);
	give(&c, fds, seen);
	header = fds[0];
	ck_assert_msg(take_files(&c, (enum way)_i, &files, &err) == 0, "%s", err.msg);
	check_files(&c, BUILDS);
	for (int i = 0; i < BUILDS; i++) {
		ck_assert_int_eq(fds[1 + i], -1);
		ck_assert_uint_eq(c.files[i].size_bytes, 50 + (uint64_t)i);
	}
	ck_assert_msg(fds[0] == header, "the header is not a layer");
	close(header);
	chain_close(&c);
}
END_TEST

/* Then the path is not tried instead: it may be another file by now. */
START_TEST(test_given_too_few)
{
	const bool listed = _i / 2, closed = _i % 2;
	int fds[1 + BUILDS];
	struct stat seen[ARRAY_LEN(fds)];
	struct files files = {
		.given = {.fds = fds, .seen = seen, .n = closed ? BUILDS + 1 : BUILDS}};
	struct chain c;
	struct err err;

	chain_open(&c);
	give(&c, fds, seen);
	write_file(c.paths[2].text, "2", 1);
	if (closed)
		close_fd(&fds[BUILDS]);
	ck_assert_int_eq(take_files(&c, listed ? LISTED : IN_DIR, &files, &err), -1);
	ck_assert_int_eq(err.code, ERR_SYSTEM);
	ck_assert_msg(strstr(err.msg, "the predecessor's file 3 is missing"), "%s", err.msg);
	check_files(&c, 2);
	ck_assert_msg((fds[BUILDS] < 0) == closed, "it is not of those that were given");
	close_fd(&fds[BUILDS]);
	close(fds[0]);
	chain_close(&c);
}
END_TEST

START_TEST(test_are_new)
{
	const struct files none = {0}, one = {.given = {.fds = (int[]){-1}, .n = 1}};

	ck_assert(files_are_new(&none));
	ck_assert(!files_are_new(&one));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("layers");
	TCase *t = tcase_create("files");

	tcase_add_unchecked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, test_opened, 0, 2);
	tcase_add_loop_test(t, test_one_is_bad, 0, 2);
	tcase_add_test(t, test_memfile);
	tcase_add_loop_test(t, test_given, 0, 2);
	tcase_add_loop_test(t, test_given_too_few, 0, 4);
	tcase_add_test(t, test_are_new);
	suite_add_tcase(s, t);
	return s;
}
