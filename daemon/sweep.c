#include "daemon/sweep.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>

#include "daemon/holders.h"

/* The page maps first: the others go with them. */
static const struct {
	const char *dir;
	bool holders;
} places[] = {{"maps", false}, {"uffd", false}, {"files", true}};

/*
 * Has anybody the page map of that id open? A lease for writing is granted to one who is
 * alone with the file; where there are no leases, nobody can tell.
 */
static bool is_open(const struct supervisor *sup, const char *id)
{
	char path[CONF_PATH_MAX + 1];
	cleanup_fd int fd = -1;

	host_path(&sup->host, "maps", id, path);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && fcntl(fd, F_SETLEASE, F_WRLCK) < 0;
}

static bool may_go(const struct supervisor *sup, const char *id)
{
	switch (supervisor_standing(sup, id)) {
	case STANDING_UNKNOWN:
		return !sup->sweep_again || !is_open(sup, id);
	case STANDING_OVER:
		return true;
	case STANDING_STANDS:
		break;
	}
	return false;
}

static int sweep(struct supervisor *sup, const char *what, bool holders, struct err *err)
{
	char path[CONF_PATH_MAX + 1];
	struct dirent *e;
	DIR *dir;

	host_path(&sup->host, what, "", path);
	dir = opendir(path);
	if (!dir)
		return err_sys(err, "open the directory %s", path);
	while ((e = readdir(dir))) {
		if (!proto_id_valid(e->d_name) || !may_go(sup, e->d_name))
			continue;
		if (holders)
			holders_end(&sup->host, e->d_name);
		else
			unlinkat(dirfd(dir), e->d_name, 0);
	}
	closedir(dir);
	return 0;
}

static int sweep_all(struct supervisor *sup, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (sweep(sup, places[i].dir, places[i].holders, err))
			return -1;
	return 0;
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *sup = arg;
	struct err ignored;

	(void)fd;
	(void)what;
	sweep_stop(sup);
	sweep_all(sup, &ignored);
}

int sweep_start(struct supervisor *sup, struct err *err)
{
	const struct timeval by = {SWEEP_MS / 1000, SWEEP_MS % 1000 * 1000};

	sup->sweep_again = evtimer_new(sup->host.base, on_again, sup);
	evtimer_add(sup->sweep_again, &by);
	return sweep_all(sup, err);
}

void sweep_stop(struct supervisor *sup)
{
	if (sup->sweep_again)
		event_free(sup->sweep_again);
	sup->sweep_again = NULL;
}

int sweep_check(const struct supervisor *sup, const char *id, struct err *err)
{
	if (!sup->sweep_again || !is_open(sup, id))
		return 0;
	return err_set(err, ERR_UNREADY, "restore %s: a worker of a former daemon has that id, and "
		       "may still come back: try again, or choose another id", id);
}
