#include "daemon/wset_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/io.h"
#include "common/proto.h"

#define NEW ".new" /* never the name of a set */
#define NAME_MAX_BYTES (PROTO_ID_MAX + 4)

/* The size of a tenant's directory, so that it need not be counted for each set. */
struct tally {
	char tenant[PROTO_ID_MAX + 1];
	uint64_t bytes;
};

struct wset_store {
	int dir; /* owned */
	uint64_t file_bytes, tenant_bytes;
	struct tally *tallies; /* owned */
	size_t n;
};

int wset_store_open(const char *state_dir, uint64_t file_bytes, uint64_t tenant_bytes,
		    struct wset_store **ret, struct err *err)
{
	cleanup_free char *path = NULL;
	cleanup_fd int dir = -1;
	struct wset_store *w;

	if (asprintf(&path, "%s/working-sets", state_dir) < 0)
		abort();
	if (mkdir(path, 0700) && errno != EEXIST)
		return err_sys(err, "create the directory %s", path);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return err_sys(err, "open the directory %s", path);
	w = xcalloc(1, sizeof(*w));
	w->dir = steal_fd(&dir);
	w->tenant_bytes = tenant_bytes;
	w->file_bytes = min_u64(file_bytes, tenant_bytes);
	*ret = w;
	return 0;
}

void wset_store_close(struct wset_store *w)
{
	if (!w)
		return;
	close_fd(&w->dir);
	free(w->tallies);
	free(w);
}

/* ---- reading ---- */

static bool is_plain(const struct wset_store_name *name)
{
	return proto_id_valid(name->tenant) && proto_id_valid(name->key);
}

/* -1: the tenant has no sets. */
static int tenant_dir(const struct wset_store *w, const struct wset_store_name *name)
{
	return openat(w->dir, name->tenant, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void file_name(const struct wset_store_name *name, char ret[static NAME_MAX_BYTES])
{
	snprintf(ret, NAME_MAX_BYTES, "%s-%s", name->key,
		 name->page_bytes == PAGE_2M ? "2m" : "4k");
}

int wset_store_find(struct wset_store *w, const struct wset_store_name *name)
{
	cleanup_fd int dir = is_plain(name) ? tenant_dir(w, name) : -1;
	cleanup_fd int fd = -1;
	char file[NAME_MAX_BYTES];
	struct stat st;

	if (dir < 0)
		return -1;
	file_name(name, file);
	/* Non-blocking: anything may lie there, also a FIFO. */
	fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return -1;
	return steal_fd(&fd);
}

/* Reads a whole file of at most @max bytes. */
static int read_whole(int fd, uint64_t max, void **ret, size_t *ret_len, struct err *err)
{
	cleanup_free char *bytes = NULL;
	size_t len;
	struct stat st;

	if (fstat(fd, &st))
		return err_sys(err, "look at the working set");
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return err_set(err, ERR_INVALID,
			       "the working set has %lld bytes, at most %llu are "
			       "taken (working_set_bytes)",
			       (long long)st.st_size, (unsigned long long)max);
	len = (size_t)st.st_size;
	bytes = malloc(len + 1);
	if (!bytes)
		return err_sys(err, "cannot hold a working set of %zu bytes", len);
	if (io_read_at(fd, bytes, len, 0) < len)
		return errno ? err_sys(err, "read the working set")
			     : err_set(err, ERR_INVALID, "the working set is cut short");
	*ret = steal_ptr(&bytes);
	*ret_len = len;
	return 0;
}

static int check_head(const void *bytes, size_t len, const struct wset_store_name *name,
		      struct wset_head *ret, struct err *err)
{
	char key[WSET_KEY_LEN + 1];

	if (wset_file_head(bytes, len, ret, err))
		return -1;
	wset_key_text(&ret->key, key);
	if (strcmp(key, name->key) != 0 || ret->page_bytes != name->page_bytes)
		return err_set(err, ERR_INVALID,
			       "the working set is of another snapshot, or page "
			       "size");
	return 0;
}

int wset_store_read(struct wset_store *w, const struct wset_store_name *name, void **ret_bytes,
		    size_t *ret_len, struct err *err)
{
	cleanup_fd int fd = wset_store_find(w, name);
	cleanup_free void *bytes = NULL;
	struct wset_head head;
	struct err why;
	size_t len = 0;

	if (fd < 0)
		return err_set(err, ERR_NOTFOUND, "none is stored");
	if (read_whole(fd, WSET_FILE_MAX, &bytes, &len, &why) ||
	    check_head(bytes, len, name, &head, &why))
		return err_set(err, ERR_NOTFOUND,
			       "the stored one is of no use, and is recorded "
			       "anew by the next restore: %s",
			       why.msg);
	*ret_bytes = steal_ptr(&bytes);
	*ret_len = len;
	return 0;
}

/* ---- room ---- */

struct file {
	char name[NAME_MAX_BYTES];
	struct timespec time;
	uint64_t bytes;
};

struct files {
	struct file *v; /* owned */
	size_t n, cap;
	uint64_t bytes;
};

static uint64_t on_disk(uint64_t bytes)
{
	return align_up(max_u64(bytes, 1), PAGE_4K);
}

/* @len < NAME_MAX_BYTES */
static void files_add(struct files *files, const char *name, size_t len, const struct stat *st)
{
	struct file *f;

	if (files->n == files->cap) {
		files->cap = files->cap ? files->cap * 2 : 64;
		files->v = reallocarray(files->v, files->cap, sizeof(*files->v));
		if (!files->v)
			abort();
	}
	f = &files->v[files->n++];
	memcpy(f->name, name, len + 1);
	f->time = st->st_mtim;
	f->bytes = on_disk((uint64_t)st->st_size);
	files->bytes += f->bytes;
}

/* Files whose names cannot be a set's are neither counted nor evicted. */
static int list(int dir, struct files *ret, struct err *err)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	*ret = (struct files){0};
	if (!d) {
		err_sys(err, "look into a tenant's working sets");
		close_fd(&fd);
		return -1;
	}
	while ((e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (e->d_name[0] != '.' && len < NAME_MAX_BYTES &&
		    fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			files_add(ret, e->d_name, len, &st);
	}
	closedir(d);
	return 0;
}

static int by_time(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	if (x->time.tv_sec != y->time.tv_sec)
		return x->time.tv_sec < y->time.tv_sec ? -1 : 1;
	return x->time.tv_nsec < y->time.tv_nsec ? -1 : x->time.tv_nsec > y->time.tv_nsec;
}

static struct tally *find_tally(struct wset_store *w, const char *tenant)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->tallies[i].tenant, tenant) == 0)
			return &w->tallies[i];
	return NULL;
}

static struct tally *new_tally(struct wset_store *w, const char *tenant)
{
	struct tally *t = reallocarray(w->tallies, w->n + 1, sizeof(*t));

	if (!t)
		abort();
	w->tallies = t;
	t = &t[w->n++];
	snprintf(t->tenant, sizeof(t->tenant), "%s", tenant);
	return t;
}

/* Evicts a quarter more than necessary, so that a full directory is not listed for each set. */
static int evict(const struct wset_store *w, int dir, uint64_t need, uint64_t *ret_bytes,
		 struct err *err)
{
	struct files files;

	if (list(dir, &files, err))
		return -1;
	if (files.n)
		qsort(files.v, files.n, sizeof(*files.v), by_time);
	if (files.bytes + need > w->tenant_bytes)
		for (size_t i = 0; i < files.n && files.bytes + need > w->tenant_bytes / 4 * 3; i++)
			if (unlinkat(dir, files.v[i].name, 0) == 0)
				files.bytes -= files.v[i].bytes;
	free(files.v);
	*ret_bytes = files.bytes;
	return 0;
}

static int make_room(struct wset_store *w, const char *tenant, int dir, uint64_t need,
		     struct err *err)
{
	struct tally *t = find_tally(w, tenant);
	uint64_t bytes = 0;

	if (t && t->bytes + need <= w->tenant_bytes) {
		t->bytes += need;
		return 0;
	}
	if (evict(w, dir, need, &bytes, err))
		return -1;
	if (!t)
		t = new_tally(w, tenant);
	t->bytes = bytes + need;
	return 0;
}

/* ---- writing ---- */

/* A sealed file is a memfd: reading it cannot block, and its bytes cannot change. */
static int check_sealed(int fd, struct err *err)
{
	const int need = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals >= 0 && (seals & need) == need)
		return 0;
	return err_set(err, ERR_INVALID, "the worker's working set is no sealed memfd");
}

static int write_new(int dir, const void *bytes, size_t len, struct err *err)
{
	cleanup_fd int fd = -1;

	unlinkat(dir, NEW, 0);
	fd = openat(dir, NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, "create a working-set file");
	return io_write_all(fd, bytes, len) ? err_sys(err, "write a working-set file") : 0;
}

/* Writes the whole file, or leaves the old one. */
static int write_file(int dir, const char *file, const void *bytes, size_t len, struct err *err)
{
	int rc = write_new(dir, bytes, len, err);

	if (rc == 0 && renameat(dir, NEW, dir, file))
		rc = err_sys(err, "replace a working-set file");
	if (rc)
		unlinkat(dir, NEW, 0);
	return rc;
}

/* The old set counts until the new one is written: there is room for both. */
static int replace(struct wset_store *w, const struct wset_store_name *name, int dir,
		   const void *bytes, size_t len, struct err *err)
{
	char file[NAME_MAX_BYTES];
	struct tally *t;
	struct stat old;
	bool was_there;

	if (make_room(w, name->tenant, dir, on_disk(len), err))
		return -1;
	t = find_tally(w, name->tenant);
	file_name(name, file);
	was_there = fstatat(dir, file, &old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(old.st_mode);
	if (write_file(dir, file, bytes, len, err)) {
		t->bytes -= on_disk(len);
		return -1;
	}
	if (was_there)
		t->bytes -= min_u64(t->bytes, on_disk((uint64_t)old.st_size));
	return 0;
}

int wset_store_put(struct wset_store *w, const struct wset_store_name *name, uint64_t span_bytes,
		   int fd, struct wset_head *ret, struct err *err)
{
	cleanup_free void *bytes = NULL;
	cleanup_fd int dir = -1;
	struct wset_head head;
	size_t len = 0;

	if (!is_plain(name))
		return err_set(err, ERR_INVALID, "a working set for nobody");
	if (check_sealed(fd, err) || read_whole(fd, w->file_bytes, &bytes, &len, err) ||
	    check_head(bytes, len, name, &head, err))
		return -1;
	if (head.span_bytes != span_bytes)
		return err_set(err, ERR_INVALID, "the working set is of a snapshot of %llu bytes",
			       (unsigned long long)head.span_bytes);
	if (mkdirat(w->dir, name->tenant, 0700) && errno != EEXIST)
		return err_sys(err, "create the directory of a tenant's working sets");
	dir = tenant_dir(w, name);
	if (dir < 0)
		return err_sys(err, "open the directory of a tenant's working sets");
	if (replace(w, name, dir, bytes, len, err))
		return -1;
	*ret = head;
	return 0;
}
