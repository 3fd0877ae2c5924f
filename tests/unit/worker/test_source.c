/* test_source - what is served from real files: right bytes, refusals, changes under us */
#include "worker/source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"
#include "tests/fakes/snapshot/snapgen.h"

#define MIB ((uint64_t)1 << 20)
#define A_ID "00112233-4455-6677-8899-aabbccddeeff"
#define B_ID "11111111-2222-3333-4444-555555555555"
#define A_LAYER "memfile." A_ID
#define B_LAYER "memfile." B_ID

struct path {
	char text[512];
};

static char *top; /* of all that these tests write */

static void setup(void)
{
	top = harness_tmpdir();
}

static void teardown(void)
{
	harness_rmtree(top);
	free(top);
}

static struct path in(const char *dir, const char *name)
{
	struct path p;

	ck_assert_int_lt(snprintf(p.text, sizeof(p.text), "%s/%s", dir, name), 512);
	return p;
}

/* A new directory of this test. */
static struct path room(void)
{
	struct path p = in(top, "roomXXXXXX");

	ck_assert_ptr_nonnull(mkdtemp(p.text));
	ck_assert_int_eq(chmod(p.text, 0755), 0);
	return p;
}

static void *read_file(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	void *bytes;

	ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
	ck_assert_int_eq(fstat(fileno(f), &st), 0);
	*ret_len = (size_t)st.st_size;
	bytes = malloc(*ret_len + 1);
	ck_assert_ptr_nonnull(bytes);
	ck_assert_uint_eq(fread(bytes, 1, *ret_len, f), *ret_len);
	fclose(f);
	return bytes;
}

static void write_file(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "we");

	ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
	ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

/* The files of a folder of tests/data, to be tampered with. */
static struct path copy_of(const char *name, const char *const *files)
{
	struct path from = in(TEST_DATA, name), to = room();

	for (; *files; files++) {
		size_t len;
		void *bytes = read_file(in(from.text, *files).text, &len);

		write_file(in(to.text, *files).text, bytes, len);
		free(bytes);
	}
	return to;
}

static struct path copy_of_g2(void)
{
	return copy_of("vectors/g2", (const char *const[]){"memfile.header", A_LAYER, B_LAYER,
							   "expected.img", NULL});
}

static struct spec dir_spec(struct path *dir)
{
	return (struct spec){.source = SOURCE_DIR, .path = dir->text};
}

static struct source *load(const struct spec *spec)
{
	struct source *src;
	struct err err;

	ck_assert_msg(source_load(spec, NULL, &src, &err) == 0, "%s", err.msg);
	return src;
}

static void refuse(const char *name, const struct spec *spec, enum err_code code, const char *says)
{
	struct source *untouched = (struct source *)&top, *src = untouched;
	int fds = harness_count_fds(getpid());
	struct err err = {0};

	ck_assert_msg(source_load(spec, NULL, &src, &err) == -1, "%s: loaded", name);
	ck_assert_msg(err.code == code, "%s: code %s: %s", name, err_name(err.code), err.msg);
	ck_assert_msg(strstr(err.msg, says), "%s: %s", name, err.msg);
	ck_assert_msg(src == untouched, "%s: output touched", name);
	ck_assert_msg(harness_count_fds(getpid()) == fds, "%s: descriptors leaked", name);
}

static void check_read(struct source *src, const uint8_t *want, uint64_t off, uint64_t len)
{
	uint8_t *got = malloc(len);
	struct err err;

	ck_assert_ptr_nonnull(got);
	memset(got, 0x5a, len);
	ck_assert_msg(source_read(src, off, len, got, &err) == 0, "%s", err.msg);
	ck_assert_msg(memcmp(got, want + off, len) == 0, "%llu bytes at %llu are wrong",
		      (unsigned long long)len, (unsigned long long)off);
	free(got);
}

static void check_at(struct source *src, const uint8_t *want, uint64_t off, uint64_t max_len)
{
	static const uint8_t zeros[PAGE_4K];
	struct source_run run = source_at(src, off, max_len);

	ck_assert(run.len > 0 && run.len <= max_len && is_aligned(run.len, PAGE_4K));
	ck_assert((run.data == NULL) == (run.layer == EXTENT_ZERO));
	for (uint64_t i = 0; i < run.len; i += PAGE_4K)
		ck_assert_msg(memcmp(run.data ? (const uint8_t *)run.data + i : zeros,
				     want + off + i, PAGE_4K) == 0,
			      "page at %llu is wrong", (unsigned long long)(off + i));
}

/* All of it: at once, by pages, in random odd runs, and through the mappings. */
static void check_all(struct source *src, const uint8_t *want, uint64_t span)
{
	uint64_t state = span;
	uint32_t npages = (uint32_t)(span / PAGE_4K);

	ck_assert_uint_eq(source_span_bytes(src), span);
	check_read(src, want, 0, span);
	for (uint64_t off = 0; off < span; off += PAGE_4K) {
		check_read(src, want, off, PAGE_4K);
		check_at(src, want, off, PAGE_4K);
	}
	for (int i = 0; i < 200; i++) {
		uint32_t page = snapgen_draw(&state, npages);
		uint64_t len = (1 + snapgen_draw(&state, npages - page)) * PAGE_4K;

		check_read(src, want, page * PAGE_4K, min_u64(len, 37 * PAGE_4K));
		check_at(src, want, page * PAGE_4K, len);
	}
	for (uint64_t off = 0; off < span;) {
		struct source_run run = source_at(src, off, UINT64_MAX);

		check_at(src, want, off, UINT64_MAX);
		off += run.len;
	}
}

static void check_image(struct source *src, const char *image)
{
	size_t len;
	uint8_t *want = read_file(image, &len);

	check_all(src, want, len);
	free(want);
}

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
	/* One that nothing refers to is not even opened: that path is a directory. */
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
	tcase_add_test(tc, missing_layers);
	tcase_add_test(tc, short_layers);
	tcase_add_test(tc, explicit_layers);
	tcase_add_test(tc, strange_files);
	tcase_add_test(tc, unreadable);
	tcase_add_test(tc, damaged_header);
	tcase_add_loop_test(tc, flat_sizes, 0, ARRAY_LEN(flat_cases));
	tcase_add_loop_test(tc, changed_while_open, 0, ARRAY_LEN(changes));
	suite_add_tcase(suite, tc);
	return suite;
}
