/* warm: threads that wait for the disk; over real files */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/harness.h"
#include "tests/support/openkit.h"
#include "tests/support/runner.h"
#include "worker/readahead.h"

#define PAGES 1024
#define BYTES (PAGES * PAGE_4K)
#define STARTS (PAGES - 8) /* pages at which runs of up to 8 may begin */
#define TRIES 1000

static struct {
	char *dir, *path; /* owned */
	int fd;
	struct source *src;
	struct readahead *w;
	unsigned threads; /* that are not its own */
} fx;

/* Threads of this process, as the kernel counts them. */
static unsigned count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void *say_tid(void *ret)
{
	*(pid_t *)ret = gettid();
	return NULL;
}

static bool has_gone(void *arg)
{
	const pid_t *tid = arg;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", (int)*tid);
	return access(path, F_OK) < 0;
}

/* A sanitizer begins a thread of its own with the first of ours: then it is not counted. */
static void run_first_thread(void)
{
	pthread_t id;
	pid_t tid;

	ck_assert_int_eq(pthread_create(&id, NULL, say_tid, &tid), 0);
	pthread_join(id, NULL);
	ck_assert(harness_wait(has_gone, &tid, HARNESS_MS));
}

static void setup(void)
{
	struct spec_layer file;
	struct spec spec = {.source = SOURCE_MEMORY, .layers = &file, .nlayers = 1};
	static char page[PAGE_4K];
	struct err err;

	run_first_thread();
	fx.threads = count_threads();
	fx.dir = harness_tmpdir();
	ck_assert_int_gt(asprintf(&fx.path, "%s/memory", fx.dir), 0);
	fx.fd = open(fx.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (int i = 0; i < PAGES; i++) {
		memset(page, i, sizeof(page));
		ck_assert_int_eq(pwrite(fx.fd, page, sizeof(page), i * (off_t)PAGE_4K), PAGE_4K);
	}
	ck_assert_int_eq(fsync(fx.fd), 0);
	file.path = fx.path;
	ck_assert_msg(source_open(&spec, &fx.src, &err) == 0, "%s", err.msg);
	ck_assert_msg(readahead_new(fx.src, &fx.w, &err) == 0, "%s", err.msg);
}

static void teardown(void)
{
	ck_assert(readahead_free(fx.w));
	source_free(fx.src);
	close(fx.fd);
	harness_rmtree(fx.dir);
	free(fx.path);
	free(fx.dir);
}

/* One page, by a map of our own. */
static bool in_memory(uint64_t page)
{
	unsigned char bits = 0;
	char *map = mmap(NULL, PAGE_4K, PROT_READ, MAP_SHARED, fx.fd, (off_t)(page * PAGE_4K));

	mincore(map, PAGE_4K, &bits);
	munmap(map, PAGE_4K);
	return bits & 1;
}

/* False where the file system has no disk to read from. */
static bool make_cold(void)
{
	posix_fadvise(fx.fd, 0, 0, POSIX_FADV_DONTNEED);
	if (!in_memory(0))
		return true;
	fprintf(stderr, "not tested: %s cannot be made cold\n", fx.dir);
	return false;
}

static struct readahead_range await_one(void)
{
	struct pollfd p = {.fd = readahead_fd(fx.w), .events = POLLIN};
	struct readahead_range range;

	ck_assert_int_eq(poll(&p, 1, harness_scale_ms(HARNESS_MS)), 1);
	ck_assert_uint_eq(readahead_take(fx.w, &range, 1), 1);
	return range;
}

static enum residency_answer look(uint64_t page, void *buf)
{
	struct source_run run = source_at(fx.src, page * PAGE_4K, PAGE_4K);

	return source_look(fx.src, &run, buf);
}

/*
 * Asking for a cold page starts its read-ahead, and who is kept from running meanwhile may
 * find it there already: so more than once, and each time from cold.
 */
static bool is_told_cold(uint64_t page, void *buf)
{
	enum residency_answer answer = RESIDENCY_READ;

	for (int i = 0; i < TRIES && answer != RESIDENCY_COLD && make_cold(); i++)
		answer = look(page, buf);
	return answer == RESIDENCY_COLD;
}

START_TEST(test_cold_pages_become_warm)
{
	static const struct {
		const char *name;
		uint64_t page, n;
	} rows[] = {{"one", 500, 1}, {"a long run", 600, 64}, {"the last", PAGES - 1, 1}};
	static char buf[PAGE_4K], want[PAGE_4K];

	if (!make_cold())
		return;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t last = rows[i].page + rows[i].n - 1;
		struct readahead_range range;

		ck_assert_msg(is_told_cold(last, buf), "%s", rows[i].name);
		ck_assert(readahead_ask(fx.w, rows[i].page * PAGE_4K, rows[i].n * PAGE_4K,
					READAHEAD_DEMAND));
		range = await_one();
		ck_assert_uint_eq(range.off, rows[i].page * PAGE_4K);
		ck_assert_uint_eq(range.len, rows[i].n * PAGE_4K);
		ck_assert_int_eq(range.why, READAHEAD_DEMAND);
		ck_assert_msg(look(last, buf) == RESIDENCY_READ, "%s", rows[i].name);
		memset(want, (int)last, sizeof(want));
		ck_assert_mem_eq(buf, want, sizeof(want));
	}
}
END_TEST

/* A chunk whose pages were there again and again is asked about, and then believed. */
START_TEST(test_warm_chunks_are_not_read)
{
	static char buf[PAGE_4K];
	enum residency_answer answer = RESIDENCY_COLD;
	int reads = 0;

	while (reads < PAGES && (answer = look((uint64_t)reads * 7 % PAGES, buf)) == RESIDENCY_READ)
		reads++;
	ck_assert_int_eq(answer, RESIDENCY_WARM);
	ck_assert_int_lt(reads, 32);
}
END_TEST

static unsigned warm_threads(void)
{
	return count_threads() - fx.threads;
}

static bool has_no_threads(void *arg)
{
	(void)arg;
	return warm_threads() == 0;
}

START_TEST(test_threads_come_and_go)
{
	ck_assert_uint_eq(warm_threads(), 0);
	ck_assert(readahead_ask(fx.w, 0, PAGE_4K, READAHEAD_AHEAD));
	ck_assert_uint_ge(warm_threads(), 1);
	ck_assert_int_eq(await_one().why, READAHEAD_AHEAD);
	ck_assert(harness_wait(has_no_threads, NULL, HARNESS_MS));
	ck_assert(readahead_ask(fx.w, 0, PAGE_4K, READAHEAD_DEMAND));
	await_one();
}
END_TEST

/* Everything that was asked for is told once, however many there are. */
START_TEST(test_all_is_told_once)
{
	static bool told[READAHEAD_DEMAND_MAX];
	size_t asked = 0, taken = 0;

	make_cold();
	while (asked < READAHEAD_DEMAND_MAX) {
		ck_assert(readahead_ask(fx.w, asked % STARTS * PAGE_4K,
					(asked / STARTS + 1) * PAGE_4K, READAHEAD_DEMAND));
		asked++;
		ck_assert_uint_le(warm_threads(), READAHEAD_THREADS_MAX);
	}
	/* As many as there may be, until one is taken. */
	ck_assert(!readahead_ask(fx.w, 0, PAGE_4K, READAHEAD_DEMAND));
	ck_assert(readahead_ask(fx.w, 0, PAGE_4K, READAHEAD_AHEAD));
	while (taken < asked) {
		struct readahead_range range = await_one();
		size_t i = (range.len / PAGE_4K - 1) * STARTS + range.off / PAGE_4K;

		if (range.why == READAHEAD_AHEAD)
			continue;
		ck_assert(i < asked && !told[i]);
		told[i] = true;
		taken++;
	}
	ck_assert(readahead_ask(fx.w, 0, PAGE_4K, READAHEAD_DEMAND));
	await_one();
}
END_TEST

START_TEST(test_ends_in_the_middle)
{
	struct err err;

	make_cold();
	for (int i = 0; i < 100; i++)
		readahead_ask(fx.w, (uint64_t)i * PAGE_4K, PAGE_4K, READAHEAD_DEMAND);
	ck_assert(readahead_free(fx.w));
	ck_assert_int_eq(readahead_new(fx.src, &fx.w, &err), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("warm");
	TCase *t = tcase_create("threads");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_cold_pages_become_warm);
	tcase_add_test(t, test_warm_chunks_are_not_read);
	tcase_add_test(t, test_threads_come_and_go);
	tcase_add_test(t, test_all_is_told_once);
	tcase_add_test(t, test_ends_in_the_middle);
	suite_add_tcase(s, t);
	return s;
}
