/* test_source_diffs - sparse diffs after a journey: through cp, dd, fallocate, gzip, tar, file systems */
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/support/harness.h"
#include "tests/support/openkit.h"
#include "tests/support/runner.h"
#include "tests/fakes/disk/slowdisk.h"
#include "worker/source.h"

#define PAGES 64
#define SIZE (PAGES * PAGE_4K)
#define BASE 'b'
/* Of the diff, again and again: '.' hole, '0' written zeros, 'd' data. */
static const char pattern[] = "d..0000....dd00.";

static char *dir, *base, *diff, *copy;
static uint8_t image[SIZE];

static char *in_dir(const char *name)
{
	char *path;

	ck_assert_int_gt(asprintf(&path, "%s/%s", dir, name), 0);
	return path;
}

static char kind(uint64_t page)
{
	return pattern[page % (sizeof(pattern) - 1)];
}

/* The image then holds what a guest of both must see. */
static void write_pages(const char *path, bool is_diff)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	uint8_t page[PAGE_4K];

	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	for (uint64_t i = 0; i < PAGES; i++) {
		char byte = is_diff ? kind(i) : BASE;

		if (byte == '.')
			continue;
		memset(page, byte == '0' ? 0 : byte, sizeof(page));
		memcpy(image + i * PAGE_4K, page, sizeof(page));
		ck_assert_int_eq(pwrite(fd, page, sizeof(page), (off_t)(i * PAGE_4K)), PAGE_4K);
	}
	close(fd);
}

static void setup(void)
{
	dir = harness_tmpdir();
	base = in_dir("base");
	diff = in_dir("diff");
	copy = in_dir("copy");
	write_pages(base, false);
	write_pages(diff, true);
}

static void teardown(void)
{
	harness_rmtree(dir);
	free(dir);
	free(base);
	free(diff);
	free(copy);
}

static int load(char *top, bool dense, struct source **ret, struct err *err)
{
	struct spec_layer layers[] = {{.path = base}, {.path = top}};
	const struct spec spec = {.source = SOURCE_MEMORY,
				  .layers = layers,
				  .nlayers = 2,
				  .dense_diffs = dense};

	return source_open(&spec, ret, err);
}

static void check_refused(const char *what, char *top, bool dense, const char *says)
{
	struct source *src;
	struct err err;

	ck_assert_msg(load(top, dense, &src, &err) == -1, "%s: loaded", what);
	ck_assert_msg(err.code == ERR_SNAPSHOT && strstr(err.msg, says) && strstr(err.msg, top),
		      "%s: %s", what, err.msg);
}

/* Runs @command in the shell, with $from and $to. */
static void travel(const char *command, const char *from, const char *to)
{
	cleanup_free char *line = NULL;
	const char *argv[] = {"sh", "-c", NULL, NULL};
	struct harness_output out;

	ck_assert_int_gt(asprintf(&line, "set -e; from='%s' to='%s'; %s", from, to, command), 0);
	argv[2] = line;
	harness_run(argv, &out);
	ck_assert_msg(out.code == 0, "%s: %s", command, out.err);
	harness_output_fini(&out);
}

/* --- what keeps all, and what fills the holes --- */

static const struct {
	const char *command;
	bool exact;
} journeys[] = {
	{"mv $from $to", true},
	{"ln $from $to", true},
	{"cd $(dirname $from); tar -cSf t diff; mkdir x; tar -xf t -C x; mv x/diff $to", true},
	{"cd $(dirname $from); mkdir x; tar -cSz diff | tar -xz -C x; mv x/diff $to", true},
	{"cat $from > $to", false},
	{"gzip -c $from | gzip -dc > $to", false},
	{"dd if=$from of=$to bs=64k", false},
	{"cd $(dirname $from); tar -cf t diff; mkdir x; tar -xf t -C x; mv x/diff $to", false},
};

START_TEST(journey)
{
	const char *command = journeys[_i].command;
	uint8_t got[SIZE];
	struct source *src;
	struct err err;

	travel(command, diff, copy);
	if (!journeys[_i].exact) {
		check_refused(command, copy, false, "copy has no hole");
		check_refused(command, copy, false, "tar --sparse, or say dense_diffs");
	}
	ck_assert_msg(load(copy, !journeys[_i].exact, &src, &err) == 0, "%s: %s", command, err.msg);
	ck_assert_msg(source_read(src, 0, SIZE, got, &err) == 0, "%s", err.msg);
	/* Said to be dense: then all of it is the diff's. */
	for (uint64_t i = 0; i < PAGES && !journeys[_i].exact; i++)
		if (kind(i) == '.')
			memset(image + i * PAGE_4K, 0, PAGE_4K);
	ck_assert_msg(memcmp(got, image, SIZE) == 0, "%s: wrong bytes", command);
	source_free(src);
}
END_TEST

/* --- what punches out written zeros: it cannot be seen, and no diff is refused for it --- */

static const char *const lossy[] = {
	"cp $from $to",
	"cp --sparse=always $from $to",
	"dd if=$from of=$to bs=4k conv=sparse",
	"mv $from $to; fallocate -d $to",
};

START_TEST(lossy_journey)
{
	uint8_t got[SIZE];
	struct source *src;
	struct err err;

	travel(lossy[_i], diff, copy);
	ck_assert_msg(load(copy, false, &src, &err) == 0, "%s: %s", lossy[_i], err.msg);
	ck_assert_msg(source_read(src, 0, SIZE, got, &err) == 0, "%s", err.msg);
	for (uint64_t i = 0; i < SIZE; i++)
		ck_assert_msg(got[i] == image[i] || (kind(i / PAGE_4K) == '0' && got[i] == BASE),
			      "%s: byte %llu is %#x", lossy[_i], (unsigned long long)i, got[i]);
	source_free(src);
}
END_TEST

/* --- good ones --- */

/* Room beside the data, and data that no disk has yet, are no sign of anything. */
static const char *const good[] = {
	"fallocate -l 256K $to; dd if=/dev/zero of=$to bs=4k count=3 seek=7 conv=notrunc",
	"truncate -s 256K $to",
	"truncate -s 256K $to; dd if=/dev/zero of=$to bs=4k count=1 seek=63 conv=notrunc",
};

START_TEST(good_diff)
{
	struct source *src;
	struct err err;

	travel(good[_i], diff, copy);
	ck_assert_msg(load(copy, false, &src, &err) == 0, "%s: %s", good[_i], err.msg);
	source_free(src);
}
END_TEST

/* The holes of a base mean nothing but zeros: it is not judged. */
START_TEST(dense_base)
{
	struct spec_layer layer = {.path = base};
	const struct spec spec = {.source = SOURCE_MEMORY, .layers = &layer, .nlayers = 1};
	struct source *src;
	struct err err;

	ck_assert_msg(source_open(&spec, &src, &err) == 0, "%s", err.msg);
	source_free(src);
}
END_TEST

/* What a predecessor has served is served on: it may be of a release that did not judge. */
START_TEST(taken_over)
{
	struct spec_layer layers[] = {{.path = base}, {.path = copy}};
	const struct spec spec = {.source = SOURCE_MEMORY, .layers = layers, .nlayers = 2};
	struct source_given given = {.fds = xcalloc(2, sizeof(int)),
				     .seen = xcalloc(2, sizeof(struct stat)),
				     .n = 2};
	struct files files = {.given = given};
	struct source *src;
	struct err err;

	travel("cat $from > $to", diff, copy);
	check_refused("anew", copy, false, "has no hole");
	given.fds[0] = open(base, O_RDONLY | O_CLOEXEC);
	given.fds[1] = open(copy, O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(fstat(given.fds[i], &given.seen[i]), 0);
	ck_assert_msg(source_load(&spec, &files, 0, &src, &err) == 0, "%s", err.msg);
	files_fini(&files);
	source_free(src);
}
END_TEST

/* All of it is data, in no block at all: that is a file system that knows of no holes. */
START_TEST(holes_not_told)
{
	cleanup_free char *mount = in_dir("mount"), *file = NULL;
	struct slowdisk disk;

	ck_assert_int_eq(mkdir(mount, 0755), 0);
	if (!harness_private_mounts() || !slowdisk_mount(&disk, mount, diff, 0, 0))
		return;
	ck_assert_int_gt(asprintf(&file, "%s/" SLOWDISK_FILE, mount), 0);
	check_refused("told by nobody", file, false, "does not tell where its holes are");
	check_refused("and said to have none", file, true, "(data of 262144 bytes in blocks of 0)");
	ck_assert_int_eq(umount2(mount, MNT_DETACH), 0);
	slowdisk_end(&disk);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("diffs");
	TCase *tc = tcase_create("diffs");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, journey, 0, ARRAY_LEN(journeys));
	tcase_add_loop_test(tc, lossy_journey, 0, ARRAY_LEN(lossy));
	tcase_add_loop_test(tc, good_diff, 0, ARRAY_LEN(good));
	tcase_add_test(tc, dense_base);
	tcase_add_test(tc, taken_over);
	tcase_add_test(tc, holes_not_told);
	suite_add_tcase(suite, tc);
	return suite;
}
