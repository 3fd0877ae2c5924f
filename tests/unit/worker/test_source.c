/* test_source - what is served from real files: right bytes, and changes under us */
#include "worker/source.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fakes/snapshot/snapgen.h"
#include "tests/support/runner.h"
#include "tests/support/sourcekit.h"

#define MIB ((uint64_t)1 << 20)

/* clang-format off */
static const struct {
	const char *dir;
	uint64_t size;
	size_t layers;
} written[] = {
	{"golden/single", 524288, 1},    {"golden/merged", 786432, 1},
	{"golden/chain3", 1048576, 3},   {"golden/chain12", 1048576, 12},
	{"vectors/g1", 32768, 1},        {"vectors/g2", 32768, 2},
	{"vectors/g3", 12288, 1},        {"vectors/g4", 12388, 1},
	{"vectors/g5", 32768, 1},        {"vectors/g7", 16384, 1},
};
/* clang-format on */

START_TEST(written_by_others)
{
	struct path dir = in(TEST_DATA, written[_i].dir);
	struct spec spec = dir_spec(&dir);
	struct source *src = load(&spec);

	ck_assert_uint_eq(source_size_bytes(src), written[_i].size);
	ck_assert_uint_eq(source_layers(src), written[_i].layers);
	check_image(src, in(dir.text, "expected.img").text);
	source_free(src);
}
END_TEST

/* A large page over several extents, one of them zero. */
START_TEST(large_page)
{
	static const uint8_t want[] = {0x01, 0x00, 0x03, 0x04};
	struct path dir = in(TEST_DATA, "vectors/g5");
	struct spec spec = dir_spec(&dir);
	struct source *src = load(&spec);
	uint8_t page[16384];
	struct err err;

	ck_assert_int_eq(source_read(src, 0, sizeof(page), page, &err), 0);
	for (size_t i = 0; i < sizeof(page); i++)
		ck_assert_msg(page[i] == want[i / PAGE_4K], "byte %zu is %#x", i, page[i]);
	source_free(src);
}
END_TEST

static const struct snapgen_opts generated[] = {
	/* kind, size, generations, zero percent, run, seed, image */
	{SNAPGEN_LAYERS, 4 * MIB, 1, 40, 16, 1, true},
	{SNAPGEN_LAYERS, 4 * MIB, 7, 30, 2, 2, true},
	{SNAPGEN_LAYERS, 2 * MIB, 40, 50, 1, 3, true},
	{SNAPGEN_LAYERS, 1 * MIB, 2, 0, 5, 4, true},
	{SNAPGEN_LAYERS, 1 * MIB, 2, 100, 5, 5, true},
	{SNAPGEN_MEMORY, 4 * MIB, 3, 40, 4, 6, true},
	{SNAPGEN_MEMORY, 1 * MIB, 1, 100, 4, 7, true},
	{SNAPGEN_MEMORY, 4096, 1, 0, 1, 8, true},
	{SNAPGEN_DIFFS, 4 * MIB, 1, 40, 4, 9, true},
	{SNAPGEN_DIFFS, 4 * MIB, 2, 40, 4, 10, true},
	{SNAPGEN_DIFFS, 2 * MIB, 5, 50, 2, 11, true},
	{SNAPGEN_DIFFS, 2 * MIB, 13, 20, 1, 12, true},
	{SNAPGEN_DIFFS, 1 * MIB, 3, 100, 3, 13, true},
};

START_TEST(made)
{
	const struct snapgen_opts *o = &generated[_i];
	struct path dir = room(), paths[16];
	struct spec_layer layers[16] = {0};
	struct spec spec = dir_spec(&dir);
	struct source *src;
	struct err err;

	ck_assert_msg(snapgen_write(o, dir.text, &err) == 0, "%s", err.msg);
	if (o->kind != SNAPGEN_LAYERS) {
		spec = (struct spec){.source = SOURCE_MEMORY, .layers = layers};
		spec.nlayers = o->kind == SNAPGEN_DIFFS ? o->nlayers : 1;
		for (uint32_t i = 0; i < spec.nlayers; i++) {
			char name[32] = SNAPGEN_BASE;

			if (i > 0)
				snprintf(name, sizeof(name), SNAPGEN_DIFF, i);
			paths[i] = in(dir.text, name);
			layers[i].path = paths[i].text;
		}
	}
	src = load(&spec);
	ck_assert_uint_eq(source_size_bytes(src), o->size_bytes);
	if (o->kind == SNAPGEN_LAYERS)
		ck_assert_uint_eq(source_layers(src), o->zero_percent < 100 ? o->nlayers : 0);
	check_image(src, in(dir.text, SNAPGEN_IMAGE).text);
	source_free(src);
	ck_assert_int_eq(snapgen_write(o, dir.text, &err), -1);
	ck_assert_int_eq(err.code, ERR_CONFLICT);
}
END_TEST

/* Which file a page comes from, not only which bytes: written zeros hide what lies below. */
START_TEST(stacked)
{
	/* '.' hole, '0' written zeros, else a page of that byte */
	static const char *const files[] = {".a0b..c.", "..x.0...", ".......y"};
	static const int want[] = {-1, 0, 1, 0, 1, -1, 0, 2};
	struct path dir = room(), paths[3];
	struct spec_layer layers[3] = {0};
	struct spec spec = {.source = SOURCE_MEMORY, .layers = layers, .nlayers = 3};
	uint8_t page[PAGE_4K], image[8 * PAGE_4K] = {0};
	struct source *src;

	for (int f = 0; f < 3; f++) {
		char name[] = {'f', (char)('0' + f), 0};
		int fd;

		paths[f] = in(dir.text, name);
		layers[f].path = paths[f].text;
		fd = open(paths[f].text, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		ck_assert_int_eq(ftruncate(fd, 8 * PAGE_4K), 0);
		for (int i = 0; i < 8; i++) {
			if (files[f][i] == '.')
				continue;
			memset(page, files[f][i] == '0' ? 0 : files[f][i], PAGE_4K);
			memcpy(image + i * PAGE_4K, page, PAGE_4K);
			ck_assert_int_eq(pwrite(fd, page, PAGE_4K, i * (off_t)PAGE_4K), PAGE_4K);
		}
		close(fd);
	}
	src = load(&spec);
	check_all(src, image, sizeof(image));
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_msg(source_at(src, i * PAGE_4K, PAGE_4K).layer ==
				      (want[i] < 0 ? EXTENT_ZERO : (uint32_t)want[i]),
			      "page %u", i);
	source_free(src);
}
END_TEST

static const struct {
	const char *name;
	off_t size;       /* make it that long, or 0 */
	bool write;       /* its first byte */
	bool gone, other; /* unlink it; put another under its name */
	const char *says; /* NULL: the open file is as good as before */
} changes[] = {
	{"extended", 12289, .says = "changed (size was 12288, is 12289)"},
	{"truncated", 1, .says = "changed (size was 12288, is 1)"},
	{"written in place", .write = true, .says = "changed (modification time was "},
	{"deleted", .gone = true},
	{"replaced", .gone = true, .other = true},
};

static void change(const char *path, int how)
{
	if (changes[how].size)
		ck_assert_int_eq(truncate(path, changes[how].size), 0);
	if (changes[how].write) {
		int fd = open(path, O_WRONLY | O_CLOEXEC);

		ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
		close(fd);
	}
	if (changes[how].gone)
		ck_assert_int_eq(unlink(path), 0);
	if (changes[how].other)
		write_file(path, "x", 1);
}

START_TEST(changed_while_open)
{
	struct path dir = copy_of_g2(), layer = in(dir.text, B_LAYER);
	struct timespec old[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
	struct spec spec = dir_spec(&dir);
	uint32_t other, victim;
	uint8_t page[2 * PAGE_4K];
	struct source *src;
	struct err err;

	/* Far in the past, so that no coarse clock hides the change. */
	ck_assert_int_eq(utimensat(AT_FDCWD, layer.text, old, 0), 0);
	src = load(&spec);
	other = source_at(src, 0, PAGE_4K).layer;
	victim = source_at(src, PAGE_4K, PAGE_4K).layer;
	ck_assert_int_eq(source_check(src, victim, &err), 0);

	change(layer.text, _i);
	ck_assert(source_check(src, other, &err) == 0 && source_check(src, EXTENT_ZERO, &err) == 0);
	ck_assert_int_eq(source_read(src, 0, PAGE_4K, page, &err), 0);
	if (changes[_i].says) {
		ck_assert_msg(source_check(src, victim, &err) == -1, "%s", changes[_i].name);
		ck_assert_int_eq(err.code, ERR_SNAPSHOT);
		ck_assert_msg(strstr(err.msg, changes[_i].says) && strstr(err.msg, B_LAYER),
			      "%s: %s", changes[_i].name, err.msg);
		ck_assert_int_eq(source_read(src, 0, 2 * PAGE_4K, page, &err), -1);
		ck_assert_msg(strstr(err.msg, changes[_i].says), "read: %s", err.msg);
	} else {
		check_image(src, in(dir.text, "expected.img").text);
	}
	source_free(src);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("source");
	TCase *tc = tcase_create("source");

	tcase_add_unchecked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, written_by_others, 0, ARRAY_LEN(written));
	tcase_add_test(tc, large_page);
	tcase_add_loop_test(tc, made, 0, ARRAY_LEN(generated));
	tcase_add_test(tc, stacked);
	tcase_add_loop_test(tc, changed_while_open, 0, ARRAY_LEN(changes));
	suite_add_tcase(suite, tc);
	return suite;
}
