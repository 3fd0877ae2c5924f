#include "common/foreign.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The kernel's own name of a file that has no path; a path would begin with '/'. */
static bool is_called(int dirfd, const char *path, const char *name)
{
	char link[64];
	ssize_t n = readlinkat(dirfd, path, link, sizeof(link) - 1);

	if (n < 0)
		return false;
	link[n] = '\0';
	return strncmp(link, name, strlen(name)) == 0;
}

bool foreign_names_uffd(int dirfd, const char *name)
{
	return is_called(dirfd, name, "anon_inode:[userfaultfd]");
}

static bool is_unix_socket(int fd)
{
	int domain;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

bool foreign_is(int fd, enum foreign_kind kind)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	switch (kind) {
	case FOREIGN_UFFD:
		return foreign_names_uffd(AT_FDCWD, path);
	case FOREIGN_PIDFD:
		/* Linux 6.9 has changed the name. */
		return is_called(AT_FDCWD, path, "anon_inode:[pidfd]") ||
		       is_called(AT_FDCWD, path, "pidfd:[");
	case FOREIGN_UNIX_SOCKET:
		return is_unix_socket(fd);
	case FOREIGN_MEMORY:
		return fcntl(fd, F_GET_SEALS) >= 0;
	case FOREIGN_ANY:
		break;
	}
	return fcntl(fd, F_GETFD) >= 0;
}

static void (*close_one)(int *fd) = close_fd;

void foreign_close(int *fd)
{
	if (*fd >= 0)
		close_one(fd);
}

void foreign_close_by(void (*how)(int *fd))
{
	close_one = how;
}
