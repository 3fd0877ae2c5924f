#include "daemon/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A VMM must be able to reach its socket, but not to list other sockets. */
static const struct {
	const char *name;
	mode_t mode;
} places[] = {{"uffd", 0711}, {"maps", 0700}, {"files", 0700}};

static int make_dir(const char *path, mode_t mode, struct err *err)
{
	if (mkdir(path, mode) && errno != EEXIST)
		return err_sys(err, "create the directory %s", path);
	return 0;
}

/* Whoever else may write to a directory could put sockets and page maps in the place of ours. */
static int check_owner(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_sys(err, "look at the directory %s", path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_set(err, ERR_PATH,
			       "the directory %s belongs to uid %u, and uffdd runs as uid %u: "
			       "chown it, or choose another",
			       path, (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(err, ERR_PATH,
			       "the directory %s may be written to by others than its owner "
			       "(mode %04o): chmod go-w, or choose another",
			       path, st.st_mode & 07777);
	return 0;
}

static int open_dir(const char *path, int flags, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);

	if (fd < 0)
		return err_sys(err, "open the directory %s", path);
	if (check_owner(fd, path, err))
		return -1;
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int check_dir(const char *path, struct err *err)
{
	cleanup_fd int fd = -1;

	return open_dir(path, 0, &fd, err);
}

static int make_place(const struct conf *conf, const char *name, mode_t mode, struct err *err)
{
	cleanup_fd int fd = -1;
	char path[CONF_PATH_MAX + 1];

	snprintf(path, sizeof(path), "%s/%s", conf->run_dir, name);
	if (make_dir(path, mode, err) || open_dir(path, O_NOFOLLOW, &fd, err))
		return -1;
	return fchmod(fd, mode) ? err_sys(err, "set the mode of %s", path) : 0;
}

/* Two daemons in one run directory would remove each other's sockets. */
static int lock(const char *dir, int *ret_fd, struct err *err)
{
	if (open_dir(dir, 0, ret_fd, err))
		return -1;
	if (flock(*ret_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return err_sys(err, "lock the directory %s", dir);
	return err_set(err, ERR_SYSTEM,
		       "another uffdd uses the run directory %s: stop it, or "
		       "choose another --run-dir",
		       dir);
}

int run_dir_open(const struct conf *conf, int *ret_fd, struct err *err)
{
	if (make_dir(conf->run_dir, 0755, err) || make_dir(conf->state_dir, 0700, err) ||
	    check_dir(conf->state_dir, err) || lock(conf->run_dir, ret_fd, err))
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (make_place(conf, places[i].name, places[i].mode, err))
			return -1;
	return 0;
}

int run_dir_boot_id(char ret[BOOT_ID_LEN + 1], struct err *err)
{
	cleanup_fd int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, ret, BOOT_ID_LEN) != BOOT_ID_LEN)
		return err_sys(err, "read the boot id");
	ret[BOOT_ID_LEN] = '\0';
	return 0;
}
