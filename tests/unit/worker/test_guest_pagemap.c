/* test_guest_pagemap - is a pagemap that of the memory which is served? An installed page tells */
#include "worker/guest.h"

#include <fcntl.h>

#include "tests/support/servekit.h"

static void install(struct served *v, uint64_t page)
{
	struct err err;

	ck_assert_int_eq(guest_fault(&v->s.guest, page, false, &err), GUEST_DONE);
	ck_page(v, page, PAGE_PRESENT);
}

static int pagemap_of(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* Proved by a page that was installed: before, or from then on. */
START_TEST(test_pagemap_is_the_vmms)
{
	const bool before = _i;
	struct guest *g;
	struct served v;

	served_open(&v, 0);
	g = &v.s.guest;
	if (before)
		install(&v, 3);
	guest_use_pagemap(g, pagemap_of(getpid()));
	ck_assert(g->presence.verified == before);
	install(&v, 4);
	ck_assert(g->presence.verified);
	served_end(&v);
}
END_TEST

/* What is there and was not installed proves nothing. */
START_TEST(test_pagemap_proves_nothing)
{
	struct served v;
	uint64_t done;

	served_open(&v, 0);
	ck_outcome(uffd_zero(v.m.uffd, v.m.base + 3 * PAGE_4K, PAGE_4K, &done), UF_DONE);
	guest_use_pagemap(&v.s.guest, pagemap_of(getpid()));
	ck_assert(!v.s.guest.presence.verified);
	guest_mark(&v.s.guest, 3, 1, PAGE_REMOVED);
	guest_use_pagemap(&v.s.guest, pagemap_of(getpid()));
	ck_assert(!v.s.guest.presence.verified);
	guest_mark(&v.s.guest, 3, 1, PAGE_ZEROED);
	guest_use_pagemap(&v.s.guest, pagemap_of(getpid()));
	ck_assert(v.s.guest.presence.verified);
	served_end(&v);
}
END_TEST

/* It has nothing where the guest's memory is. */
static pid_t start_stranger(const struct served *v)
{
	int said[2];
	pid_t pid;
	char c;

	ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		munmap(v->m.mem, v->m.len);
		if (write(said[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(said[1]);
	ck_assert_int_eq(read(said[0], &c, 1), 1);
	close(said[0]);
	return pid;
}

START_TEST(test_pagemap_of_another)
{
	struct served v;
	pid_t stranger;

	served_open_apart(&v, 0);
	stranger = start_stranger(&v);
	install(&v, 3);
	guest_use_pagemap(&v.s.guest, pagemap_of(stranger));
	install(&v, 4);
	ck_assert(!v.s.guest.presence.verified);
	guest_use_pagemap(&v.s.guest, pagemap_of(v.vmm));
	ck_assert(v.s.guest.presence.verified);
	kill(stranger, SIGKILL);
	ck_assert_int_eq(waitpid(stranger, NULL, 0), stranger);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("guest_pagemap");
	TCase *t = tcase_create("pagemap");

	tcase_add_loop_test(t, test_pagemap_is_the_vmms, 0, 2);
	tcase_add_test(t, test_pagemap_proves_nothing);
	tcase_add_test(t, test_pagemap_of_another);
	suite_add_tcase(s, t);
	return s;
}
