#include "worker/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "common/io.h"

/* Length of a path in an error text: its end is what tells files apart. */
#define SHOWN_MAX 160

const char *layer_shown(const char *path)
{
	size_t len = strlen(path);

	return len > SHOWN_MAX ? path + len - SHOWN_MAX : path;
}

void layer_close(struct layer *f)
{
	if (f->map)
		munmap((void *)(uintptr_t)f->map, f->map_bytes);
	f->map = NULL;
	residency_fini(&f->residency);
	close_fd(&f->fd);
	free(f->path);
	f->path = NULL;
}

/* Most failures blame the path; EMFILE, ENFILE, ENOMEM and EIO do not. Sets err->sys. */
int layer_open_failed(const char *path, int sys, struct err *err)
{
	if (sys == EMFILE)
		return err_set(
			err, ERR_QUOTA,
			"%s: its worker has no descriptor left for it: "
			"raise the daemon's hard limit of open files (LimitNOFILE=, ulimit -Hn)",
			layer_shown(path));
	if (sys == EXDEV)
		return err_set(err, ERR_DENIED,
			       "%s: it is not beneath a directory of its tenant (snapshot_roots), "
			       "or a link leads out of there",
			       layer_shown(path));
	if (sys == ENFILE || sys == ENOMEM || sys == EIO) {
		errno = sys;
		return err_sys(err, "%s", layer_shown(path));
	}
	err_set(err, ERR_PATH, "%s: %s: it must be a file that the caller can read",
		layer_shown(path), strerror(sys));
	err->sys = sys;
	return -1;
}

static int identify(struct layer *l, const struct stat *seen, struct err *err)
{
	if (seen)
		l->id = *seen;
	else if (fstat(l->fd, &l->id) < 0)
		return err_sys(err, "%s", layer_shown(l->path));
	if (!S_ISREG(l->id.st_mode))
		return err_set(err, ERR_PATH,
			       "%s is not a regular file: give the snapshot's own "
			       "file",
			       layer_shown(l->path));
	l->size_bytes = (uint64_t)l->id.st_size;
	return 0;
}

int layer_take_seen(int fd, const struct stat *st, const char *dir, const char *name,
		    struct layer *ret, struct err *err)
{
	struct layer l = {.fd = fd};

	if (asprintf(&l.path, "%s%s%s", dir, *dir ? "/" : "", name) < 0) {
		l.path = NULL;
		err_sys(err, "%s", layer_shown(name));
		layer_close(&l);
		return -1;
	}
	if (identify(&l, st, err) < 0) {
		layer_close(&l);
		return -1;
	}
	*ret = l;
	return 0;
}

int layer_take(int fd, const char *dir, const char *name, struct layer *ret, struct err *err)
{
	return layer_take_seen(fd, NULL, dir, name, ret, err);
}

int layer_open(int dirfd, const char *dir, const char *name, struct layer *ret, struct err *err)
{
	int fd = openat(dirfd, name, LAYER_FLAGS);
	int sys = errno;
	cleanup_free char *path = NULL;

	if (fd >= 0)
		return layer_take(fd, dir, name, ret, err);
	if (asprintf(&path, "%s%s%s", dir, *dir ? "/" : "", name) < 0) {
		path = NULL;
		return err_sys(err, "%s", layer_shown(name));
	}
	return layer_open_failed(path, sys, err);
}

int layer_check(const struct layer *f, struct err *err)
{
	static const char immutable[] = "snapshot files must not change, write new ones";
	const struct timespec *was = &f->id.st_mtim;
	struct stat now;

	/* A FUSE without allow_other: it lets root read on what root has opened, and tells no more. */
	if (fstat(f->fd, &now) < 0)
		return errno == EACCES ? 0 : err_sys(err, "%s", layer_shown(f->path));
	if (now.st_dev != f->id.st_dev || now.st_ino != f->id.st_ino)
		return err_set(err, ERR_SNAPSHOT, "%s was replaced by another file: %s",
			       layer_shown(f->path), immutable);
	if (now.st_size != f->id.st_size)
		return err_set(err, ERR_SNAPSHOT, "%s changed (size was %jd, is %jd): %s",
			       layer_shown(f->path), (intmax_t)f->id.st_size, (intmax_t)now.st_size,
			       immutable);
	if (now.st_mtim.tv_sec != was->tv_sec || now.st_mtim.tv_nsec != was->tv_nsec)
		return err_set(err, ERR_SNAPSHOT,
			       "%s changed (modification time was %jd.%09ld, "
			       "is %jd.%09ld): %s",
			       layer_shown(f->path), (intmax_t)was->tv_sec, was->tv_nsec,
			       (intmax_t)now.st_mtim.tv_sec, now.st_mtim.tv_nsec, immutable);
	return 0;
}

int layer_read(const struct layer *f, uint64_t off, uint64_t len, void *buf, struct err *err)
{
	uint64_t done = io_read_at(f->fd, buf, len, off);

	if (done == len)
		return 0;
	if (errno)
		return err_sys(err, "%s: reading at %" PRIu64, layer_shown(f->path), off + done);
	return err_set(err, ERR_SNAPSHOT,
		       "%s ends at %" PRIu64 ", %" PRIu64
		       " bytes are needed: it was truncated while in use",
		       layer_shown(f->path), off + done, off + len);
}

int layer_map(struct layer *f, uint64_t need, struct err *err)
{
	void *map;

	if (f->size_bytes < need)
		return err_set(err, ERR_SNAPSHOT,
			       "%s has %" PRIu64 " bytes, the snapshot needs %" PRIu64
			       ": it is truncated or another file, copy it again",
			       layer_shown(f->path), f->size_bytes, need);
	if (need == 0)
		return 0;
	map = mmap(NULL, need, PROT_READ, MAP_SHARED, f->fd, 0);
	if (map == MAP_FAILED)
		return err_sys(err, "%s: mapping %" PRIu64 " bytes", layer_shown(f->path), need);
	/* Guest bytes do not belong into a core dump. */
	madvise(map, need, MADV_DONTDUMP);
	f->map = map;
	f->map_bytes = need;
	if (residency_init(&f->residency, f->fd, f->id.st_uid, f->map, need))
		return err_sys(err, "%s: cannot keep track of %" PRIu64 " bytes",
			       layer_shown(f->path), need);
	return 0;
}
