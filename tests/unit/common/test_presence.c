#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/presence.h"
#include "tests/fakes/vmm/touch.h"

#define P PAGE_4K
#define PAGES 1300
#define SCAN_NUMBER 0xc0606610 /* PAGEMAP_SCAN, as the kernel sees it */

/* From now on this kernel is one before 6.7. */
static void forget_scan(void)
{
	const struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SCAN_NUMBER, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = {ARRAY_LEN(filter), (struct sock_filter *)(uintptr_t)filter};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

static void open_own(struct presence *p)
{
	struct err err = {.msg = ""};
	int fd;

	p->pagemap = -1;
	ck_assert_msg(presence_open(getpid(), &fd, &err) == 0, "%s", err.msg);
	presence_use(p, fd);
	ck_assert(!p->verified);
}

/* Every run of up to 9 pages, apart by up to 3; asked for @max at a time. */
START_TEST(runs_of_all_lengths)
{
	struct touch_mem m;
	struct presence p;
	struct presence_run runs[7];
	uint8_t want[PAGES] = {0}, got[PAGES] = {0};
	uint64_t at, done;

	touch_open(&m, 0, PAGES);
	open_own(&p);
	for (uint64_t page = 2, i = 0; page + 9 < PAGES; i++) {
		uint64_t n = 1 + i % 9;

		ck_outcome(uffd_copy(m.uffd, m.base + page * P, m.src, n * P, &done), UF_DONE);
		memset(want + page, 1, n);
		page += n + 1 + i % 3;
	}
	ck_outcome(uffd_zero(m.uffd, m.base, P, &done), UF_DONE);
	want[0] = 1;
	if (_i)
		forget_scan();
	for (at = m.base; at < m.base + m.len;) {
		int n = presence_runs(&p, at, m.base + m.len, runs, ARRAY_LEN(runs), &at);

		ck_assert_int_ge(n, 0);
		for (int i = 0; i < n; i++) {
			ck_assert(!runs[i].swapped);
			memset(got + (runs[i].start - m.base) / P, 1, runs[i].len / P);
		}
	}
	ck_assert_mem_eq(got, want, PAGES);
	presence_fini(&p);
	touch_close(&m);
}
END_TEST

/* Who is not verified to be the right process is not believed. */
START_TEST(believed_when_proven)
{
	struct touch_mem m;
	struct presence p = {.pagemap = -1};
	uint64_t done;

	touch_open(&m, 0, 4);
	ck_assert_int_eq(presence_ask(&p, m.uffd, m.base, P), PRESENCE_UNKNOWN);
	open_own(&p);
	ck_outcome(uffd_copy(m.uffd, m.base, m.src, P, &done), UF_DONE);
	presence_verify(&p, m.base + P, P);
	ck_assert_int_eq(presence_ask(&p, m.uffd, m.base, P), PRESENCE_UNKNOWN);
	presence_verify(&p, m.base, P);
	ck_assert_int_eq(presence_ask(&p, m.uffd, m.base, P), PRESENCE_YES);
	ck_assert_int_eq(presence_ask(&p, m.uffd, m.base + P, P), PRESENCE_NO);
	presence_fini(&p);
	ck_assert_int_eq(presence_ask(&p, m.uffd, m.base, P), PRESENCE_UNKNOWN);
	touch_close(&m);
}
END_TEST

/* In memory, and not in the page tables: only a shared mapping may be so. */
START_TEST(shared)
{
	cleanup_fd int memfd = memfd_create("shared", MFD_CLOEXEC);
	struct touch_mem m;
	struct presence p;
	char *mem;
	uint64_t base, done;
	struct err err;

	touch_open(&m, 0, 4);
	ck_assert_int_eq(ftruncate(memfd, 4 * P), 0);
	mem = mmap(NULL, 4 * P, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	base = (uint64_t)mem;
	ck_assert_int_eq(uffd_register(m.uffd, base, 4 * P, &err), 0);
	open_own(&p);
	ck_outcome(uffd_copy(m.uffd, base, m.src, 2 * P, &done), UF_DONE);
	presence_verify(&p, base, P);
	ck_assert_int_eq(madvise(mem, P, MADV_DONTNEED), 0);
	ck_assert_int_eq(presence_ask(&p, m.uffd, base, P), PRESENCE_YES);
	ck_assert_int_eq(madvise(mem, P, MADV_REMOVE), 0);
	ck_assert_int_eq(presence_ask(&p, m.uffd, base, P), PRESENCE_NO);
	ck_assert_int_eq(presence_ask(&p, m.uffd, base + 3 * P, P), PRESENCE_NO);
	munmap(mem, 4 * P);
	presence_fini(&p);
	touch_close(&m);
}
END_TEST

/* Where in the machine a page lies is not for a worker to know. */
START_TEST(no_physical_addresses)
{
	const uint64_t address_bits = ((uint64_t)1 << 55) - 1;
	char *mem = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct presence p;
	uint64_t word;

	mem[0] = 1;
	open_own(&p);
	ck_assert_int_eq(pread(p.pagemap, &word, sizeof(word),
			       (off_t)((uint64_t)mem / P * sizeof(word))),
			 sizeof(word));
	ck_assert(word >> 63);
	ck_assert_uint_eq(word & address_bits, 0);
	presence_fini(&p);
	munmap(mem, P);
}
END_TEST

START_TEST(nobody_to_look_into)
{
	struct err err;
	int fd, status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(presence_open(pid, &fd, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.msg, "pagemap"));
}
END_TEST

START_TEST(who_tracks)
{
	struct touch_mem m, plain;
	uint64_t done;
	struct err err;

	touch_map(&m, 0, 4);
	touch_open(&plain, 0, 4);
	ck_assert_int_eq(uffd_tracks(m.uffd, m.base, P), UF_TRACKING_UNSURE);
	ck_assert_int_eq(uffd_register_tracked(m.uffd, m.base, m.len, &err), 0);
	ck_assert_int_eq(uffd_tracks(m.uffd, m.base, P), UF_TRACKS);
	ck_outcome(uffd_copy_protected(m.uffd, m.base, m.src, P, &done), UF_DONE);
	ck_assert_uint_eq(done, P);
	ck_assert_int_eq(uffd_tracks(m.uffd, m.base, P), UF_TRACKS);
	ck_assert_int_eq(uffd_tracks(plain.uffd, plain.base, P), UF_TRACKS_NOT);
	ck_outcome(uffd_copy(plain.uffd, plain.base, plain.src, P, &done), UF_DONE);
	ck_assert_int_eq(uffd_tracks(plain.uffd, plain.base, P), UF_TRACKS_NOT);
	touch_close(&plain);
	touch_close(&m);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("presence");
	TCase *tc = tcase_create("presence");

	tcase_add_loop_test(tc, runs_of_all_lengths, 0, 2);
	tcase_add_test(tc, believed_when_proven);
	tcase_add_test(tc, shared);
	tcase_add_test(tc, no_physical_addresses);
	tcase_add_test(tc, nobody_to_look_into);
	tcase_add_test(tc, who_tracks);
	suite_add_tcase(suite, tc);
	return suite;
}
