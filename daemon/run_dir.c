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

static int make_place(const struct conf *conf, const char *name, mode_t mode, struct err *err)
{
	char path[CONF_PATH_MAX + 1];

	snprintf(path, sizeof(path), "%s/%s/", conf->run_dir, name);
	if (make_dir(path, mode, err))
		return -1;
	return chmod(path, mode) ? err_sys(err, "set the mode of %s", path) : 0;
}

/* Two daemons in one run directory would remove each other's sockets. */
static int lock(const char *dir, int *ret_fd, struct err *err)
{
	*ret_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd < 0)
		return err_sys(err, "open the directory %s", dir);
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
	    lock(conf->run_dir, ret_fd, err))
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
