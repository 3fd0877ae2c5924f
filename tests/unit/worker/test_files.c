/* test_files - which files are opened before any is read, and what becomes of those that are not */
#include "worker/files.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/support/fds.h"
#include "tests/support/runner.h"
#include "tests/support/sourcekit.h"

static const struct roots anywhere;

static void touch_in(const struct path *dir, const char *name)
{
	write_file(in(dir->text, name).text, name, 1);
}

static void open_dir(struct path *dir, struct files *files)
{
	const struct spec spec = dir_spec(dir);
	struct err err;

	ck_assert_msg(files_open(&spec, &anywhere, files, &err) == 0, "%s", err.msg);
}

/* Its own name and every name that a header can mean; nothing else of the directory. */
START_TEST(test_names)
{
	/* clang-format off */
	static const struct {
		const char *name;
		bool opened;
	} names[] = {
		{A_LAYER, true}, {B_LAYER, true}, {"memfile", true},
		{"memfile.", false}, {"memfile." A_ID "x", false}, {"memfile." A_ID ".tmp", false},
		{"memfile.00112233-4455-6677-8899-AABBCCDDEEFF", false},
		{"Memfile", false}, {"snapfile", false}, {"rootfs." A_ID, false},
	};
	/* clang-format on */
	int before = fds_count(getpid());
	struct path dir = room();
	struct files files = {0};
	size_t want = 1;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		touch_in(&dir, names[i].name);
		want += names[i].opened;
	}
	touch_in(&dir, "memfile.header");
	open_dir(&dir, &files);
	ck_assert_str_eq(files.v[0].name, "memfile.header");
	ck_assert_uint_eq(files.n, want);
	ck_assert_int_eq(fds_count(getpid()), before + (int)want);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t at = files_find(&files, names[i].name);

		ck_assert_msg((at != SIZE_MAX) == names[i].opened, "%s", names[i].name);
		if (names[i].opened)
			ck_assert_str_eq(files.v[at].name, names[i].name);
	}
	files_fini(&files);
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* A file that nobody needs may be unreadable: only one that is taken is told of. */
START_TEST(test_told_when_taken)
{
	struct path dir = room();
	struct files files = {0};
	struct layer layer;
	struct err err;

	touch_in(&dir, "memfile.header");
	ck_assert_int_eq(symlink(A_LAYER, in(dir.text, A_LAYER).text), 0);
	touch_in(&dir, B_LAYER);
	open_dir(&dir, &files);
	ck_assert_int_eq(files_take(&files, files_find(&files, A_LAYER), dir.text, A_LAYER, &layer,
				    &err),
			 -1);
	ck_assert_int_eq(err.code, ERR_PATH);
	ck_assert_int_eq(err.sys, ELOOP);
	ck_assert_msg(strstr(err.msg, dir.text) && strstr(err.msg, A_LAYER), "%s", err.msg);
	ck_assert_int_eq(files_take(&files, files_find(&files, "memfile"), dir.text, "memfile",
				    &layer, &err),
			 -1);
	ck_assert_int_eq(err.sys, ENOENT);
	ck_assert_msg(files_take(&files, files_find(&files, B_LAYER), dir.text, B_LAYER, &layer,
				 &err) == 0,
		      "%s", err.msg);
	files_fini(&files);
	ck_assert_uint_eq(layer.size_bytes, 1);
	layer_close(&layer);
}
END_TEST

/* A file is what it was when it was opened: by the time it is taken nobody may be told. */
START_TEST(test_seen_when_opened)
{
	struct path dir = room();
	struct files files = {0};
	struct layer layer;
	struct err err;

	touch_in(&dir, "memfile.header");
	touch_in(&dir, A_LAYER);
	open_dir(&dir, &files);
	ck_assert_int_eq(truncate(in(dir.text, A_LAYER).text, 9), 0);
	ck_assert_msg(files_take(&files, files_find(&files, A_LAYER), dir.text, A_LAYER, &layer,
				 &err) == 0,
		      "%s", err.msg);
	ck_assert_uint_eq(layer.size_bytes, 1);
	ck_assert_int_eq(layer_check(&layer, &err), -1);
	ck_assert_msg(strstr(err.msg, "size was 1, is 9"), "%s", err.msg);
	layer_close(&layer);
	files_fini(&files);
}
END_TEST

START_TEST(test_no_directory)
{
	struct path dir = room();
	struct files files = {0};

	ck_assert_int_eq(rmdir(dir.text), 0);
	open_dir(&dir, &files);
	ck_assert_int_eq(files.dir_sys, ENOENT);
	ck_assert_uint_eq(files.n, 0);
	files_fini(&files);
}
END_TEST

/* In the request's order, the header first; the same path may stand there twice. */
START_TEST(test_paths)
{
	struct path dir = room(), header = in(dir.text, "h"), a = in(dir.text, "a"),
		    b = in(dir.text, "b");
	struct spec_layer layers[] = {{.path = b.text}, {.path = a.text}, {.path = b.text}};
	const struct spec spec = {.source = SOURCE_HEADER,
				  .path = header.text,
				  .layers = layers,
				  .nlayers = ARRAY_LEN(layers)};
	static const char want[] = "hbab";
	struct files files = {0};
	struct err err;

	touch_in(&dir, "h");
	touch_in(&dir, "a");
	touch_in(&dir, "b");
	ck_assert_int_eq(files_open(&spec, &anywhere, &files, &err), 0);
	ck_assert_uint_eq(files.n, 4);
	for (size_t i = 0; i < files.n; i++) {
		char byte = 0;

		ck_assert_int_eq(pread(files.v[i].fd, &byte, 1, 0), 1);
		ck_assert_int_eq(byte, want[i]);
	}
	files_fini(&files);
}
END_TEST

static void make_layers(const struct path *dir, size_t n)
{
	touch_in(dir, "memfile.header");
	for (size_t i = 0; i < n; i++) {
		char name[64];

		snprintf(name, sizeof(name), "memfile.00000000-0000-0000-0000-%012zx", i);
		touch_in(dir, name);
	}
}

/* More than a snapshot may have: a layer that was not opened may be there all the same. */
START_TEST(test_too_many)
{
	const struct rlimit many = {SPEC_LAYERS_MAX + 200, SPEC_LAYERS_MAX + 200};
	struct path dir = room();
	struct files files = {0};
	struct layer layer;
	struct err err;

	if (setrlimit(RLIMIT_NOFILE, &many)) {
		fputs("# may not have so many descriptors: skipped\n", stderr);
		return;
	}
	make_layers(&dir, SPEC_LAYERS_MAX);
	open_dir(&dir, &files);
	ck_assert_uint_eq(files.n, SPEC_LAYERS_MAX + 1);
	ck_assert(!files.more);
	files_fini(&files);
	touch_in(&dir, A_LAYER);
	open_dir(&dir, &files);
	ck_assert_uint_eq(files.n, SPEC_LAYERS_MAX + 1);
	ck_assert(files.more);
	ck_assert_int_eq(files_take(&files, files_find(&files, B_LAYER), dir.text, B_LAYER, &layer,
				    &err),
			 -1);
	ck_assert_int_eq(err.code, ERR_SNAPSHOT);
	ck_assert_msg(strstr(err.msg, "more than 4096 layers"), "%s", err.msg);
	files_fini(&files);
}
END_TEST

/* Whatever there are too few descriptors for, one is left: the sandbox needs it. */
START_TEST(test_few_descriptors)
{
	struct path dir = room();
	struct files files = {0};
	struct rlimit before;
	size_t opened = 0;
	int fd;

	make_layers(&dir, 8);
	/* The directory's own is free again by the end. */
	before = harness_limit_fds(5);
	open_dir(&dir, &files);
	for (size_t i = 0; i < files.n; i++) {
		opened += files.v[i].fd >= 0;
		ck_assert_msg(files.v[i].fd >= 0 || files.v[i].sys == EMFILE, "%zu: %d", i,
			      files.v[i].sys);
	}
	fd = dup(2);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert_uint_ge(opened, 3);
	ck_assert_uint_lt(opened, 9);
	files_fini(&files);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("files");
	TCase *t = tcase_create("files");

	tcase_add_unchecked_fixture(t, setup, teardown);
	tcase_add_test(t, test_names);
	tcase_add_test(t, test_told_when_taken);
	tcase_add_test(t, test_seen_when_opened);
	tcase_add_test(t, test_no_directory);
	tcase_add_test(t, test_paths);
	tcase_add_test(t, test_too_many);
	tcase_add_test(t, test_few_descriptors);
	suite_add_tcase(s, t);
	return s;
}
