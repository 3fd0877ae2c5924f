#include "tests/fakes/snapshot/snapgen.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define GOLDEN_GAMMA 0x9e3779b97f4a7c15u
#define OUT_BYTES ((size_t)1 << 20)
#define TOUCHED_PERCENT 25

const char *const snapgen_kind_names[SNAPGEN_KINDS] = {
	[SNAPGEN_LAYERS] = "layers",
	[SNAPGEN_MEMORY] = "memory",
	[SNAPGEN_DIFFS] = "diffs",
};

const struct snapgen_opts snapgen_defaults = {
	.kind = SNAPGEN_LAYERS,
	.size_bytes = (uint64_t)256 << 20,
	.nlayers = 3,
	.zero_percent = 40,
	.run_pages = 16,
	.seed = 1,
	.image = true,
};

/* What one generation does to a page. */
enum plan { PLAN_KEEP, PLAN_DATA, PLAN_ZERO };

struct gen {
	const struct snapgen_opts *o;
	int dirfd;
	const char *dir;
	uint32_t npages;
	uint64_t random;
	uint8_t *plan;   /* owned; enum plan, by page, of the current generation */
	uint32_t *layer; /* owned; by page, the last one to write it, or EXTENT_ZERO */
	uint32_t *store; /* owned; by page, where in that layer's file, in pages */
};

/* Content --------------------------------------------------------------- */

/* The finaliser of splitmix64: a bijection, so that different inputs stay different. */
static uint64_t mix(uint64_t v)
{
	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
	v = (v ^ v >> 27) * 0x94d049bb133111ebu;
	return v ^ v >> 31;
}

void snapgen_page(uint64_t seed, uint32_t layer, uint32_t page, void *buf)
{
	uint64_t start = mix(mix(mix(seed + GOLDEN_GAMMA) + layer) + page);
	uint64_t *word = buf;

	for (uint64_t i = 0; i < PAGE_4K / sizeof(*word); i++)
		word[i] = htole64(mix(start + i * GOLDEN_GAMMA));
}

void snapgen_build(uint64_t seed, uint32_t layer, uuid_t ret)
{
	uint64_t half[2];

	half[0] = htole64(mix(mix(seed ^ GOLDEN_GAMMA) + layer));
	half[1] = htole64(mix(le64toh(half[0]) + GOLDEN_GAMMA));
	memcpy(ret, half, sizeof(half));
	ret[6] = (ret[6] & 0x0f) | 0x40;
	ret[8] = (ret[8] & 0x3f) | 0x80;
}

uint32_t snapgen_draw(uint64_t *state, uint32_t below)
{
	*state += GOLDEN_GAMMA;
	return (uint32_t)(mix(*state) % below);
}

/* Files ----------------------------------------------------------------- */

/* Gathers pages that follow each other into large writes; what is skipped is a hole. */
struct out {
	int fd;
	const char *dir, *name; /* borrowed */
	uint8_t *buf;           /* owned */
	size_t fill;
	uint64_t at; /* of buf, bytes into the file */
};

static int out_open(const struct gen *g, const char *name, struct out *ret, struct err *err)
{
	struct out out = {.dir = g->dir, .name = name};

	out.fd = openat(g->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (out.fd < 0 && errno == EEXIST)
		return err_set(err, ERR_CONFLICT, "%s/%s is there already: name an empty directory",
			       g->dir, name);
	if (out.fd < 0)
		return err_sys(err, "%s/%s", g->dir, name);
	out.buf = aligned_alloc(PAGE_4K, OUT_BYTES);
	if (!out.buf) {
		close(out.fd);
		return err_set(err, ERR_SYSTEM, "out of memory");
	}
	*ret = out;
	return 0;
}

static int out_flush(struct out *out, struct err *err)
{
	for (size_t done = 0; done < out->fill;) {
		ssize_t n = pwrite(out->fd, out->buf + done, out->fill - done,
				   (off_t)(out->at + done));

		if (n < 0 && errno != EINTR)
			return err_sys(err, "%s/%s", out->dir, out->name);
		if (n > 0)
			done += (size_t)n;
	}
	out->at += out->fill;
	out->fill = 0;
	return 0;
}

/* Where the next page's bytes go: at @off of the file. NULL after a failure. */
static void *out_page(struct out *out, uint64_t off, struct err *err)
{
	void *to;

	if ((out->fill == OUT_BYTES || off != out->at + out->fill) && out_flush(out, err) < 0)
		return NULL;
	if (out->fill == 0)
		out->at = off;
	to = out->buf + out->fill;
	out->fill += PAGE_4K;
	return to;
}

/* @size: of the whole file, 0 for as long as what was written. Ends @out also after @rc < 0. */
static int out_close(struct out *out, uint64_t size, int rc, struct err *err)
{
	if (rc == 0)
		rc = out_flush(out, err);
	if (rc == 0 && size > 0 && ftruncate(out->fd, (off_t)size) < 0)
		rc = err_sys(err, "%s/%s", out->dir, out->name);
	if (close(out->fd) < 0 && rc == 0)
		rc = err_sys(err, "%s/%s", out->dir, out->name);
	free(out->buf);
	return rc;
}

/* Generations ----------------------------------------------------------- */

static enum plan draw_plan(struct gen *g, uint32_t layer)
{
	if (layer > 0 && snapgen_draw(&g->random, 100) >= TOUCHED_PERCENT)
		return PLAN_KEEP;
	return snapgen_draw(&g->random, 100) < g->o->zero_percent ? PLAN_ZERO : PLAN_DATA;
}

static void make_plan(struct gen *g, uint32_t layer)
{
	for (uint32_t page = 0; page < g->npages;) {
		uint32_t run = 1 + snapgen_draw(&g->random, 2 * g->o->run_pages - 1);
		enum plan plan = draw_plan(g, layer);

		run = (uint32_t)min_u64(run, g->npages - page);
		memset(g->plan + page, plan, run);
		page += run;
	}
	if (g->o->zero_percent == 100)
		return;
	for (uint32_t page = 0; page < layer && page < g->npages; page++)
		g->plan[page] = PLAN_KEEP;
	if (layer < g->npages)
		g->plan[layer] = PLAN_DATA;
}

static void apply_plan(struct gen *g, uint32_t layer)
{
	uint32_t next = 0;

	for (uint32_t page = 0; page < g->npages; page++) {
		if (g->plan[page] == PLAN_KEEP)
			continue;
		g->layer[page] = g->plan[page] == PLAN_DATA ? layer : EXTENT_ZERO;
		g->store[page] = g->plan[page] == PLAN_DATA ? next++ : 0;
	}
}

/* The data pages of this generation, one after the other. */
static int write_layer(struct gen *g, uint32_t layer, struct err *err)
{
	char name[48], text[UUID_STR_LEN];
	uint64_t off = 0;
	struct out out;
	uuid_t build;
	int rc = 0;

	snapgen_build(g->o->seed, layer, build);
	uuid_unparse_lower(build, text);
	snprintf(name, sizeof(name), "memfile.%s", text);
	if (out_open(g, name, &out, err) < 0)
		return -1;
	for (uint32_t page = 0; page < g->npages && rc == 0; page++) {
		void *to;

		if (g->plan[page] != PLAN_DATA)
			continue;
		to = out_page(&out, off, err);
		if (to)
			snapgen_page(g->o->seed, layer, page, to);
		else
			rc = -1;
		off += PAGE_4K;
	}
	return out_close(&out, 0, rc, err);
}

/* All of this generation in its place. Zeros need bytes only where something lies below. */
static int write_diff(struct gen *g, uint32_t layer, struct err *err)
{
	char name[32] = SNAPGEN_BASE;
	struct out out;
	int rc = 0;

	if (layer > 0)
		snprintf(name, sizeof(name), SNAPGEN_DIFF, layer);
	if (out_open(g, name, &out, err) < 0)
		return -1;
	for (uint32_t page = 0; page < g->npages && rc == 0; page++) {
		bool data = g->plan[page] == PLAN_DATA;
		void *to;

		if (!data && (g->plan[page] == PLAN_KEEP || layer == 0))
			continue;
		to = out_page(&out, page * PAGE_4K, err);
		if (!to)
			rc = -1;
		else if (data)
			snapgen_page(g->o->seed, layer, page, to);
		else
			memset(to, 0, PAGE_4K);
	}
	return out_close(&out, g->o->size_bytes, rc, err);
}

/* The outcome of all generations so far. */
static int write_image(struct gen *g, const char *name, struct err *err)
{
	struct out out;
	int rc = 0;

	if (out_open(g, name, &out, err) < 0)
		return -1;
	for (uint32_t page = 0; page < g->npages && rc == 0; page++) {
		void *to;

		if (g->layer[page] == EXTENT_ZERO)
			continue;
		to = out_page(&out, page * PAGE_4K, err);
		if (to)
			snapgen_page(g->o->seed, g->layer[page], page, to);
		else
			rc = -1;
	}
	return out_close(&out, g->o->size_bytes, rc, err);
}

/* Header ---------------------------------------------------------------- */

static void put64(uint8_t *to, uint64_t v)
{
	v = htole64(v);
	memcpy(to, &v, sizeof(v));
}

void snapgen_put_meta(uint8_t *to, const struct header *h)
{
	put64(to, h->version);
	put64(to + 0x08, h->block_bytes);
	put64(to + 0x10, h->size_bytes);
	put64(to + 0x18, h->generation);
	memcpy(to + 0x20, h->build, sizeof(h->build));
	memcpy(to + 0x30, h->base, sizeof(h->base));
}

void snapgen_put_entry(uint8_t *to, const struct snapgen_entry *e)
{
	put64(to, e->offset);
	put64(to + 0x08, e->length);
	memcpy(to + 0x10, e->build, sizeof(e->build));
	put64(to + 0x20, e->store);
}

/* How far the run that begins at @page goes on. */
static uint32_t run_end(const struct gen *g, uint32_t page)
{
	uint32_t layer = g->layer[page], end = page + 1;

	while (end < g->npages && g->layer[end] == layer &&
	       (layer == EXTENT_ZERO || g->store[end] == g->store[page] + (end - page)))
		end++;
	return end;
}

static int put_header(const struct gen *g, FILE *f)
{
	struct header h = {
		.version = 1,
		.block_bytes = PAGE_4K,
		.size_bytes = g->o->size_bytes,
		.generation = g->o->nlayers - 1,
	};
	uint8_t meta[SNAPGEN_META_BYTES], bytes[SNAPGEN_ENTRY_BYTES];

	snapgen_build(g->o->seed, g->o->nlayers - 1, h.build);
	snapgen_build(g->o->seed, 0, h.base);
	snapgen_put_meta(meta, &h);
	fwrite(meta, sizeof(meta), 1, f);
	for (uint32_t page = 0, end; page < g->npages; page = end) {
		struct snapgen_entry e = {.offset = page * PAGE_4K};

		end = run_end(g, page);
		e.length = (end - page) * PAGE_4K;
		e.store = g->store[page] * PAGE_4K;
		if (g->layer[page] != EXTENT_ZERO)
			snapgen_build(g->o->seed, g->layer[page], e.build);
		snapgen_put_entry(bytes, &e);
		fwrite(bytes, sizeof(bytes), 1, f);
	}
	return ferror(f) ? -1 : 0;
}

static int write_header(const struct gen *g, struct err *err)
{
	int fd = openat(g->dirfd, "memfile.header", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
	int rc;

	if (!f) {
		err_sys(err, "%s/memfile.header", g->dir);
		cleanup_fd_fn(&fd);
		return -1;
	}
	rc = put_header(g, f);
	if (fclose(f) != 0 || rc < 0)
		return err_sys(err, "%s/memfile.header", g->dir);
	return 0;
}

/* The whole ------------------------------------------------------------- */

static int check_opts(const struct snapgen_opts *o, struct err *err)
{
	if (o->size_bytes == 0 || !is_aligned(o->size_bytes, PAGE_4K) ||
	    o->size_bytes > HEADER_SIZE_MAX)
		return err_set(err, ERR_INVALID,
			       "size %" PRIu64 ": give a multiple of 4096 up to %" PRIu64,
			       o->size_bytes, HEADER_SIZE_MAX);
	if (o->nlayers < 1 || o->nlayers > HEADER_BUILDS_MAX)
		return err_set(err, ERR_INVALID, "layers %u: give 1 to %u", o->nlayers,
			       HEADER_BUILDS_MAX);
	if (o->zero_percent > 100)
		return err_set(err, ERR_INVALID, "zero %u: give 0 to 100", o->zero_percent);
	if (o->run_pages < 1 || o->run_pages > INT32_MAX)
		return err_set(err, ERR_INVALID, "run %u: give at least 1 page", o->run_pages);
	return 0;
}

static int write_all(struct gen *g, struct err *err)
{
	for (uint32_t layer = 0; layer < g->o->nlayers; layer++) {
		int rc = 0;

		make_plan(g, layer);
		apply_plan(g, layer);
		if (g->o->kind == SNAPGEN_LAYERS)
			rc = write_layer(g, layer, err);
		else if (g->o->kind == SNAPGEN_DIFFS)
			rc = write_diff(g, layer, err);
		if (rc < 0)
			return -1;
	}
	if (g->o->kind == SNAPGEN_MEMORY && write_image(g, SNAPGEN_BASE, err) < 0)
		return -1;
	if (g->o->image && write_image(g, SNAPGEN_IMAGE, err) < 0)
		return -1;
	return g->o->kind == SNAPGEN_LAYERS ? write_header(g, err) : 0;
}

int snapgen_write(const struct snapgen_opts *o, const char *dir, struct err *err)
{
	struct gen g = {.o = o, .dir = dir, .random = mix(o->seed)};
	int rc;

	if (check_opts(o, err) < 0)
		return -1;
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return err_sys(err, "%s", dir);
	g.dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g.dirfd < 0)
		return err_sys(err, "%s", dir);

	g.npages = (uint32_t)(o->size_bytes / PAGE_4K);
	g.plan = calloc(g.npages, sizeof(*g.plan));
	g.layer = calloc(g.npages, sizeof(*g.layer));
	g.store = calloc(g.npages, sizeof(*g.store));
	if (g.plan && g.layer && g.store)
		rc = write_all(&g, err);
	else
		rc = err_set(err, ERR_SYSTEM, "no memory to plan %u pages", g.npages);
	free(g.plan);
	free(g.layer);
	free(g.store);
	close(g.dirfd);
	return rc;
}
