#include "daemon/notify.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/base.h"
#include "common/io.h"
#include "common/proto.h"

#define FIRST_FD 3 /* where systemd puts them */
#define KEPT_MAX 65536
#define NAME "uffd."

static int sock = -1;
static struct sockaddr_un addr;
static socklen_t addr_len;

struct kept {
	char key[PROTO_ID_MAX + 1];
	int fd;
};
static struct kept *kept;
static size_t nkept;

static void open_socket(const char *path)
{
	size_t len = strlen(path);

	if (len < 2 || len >= sizeof(addr.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	addr.sun_family = AF_UNIX;
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* LISTEN_FDNAMES has as many names as there are descriptors, with colons between them. */
static void take_kept(size_t n, const char *names)
{
	n = min_u64(n, KEPT_MAX);
	kept = xcalloc(n + 1, sizeof(*kept));
	for (size_t i = 0; i < n; i++) {
		size_t len = strcspn(names, ":");
		int fd = FIRST_FD + (int)i;
		/* Announced but not open: another descriptor may get the number later. */
		bool there = fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;

		if (there && len > strlen(NAME) && len - strlen(NAME) <= PROTO_ID_MAX &&
		    strncmp(names, NAME, strlen(NAME)) == 0) {
			kept[nkept].fd = fd;
			memcpy(kept[nkept++].key, names + strlen(NAME), len - strlen(NAME));
		}
		names += len + (names[len] == ':');
	}
}

void notify_open(void)
{
	const char *path = getenv("NOTIFY_SOCKET"), *pid = getenv("LISTEN_PID");
	const char *count = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");

	if (path)
		open_socket(path);
	if (pid && count && strtol(pid, NULL, 10) == getpid())
		take_kept(strtoul(count, NULL, 10), names ? names : "");
	unsetenv("NOTIFY_SOCKET");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

static void send_text(const char *text, int fd)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
	struct msghdr hdr = {.msg_name = &addr,
			     .msg_namelen = addr_len,
			     .msg_iov = &iov,
			     .msg_iovlen = 1};

	/* A service manager that does not read must not block us. */
	if (sock >= 0)
		io_send(sock, &hdr, &fd, fd >= 0, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void notify_send(const char *line)
{
	send_text(line, -1);
}

void notify_keep(const char *key, int uffd)
{
	char text[160];

	/* Without FDPOLL=0 systemd would drop a uffd when its poll shows an error. */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=" NAME "%s\nFDPOLL=0", key);
	send_text(text, uffd);
}

void notify_forget(const char *key)
{
	char text[160];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=" NAME "%s", key);
	send_text(text, -1);
}

int notify_take(const char *key)
{
	for (size_t i = 0; i < nkept; i++)
		if (kept[i].fd >= 0 && strcmp(kept[i].key, key) == 0)
			return steal_fd(&kept[i].fd);
	return -1;
}

void notify_close(void)
{
	for (size_t i = 0; i < nkept; i++) {
		if (kept[i].fd >= 0)
			notify_forget(kept[i].key);
		close_fd(&kept[i].fd);
	}
	free(steal_ptr(&kept));
	nkept = 0;
}
