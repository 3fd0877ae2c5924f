/*
 * uffdkit - what the tests of uffd_recover share: a VMM in a process of its own, and its
 * page map
 *
 * The VMM's memory is PAGES pages at one address. The regions are the first three of them, and
 * two from the sixth on: pages 0 to 4 of the snapshot.
 */
#ifndef UFFDD_TESTS_UFFDKIT_H
#define UFFDD_TESTS_UFFDKIT_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "daemon/uffd_recover.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"
#include "tests/support/vmmside.h"

#define P PAGE_4K
#define PAGES 10
#define WORD 8
#define PAGE(n) (1u << (n))

struct vmm {
	pid_t pid;
	int pidfd, ask, hear; /* owned */
	struct regions regions;
	int map_fd;         /* owned: its page map */
	struct pagemap map; /* owned */
	struct pagemap_view view;
};

static inline void say(int fd, uint64_t word)
{
	if (write(fd, &word, WORD) != WORD)
		_exit(3);
}

static inline uint64_t hear(const struct vmm *v)
{
	struct pollfd p = {.fd = v->hear, .events = POLLIN};
	uint64_t word = 0;

	ck_assert_msg(poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1, "the VMM hangs");
	ck_assert_int_eq(read(v->hear, &word, WORD), WORD);
	return word;
}

static inline void ask(const struct vmm *v, char what)
{
	ck_assert_int_eq(write(v->ask, &what, 1), 1);
}

static inline void make_map(struct vmm *v, unsigned removed)
{
	struct err err;

	v->map_fd = memfd_create("map", MFD_CLOEXEC);
	ck_assert_int_eq(pagemap_create(v->map_fd, 5 * P, &v->map, &err), 0);
	pagemap_connect(&v->map, &v->regions, (uint32_t)v->pid, 0, 0);
	for (unsigned page = 0; page < 5; page++)
		if (removed & PAGE(page))
			pagemap_set(&v->map, page, 1, PAGE_REMOVED);
	ck_assert_int_eq(pagemap_view(v->map_fd, &v->view, &err), 0);
}

/*
 * vmm_start - a process that is a VMM until @be returns
 * @be: begins by saying where its memory is; @in, @out: what it is asked, and what it says
 * @removed: PAGE() of the snapshot's pages that the page map knows to be given back
 */
static inline void vmm_start(struct vmm *v, void (*be)(const void *arg, int in, int out),
			     const void *arg, unsigned removed)
{
	int in[2], out[2];
	struct err err;
	uint64_t base;

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	v->pid = fork();
	if (v->pid == 0) {
		close(in[1]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		be(arg, in[0], out[1]);
		_exit(0);
	}
	close(in[0]);
	close(out[1]);
	v->ask = in[1];
	v->hear = out[0];
	ck_assert_int_eq(proc_pidfd(v->pid, &v->pidfd, &err), 0);
	base = hear(v);
	v->regions = (struct regions){P, 2, 0, {{base, 3 * P, 0}, {base + 5 * P, 2 * P, 3 * P}}};
	make_map(v, removed);
}

static inline void vmm_end(struct vmm *v)
{
	int status;

	close_fd(&v->ask);
	ck_assert_int_eq(waitpid(v->pid, &status, 0), v->pid);
	ck_assert_int_eq(status, 0);
	close_fd(&v->hear);
	close_fd(&v->pidfd);
	pagemap_close(&v->map);
	close_fd(&v->map_fd);
}

static inline int fetch(struct vmm *v, int *ret_uffd, struct err *err)
{
	return uffd_recover_uffd(v->pidfd, v->pid, v->map_fd, &v->view, ret_uffd, err);
}

/* The next fault, with whatever else there is to read. */
static inline struct uf_msg read_fault(int uffd)
{
	struct pollfd p = {.fd = uffd, .events = POLLIN};
	struct uf_msg msgs[4], fault = {.event = UF_UNKNOWN};
	static struct uf_inbox box;
	struct err err;
	int n;

	while (fault.event == UF_UNKNOWN) {
		ck_assert_msg(poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1, "it hears nothing");
		n = uffd_read(uffd, &box, msgs, ARRAY_LEN(msgs), &err);
		for (int i = 0; i < n; i++)
			if (msgs[i].event != UF_REMOVE)
				fault = msgs[i];
	}
	while (uffd_read(uffd, &box, msgs, ARRAY_LEN(msgs), &err) > 0)
		;
	return fault;
}

#endif
