#include "daemon/sweep.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>

#include "daemon/holders.h"
#include "daemon/timer.h"

/* The page maps first: for the rest, a map that is gone is not open. */
static const struct {
	const char *dir;
	bool holders;
} places[] = {{"maps", false}, {"uffd", false}, {"files", true}};

/*
 * Has any process the page map with @key open? The kernel grants a lease for writing only if nobody
 * else has the file open. On a file system without leases every map counts as open.
 */
static bool is_open(const struct sweep *s, const char *key)
{
	char path[CONF_PATH_MAX + 1];
	cleanup_fd int fd = -1;

	host_path(s->host, "maps", key, path);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && fcntl(fd, F_SETLEASE, F_WRLCK) < 0;
}

static bool may_go(const struct sweep *s, const char *key)
{
	const struct restore *r = table_of_key(s->table, key);

	if (r)
		return !restore_stands(r);
	return !s->again || !is_open(s, key);
}

static int sweep_dir(const struct sweep *s, const char *what, bool holders, struct err *err)
{
	char path[CONF_PATH_MAX + 1];
	struct dirent *e;
	DIR *dir;

	host_path(s->host, what, "", path);
	dir = opendir(path);
	if (!dir)
		return err_sys(err, "open the directory %s", path);
	while ((e = readdir(dir))) {
		if (!proto_id_valid(e->d_name) || !may_go(s, e->d_name))
			continue;
		if (holders)
			holders_end(s->host, e->d_name);
		else
			unlinkat(dirfd(dir), e->d_name, 0);
	}
	closedir(dir);
	return 0;
}

static int sweep_all(const struct sweep *s, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (sweep_dir(s, places[i].dir, places[i].holders, err))
			return -1;
	return 0;
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct sweep *s = arg;
	struct err ignored;

	(void)fd;
	(void)what;
	sweep_stop(s);
	sweep_all(s, &ignored);
}

int sweep_start(struct sweep *s, struct err *err)
{
	s->again = evtimer_new(s->host->base, on_again, s);
	timer_add(s->again, SWEEP_MS * TIMER_MS);
	return sweep_all(s, err);
}

void sweep_stop(struct sweep *s)
{
	timer_drop(&s->again);
}

/* Has a process the page map of a restore that is in no row? */
static bool awaits_unknown(const struct sweep *s)
{
	char path[CONF_PATH_MAX + 1];
	struct dirent *e;
	bool found = false;
	DIR *dir;

	host_path(s->host, "maps", "", path);
	dir = opendir(path);
	while (dir && !found && (e = readdir(dir)))
		found = proto_id_valid(e->d_name) && !table_of_key(s->table, e->d_name) &&
			is_open(s, e->d_name);
	if (dir)
		closedir(dir);
	return found;
}

int sweep_check(const struct sweep *s, struct err *err)
{
	if (!s->again || !awaits_unknown(s))
		return 0;
	return err_set(err, ERR_UNREADY,
		       "a worker of a former daemon, whose restore is not in the store, may still "
		       "come back: try again in some seconds");
}
