/* test_residency - which pieces of a real file are said to be in memory, and how they get there */
#include "worker/residency.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/fakes/disk/slowdisk.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define CHUNKS 2
#define BYTES (CHUNKS * RESIDENCY_CHUNK)
#define PAGES (BYTES / PAGE_4K)
#define ENOUGH 4 /* pieces of a chunk, until it is asked about as a whole */
#define TRIES 1000

struct file {
	char *dir, *path; /* owned */
	int fd;
	const uint8_t *map;
	struct residency h;
};

static struct file f;

static void fill(int fd, uint64_t bytes)
{
	char page[PAGE_4K];

	for (uint64_t off = 0; off < bytes; off += PAGE_4K) {
		memset(page, (int)(off / PAGE_4K), sizeof(page));
		ck_assert_int_eq(pwrite(fd, page, PAGE_4K, (off_t)off), PAGE_4K);
	}
}

static void open_file(int fd, uid_t uid)
{
	f.fd = fd;
	f.map = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(f.map, MAP_FAILED);
	ck_assert_int_eq(residency_init(&f.h, fd, uid, f.map, BYTES), 0);
}

static void setup(void)
{
	int fd;

	f.dir = harness_tmpdir();
	ck_assert_int_gt(asprintf(&f.path, "%s/file", f.dir), 0);
	fd = open(f.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	fill(fd, BYTES);
	ck_assert_int_eq(fsync(fd), 0);
	open_file(fd, geteuid());
}

static void teardown(void)
{
	residency_fini(&f.h);
	residency_fini(&f.h);
	munmap((void *)(uintptr_t)f.map, BYTES);
	close(f.fd);
	harness_rmtree(f.dir);
	free(f.path);
	free(f.dir);
}

static bool has_disk(void)
{
	if (!f.h.in_memory)
		return true;
	fprintf(stderr, "# %s is on no disk: skipped\n", f.dir);
	return false;
}

/* By a map of its own, so that the file's own map stays as it is. */
static bool in_memory(uint64_t page)
{
	unsigned char bits = 0;
	char *map = mmap(NULL, PAGE_4K, PROT_READ, MAP_SHARED, f.fd, (off_t)(page * PAGE_4K));

	ck_assert_int_eq(mincore(map, PAGE_4K, &bits), 0);
	munmap(map, PAGE_4K);
	return bits & 1;
}

/* Nothing of the file is in memory. False where the kernel keeps it. */
static bool make_cold(void)
{
	for (int i = 0; i < TRIES; i++) {
		bool cold = true;

		madvise((void *)(uintptr_t)f.map, BYTES, MADV_DONTNEED);
		posix_fadvise(f.fd, 0, 0, POSIX_FADV_DONTNEED);
		for (uint64_t page = 0; page < PAGES && cold; page++)
			cold = !in_memory(page);
		if (cold)
			return true;
	}
	fputs("# the kernel keeps the file in memory: skipped\n", stderr);
	return false;
}

static enum residency_answer look(uint64_t page)
{
	char got[PAGE_4K], want[PAGE_4K];
	enum residency_answer answer;

	memset(want, (int)page, sizeof(want));
	answer = residency_look(&f.h, page * PAGE_4K, PAGE_4K, got);
	if (answer == RESIDENCY_READ)
		ck_assert_msg(memcmp(got, want, sizeof(want)) == 0, "page %d: other bytes",
			      (int)page);
	return answer;
}

/* A look may begin to read a cold piece: so each time from cold. */
static bool is_told_cold(uint64_t page)
{
	enum residency_answer answer = RESIDENCY_READ;

	for (int i = 0; i < TRIES && answer != RESIDENCY_COLD && make_cold(); i++)
		answer = look(page);
	return answer == RESIDENCY_COLD;
}

/* ---- what is told ---- */

START_TEST(test_chunk_is_believed)
{
	if (!has_disk())
		return;
	residency_read(&f.h, 0, BYTES);
	for (uint64_t i = 0; i < ENOUGH; i++)
		ck_assert_int_eq(look(i * 7), RESIDENCY_READ);
	ck_assert_int_eq(look(500), RESIDENCY_WARM);
	/* The other chunk is another question. */
	ck_assert_int_eq(look(PAGES - 1), RESIDENCY_READ);
	/* For a while. */
	f.h.chunks[0].warm_until_s = 1;
	ck_assert_int_eq(look(500), RESIDENCY_READ);
}
END_TEST

/* What is on the disk is told cold, unless its chunk was all there a moment ago. */
START_TEST(test_cold)
{
	if (!has_disk() || !make_cold())
		return;
	ck_assert(is_told_cold(700));
	ck_assert(is_told_cold(0));
	residency_read(&f.h, 700 * PAGE_4K, PAGE_4K);
	ck_assert_int_eq(look(700), RESIDENCY_READ);
}
END_TEST

/* A chunk of which a piece is missing is asked about more and more seldom. */
START_TEST(test_chunk_in_part)
{
	const uint64_t missing = 300;
	uint64_t looks = 0;

	if (!has_disk() || !make_cold())
		return;
	residency_read(&f.h, 0, PAGE_4K);
	if (in_memory(missing))
		return;
	for (unsigned enough = ENOUGH; enough < 300; enough *= 4) {
		for (unsigned i = 0; i < enough; i++, looks++)
			ck_assert_int_eq(look(0), RESIDENCY_READ);
		ck_assert_uint_eq(f.h.chunks[0].hits, 0);
		ck_assert_uint_eq(f.h.chunks[0].enough, 4 * enough);
	}
	/* A piece that is missing begins anew. */
	ck_assert_int_eq(look(0), RESIDENCY_READ);
	ck_assert_uint_eq(f.h.chunks[0].hits, 1);
	ck_assert(is_told_cold(missing));
	ck_assert_uint_eq(f.h.chunks[0].hits, 0);
}
END_TEST

/* mincore() tells only who owns the file. */
START_TEST(test_file_of_another)
{
	static char buf[2 * RESIDENCY_READ_MAX];

	if (!has_disk())
		return;
	residency_fini(&f.h);
	ck_assert_int_eq(residency_init(&f.h, f.fd, geteuid() + 1, f.map, BYTES), 0);
	residency_read(&f.h, 0, BYTES);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(look(3), RESIDENCY_READ);
	ck_assert_int_eq(residency_look(&f.h, 0, sizeof(buf), buf), RESIDENCY_COLD);
}
END_TEST

/* Too long to be read at once: asked about, page by page. */
START_TEST(test_long_piece)
{
	const uint64_t len = RESIDENCY_READ_MAX + PAGE_4K;

	if (!has_disk())
		return;
	residency_read(&f.h, 0, BYTES);
	ck_assert_int_eq(residency_look(&f.h, 0, BYTES, NULL), RESIDENCY_WARM);
	ck_assert_int_eq(residency_look(&f.h, BYTES - len, len, NULL), RESIDENCY_WARM);
	if (!make_cold())
		return;
	residency_read(&f.h, 0, len - PAGE_4K);
	if (in_memory(PAGES - 1))
		return;
	ck_assert_int_eq(residency_look(&f.h, 0, BYTES, NULL), RESIDENCY_COLD);
	ck_assert_int_eq(residency_look(&f.h, BYTES - len, len, NULL), RESIDENCY_COLD);
}
END_TEST

/* There is no disk below it that anybody would have to wait for. */
START_TEST(test_memory_file)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	residency_fini(&f.h);
	munmap((void *)(uintptr_t)f.map, BYTES);
	close(f.fd);
	ck_assert_int_eq(ftruncate(fd, BYTES), 0);
	open_file(fd, geteuid() + 1);
	ck_assert(f.h.in_memory);
	ck_assert_int_eq(look(3), RESIDENCY_WARM);
	ck_assert_int_eq(residency_look(&f.h, 0, BYTES, NULL), RESIDENCY_WARM);
}
END_TEST

/* A file system that cannot say without waiting is asked once, and then taken for cold. */
START_TEST(test_no_answer_without_waiting)
{
	cleanup_free char *mount = NULL, *file = NULL;
	struct slowdisk disk;
	struct residency h;
	char buf[PAGE_4K];
	int fd;

	ck_assert_int_gt(asprintf(&mount, "%s/mount", f.dir), 0);
	ck_assert_int_gt(asprintf(&file, "%s/" SLOWDISK_FILE, mount), 0);
	ck_assert_int_eq(mkdir(mount, 0755), 0);
	if (access("/dev/fuse", R_OK | W_OK) || !harness_private_mounts() ||
	    !slowdisk_mount(&disk, mount, f.path, 0, 0))
		return;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(residency_init(&h, fd, geteuid() + 1, f.map, BYTES), 0);
	ck_assert(!h.in_memory && h.nowait);
	residency_read(&h, 0, BYTES);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(residency_look(&h, 0, sizeof(buf), buf), RESIDENCY_COLD);
		ck_assert(!h.nowait);
	}
	residency_fini(&h);
	close(fd);
	ck_assert_int_eq(umount2(mount, MNT_DETACH), 0);
	slowdisk_end(&disk);
}
END_TEST

/* ---- what brings it into memory ---- */

static bool piece_is_there(void *arg)
{
	const uint64_t *page = arg;

	return in_memory(*page);
}

static void (*const bring[])(const struct residency *h, uint64_t off,
			     uint64_t len) = {residency_announce, residency_fill, residency_read};

START_TEST(test_brought)
{
	uint64_t first = 100, last = 163;

	if (!has_disk() || !make_cold())
		return;
	bring[_i](&f.h, first * PAGE_4K, (last - first + 1) * PAGE_4K);
	if (bring[_i] == residency_announce) {
		/* The disk has its time. */
		ck_assert(harness_wait(piece_is_there, &first, HARNESS_MS));
		ck_assert(harness_wait(piece_is_there, &last, HARNESS_MS));
	}
	ck_assert(in_memory(first));
	ck_assert(in_memory(last));
	/* Who fills what was not announced may read its neighbours. */
	ck_assert(bring[_i] == residency_fill || !in_memory(PAGES - 1));
}
END_TEST

/* Its end shows when it is used: here nothing hangs, and nobody dies. */
START_TEST(test_brought_of_truncated)
{
	ck_assert_int_eq(truncate(f.path, PAGE_4K), 0);
	for (size_t i = 0; i < ARRAY_LEN(bring); i++)
		bring[i](&f.h, 0, BYTES);
	ck_assert(in_memory(0));
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("residency");
	TCase *t = tcase_create("files");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_chunk_is_believed);
	tcase_add_test(t, test_cold);
	tcase_add_test(t, test_chunk_in_part);
	tcase_add_test(t, test_file_of_another);
	tcase_add_test(t, test_long_piece);
	tcase_add_test(t, test_memory_file);
	tcase_add_test(t, test_no_answer_without_waiting);
	tcase_add_loop_test(t, test_brought, 0, ARRAY_LEN(bring));
	tcase_add_test(t, test_brought_of_truncated);
	suite_add_tcase(s, t);
	return s;
}
