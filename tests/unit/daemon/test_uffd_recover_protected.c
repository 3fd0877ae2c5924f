/* uffd_recover: what a VMM has registered for more than missing pages stays so */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "tests/support/uffdkit.h"

static void protect(int uffd, uint64_t start, uint64_t len)
{
	struct uffdio_writeprotect wp = {.range = {start, len},
					 .mode = UFFDIO_WRITEPROTECT_MODE_WP};

	if (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
		_exit(7);
}

/* A VMM may have asked for more than missing pages: page 1 is there, and protected. */
static void be_protecting(const void *arg, int in, int out)
{
	char *mem = mmap(NULL, PAGES * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
	struct uffdio_register r = {
		.range = {(uintptr_t)mem, PAGES * P},
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	};
	struct err err;
	uint64_t done;
	char asked;
	int fd;

	(void)arg;
	if (uffd_open(0, &fd, &err) || ioctl(fd, UFFDIO_REGISTER, &r) ||
	    uffd_zero(fd, r.range.start + P, P, &done))
		_exit(2);
	protect(fd, r.range.start + P, P);
	say(out, (uintptr_t)mem);
	while (read(in, &asked, 1) == 1) {
		mem[P] = asked;
		/* Also what comes later can be protected. */
		protect(fd, r.range.start + P, P);
		say(out, (uint64_t)mem[P]);
	}
}

START_TEST(write_protection_stays)
{
	int uffd = -1;
	struct uf_msg m;
	struct err err;
	struct vmm v;

	vmm_start(&v, be_protecting, NULL, 0);
	ck_assert_msg(fetch(&v, &uffd, &err) == 0, "%s", err.msg);
	for (char c = 'x'; c <= 'z'; c++) {
		ask(&v, c);
		m = read_fault(uffd);
		ck_assert_int_eq(m.event, UF_FAULT_WP);
		ck_assert_uint_eq(m.start, v.regions.v[0].base + P);
		ck_assert_int_eq(uffd_unprotect(uffd, m.start, P), UF_DONE);
		ck_assert_uint_eq(hear(&v), (uint64_t)c);
	}
	close(uffd);
	vmm_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	struct err err;
	TCase *tc;
	Suite *s;
	int fd;

	if (uffd_open(0, &fd, &err) < 0) {
		printf("1..0 # SKIP %s\n", err.msg);
		return NULL;
	}
	close(fd);
	s = suite_create("uffd_recover_protected");
	tc = tcase_create("protected");
	tcase_add_test(tc, write_protection_stays);
	suite_add_tcase(s, tc);
	return s;
}
