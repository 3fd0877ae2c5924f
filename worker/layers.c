#include "worker/layers.h"

#include <errno.h>
#include <string.h>

/* Missing layers that an error text names. */
#define NAMED_MAX 3

int layers_take(struct files *files, size_t i, const struct layers_place *at, struct layer *ret,
		struct err *err)
{
	const struct source_given *given = &files->given;

	if (files_are_new(files))
		return files_take(files, at->at, at->dir, at->name, ret, err);
	if (i >= given->n || given->fds[i] < 0)
		return err_set(err, ERR_SYSTEM, "the predecessor's file %zu is missing", i);
	return layer_take_seen(steal_fd(&given->fds[i]), &given->seen[i], at->dir, at->name, ret,
			       err);
}

static void layer_name(const uuid_t build, char ret[static 48])
{
	char text[UUID_STR_LEN];

	uuid_unparse_lower(build, text);
	snprintf(ret, 48, "memfile.%s", text);
}

static int missing_layers(const char *dir, const struct header *h, const struct layer *files,
			  size_t nmissing, struct err *err)
{
	char names[NAMED_MAX * 50 + 32] = "";
	size_t named = 0, len = 0;

	for (uint32_t i = 0; i < h->nbuilds && named < NAMED_MAX; i++) {
		char name[48];

		if (files[i].fd >= 0)
			continue;
		layer_name(h->builds[i].id, name);
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
					named++ ? ", " : "", name);
	}
	if (nmissing > named)
		snprintf(names + len, sizeof(names) - len, " and %zu more", nmissing - named);
	return err_set(err, ERR_SNAPSHOT,
		       "missing in %s: %s: copy the layers of the parent "
		       "snapshot there",
		       layer_shown(dir), names);
}

/*
 * Older writers call the data of a first or merged generation just "memfile". So that name can only
 * stand for the base build, and only when no other layer is missing: any wider rule would serve one
 * layer's bytes as another's.
 */
static bool may_be_memfile(const struct header *h, size_t nmissing, size_t missing)
{
	return nmissing == 1 && uuid_compare(h->builds[missing].id, h->base) == 0;
}

static int take_named(struct files *files, size_t i, const char *dir, const char *name,
		      struct layer *ret, struct err *err)
{
	const struct layers_place at = {dir, name, files_find(files, name)};

	return layers_take(files, i, &at, ret, err);
}

int layers_in_dir(struct files *files, const char *dir, const struct header *h, struct layer *ret,
		  struct err *err)
{
	size_t nmissing = 0, last_missing = 0;
	struct err why;

	for (uint32_t i = 0; i < h->nbuilds; i++) {
		char name[48];

		layer_name(h->builds[i].id, name);
		if (take_named(files, 1 + i, dir, name, &ret[i], &why) == 0)
			continue;
		if (why.sys != ENOENT)
			goto fail;
		last_missing = i;
		nmissing++;
	}
	if (nmissing == 0 ||
	    (may_be_memfile(h, nmissing, last_missing) &&
	     take_named(files, 1 + last_missing, dir, "memfile", &ret[last_missing], &why) == 0))
		return 0;
	if (why.sys == ENOENT)
		return missing_layers(dir, h, ret, nmissing, err);
fail:
	*err = why;
	return -1;
}

static int by_build(const void *a, const void *b)
{
	const struct spec_layer *const *x = a, *const *y = b;

	return memcmp((*x)->build, (*y)->build, sizeof(uuid_t));
}

/* The layers that the caller has listed, sorted by build id. */
struct listed {
	const struct spec_layer **v;
	size_t n;
};

static int take_listed(struct files *files, const struct spec *spec, const struct listed *listed,
		       const struct header *h, struct layer *ret, struct err *err)
{
	for (uint32_t i = 0; i < h->nbuilds; i++) {
		struct spec_layer key, *wanted = &key, **hit;
		struct layers_place at = {.dir = ""};
		char text[UUID_STR_LEN];

		uuid_copy(key.build, h->builds[i].id);
		hit = bsearch(&wanted, listed->v, listed->n, sizeof(wanted), by_build);
		if (!hit) {
			uuid_unparse_lower(key.build, text);
			return err_set(err, ERR_SNAPSHOT,
				       "layer %s is missing: the header refers "
				       "to it, give its path in layers",
				       text);
		}
		at.name = (*hit)->path;
		at.at = 1 + (size_t)(*hit - spec->layers);
		if (layers_take(files, 1 + i, &at, &ret[i], err) < 0)
			return -1;
	}
	return 0;
}

int layers_listed(struct files *files, const struct spec *spec, const struct header *h,
		  struct layer *ret, struct err *err)
{
	size_t n = spec->nlayers;
	cleanup_free const struct spec_layer **v = calloc(n + 1, sizeof(*v));
	char text[UUID_STR_LEN];

	if (!v)
		return err_sys(err, "cannot hold %zu layers", n);
	for (size_t i = 0; i < n; i++)
		v[i] = &spec->layers[i];
	qsort(v, n, sizeof(*v), by_build);
	for (size_t i = 1; i < n; i++)
		if (by_build(&v[i - 1], &v[i]) == 0) {
			uuid_unparse_lower(v[i]->build, text);
			return err_set(err, ERR_INVALID,
				       "layer %s is given twice: give each build "
				       "id one path",
				       text);
		}
	return take_listed(files, spec, &(struct listed){v, n}, h, ret, err);
}
