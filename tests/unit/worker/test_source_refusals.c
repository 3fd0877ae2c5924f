/* test_source_refusals - which files are no snapshot, and what is said of them */
#include "worker/source.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/fds.h"
#include "tests/support/runner.h"
#include "tests/support/sourcekit.h"

static void refuse(const char *name, const struct spec *spec, enum err_code code, const char *says)
{
	struct source *untouched = (struct source *)&top, *src = untouched;
	int fds = fds_count(getpid());
	struct err err = {0};

	ck_assert_msg(source_open(spec, &src, &err) == -1, "%s: loaded", name);
	ck_assert_msg(err.code == code, "%s: code %s: %s", name, err_name(err.code), err.msg);
	ck_assert_msg(strstr(err.msg, says), "%s: %s", name, err.msg);
	ck_assert_msg(src == untouched, "%s: output touched", name);
	ck_assert_msg(fds_count(getpid()) == fds, "%s: descriptors leaked", name);
}

/* Missing and short layers of chain3: own build, middle, base. */
#define C3_OWN "memfile.52cc843b-f7fa-4329-a2df-66ab89868219"
#define C3_BASE "memfile.804d5c1a-1bfd-49e4-8672-a5cfda66b5f4"
#define C3_MIDDLE "memfile.de4ea6ef-f527-4011-8b3d-a10198bb9cd8"

START_TEST(missing_layers)
{
	struct path dir = copy_of("golden/chain3",
				  (const char *const[]){"memfile.header", C3_OWN, C3_BASE,
							C3_MIDDLE, "expected.img", NULL});
	struct spec spec = dir_spec(&dir);
	struct source *src;

	ck_assert_int_eq(rename(in(dir.text, C3_BASE).text, in(dir.text, "aside").text), 0);
	refuse("one", &spec, ERR_SNAPSHOT, C3_BASE);
	refuse("one: where", &spec, ERR_SNAPSHOT, dir.text);

	/* The old name is good for exactly one. */
	ck_assert_int_eq(rename(in(dir.text, "aside").text, in(dir.text, "memfile").text), 0);
	src = load(&spec);
	check_image(src, in(dir.text, "expected.img").text);
	source_free(src);
	/* It never stands for another build than the base. */
	ck_assert_int_eq(link(in(dir.text, "memfile").text, in(dir.text, C3_BASE).text), 0);
	ck_assert_int_eq(unlink(in(dir.text, C3_OWN).text), 0);
	refuse("not the base", &spec, ERR_SNAPSHOT, C3_OWN);
	ck_assert_int_eq(unlink(in(dir.text, C3_BASE).text), 0);
	refuse("two: first", &spec, ERR_SNAPSHOT, C3_OWN);
	refuse("two: second", &spec, ERR_SNAPSHOT, C3_BASE);
	ck_assert_int_eq(unlink(in(dir.text, C3_MIDDLE).text), 0);
	refuse("three", &spec, ERR_SNAPSHOT, C3_MIDDLE);
	ck_assert_int_eq(unlink(in(dir.text, "memfile.header").text), 0);
	refuse("header", &spec, ERR_PATH, "memfile.header: No such file");

	dir = copy_of("golden/chain12", (const char *const[]){"memfile.header", NULL});
	refuse("twelve", &spec, ERR_SNAPSHOT, " and 9 more");
}
END_TEST

START_TEST(short_layers)
{
	struct path dir = copy_of_g2(), layer = in(dir.text, B_LAYER);
	struct spec spec = dir_spec(&dir);
	struct source *src;

	ck_assert_int_eq(truncate(layer.text, 3 * PAGE_4K - 1), 0);
	refuse("a byte short", &spec, ERR_SNAPSHOT,
	       B_LAYER " has 12287 bytes, the snapshot needs "
		       "12288");
	ck_assert_int_eq(truncate(layer.text, 0), 0);
	refuse("empty", &spec, ERR_SNAPSHOT, "has 0 bytes, the snapshot needs 12288");
	/* More than is referred to is none of our business. */
	ck_assert_int_eq(truncate(layer.text, 5 * PAGE_4K + 1), 0);
	src = load(&spec);
	ck_assert_uint_eq(source_layers(src), 2);
	source_free(src);
}
END_TEST

START_TEST(explicit_layers)
{
	struct path dir = copy_of_g2(), header = in(dir.text, "memfile.header");
	struct path a = in(dir.text, "some name"), b = in(dir.text, B_LAYER);
	struct path absent = in(dir.text, "absent");
	struct spec_layer layers[3] = {{.path = b.text}, {.path = a.text}, {.path = dir.text}};
	struct spec spec = {.source = SOURCE_HEADER, .path = header.text, .layers = layers};
	struct source *src;

	ck_assert_int_eq(rename(in(dir.text, A_LAYER).text, a.text), 0);
	ck_assert_int_eq(uuid_parse(B_ID, layers[0].build), 0);
	ck_assert_int_eq(uuid_parse(A_ID, layers[1].build), 0);
	uuid_generate(layers[2].build);

	spec.nlayers = 2;
	src = load(&spec);
	check_image(src, in(dir.text, "expected.img").text);
	source_free(src);
	/* What one is that nothing refers to does not matter: that path is a directory. */
	spec.nlayers = 3;
	src = load(&spec);
	source_free(src);

	uuid_copy(layers[2].build, layers[1].build);
	refuse("twice", &spec, ERR_INVALID, A_ID " is given twice");
	spec.nlayers = 1;
	refuse("not given", &spec, ERR_SNAPSHOT, A_ID " is missing");
	spec.nlayers = 2;
	layers[1].path = absent.text;
	refuse("not there", &spec, ERR_PATH, "absent: No such file");
	spec.nlayers = 0;
	refuse("none given", &spec, ERR_SNAPSHOT, "is missing");
	spec.nlayers = SPEC_LAYERS_MAX + 1;
	refuse("too many", &spec, ERR_INVALID, "4097 layers, at most 4096");
}
END_TEST

/* None of these may hang, in any of the places where a path is taken. */
START_TEST(strange_files)
{
	struct path dir = copy_of_g2(), header = in(dir.text, "memfile.header");
	struct path fifo = in(dir.text, "fifo"), loop = in(dir.text, "loop");
	struct path absent = in(dir.text, "absent"), below = in(header.text, "below");
	struct spec spec;
	const struct {
		const char *path, *says;
	} rows[] = {
		{fifo.text, "fifo is not a regular file"},
		{dir.text, "is not a regular file"},
		{"/dev/zero", "/dev/zero is not a regular file"},
		{"/dev/null", "/dev/null is not a regular file"},
		{loop.text, "loop: Too many levels"},
		{absent.text, "absent: No such file"},
		{below.text, "below: Not a directory"},
	};

	ck_assert_int_eq(mkfifo(fifo.text, 0644), 0);
	ck_assert_int_eq(symlink("loop", loop.text), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *path = strdup(rows[i].path);
		struct spec_layer layers[2] = {{.path = path}, {.path = path}};

		spec = (struct spec){.source = SOURCE_MEMORY, .layers = layers, .nlayers = 1};
		refuse(path, &spec, ERR_PATH, rows[i].says);
		spec = (struct spec){.source = SOURCE_HEADER, .path = path};
		refuse(path, &spec, ERR_PATH, rows[i].says);
		ck_assert_int_eq(uuid_parse(B_ID, layers[0].build), 0);
		ck_assert_int_eq(uuid_parse(A_ID, layers[1].build), 0);
		spec = (struct spec){.source = SOURCE_HEADER,
				     .path = header.text,
				     .layers = layers,
				     .nlayers = 2};
		refuse(path, &spec, ERR_PATH, rows[i].says);
		free(path);
	}
	ck_assert_int_eq(unlink(in(dir.text, A_LAYER).text), 0);
	ck_assert_int_eq(rename(fifo.text, in(dir.text, A_LAYER).text), 0);
	spec = dir_spec(&dir);
	refuse("fifo as layer", &spec, ERR_PATH, A_LAYER " is not a regular file");
	spec = dir_spec(&header);
	refuse("file as directory", &spec, ERR_PATH, "Not a directory");
}
END_TEST

START_TEST(unreadable)
{
	struct path dir = copy_of_g2(), header = in(dir.text, "memfile.header");
	struct spec spec = dir_spec(&dir);
	uid_t me = geteuid();

	ck_assert_int_eq(chmod(header.text, 0) + chmod(top, 0755), 0);
	if (me == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	refuse("unreadable header", &spec, ERR_PATH, "memfile.header: Permission denied");
	ck_assert_int_eq(seteuid(me), 0);
}
END_TEST

/* A header that is damaged is named together with what is wrong with it. */
START_TEST(damaged_header)
{
	struct path dir = copy_of_g2(), header = in(dir.text, "memfile.header");
	struct spec spec = dir_spec(&dir);

	ck_assert_int_eq(truncate(header.text, 303), 0);
	refuse("truncated", &spec, ERR_SNAPSHOT, "memfile.header: 39 bytes follow the last");
	ck_assert_int_eq(truncate(header.text, 0), 0);
	refuse("empty", &spec, ERR_SNAPSHOT, "memfile.header: 0 bytes, a header has at least 64");
	ck_assert_int_eq(truncate(header.text, (off_t)HEADER_FILE_MAX + 1), 0);
	refuse("too large", &spec, ERR_SNAPSHOT,
	       "memfile.header has 335544385 bytes, a header at "
	       "most 335544384");
}
END_TEST

static const struct {
	const char *name, *says;
	uint64_t base, diff; /* lengths; diff 0: none */
} flat_cases[] = {
	{"empty", "has 0 bytes, not whole pages", 0, 0},
	{"4095 bytes", "has 4095 bytes, not whole pages", 4095, 0},
	{"4097 bytes", "has 4097 bytes, not whole pages", 4097, 0},
	{"diff shorter", "has 4096 bytes, its base", 8192, 4096},
	{"diff longer", "has 12288 bytes, its base", 8192, 12288},
	{"diff not whole pages", "has 8191 bytes, not whole", 8192, 8191},
	{"beyond the cap", "bytes, at most 8796093022208", HEADER_SIZE_MAX + 4096, 0},
};

START_TEST(flat_sizes)
{
	struct path dir = room(), base = in(dir.text, "base"), diff = in(dir.text, "diff");
	struct spec_layer layers[2] = {{.path = base.text}, {.path = diff.text}};
	struct spec spec = {.source = SOURCE_MEMORY, .layers = layers};

	write_file(base.text, "", 0);
	write_file(diff.text, "", 0);
	if (truncate(base.text, (off_t)flat_cases[_i].base) < 0 && errno == EFBIG)
		return;
	ck_assert_int_eq(truncate(diff.text, (off_t)flat_cases[_i].diff), 0);
	spec.nlayers = flat_cases[_i].diff ? 2 : 1;
	refuse(flat_cases[_i].name, &spec, ERR_SNAPSHOT, flat_cases[_i].says);
	spec.nlayers = 0;
	refuse("no file", &spec, ERR_INVALID, "no memory file");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("source_refusals");
	TCase *tc = tcase_create("refusals");

	tcase_add_unchecked_fixture(tc, setup, teardown);
	tcase_add_test(tc, missing_layers);
	tcase_add_test(tc, short_layers);
	tcase_add_test(tc, explicit_layers);
	tcase_add_test(tc, strange_files);
	tcase_add_test(tc, unreadable);
	tcase_add_test(tc, damaged_header);
	tcase_add_loop_test(tc, flat_sizes, 0, ARRAY_LEN(flat_cases));
	suite_add_tcase(suite, tc);
	return suite;
}
