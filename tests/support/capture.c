#include "tests/support/capture.h"

#include <check.h>
#include <fcntl.h>
#include <pty.h>
#include <stdio_ext.h>
#include <sys/mman.h>
#include <termios.h>

#define TEXT_MAX ((size_t)1 << 20)

/* Returns the side to print on; the terminal changes none of the bytes. */
static int open_terminal(const struct capture *c, int *ret_main)
{
	struct winsize size = {.ws_row = 24, .ws_col = c->columns};
	struct termios raw;
	int side;

	ck_assert_int_eq(openpty(ret_main, &side, NULL, NULL, &size), 0);
	ck_assert_int_eq(tcgetattr(side, &raw), 0);
	cfmakeraw(&raw);
	ck_assert_int_eq(tcsetattr(side, TCSANOW, &raw), 0);
	return side;
}

static void redirect(struct capture *c, int fd)
{
	int i = fd - STDOUT_FILENO, into;

	c->source[i] = memfd_create("printed", MFD_CLOEXEC);
	ck_assert_int_ge(c->source[i], 0);
	if (fd == c->terminal) {
		close(c->source[i]);
		into = open_terminal(c, &c->source[i]);
	} else if (fd == STDOUT_FILENO && c->full) {
		into = open("/dev/full", O_WRONLY | O_CLOEXEC);
	} else {
		into = fcntl(c->source[i], F_DUPFD_CLOEXEC, 3);
	}
	c->saved[i] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	ck_assert(into >= 0 && c->saved[i] >= 0);
	ck_assert_int_eq(dup2(into, fd), fd);
	close(into);
}

void capture_begin(struct capture *c)
{
	fflush(stdout);
	fflush(stderr);
	redirect(c, STDOUT_FILENO);
	redirect(c, STDERR_FILENO);
}

static char *take(struct capture *c, int fd, size_t *ret_len)
{
	int i = fd - STDOUT_FILENO;
	char *text = xcalloc(1, TEXT_MAX + 1);
	size_t len = 0;
	ssize_t n;

	ck_assert_int_eq(dup2(c->saved[i], fd), fd);
	close_fd(&c->saved[i]);
	lseek(c->source[i], 0, SEEK_SET);
	/* A terminal fails once nobody holds its other side. */
	while (len < TEXT_MAX && (n = read(c->source[i], text + len, TEXT_MAX - len)) > 0)
		len += (size_t)n;
	close_fd(&c->source[i]);
	*ret_len = len;
	return text;
}

void capture_end(struct capture *c)
{
	size_t ignored;

	fflush(stdout);
	fflush(stderr);
	/* What the full disk did not take must not come out later. */
	__fpurge(stdout);
	clearerr(stdout);
	c->out = take(c, STDOUT_FILENO, &c->out_len);
	c->err = take(c, STDERR_FILENO, &ignored);
}

void capture_fini(struct capture *c)
{
	free(c->out);
	free(c->err);
}
