/* test_cgroup - which files limit a process, and what they say: over made-up directories */
#include "common/cgroup.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"

#define MIB ((uint64_t)1 << 20)
#define NONE UINT64_MAX
#define PID 4711
#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNTS                                                                   \
	"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"                \
	"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,memory_not\n"    \
	"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory,hugetlb\n" \
	"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"

static char *root; /* owned */
static struct cgroup_files files[CGROUP_KIND_COUNT];

static void setup(void)
{
	root = harness_tmpdir();
}

static void teardown(void)
{
	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++)
		cgroup_close(kind, &files[kind]);
	harness_rmtree(root);
	free(root);
}

/* A file below the root, and the directories above it. */
__attribute__((format(printf, 2, 3))) static void put(const char *path, const char *fmt, ...)
{
	cleanup_free char *full = NULL;
	FILE *f;
	va_list ap;

	ck_assert_int_gt(asprintf(&full, "%s%s", root, path), 0);
	for (char *c = full + strlen(root) + 1; (c = strchr(c, '/')); *c++ = '/') {
		*c = '\0';
		mkdir(full, 0755);
	}
	f = fopen(full, "we");
	ck_assert_ptr_nonnull(f);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
}

static void put_v2(const char *dir, const char *max, const char *high, uint64_t current)
{
	char path[512];
	static const char *const names[] = {"max", "high", "current", "stat"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.%s", dir, names[i]);
		if (i < 2)
			put(path, "%s\n", i ? high : max);
		else if (i == 2)
			put(path, "%ju\n", (uintmax_t)current);
		else
			put(path, "anon 1\ninactive_file 0\n");
	}
}

static void put_v1(const char *dir, uint64_t limit, uint64_t use, const char *stat)
{
	char path[512];

	snprintf(path, sizeof(path), "/sys/fs/cgroup/memory%s/memory.limit_in_bytes", dir);
	put(path, "%ju\n", (uintmax_t)limit);
	snprintf(path, sizeof(path), "/sys/fs/cgroup/memory%s/memory.usage_in_bytes", dir);
	put(path, "%ju\n", (uintmax_t)use);
	snprintf(path, sizeof(path), "/sys/fs/cgroup/memory%s/memory.stat", dir);
	put(path, "%s", stat);
}

static void put_process(const char *mounts, const char *cgroups)
{
	put("/proc/self/mountinfo", "%s", mounts);
	put("/proc/4711/cgroup", "%s", cgroups);
}

static void open_all(uint64_t page_bytes)
{
	struct err err;

	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++)
		cgroup_close(kind, &files[kind]);
	ck_assert_msg(cgroup_open(root, PID, page_bytes, files, &err) == 0, "%s", err.msg);
}

static void check_levels(const size_t want[CGROUP_KIND_COUNT])
{
	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++)
		ck_assert_msg(files[kind].levels == want[kind], "kind %d: %zu levels", kind,
			      files[kind].levels);
}

static uint64_t room(enum cgroup_kind kind, uint64_t margin, uint64_t enough)
{
	return cgroup_room(kind, &files[kind], margin, enough);
}

/* ---- version 2 ---- */

START_TEST(v2_levels)
{
	static const size_t want[CGROUP_KIND_COUNT] = {[CGROUP_MEMORY_V2] = 2};

	put_process(V2_MOUNT, "0::/a.slice/b.slice/vm 1.scope\n");
	put_v2("/a.slice/b.slice/vm 1.scope", "max", "max", 10 * MIB);
	/* In between the controller is off; at the root there is none of it. */
	put("/sys/fs/cgroup/a.slice/b.slice/memory.stat", "anon 1\n");
	put_v2("/a.slice", "104857600", "max", 50 * MIB);
	open_all(PAGE_4K);
	check_levels(want);
	ck_assert_uint_eq(cgroup_nfds(CGROUP_MEMORY_V2, &files[CGROUP_MEMORY_V2]), 8);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 0, MIB), 50 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 30 * MIB, MIB), 20 * MIB);
	/* The margin is never more than half of the limit. */
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 80 * MIB, MIB), 0);
	put_v2("/a.slice", "104857600", "max", 10 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 80 * MIB, MIB), 40 * MIB);
	/* The nearer one gets a limit, and memory.high is one as well. */
	put_v2("/a.slice/b.slice/vm 1.scope", "41943040", "max", 10 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 0, MIB), 30 * MIB);
	put_v2("/a.slice/b.slice/vm 1.scope", "41943040", "20971520", 10 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 0, MIB), 10 * MIB);
	put_v2("/a.slice/b.slice/vm 1.scope", "41943040", "20971520", 30 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 0, MIB), 0);
	put_v2("/a.slice/b.slice/vm 1.scope", "max", "max", 30 * MIB);
	put_v2("/a.slice", "max", "max", 50 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 80 * MIB, MIB), NONE);
}
END_TEST

START_TEST(v2_reclaimable)
{
	static const char stat[] = "/sys/fs/cgroup/vm/memory.stat";

	put_process(V2_MOUNT, "0::/vm\n");
	put_v2("/vm", "104857600", "max", 100 * MIB);
	put(stat, "anon 99\nfile 73400320\nfile_mapped 1\nshmem 20971520\nfile_dirty 10485760\n"
		  "file_writeback 5242880\nactive_file 10485760\ninactive_file 41943040\n"
		  "total_inactive_file 99999999\n");
	open_all(PAGE_4K);
	/* 40 that could go, less 15 that a disk would have to take first. */
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 0, MIB), 25 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 20 * MIB, MIB), 5 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 40 * MIB, MIB), 0);
	put(stat, "inactive_file 1048576\nfile_dirty 2097152\n");
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 0, MIB), 0);
	/* It is not asked for what does not matter. */
	put_v2("/vm", "104857600", "max", 90 * MIB);
	put(stat, "inactive_file 41943040\n");
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 0, 10 * MIB), 10 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V2, 0, 10 * MIB + 1), 50 * MIB);
}
END_TEST

/* ---- version 1 ---- */

#define STAT_V1                                                                  \
	"inactive_file 5\ndirty 7\ntotal_cache 1\ntotal_inactive_file 8388608\n" \
	"total_dirty 1048576\ntotal_writeback 1048576\n"

START_TEST(v1_levels)
{
	static const size_t want[CGROUP_KIND_COUNT] = {[CGROUP_MEMORY_V1] = 3};

	put_process(V1_MOUNTS, "9:name=systemd:/elsewhere\n5:memory_not,cpu:/wrong\n"
			       "4:hugetlb,memory:/a:b/vm\n0::/unified\n");
	put_v1("", 9223372036854771712u, 777 * MIB, STAT_V1);
	put_v1("/a:b", 40 * MIB, 36 * MIB, STAT_V1);
	put_v1("/a:b/vm", 9223372036854771712u, 30 * MIB, STAT_V1);
	put_v1("/wrong", MIB, MIB, "");
	open_all(PAGE_4K);
	check_levels(want);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V1, 0, MIB), 4 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V1, 0, 5 * MIB), 10 * MIB);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V1, 8 * MIB, MIB), 2 * MIB);
}
END_TEST

/* In a container a part of the hierarchy is mounted: what lies above cannot be seen. */
START_TEST(mounted_part)
{
	/* clang-format off */
	static const struct {
		const char *mount, *path;
		size_t levels;
	} rows[] = {
		{"35 31 0:32 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
		 "/docker/x/vm", 2},
		{"35 31 0:32 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
		 "/docker/x", 1},
		{"35 31 0:32 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
		 "/docker/xy/vm", 0},
		{"35 31 0:32 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
		 "/", 0},
		{"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "/../vm", 0},
		{"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
		 "/vm (deleted)", 1},
		{"35 31 0:32 / /sys/fs\\040x/cg rw - cgroup cgroup rw,memory\n", "/y", 1},
		{"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,cpu\n", "/vm", 0},
		{"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup\n", "/vm", 0},
		{"35 31\n", "/vm", 0},
		{"", "/vm", 0},
	};
	/* clang-format on */

	put_v1("", 100 * MIB, MIB, "");
	put_v1("/vm", 100 * MIB, MIB, "");
	put("/sys/fs x/cg/y/memory.limit_in_bytes", "1\n");
	put("/sys/fs x/cg/y/memory.usage_in_bytes", "1\n");
	put("/sys/fs x/cg/y/memory.stat", "x\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char cgroups[256];

		snprintf(cgroups, sizeof(cgroups), "4:memory:%s\n", rows[i].path);
		put_process(rows[i].mount, cgroups);
		open_all(PAGE_4K);
		ck_assert_msg(files[CGROUP_MEMORY_V1].levels == rows[i].levels,
			      "%s in %s: %zu levels", rows[i].path, rows[i].mount,
			      files[CGROUP_MEMORY_V1].levels);
	}
}
END_TEST

START_TEST(deep)
{
	char path[64] = "", line[128];

	put_v1("", 1000 * MIB, MIB, "");
	for (int i = 0; i < 2 * CGROUP_LEVELS_MAX; i++) {
		strcat(path, "/d");
		put_v1(path, (uint64_t)(1000 - i) * MIB, MIB, "");
	}
	snprintf(line, sizeof(line), "4:memory:%s\n", path);
	put_process(V1_MOUNTS, line);
	open_all(PAGE_4K);
	ck_assert_uint_eq(files[CGROUP_MEMORY_V1].levels, CGROUP_LEVELS_MAX);
	/* The nearest ones. */
	ck_assert_uint_eq(room(CGROUP_MEMORY_V1, 0, MIB), 984 * MIB);
}
END_TEST

/* ---- huge pages ---- */

static void put_pool(uint64_t all, uint64_t left, uint64_t reserved)
{
	put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "%ju\n", (uintmax_t)all);
	put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "%ju\n", (uintmax_t)left);
	put("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "%ju\n",
	    (uintmax_t)reserved);
}

START_TEST(huge)
{
	static const size_t v1[CGROUP_KIND_COUNT] = {[CGROUP_HUGETLB_V1] = 1, [CGROUP_POOL] = 1};
	static const size_t v2[CGROUP_KIND_COUNT] = {[CGROUP_HUGETLB_V2] = 1, [CGROUP_POOL] = 1};
	static const size_t both[CGROUP_KIND_COUNT] = {
		[CGROUP_MEMORY_V2] = 1, [CGROUP_HUGETLB_V2] = 1, [CGROUP_POOL] = 1};

	put_pool(64, 32, 8);
	put_process(V1_MOUNTS, "4:hugetlb,memory:/vm\n");
	put_v1("/vm", 40 * MIB, 36 * MIB, STAT_V1);
	put("/sys/fs/cgroup/memory/vm/hugetlb.2MB.limit_in_bytes", "%ju\n", 160 * MIB);
	put("/sys/fs/cgroup/memory/vm/hugetlb.2MB.usage_in_bytes", "%ju\n", 100 * MIB);
	open_all(PAGE_2M);
	check_levels(v1);
	ck_assert_uint_eq(room(CGROUP_HUGETLB_V1, 4 * MIB, MIB), 56 * MIB);
	ck_assert_uint_eq(room(CGROUP_HUGETLB_V1, 64 * MIB, MIB), 50 * MIB);
	ck_assert_uint_eq(room(CGROUP_POOL, 0, MIB), 24 * PAGE_2M);
	ck_assert_uint_eq(room(CGROUP_POOL, 6 * MIB, MIB), 21 * PAGE_2M);
	ck_assert_uint_eq(room(CGROUP_POOL, 64 * MIB, MIB), 20 * PAGE_2M);
	put_pool(64, 4, 8);
	ck_assert_uint_eq(room(CGROUP_POOL, 0, MIB), 0);
	put_pool(0, 0, 0);
	ck_assert_uint_eq(room(CGROUP_POOL, 0, MIB), 0);

	put_process(V2_MOUNT, "0::/vm\n");
	put_v2("/vm", "41943040", "max", 10 * MIB);
	put("/sys/fs/cgroup/vm/hugetlb.2MB.max", "max\n");
	put("/sys/fs/cgroup/vm/hugetlb.2MB.current", "2097152\n");
	open_all(PAGE_2M);
	check_levels(v2);
	ck_assert_uint_eq(room(CGROUP_HUGETLB_V2, 0, MIB), NONE);
	put_process("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 x rw,memory_hugetlb_accounting\n",
		    "0::/vm\n");
	open_all(PAGE_2M);
	check_levels(both);
}
END_TEST

/* ---- what may go wrong ---- */

static const size_t nothing[CGROUP_KIND_COUNT];

/* No such process, or nothing that can be understood. */
START_TEST(nothing_there)
{
	open_all(PAGE_4K);
	check_levels(nothing);
	put_process(V1_MOUNTS, "");
	open_all(PAGE_4K);
	check_levels(nothing);
	put_process(V1_MOUNTS V2_MOUNT, "4:memory\n:\n::\nmemory\n0:/vm\n");
	open_all(PAGE_4K);
	check_levels(nothing);
	open_all(PAGE_2M);
	check_levels(nothing);
}
END_TEST

/* A cgroup that was removed, after everybody had left it, limits nobody. */
START_TEST(removed)
{
	put_process(V1_MOUNTS, "4:memory:/vm\n");
	put_v1("/vm", 40 * MIB, 36 * MIB, STAT_V1);
	open_all(PAGE_4K);
	ck_assert_uint_eq(room(CGROUP_MEMORY_V1, 0, MIB), 4 * MIB);
	put("/sys/fs/cgroup/memory/vm/memory.limit_in_bytes", "%s", "");
	ck_assert_uint_eq(room(CGROUP_MEMORY_V1, 0, MIB), NONE);
	put_v1("/vm", 40 * MIB, 36 * MIB, "");
	put("/sys/fs/cgroup/memory/vm/memory.usage_in_bytes", "%s", "");
	ck_assert_uint_eq(room(CGROUP_MEMORY_V1, 0, MIB), NONE);
}
END_TEST

/* Not "no limit": there may be one. */
START_TEST(no_descriptors)
{
	struct rlimit all, few;
	struct err err;
	int next = dup(0);

	close(next);
	put_process(V1_MOUNTS, "4:memory:/vm\n");
	put_v1("/vm", 40 * MIB, 36 * MIB, STAT_V1);
	put_v1("", 40 * MIB, 36 * MIB, STAT_V1);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = all;
	for (int free_fds = 0; free_fds < 6; free_fds++) {
		int rc, again;

		few.rlim_cur = (rlim_t)(next + free_fds);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
		rc = cgroup_open(root, PID, PAGE_4K, files, &err);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
		ck_assert_msg(rc == -1, "with %d descriptors", free_fds);
		check_levels(nothing);
		again = dup(0);
		ck_assert_int_eq(again, next);
		close(again);
	}
}
END_TEST

/* This very process, whatever limits it: real files, that can be read. */
START_TEST(ourselves)
{
	struct err err;

	ck_assert_msg(cgroup_open("", getpid(), PAGE_4K, files, &err) == 0, "%s", err.msg);
	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++)
		room(kind, 0, NONE);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("cgroup");
	TCase *t = tcase_create("cgroup");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, v2_levels);
	tcase_add_test(t, v2_reclaimable);
	tcase_add_test(t, v1_levels);
	tcase_add_test(t, mounted_part);
	tcase_add_test(t, deep);
	tcase_add_test(t, huge);
	tcase_add_test(t, nothing_there);
	tcase_add_test(t, removed);
	tcase_add_test(t, no_descriptors);
	tcase_add_test(t, ourselves);
	suite_add_tcase(s, t);
	return s;
}
