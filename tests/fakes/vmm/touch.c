#include "tests/fakes/vmm/touch.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/support/harness.h"

struct uf_inbox *touch_box(void)
{
	static struct uf_inbox box;

	memset(&box, 0, sizeof(box));
	return &box;
}

#define P PAGE_4K

int touch_raw(int flags)
{
	int fd = (int)syscall(SYS_userfaultfd, flags);

	if (fd < 0) {
		cleanup_fd int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

		fd = ioctl(device, USERFAULTFD_IOC_NEW, flags);
	}
	return fd;
}

void touch_map(struct touch_mem *m, unsigned features, size_t pages)
{
	struct err err = {.msg = ""};

	m->len = pages * P;
	m->mem = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(m->mem, MAP_FAILED);
	m->base = (uintptr_t)m->mem;
	m->src = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(m->src, MAP_FAILED);
	for (size_t i = 0; i < pages; i++)
		memset(m->src + i * P, 'a' + (int)i, P);
	ck_assert_msg(uffd_open(features, &m->uffd, &err) == 0, "%s", err.msg);
}

void touch_open(struct touch_mem *m, unsigned features, size_t pages)
{
	struct err err = {.msg = ""};

	touch_map(m, features, pages);
	ck_assert_msg(uffd_register(m->uffd, m->base, m->len, &err) == 0, "%s", err.msg);
}

void touch_close(struct touch_mem *m)
{
	close_fd(&m->uffd);
	munmap(m->mem, m->len);
	munmap(m->src, m->len);
}

static void *touch_main(void *arg)
{
	struct touch *t = arg;

	t->body(t);
	if (eventfd_write(t->done, 1) < 0)
		abort();
	return NULL;
}

void touch_start(struct touch *t)
{
	t->done = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_ge(t->done, 0);
	ck_assert_int_eq(pthread_create(&t->id, NULL, touch_main, t), 0);
}

bool touch_readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, harness_scale_ms(timeout_ms)) == 1 && (p.revents & POLLIN);
}

void touch_join(struct touch *t)
{
	ck_assert_msg(touch_readable(t->done, HARNESS_MS), "the thread is still blocked");
	pthread_join(t->id, NULL);
	close_fd(&t->done);
}

void touch_load(struct touch *t)
{
	t->value = *(volatile char *)(t->m->mem + t->page * P);
}

void touch_store(struct touch *t)
{
	*(volatile char *)(t->m->mem + t->page * P) = t->value;
}

void touch_discard(struct touch *t)
{
	if (madvise(t->m->mem + t->page * P, 2 * P, MADV_DONTNEED) < 0)
		abort();
}

void touch_unmap(struct touch *t)
{
	if (munmap(t->m->mem + t->page * P, 2 * P) < 0)
		abort();
}

void touch_remap(struct touch *t)
{
	char *from = t->m->mem + t->page * P, *to = t->m->mem + t->m->len - 2 * P;

	if (mremap(from, 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		abort();
}

void touch_fork(struct touch *t)
{
	t->child = fork();
	if (t->child == 0)
		_exit(0);
}

size_t touch_read(int uffd, struct uf_msg *msgs, size_t max)
{
	struct err err = {.msg = ""};
	int n;

	ck_assert_msg(touch_readable(uffd, HARNESS_MS), "no message");
	n = uffd_read(uffd, touch_box(), msgs, max, &err);
	ck_assert_msg(n >= 0, "%s", err.msg);
	return (size_t)n;
}

struct uf_msg touch_read_one(int uffd)
{
	struct uf_msg msgs[2];

	ck_assert_uint_eq(touch_read(uffd, msgs, 2), 1);
	return msgs[0];
}

void touch_await_faults(int uffd, int want)
{
	uint64_t deadline = now_us() + (uint64_t)harness_scale_ms(HARNESS_MS) * 1000;
	char path[64], line[128];
	int pending = -1;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", uffd);
	while (pending != want && now_us() < deadline) {
		cleanup_file FILE *f = fopen(path, "re");

		ck_assert_ptr_nonnull(f);
		while (fgets(line, sizeof(line), f))
			if (sscanf(line, "pending:%d", &pending) == 1)
				break;
		poll(NULL, 0, 1);
	}
	ck_assert_int_eq(pending, want);
}

enum uf_outcome touch_copy(const struct touch_mem *m, size_t page, size_t pages)
{
	uint64_t deadline = now_us() + (uint64_t)harness_scale_ms(HARNESS_MS) * 1000;
	enum uf_outcome o;
	uint64_t done;

	do
		o = uffd_copy(m->uffd, m->base + page * P, m->src + page * P, pages * P, &done);
	while (o == UF_AGAIN && now_us() < deadline);
	return o;
}

enum uf_outcome touch_install(const struct touch_mem *m, enum touch_how how, uint64_t off,
			      uint64_t len, uint64_t *ret_done)
{
	if (how == TOUCH_COPY)
		return uffd_copy(m->uffd, m->base + off, m->src + off, len, ret_done);
	if (how == TOUCH_ZERO)
		return uffd_zero(m->uffd, m->base + off, len, ret_done);
	return uffd_poison(m->uffd, m->base + off, len, ret_done);
}

bool touch_have_poison(void)
{
	struct touch_mem m;
	uint64_t done;
	bool have;

	touch_open(&m, 0, 1);
	have = uffd_poison(m.uffd, m.base, P, &done) == UF_DONE;
	touch_close(&m);
	if (!have)
		fputs("# this kernel has no UFFDIO_POISON: skipped\n", stderr);
	return have;
}
