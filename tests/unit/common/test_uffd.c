/* uffd: installing pages, waking threads, and letting go of memory */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/harness.h"
#include "tests/fakes/vmm/touch.h"

#define P PAGE_4K

START_TEST(names)
{
	for (enum uf_outcome o = UF_DONE; o <= UF_FAIL; o++) {
		ck_assert_ptr_nonnull(uf_outcome_name(o));
		for (enum uf_outcome k = UF_DONE; k < o; k++)
			ck_assert_str_ne(uf_outcome_name(o), uf_outcome_name(k));
	}
}
END_TEST

START_TEST(copy_wakes)
{
	struct touch_mem m;
	struct touch load = {.m = &m, .body = touch_load, .page = 1};
	struct touch store = {.m = &m, .body = touch_store, .page = 2, .value = 'Z'};
	struct uf_msg msg;
	uint64_t done = 0;

	touch_open(&m, 0, 4);
	touch_start(&load);
	msg = touch_read_one(m.uffd);
	ck_assert(msg.event == UF_FAULT && !msg.write && msg.fd == -1);
	ck_assert_uint_eq(msg.start, m.base + P);
	touch_start(&store);
	msg = touch_read_one(m.uffd);
	ck_assert(msg.event == UF_FAULT && msg.write);
	ck_assert_uint_eq(msg.start, m.base + 2 * P);
	ck_outcome(uffd_copy(m.uffd, m.base, m.src, m.len, &done), UF_DONE);
	ck_assert_uint_eq(done, m.len);
	touch_join(&load);
	touch_join(&store);
	ck_assert_int_eq(load.value, 'b');
	ck_assert_int_eq(m.mem[2 * P], 'Z');
	ck_assert_mem_eq(m.mem + 3 * P, m.src + 3 * P, P);
	touch_close(&m);
}
END_TEST

START_TEST(zero_wakes)
{
	struct touch_mem m;
	struct touch load = {.m = &m, .body = touch_load, .page = 1, .value = 'x'};
	uint64_t done = 0;

	touch_open(&m, 0, 4);
	touch_start(&load);
	touch_read_one(m.uffd);
	ck_outcome(uffd_zero(m.uffd, m.base, m.len, &done), UF_DONE);
	ck_assert_uint_eq(done, m.len);
	touch_join(&load);
	ck_assert_int_eq(load.value, 0);
	touch_close(&m);
}
END_TEST

/* For each way to install: pages in the middle are there already. */
START_TEST(part_and_exists)
{
	struct touch_mem m;
	uint64_t done = 77;

	if (_i == TOUCH_POISON && !touch_have_poison())
		return;
	touch_open(&m, 0, 8);
	ck_outcome(uffd_copy(m.uffd, m.base + 3 * P, m.src, 2 * P, &done), UF_DONE);
	ck_outcome(touch_install(&m, _i, 0, m.len, &done), UF_PART);
	ck_assert_uint_eq(done, 3 * P);
	ck_outcome(touch_install(&m, _i, 3 * P, 5 * P, &done), UF_EXISTS);
	ck_assert_uint_eq(done, 0);
	ck_outcome(touch_install(&m, _i, 5 * P, 3 * P, &done), UF_DONE);
	ck_assert_uint_eq(done, 3 * P);
	ck_assert_int_eq(m.mem[4 * P], 'b');
	touch_close(&m);
}
END_TEST

START_TEST(left)
{
	struct touch_mem m;
	uint64_t done = 77;

	if (_i == TOUCH_POISON && !touch_have_poison())
		return;
	touch_open(&m, 0, 8);
	munmap(m.mem + 6 * P, 2 * P);
	ck_outcome(touch_install(&m, _i, 6 * P, P, &done), UF_LEFT);
	ck_assert_uint_eq(done, 0);
	ck_outcome(uffd_unregister(m.uffd, m.base + 4 * P, 2 * P), UF_DONE);
	done = 77;
	ck_outcome(touch_install(&m, _i, 4 * P, P, &done), UF_LEFT);
	ck_assert_uint_eq(done, 0);
	/* Across the border nothing at all is installed, not even the part before it. */
	ck_outcome(touch_install(&m, _i, 3 * P, 2 * P, &done), UF_LEFT);
	ck_assert_uint_eq(done, 0);
	ck_outcome(touch_install(&m, _i, 3 * P, P, &done), UF_DONE);
	ck_outcome(touch_install(&m, _i, 1, P, &done), UF_FAIL);
	ck_assert_uint_eq(done, 0);
	touch_close(&m);
}
END_TEST

START_TEST(again_until_the_removal_is_read)
{
	struct touch_mem m;
	struct touch discard = {.m = &m, .body = touch_discard, .page = 2};
	struct uf_msg msg;
	uint64_t done = 77;

	touch_open(&m, UF_FEATURE_REMOVE, 8);
	ck_outcome(uffd_copy(m.uffd, m.base + 2 * P, m.src, P, &done), UF_DONE);
	touch_start(&discard);
	ck_assert(touch_readable(m.uffd, HARNESS_MS));
	for (enum touch_how how = TOUCH_COPY; how < TOUCH_POISON; how++) {
		done = 77;
		ck_outcome(touch_install(&m, how, 5 * P, P, &done), UF_AGAIN);
		ck_assert_uint_eq(done, 0);
	}
	ck_outcome(uffd_unprotect(m.uffd, m.base, P), UF_AGAIN);
	ck_outcome(uffd_wake(m.uffd, m.base, m.len), UF_DONE);
	ck_assert(!touch_readable(discard.done, 0));
	msg = touch_read_one(m.uffd);
	ck_assert_int_eq(msg.event, UF_REMOVE);
	ck_assert_uint_eq(msg.start, m.base + 2 * P);
	ck_assert_uint_eq(msg.end, m.base + 4 * P);
	ck_assert_int_eq(msg.fd, -1);
	ck_outcome(touch_copy(&m, 5, 1), UF_DONE);
	touch_join(&discard);
	ck_outcome(touch_copy(&m, 2, 2), UF_DONE);
	ck_assert_int_eq(m.mem[2 * P], 'c');
	touch_close(&m);
}
END_TEST

START_TEST(source_unreadable)
{
	const char *dir = getenv("TMPDIR");
	char path[256];
	struct touch_mem m;
	uint64_t done = 77;
	char *map;
	int fd;

	snprintf(path, sizeof(path), "%s/check_uffd.XXXXXX", dir ? dir : "/tmp");
	fd = mkostemp(path, O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	unlink(path);
	touch_open(&m, 0, 8);
	ck_assert_int_eq(write(fd, m.src, m.len), (ssize_t)m.len);
	map = mmap(NULL, m.len, PROT_READ, MAP_PRIVATE, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_int_eq(ftruncate(fd, 2 * P), 0);
	ck_outcome(uffd_copy(m.uffd, m.base, map, m.len, &done), UF_PART);
	ck_assert_uint_eq(done, 2 * P);
	ck_outcome(uffd_copy(m.uffd, m.base + 2 * P, map + 2 * P, 6 * P, &done), UF_SOURCE);
	ck_assert_uint_eq(done, 0);
	ck_assert_int_eq(m.mem[P], 'b');
	munmap(map, m.len);
	close(fd);
	touch_close(&m);
}
END_TEST

START_TEST(wake_faults_again)
{
	struct touch_mem m;
	struct touch load = {.m = &m, .body = touch_load, .page = 1};
	struct uf_msg first, second;

	touch_open(&m, 0, 4);
	touch_start(&load);
	first = touch_read_one(m.uffd);
	ck_assert(!touch_readable(m.uffd, 0));
	ck_outcome(uffd_wake(m.uffd, m.base, m.len), UF_DONE);
	second = touch_read_one(m.uffd);
	ck_assert(second.event == UF_FAULT && second.start == first.start);
	ck_assert(!touch_readable(load.done, 0));
	ck_outcome(touch_copy(&m, 1, 1), UF_DONE);
	touch_join(&load);
	ck_assert_int_eq(load.value, 'b');
	touch_close(&m);
}
END_TEST

START_TEST(unregister_releases_into_zero)
{
	struct touch_mem m;
	struct touch load = {.m = &m, .body = touch_load, .page = 1, .value = 'x'};

	touch_open(&m, 0, 4);
	touch_start(&load);
	touch_read_one(m.uffd);
	ck_outcome(uffd_unregister(m.uffd, m.base, m.len), UF_DONE);
	touch_join(&load);
	ck_assert_int_eq(load.value, 0);
	ck_assert_int_eq(m.mem[3 * P], 0);
	ck_outcome(uffd_unregister(m.uffd, 1, P), UF_FAIL);
	touch_close(&m);
}
END_TEST

#define POOL "/proc/sys/vm/nr_hugepages"
static long pool_before = -1; /* -1: nothing to restore */

static long pool_get(void)
{
	cleanup_file FILE *f = fopen(POOL, "re");
	long n = -1;

	if (!f || fscanf(f, "%ld", &n) != 1)
		return -1;
	return n;
}

static void pool_set(long n)
{
	cleanup_file FILE *f = fopen(POOL, "we");

	if (f)
		fprintf(f, "%ld\n", n);
}

/* Unchecked fixtures: in the runner, so that a failed test leaves the host as it was. */
static void pool_raise(void)
{
	long n = pool_get();

	if (n < 0 || n >= 4)
		return;
	pool_before = n;
	pool_set(4);
}

static void pool_restore(void)
{
	if (pool_before >= 0)
		pool_set(pool_before);
}

START_TEST(huge_pages)
{
	uint64_t len = 2 * PAGE_2M, done = 77;
	struct touch_mem m = {.len = len};
	struct touch load = {.m = &m, .body = touch_load, .page = 700};
	struct err err = {.msg = ""};

	m.mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1, 0);
	if (m.mem == MAP_FAILED) {
		fputs("# no pool of 2 MiB pages: skipped\n", stderr);
		return;
	}
	m.base = (uintptr_t)m.mem;
	m.src = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(m.src, MAP_FAILED);
	memset(m.src, 'h', len);
	ck_assert_int_eq(uffd_open(0, &m.uffd, &err), 0);
	ck_assert_msg(uffd_register(m.uffd, m.base, len, &err) == 0, "%s", err.msg);
	touch_start(&load);
	ck_assert_uint_eq(touch_read_one(m.uffd).start, m.base + PAGE_2M);
	ck_outcome(uffd_zero(m.uffd, m.base, len, &done), UF_FAIL);
	ck_assert_uint_eq(done, 0);
	ck_outcome(uffd_copy(m.uffd, m.base, m.src, P, &done), UF_FAIL);
	ck_outcome(uffd_copy(m.uffd, m.base, m.src, len, &done), UF_DONE);
	ck_assert_uint_eq(done, len);
	touch_join(&load);
	ck_assert_int_eq(load.value, 'h');
	ck_outcome(uffd_copy(m.uffd, m.base, m.src, len, &done), UF_EXISTS);
	touch_close(&m);
}
END_TEST

START_TEST(registered_is_told_without_installing)
{
	struct touch_mem m;
	uint64_t done;

	touch_open(&m, 0, 4);
	ck_assert(uffd_registered(m.uffd, m.base, P));
	ck_outcome(uffd_zero(m.uffd, m.base, P, &done), UF_DONE);
	ck_assert(uffd_registered(m.uffd, m.base, P));
	ck_outcome(uffd_unregister(m.uffd, m.base + 2 * P, P), UF_DONE);
	ck_assert(!uffd_registered(m.uffd, m.base + 2 * P, P));
	ck_assert(!uffd_registered(m.uffd, m.base + m.len, P));
	ck_assert(uffd_registered(m.uffd, m.base + 3 * P, P));
	ck_outcome(uffd_zero(m.uffd, m.base + 3 * P, P, &done), UF_DONE);
	touch_close(&m);
}
END_TEST

static TCase *huge_case(void)
{
	TCase *tc = tcase_create("huge pages");

	tcase_add_unchecked_fixture(tc, pool_raise, pool_restore);
	tcase_add_test(tc, huge_pages);
	return tc;
}

static TCase *install_case(void)
{
	TCase *tc = tcase_create("install");

	tcase_add_test(tc, names);
	tcase_add_test(tc, copy_wakes);
	tcase_add_test(tc, zero_wakes);
	tcase_add_loop_test(tc, part_and_exists, TOUCH_COPY, TOUCH_HOWS);
	tcase_add_loop_test(tc, left, TOUCH_COPY, TOUCH_HOWS);
	tcase_add_test(tc, again_until_the_removal_is_read);
	tcase_add_test(tc, source_unreadable);
	tcase_add_test(tc, wake_faults_again);
	tcase_add_test(tc, unregister_releases_into_zero);
	tcase_add_test(tc, registered_is_told_without_installing);
	return tc;
}

Suite *test_suite(void)
{
	struct err err;
	Suite *s;
	int fd;

	if (uffd_open(UF_FEATURE_REMOVE, &fd, &err) < 0) {
		printf("1..0 # SKIP %s\n", err.msg);
		return NULL;
	}
	close(fd);
	s = suite_create("uffd");
	suite_add_tcase(s, install_case());
	suite_add_tcase(s, huge_case());
	return s;
}
