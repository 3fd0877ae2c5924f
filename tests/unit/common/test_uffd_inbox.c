/* uffd: what a reader had read and not acted upon, for its successor */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/support/harness.h"
#include "tests/fakes/vmm/touch.h"

#define P PAGE_4K

static struct uf_inbox *shared_box(void)
{
	void *box = mmap(NULL, sizeof(struct uf_inbox), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(box, MAP_FAILED);
	return box;
}

/* A reader in a process of its own, which dies before it has acted on anything. */
static pid_t start_reader(int uffd, struct uf_inbox *box)
{
	pid_t pid = fork();

	if (pid == 0) {
		static struct uf_msg msgs[UF_READ_MAX];
		struct err err;

		if (!touch_readable(uffd, HARNESS_MS))
			_exit(UF_READ_MAX - 1);
		_exit(uffd_read(uffd, box, msgs, UF_READ_MAX, &err));
	}
	ck_assert_int_gt(pid, 0);
	return pid;
}

/* How many messages it had read. */
static int reap_reader(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "wait status %#x", (unsigned)status);
	return WEXITSTATUS(status);
}

START_TEST(left_by_a_dead_reader)
{
	struct touch_mem m;
	struct touch discard = {.m = &m, .body = touch_discard, .page = 2};
	struct touch load = {.m = &m, .body = touch_load, .page = 6};
	static struct uf_msg msgs[UF_READ_MAX];
	struct uf_inbox *box = shared_box();

	ck_assert_int_eq(uffd_left(box, msgs), 0);
	touch_open(&m, UF_FEATURE_REMOVE, 8);
	touch_start(&discard);
	ck_assert(touch_readable(m.uffd, HARNESS_MS));
	touch_start(&load);
	touch_await_faults(m.uffd, 1);
	ck_assert_int_eq(reap_reader(start_reader(m.uffd, box)), 2);
	ck_assert_msg(!touch_readable(m.uffd, 0), "it is there twice");
	for (int again = 0; again < 2; again++) {
		memset(msgs, 'x', sizeof(msgs));
		ck_assert_int_eq(uffd_left(box, msgs), 2);
		ck_assert(msgs[0].event == UF_FAULT && msgs[0].start == m.base + 6 * P);
		ck_assert(msgs[1].event == UF_REMOVE && msgs[1].start == m.base + 2 * P &&
			  msgs[1].end == m.base + 4 * P);
		ck_assert(msgs[0].fd == -1 && msgs[1].fd == -1);
	}
	uffd_clear(box);
	ck_assert_int_eq(uffd_left(box, msgs), 0);
	ck_outcome(touch_copy(&m, 6, 1), UF_DONE);
	touch_join(&load);
	touch_join(&discard);
	touch_close(&m);
	munmap(box, sizeof(*box));
}
END_TEST

/* The child's descriptor died with the reader: its number means nothing to us. */
START_TEST(left_fork_has_no_descriptor)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_FORK};
	struct touch_mem m;
	struct touch forker = {.m = &m, .body = touch_fork};
	static struct uf_msg msgs[UF_READ_MAX];
	struct uf_inbox *box = shared_box();
	struct err err;
	pid_t reader;
	int status;

	touch_map(&m, 0, 4);
	close(m.uffd);
	m.uffd = touch_raw(O_NONBLOCK | O_CLOEXEC);
	ck_assert_int_eq(ioctl(m.uffd, UFFDIO_API, &api), 0);
	/* Before the memory is registered: else this fork would wait for its own reader. */
	reader = start_reader(m.uffd, box);
	ck_assert_int_eq(uffd_register(m.uffd, m.base, m.len, &err), 0);
	touch_start(&forker);
	touch_join(&forker);
	ck_assert_int_eq(waitpid(forker.child, &status, 0), forker.child);
	ck_assert_int_eq(reap_reader(reader), 1);
	ck_assert_int_eq(uffd_left(box, msgs), 1);
	ck_assert_int_eq(msgs[0].event, UF_FORK);
	ck_assert_int_eq(msgs[0].fd, -1);
	uffd_clear(box);
	ck_assert_int_eq(uffd_left(box, msgs), 0);
	touch_close(&m);
	munmap(box, sizeof(*box));
}
END_TEST

/* A full box ends where it ends, and one that is being cleared holds a beginning. */
START_TEST(left_in_a_full_box)
{
	enum { LEFT = 100 };
	static struct touch loads[UF_READ_MAX];
	static struct uf_msg msgs[UF_READ_MAX];
	struct uf_inbox *box = touch_box();
	struct touch_mem m;
	struct err err;

	touch_open(&m, 0, 1);
	for (size_t i = 0; i < UF_READ_MAX; i++) {
		loads[i] = (struct touch){.m = &m, .body = touch_load};
		touch_start(&loads[i]);
	}
	touch_await_faults(m.uffd, UF_READ_MAX);
	ck_assert_int_eq(uffd_read(m.uffd, box, msgs, UF_READ_MAX, &err), UF_READ_MAX);
	memset(msgs, 'x', sizeof(msgs));
	ck_assert_int_eq(uffd_left(box, msgs), UF_READ_MAX);
	for (size_t i = 0; i < UF_READ_MAX; i++)
		ck_assert(msgs[i].event == UF_FAULT && msgs[i].start == m.base);
	box->raw[LEFT][0] = 0;
	ck_assert_int_eq(uffd_left(box, msgs), LEFT);
	uffd_clear(box);
	ck_assert_int_eq(uffd_left(box, msgs), 0);
	for (size_t i = 0; i < LEFT; i++)
		ck_assert_uint_eq(box->raw[i][0], 0);
	ck_outcome(touch_copy(&m, 0, 1), UF_DONE);
	for (size_t i = 0; i < UF_READ_MAX; i++)
		touch_join(&loads[i]);
	touch_close(&m);
}
END_TEST

Suite *test_suite(void)
{
	struct err err;
	TCase *tc;
	Suite *s;
	int fd;

	if (uffd_open(UF_FEATURE_REMOVE | UF_FEATURE_FORK, &fd, &err) < 0) {
		printf("1..0 # SKIP %s\n", err.msg);
		return NULL;
	}
	close(fd);
	s = suite_create("uffd_inbox");
	tc = tcase_create("inbox");
	tcase_add_test(tc, left_by_a_dead_reader);
	tcase_add_test(tc, left_fork_has_no_descriptor);
	tcase_add_test(tc, left_in_a_full_box);
	suite_add_tcase(s, tc);
	return s;
}
