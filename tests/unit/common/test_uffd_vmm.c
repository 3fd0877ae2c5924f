/* uffd of a VMM in a process of its own: its end, and SIGBUS in it */
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/handshake.h"
#include "tests/support/harness.h"
#include "tests/fakes/vmm/touch.h"

#define P PAGE_4K

/* A VMM, which loads page n when it is sent the byte n. */
struct victim {
	pid_t pid;
	struct handshake hs; /* owns the uffd */
	struct touch_mem m;  /* uffd, base and len are theirs; src is ours */
};

static void victim_main(int sock)
{
	struct regions r = {.page_bytes = P, .n = 1};
	struct touch_mem m;
	struct err err;
	cleanup_free char *text = NULL;
	unsigned char page;

	signal(SIGBUS, SIG_DFL);
	alarm((unsigned)harness_scale_ms(2 * HARNESS_MS) / 1000);
	touch_open(&m, UF_FEATURE_REMOVE, 4);
	r.v[0] = (struct region){m.base, m.len, 0};
	text = handshake_format(&r, HANDSHAKE_BOTH);
	if (handshake_send(sock, text, &m.uffd, 1, &err) < 0)
		_exit(1);
	while (read(sock, &page, 1) == 1) {
		char value = *(volatile char *)(m.mem + page * P);

		if (write(sock, &value, 1) != 1)
			break;
	}
	_exit(1);
}

static void victim_start(struct victim *v)
{
	struct regions r;
	struct err err = {.msg = ""};
	enum handshake_step step;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	v->pid = fork();
	if (v->pid == 0) {
		close(pair[0]);
		victim_main(pair[1]);
	}
	close(pair[1]);
	ck_assert_int_eq(handshake_init(&v->hs, pair[0], &err), 0);
	do {
		ck_assert(touch_readable(pair[0], HARNESS_MS));
		step = handshake_read(&v->hs, &r, &err);
	} while (step == HANDSHAKE_MORE);
	ck_assert_msg(step == HANDSHAKE_DONE, "%s", err.msg);
	v->m = (struct touch_mem){.uffd = v->hs.fds[0], .base = r.v[0].base, .len = r.v[0].size};
	v->m.src = calloc(4, P);
	ck_assert_ptr_nonnull(v->m.src);
}

static int victim_wait(const struct victim *v)
{
	int status;

	ck_assert_int_eq(waitpid(v->pid, &status, 0), v->pid);
	return status;
}

static void victim_close(struct victim *v)
{
	free(v->m.src);
	handshake_fini(&v->hs);
}

START_TEST(gone)
{
	struct victim v;
	struct uf_msg msg;
	struct err err;
	enum touch_how hows = touch_have_poison() ? TOUCH_HOWS : TOUCH_POISON;
	uint64_t done;

	victim_start(&v);
	ck_assert_int_eq(uffd_check(v.m.uffd, v.m.base, v.m.len, &err), 0);
	ck_outcome(touch_install(&v.m, TOUCH_COPY, 0, P, &done), UF_DONE);
	ck_assert_int_eq(kill(v.pid, SIGKILL), 0);
	ck_assert(WIFSIGNALED(victim_wait(&v)));
	for (enum touch_how how = TOUCH_COPY; how < hows; how++) {
		done = 77;
		ck_outcome(touch_install(&v.m, how, P, P, &done), UF_GONE);
		ck_assert_uint_eq(done, 0);
	}
	ck_outcome(uffd_unprotect(v.m.uffd, v.m.base, v.m.len), UF_GONE);
	ck_outcome(uffd_unregister(v.m.uffd, v.m.base, v.m.len), UF_GONE);
	ck_outcome(uffd_wake(v.m.uffd, v.m.base, v.m.len), UF_DONE);
	ck_assert_int_eq(uffd_read(v.m.uffd, touch_box(), &msg, 1, &err), 0);
	victim_close(&v);
}
END_TEST

START_TEST(life)
{
	struct touch discard = {.body = touch_discard, .page = 1};
	cleanup_fd int event = eventfd(0, EFD_CLOEXEC);
	cleanup_fd int file = open("/dev/null", O_RDWR | O_CLOEXEC);
	cleanup_fd int bare = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uf_msg msg;
	struct victim v;
	uint64_t done;

	victim_start(&v);
	ck_assert_int_eq(uffd_life(v.m.uffd), UF_LIVES);
	ck_outcome(touch_install(&v.m, TOUCH_COPY, 0, P, &done), UF_DONE);
	ck_assert_int_eq(uffd_life(v.m.uffd), UF_LIVES);
	ck_outcome(uffd_unregister(v.m.uffd, v.m.base, v.m.len), UF_DONE);
	ck_assert_int_eq(uffd_life(v.m.uffd), UF_LIVES);
	ck_assert_int_eq(kill(v.pid, SIGKILL), 0);
	victim_wait(&v);
	ck_assert_int_eq(uffd_life(v.m.uffd), UF_ENDED);
	victim_close(&v);
	/* Nobody waits for any of these. */
	ck_assert_int_eq(uffd_life(event), UF_ENDED);
	ck_assert_int_eq(uffd_life(file), UF_ENDED);
	ck_assert_int_eq(uffd_life(bare), UF_ENDED);
	ck_assert_int_eq(uffd_life(-1), UF_ENDED);

	touch_open(&v.m, UF_FEATURE_REMOVE, 4);
	discard.m = &v.m;
	touch_start(&discard);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	ck_assert_int_eq(uffd_life(v.m.uffd), UF_BUSY);
	msg = touch_read_one(v.m.uffd);
	ck_assert_int_eq(msg.event, UF_REMOVE);
	touch_join(&discard);
	ck_assert_int_eq(uffd_life(v.m.uffd), UF_LIVES);
	touch_close(&v.m);
}
END_TEST

START_TEST(poison)
{
	unsigned char page = 1;
	struct victim v;
	uint64_t done;
	int status;

	if (!touch_have_poison())
		return;
	victim_start(&v);
	ck_outcome(uffd_poison(v.m.uffd, v.m.base + P, P, &done), UF_DONE);
	ck_assert_uint_eq(done, P);
	ck_assert_int_eq(write(v.hs.sock, &page, 1), 1);
	status = victim_wait(&v);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "status 0x%x", status);
	victim_close(&v);
}
END_TEST

Suite *test_suite(void)
{
	struct err err;
	TCase *tc;
	Suite *s;
	int fd;

	if (uffd_open(UF_FEATURE_REMOVE, &fd, &err) < 0) {
		printf("1..0 # SKIP %s\n", err.msg);
		return NULL;
	}
	close(fd);
	s = suite_create("uffd_vmm");
	tc = tcase_create("vmm");
	tcase_add_test(tc, gone);
	tcase_add_test(tc, life);
	tcase_add_test(tc, poison);
	suite_add_tcase(s, tc);
	return s;
}
