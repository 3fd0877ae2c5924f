#include "worker/source.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/header.h"
#include "worker/layers.h"
#include "worker/scan.h"

struct source {
	struct layer header; /* fd -1: snapshot without a header */
	struct layer *files; /* owned; index = layer */
	size_t nfiles;
	struct files *opened; /* borrowed, while loading */
	uint64_t entries_max; /* of the header; 0: no bound */
	struct extents extents;
	uint64_t size_bytes;
	uuid_t build;  /* of the header */
	size_t cursor; /* of source_at() */
};

/* Room for @n files, none of them open yet. */
static int files_alloc(struct source *src, size_t n, struct err *err)
{
	src->files = calloc(n ? n : 1, sizeof(*src->files));
	if (!src->files)
		return err_sys(err, "cannot hold %zu layers", n);
	for (size_t i = 0; i < n; i++)
		src->files[i].fd = -1;
	src->nfiles = n;
	return 0;
}

/* Before there is memory for them. */
static int check_entries(const struct layer *f, uint64_t max, struct err *err)
{
	uint64_t n = header_entries(f->size_bytes);

	if (!max || n <= max)
		return 0;
	return err_set(err, ERR_QUOTA,
		       "%s has %" PRIu64 " entries, and %" PRIu64
		       " are left of the tenant's budget of header_entries",
		       layer_shown(f->path), n, max);
}

static int header_load(const struct layer *f, struct header *ret, struct err *err)
{
	size_t len = f->size_bytes;
	cleanup_free void *bytes = NULL;

	if (len > HEADER_FILE_MAX)
		return err_set(err, ERR_SNAPSHOT,
			       "%s has %zu bytes, a header at most %" PRIu64
			       ": is this a data file?",
			       layer_shown(f->path), len, HEADER_FILE_MAX);
	bytes = malloc(len + 1);
	if (!bytes)
		return err_sys(err, "%s: cannot hold %zu bytes", layer_shown(f->path), len);
	if (layer_read(f, 0, len, bytes, err) < 0 || layer_check(f, err) < 0)
		return -1;
	if (header_parse(bytes, len, ret, err) < 0)
		return err_wrap(err, "%s", layer_shown(f->path));
	return 0;
}

static int load_layers(const struct spec *spec, const struct header *h, struct source *src,
		       struct err *err)
{
	int rc = files_alloc(src, h->nbuilds, err);

	if (rc == 0)
		rc = spec->source == SOURCE_DIR
			     ? layers_in_dir(src->opened, spec->path, h, src->files, err)
			     : layers_listed(src->opened, spec, h, src->files, err);
	for (uint32_t i = 0; rc == 0 && i < h->nbuilds; i++)
		rc = layer_map(&src->files[i], h->builds[i].end_bytes, err);
	return rc;
}

static int load_header(const struct spec *spec, struct source *src, struct err *err)
{
	bool in_dir = spec->source == SOURCE_DIR;
	const struct layers_place at = {in_dir ? spec->path : "",
					in_dir ? "memfile.header" : spec->path, 0};
	struct header h;
	int rc;

	if (files_are_new(src->opened) && src->opened->dir_sys)
		return layer_open_failed(spec->path, src->opened->dir_sys, err);
	if (layers_take(src->opened, 0, &at, &src->header, err) < 0 ||
	    check_entries(&src->header, src->entries_max, err) < 0 ||
	    header_load(&src->header, &h, err) < 0)
		return -1;

	rc = load_layers(spec, &h, src, err);
	if (rc == 0) {
		src->size_bytes = h.size_bytes;
		uuid_copy(src->build, h.build);
		src->extents = h.extents;
		extents_init(&h.extents);
	}
	header_fini(&h);
	return rc;
}

static int check_flat_size(const struct layer *base, const struct layer *f, struct err *err)
{
	if (f->size_bytes == 0 || !is_aligned(f->size_bytes, PAGE_4K))
		return err_set(err, ERR_SNAPSHOT,
			       "%s has %" PRIu64 " bytes, not whole pages of "
			       "4096: it is truncated or no memory file",
			       layer_shown(f->path), f->size_bytes);
	if (f->size_bytes > HEADER_SIZE_MAX)
		return err_set(err, ERR_SNAPSHOT,
			       "%s has %" PRIu64 " bytes, at most %" PRIu64
			       " are supported: use a smaller guest",
			       layer_shown(f->path), f->size_bytes, HEADER_SIZE_MAX);
	if (f->size_bytes != base->size_bytes)
		return err_set(err, ERR_SNAPSHOT,
			       "%s has %" PRIu64 " bytes, its base %s %" PRIu64
			       ": a diff is as long as its base, give those of one guest",
			       layer_shown(f->path), f->size_bytes, layer_shown(base->path),
			       base->size_bytes);
	return 0;
}

static int load_flat(const struct spec *spec, size_t i, size_t *budget, struct source *src,
		     struct extents *out, struct err *err)
{
	struct layer *f = &src->files[i];
	struct scan scan = {f, (uint32_t)i, budget, out, 0};
	const struct layers_place at = {"", spec->layers[i].path, i};

	if (layers_take(src->opened, i, &at, f, err) < 0 ||
	    check_flat_size(&src->files[0], f, err) < 0 || scan_file(&scan, err) < 0 ||
	    (i > 0 && files_are_new(src->opened) && scan_judge(&scan, spec->dense_diffs, err) < 0))
		return -1;
	/* A file that changed during the scan would give extents of two files. */
	return layer_map(f, scan.end, err) < 0 ? -1 : layer_check(f, err);
}

/* Stacks neighbours first, so that thousands of diffs cost n log n, not n squared. */
static int stack(struct extents *v, size_t n, struct err *err)
{
	for (size_t step = 1; step < n; step *= 2)
		for (size_t i = 0; i + step < n; i += 2 * step) {
			struct extents both;

			if (extents_overlay(&v[i], &v[i + step], &both, err) < 0)
				return -1;
			extents_fini(&v[i]);
			extents_fini(&v[i + step]);
			v[i] = both;
		}
	return 0;
}

static int load_memory(const struct spec *spec, struct source *src, struct err *err)
{
	size_t n = spec->nlayers, budget = HEADER_ENTRIES_MAX;
	struct extents *v;
	int rc = 0;

	if (n == 0)
		return err_set(err, ERR_INVALID, "no memory file: give the base, then its diffs");
	if (files_alloc(src, n, err) < 0)
		return -1;
	v = calloc(n, sizeof(*v));
	if (!v)
		return err_sys(err, "cannot hold %zu layers", n);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = load_flat(spec, i, &budget, src, &v[i], err);
	if (rc == 0)
		rc = stack(v, n, err);
	if (rc == 0) {
		src->extents = v[0];
		src->size_bytes = src->files[0].size_bytes;
		extents_init(&v[0]);
	}
	for (size_t i = 0; i < n; i++)
		extents_fini(&v[i]);
	free(v);
	return rc;
}

int source_load(const struct spec *spec, struct files *files, uint64_t entries_max,
		struct source **ret, struct err *err)
{
	struct source *src;
	int rc;

	if (spec->nlayers > SPEC_LAYERS_MAX)
		return err_set(err, ERR_INVALID,
			       "%zu layers, at most %d are supported: merge the "
			       "snapshot's generations",
			       spec->nlayers, SPEC_LAYERS_MAX);
	src = xcalloc(1, sizeof(*src));
	src->header.fd = -1;
	src->opened = files;
	src->entries_max = entries_max;
	rc = spec->source == SOURCE_MEMORY ? load_memory(spec, src, err)
					   : load_header(spec, src, err);
	if (rc < 0) {
		source_free(src);
		return -1;
	}
	src->opened = NULL;
	*ret = src;
	return 0;
}

struct source *source_none(uint64_t span_bytes)
{
	struct source *src = xcalloc(1, sizeof(*src));
	struct err err;

	src->header.fd = -1;
	src->size_bytes = span_bytes;
	if (extents_add(&src->extents, (uint32_t)(align_up(span_bytes, PAGE_4K) / PAGE_4K),
			EXTENT_ZERO, 0, &err) ||
	    extents_end(&src->extents, &err))
		abort();
	return src;
}

void source_free(struct source *src)
{
	if (!src)
		return;
	layer_close(&src->header);
	for (size_t i = 0; i < src->nfiles; i++)
		layer_close(&src->files[i]);
	free(src->files);
	extents_fini(&src->extents);
	free(src);
}

/* The header is number 0, if there is one. */
static const struct layer *file_at(const struct source *src, size_t i)
{
	if (src->header.fd < 0)
		return &src->files[i];
	return i ? &src->files[i - 1] : &src->header;
}

size_t source_nfds(const struct source *src)
{
	return src->nfiles + (src->header.fd >= 0);
}

int source_fd(const struct source *src, size_t i)
{
	return file_at(src, i)->fd;
}

const struct stat *source_stat(const struct source *src, size_t i)
{
	return &file_at(src, i)->id;
}

bool source_build(const struct source *src, uuid_t ret)
{
	if (src->header.fd < 0 || uuid_is_null(src->build))
		return false;
	uuid_copy(ret, src->build);
	return true;
}

uint64_t source_span_bytes(const struct source *src)
{
	return (uint64_t)src->extents.npages * PAGE_4K;
}

uint64_t source_size_bytes(const struct source *src)
{
	return src->size_bytes;
}

size_t source_layers(const struct source *src)
{
	return src->nfiles;
}

size_t source_extents(const struct source *src)
{
	return src->extents.n;
}

static struct extent_run find(const struct source *src, uint64_t off, uint64_t max_len,
			      size_t *cursor)
{
	uint64_t len = min_u64(max_len, source_span_bytes(src) - off);

	assert(is_aligned(off, PAGE_4K) && len >= PAGE_4K);
	return extents_find(&src->extents, (uint32_t)(off / PAGE_4K), (uint32_t)(len / PAGE_4K),
			    cursor);
}

struct source_run source_at(struct source *src, uint64_t off, uint64_t max_len)
{
	struct extent_run run = find(src, off, max_len, &src->cursor);
	struct source_run ret = {.len = run.pages * PAGE_4K, .layer = run.layer};

	if (run.layer != EXTENT_ZERO)
		ret.data = src->files[run.layer].map + run.store * PAGE_4K;
	return ret;
}

enum residency_answer source_look(struct source *src, const struct source_run *run, void *buf)
{
	struct layer *f = &src->files[run->layer];

	return residency_look(&f->residency, (uint64_t)((const uint8_t *)run->data - f->map),
			      run->len, buf);
}

bool source_may_be_cold(struct source *src, uint64_t off, uint64_t len)
{
	for (uint64_t done = 0; done < len;) {
		struct source_run run = source_at(src, off + done, len - done);

		if (run.data && !src->files[run.layer].residency.in_memory)
			return true;
		done += run.len;
	}
	return false;
}

bool source_whole(const struct source *src, uint64_t off, uint64_t len)
{
	size_t cursor = 0;

	return find(src, off, len, &cursor).pages * PAGE_4K >= len;
}

typedef void (*residency_visit)(const struct residency *h, uint64_t off, uint64_t len);

static void visit_residency(const struct source *src, uint64_t off, uint64_t len,
			    residency_visit visit)
{
	size_t cursor = 0;

	for (uint64_t done = 0; done < len;) {
		struct extent_run run = find(src, off + done, len - done, &cursor);
		uint64_t n = run.pages * PAGE_4K;

		if (run.layer != EXTENT_ZERO)
			visit(&src->files[run.layer].residency, run.store * PAGE_4K, n);
		done += n;
	}
}

void source_announce(const struct source *src, uint64_t off, uint64_t len)
{
	visit_residency(src, off, len, residency_announce);
}

void source_fill(const struct source *src, uint64_t off, uint64_t len)
{
	visit_residency(src, off, len, residency_fill);
}

void source_read_in(const struct source *src, uint64_t off, uint64_t len)
{
	visit_residency(src, off, len, residency_read);
}

int source_check(const struct source *src, uint32_t layer, struct err *err)
{
	return layer == EXTENT_ZERO ? 0 : layer_check(&src->files[layer], err);
}

int source_read(const struct source *src, uint64_t off, uint64_t len, void *buf, struct err *err)
{
	size_t cursor = 0;

	for (uint64_t done = 0; done < len;) {
		struct extent_run run = find(src, off + done, len - done, &cursor);
		uint64_t n = run.pages * PAGE_4K;
		uint8_t *to = (uint8_t *)buf + done;

		if (run.layer == EXTENT_ZERO)
			memset(to, 0, n);
		else if (source_check(src, run.layer, err) < 0 ||
			 layer_read(&src->files[run.layer], run.store * PAGE_4K, n, to, err) < 0 ||
			 source_check(src, run.layer, err) < 0)
			return -1;
		done += n;
	}
	return 0;
}
