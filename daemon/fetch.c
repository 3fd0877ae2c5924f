#include "daemon/fetch.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "common/uffd.h"

static bool is_uffd(int dirfd, const char *name)
{
	char link[64];
	ssize_t n = readlinkat(dirfd, name, link, sizeof(link) - 1);

	if (n <= 0)
		return false;
	link[n] = '\0';
	return strcmp(link, "anon_inode:[userfaultfd]") == 0;
}

/*
 * A VMM may have several, for other things as well: ours has the regions. An install
 * works through any of them, but to register again what another one has is refused,
 * and what is registered with this one already stays as it is.
 */
static bool has_regions(int uffd, const struct regions *r)
{
	struct err err;

	for (uint32_t i = 0; i < r->n; i++)
		if (!uffd_registered(uffd, r->v[i].base, r->page_bytes) ||
		    uffd_register(uffd, r->v[i].base, r->page_bytes, &err) ||
		    uffd_check(uffd, r->v[i].base, r->v[i].size, &err))
			return false;
	return r->n > 0;
}

static int denied(pid_t pid, struct err *err)
{
	if (errno == EPERM || errno == EACCES)
		return err_set(err, ERR_DENIED, "the VMM (pid %d) may not be looked into: uffdd "
			       "needs CAP_SYS_PTRACE for that", (int)pid);
	return err_sys(err, "look into the VMM (pid %d)", (int)pid);
}

int fetch_uffd(int vmm, pid_t pid, const struct regions *regions, int *ret_uffd, struct err *err)
{
	char path[64];
	struct dirent *e;
	DIR *dir;
	int found = -1;
	bool refused = false;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return denied(pid, err);
	while (found < 0 && (e = readdir(dir))) {
		int fd;

		if (!is_uffd(dirfd(dir), e->d_name))
			continue;
		fd = (int)syscall(SYS_pidfd_getfd, vmm, (int)strtol(e->d_name, NULL, 10), 0);
		refused = refused || fd < 0;
		if (fd >= 0 && has_regions(fd, regions))
			found = fd;
		else if (fd >= 0)
			close(fd);
	}
	closedir(dir);
	if (found < 0 && refused)
		return denied(pid, err);
	if (found < 0)
		return err_set(err, ERR_SYSTEM, "the VMM (pid %d) holds no userfaultfd with its "
			       "regions", (int)pid);
	*ret_uffd = found;
	return 0;
}
