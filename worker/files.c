#include "worker/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define HEADER_NAME "memfile.header"

bool files_are_new(const struct files *f)
{
	return f->given.n == 0;
}

/* Takes @fd, or errno. */
static void take_one(struct files *f, int fd)
{
	struct file *one = &f->v[f->n++];

	one->fd = fd;
	if (one->fd >= 0 && fstat(one->fd, &one->seen) == 0)
		return;
	one->sys = errno;
	close_fd(&one->fd);
}

/* Files that are not needed must not take the descriptor that the sandbox needs. */
static void leave_room(struct files *f)
{
	bool full = false;

	for (struct file *one = f->v + f->n; one-- > f->v;) {
		full = full || one->sys == EMFILE;
		if (one->fd < 0)
			continue;
		if (full) {
			close_fd(&one->fd);
			one->sys = EMFILE;
		}
		return;
	}
}

/* ---- paths ---- */

/* Of a request with too many layers, which source_load() refuses, none is opened. */
static void open_paths(const struct spec *spec, const struct roots *roots, struct files *f)
{
	size_t n = spec->nlayers > SPEC_LAYERS_MAX ? 0 : spec->nlayers;

	if (spec->source == SOURCE_HEADER)
		take_one(f, roots_open(roots, spec->path, LAYER_FLAGS));
	for (size_t i = 0; i < n; i++)
		take_one(f, roots_open(roots, spec->layers[i].path, LAYER_FLAGS));
	leave_room(f);
}

/* ---- a directory ---- */

/* Can a header mean that name (layers.c)? */
static bool is_layer(const char *name)
{
	static const char prefix[] = "memfile.";
	char text[UUID_STR_LEN];
	uuid_t build;

	if (strcmp(name, "memfile") == 0)
		return true;
	if (strncmp(name, prefix, sizeof(prefix) - 1) != 0 ||
	    uuid_parse(name + sizeof(prefix) - 1, build))
		return false;
	uuid_unparse_lower(build, text);
	return strcmp(name + sizeof(prefix) - 1, text) == 0;
}

/* A directory that is being opened, and how its files are. */
struct place {
	const char *path;
	const struct roots *roots;
	DIR *dir;
};

static void open_named(struct files *f, const struct place *at, const char *name)
{
	int fd;

	snprintf(f->v[f->n].name, sizeof(f->v[f->n].name), "%.*s", FILES_NAME_MAX, name);
	fd = roots_open_at(at->roots, dirfd(at->dir), at->path, name, LAYER_FLAGS);
	take_one(f, fd);
}

static void open_layers(struct files *f, const struct place *at)
{
	const struct dirent *e;

	while ((e = readdir(at->dir))) {
		if (!is_layer(e->d_name))
			continue;
		if (f->n > SPEC_LAYERS_MAX) {
			f->more = true;
			return;
		}
		open_named(f, at, e->d_name);
	}
}

static int by_name(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void open_dir(const struct spec *spec, const struct roots *roots, struct files *f)
{
	int fd = roots_open(roots, spec->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct place at = {spec->path, roots, fd < 0 ? NULL : fdopendir(fd)};

	if (!at.dir) {
		f->dir_sys = errno;
		close_fd(&fd);
		return;
	}
	open_named(f, &at, HEADER_NAME);
	open_layers(f, &at);
	closedir(at.dir);
	leave_room(f);
	qsort(f->v + 1, f->n - 1, sizeof(*f->v), by_name);
}

size_t files_find(const struct files *f, const char *name)
{
	struct file key = {.fd = -1};
	const struct file *hit;

	snprintf(key.name, sizeof(key.name), "%.*s", FILES_NAME_MAX, name);
	hit = f->n > 1 ? bsearch(&key, f->v + 1, f->n - 1, sizeof(key), by_name) : NULL;
	return hit ? (size_t)(hit - f->v) : SIZE_MAX;
}

/* ---- both ---- */

void source_given_fini(struct source_given *given)
{
	for (size_t i = 0; i < given->n; i++)
		close_fd(&given->fds[i]);
	free(given->fds);
	free(given->seen);
	*given = (struct source_given){0};
}

int files_open(const struct spec *spec, const struct roots *roots, struct files *f, struct err *err)
{
	f->v = calloc(SPEC_LAYERS_MAX + 1, sizeof(*f->v));
	if (!f->v)
		return err_sys(err, "cannot hold the snapshot's files");
	if (spec->source == SOURCE_DIR)
		open_dir(spec, roots, f);
	else
		open_paths(spec, roots, f);
	return 0;
}

void files_fini(struct files *f)
{
	source_given_fini(&f->given);
	for (size_t i = 0; i < f->n; i++)
		close_fd(&f->v[i].fd);
	free(f->v);
	*f = (struct files){0};
}

int files_take(struct files *f, size_t i, const char *dir, const char *name, struct layer *ret,
	       struct err *err)
{
	char path[SPEC_PATH_MAX + FILES_NAME_MAX + 2];

	if (i < f->n && f->v[i].fd >= 0)
		return layer_take_seen(steal_fd(&f->v[i].fd), &f->v[i].seen, dir, name, ret, err);
	snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", name);
	if (i >= f->n && f->more)
		return err_set(err, ERR_SNAPSHOT,
			       "%s: the directory has more than %d layers, and this one was not "
			       "opened: keep only the snapshot's own layers there",
			       layer_shown(path), SPEC_LAYERS_MAX);
	return layer_open_failed(path, i < f->n ? f->v[i].sys : ENOENT, err);
}

/* clang-format off */
static const struct call needs[] = {
	CALL(getdents64), CALL_IF(fcntl, 1, CALL_INT, F_GETFL),
	CALL_IF(fcntl, 1, CALL_INT, F_SETFD), CALL(getrandom),
};
/* clang-format on */
const struct calls files_calls = CALLS(needs);
