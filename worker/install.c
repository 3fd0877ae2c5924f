#include "worker/install.h"

#include <sys/mman.h>

/* Zeros to copy: as much as prefetch installs at once. Mapped read-only, they cost no memory. */
#define ZEROS_BYTES ((uint64_t)256 << 10)

static void *anonymous(uint64_t bytes, int prot)
{
	void *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int install_init(struct guest *g, struct err *err)
{
	g->unverified = EXTENT_ZERO;
	g->zeros_bytes = max_u64(g->page_bytes, ZEROS_BYTES);
	g->bounce = anonymous(g->page_bytes, PROT_READ | PROT_WRITE);
	g->zeros = anonymous(g->zeros_bytes, PROT_READ);
	if (!g->bounce || !g->zeros)
		return err_sys(err, "map %llu bytes of buffers", (unsigned long long)g->page_bytes);
	/* Guest bytes do not belong into a core dump. */
	madvise(g->bounce, g->page_bytes, MADV_DONTDUMP);
	return 0;
}

void install_fini(struct guest *g)
{
	if (g->bounce)
		munmap(g->bounce, g->page_bytes);
	if (g->zeros)
		munmap(g->zeros, g->zeros_bytes);
	g->bounce = g->zeros = NULL;
}

/* If the VMM tracks its guest's writes, installed pages must not count as written. */
static bool tracks(struct guest *g, uint64_t addr)
{
	if (g->tracks == UF_TRACKING_UNSURE)
		g->tracks = uffd_tracks(g->uffd, addr, g->page_bytes);
	return g->tracks == UF_TRACKS;
}

/* EEXIST for a huge page may mean an empty pool: only presence proves that the page is there. */
static enum uf_outcome judge(struct guest *g, uint64_t addr, enum uf_outcome o)
{
	if (o != UF_EXISTS || !guest_is_huge(g) ||
	    presence_ask(&g->presence, g->uffd, addr, g->page_bytes) == PRESENCE_YES)
		return o;
	return UF_NOMEM;
}

/* All copied bytes go through here. */
static enum uf_outcome put(struct guest *g, uint64_t addr, const void *from, uint64_t bytes,
			   uint64_t *ret_done)
{
	enum uf_outcome o;

	if (tracks(g, addr))
		o = uffd_copy_protected(g->uffd, addr, from, bytes, ret_done);
	else
		o = uffd_copy(g->uffd, addr, from, bytes, ret_done);
	return judge(g, addr, o);
}

enum uf_outcome install_zeros(struct guest *g, struct install *in)
{
	uint64_t bytes = in->n * g->page_bytes, done;
	enum uf_outcome o;

	if (guest_is_huge(g) || tracks(g, in->addr))
		o = put(g, in->addr, g->zeros, min_u64(bytes, g->zeros_bytes), &done);
	else
		o = uffd_zero(g->uffd, in->addr, bytes, &done);
	in->done = done / g->page_bytes;
	g->map.stats->zero_installed_bytes += done;
	return o == UF_DONE && in->done < in->n ? UF_PART : o;
}

/* ---- data ---- */

static enum uf_outcome put_data(struct guest *g, struct install *in, const void *from)
{
	enum uf_outcome o;
	uint64_t done;

	o = put(g, in->addr, from, in->n * g->page_bytes, &done);
	in->done = done / g->page_bytes;
	g->map.stats->installed_bytes += done;
	return o;
}

void install_assembled(struct guest *g, uint64_t page, void *bytes)
{
	g->assembled[g->nassembled++] = (struct guest_assembled){page, bytes};
}

void *install_take_back(struct guest *g)
{
	for (size_t i = 0; i < g->nassembled; i++) {
		struct guest_assembled held = g->assembled[i];

		if (pagemap_get(&g->map, held.page) == PAGE_ABSENT)
			continue;
		g->assembled[i] = g->assembled[--g->nassembled];
		return held.bytes;
	}
	return NULL;
}

static const void *find_assembled(const struct guest *g, uint64_t page)
{
	for (size_t i = 0; i < g->nassembled; i++)
		if (g->assembled[i].page == page)
			return g->assembled[i].bytes;
	return NULL;
}

/* A page of several extents: assembled here, or by readahead already, then copied. */
static enum uf_outcome put_assembled(struct guest *g, struct install *in, struct err *err)
{
	const void *bytes = find_assembled(g, in->page);

	if (!bytes && source_read(g->src, in->page * g->page_bytes, g->page_bytes, g->bounce, err))
		return UF_SOURCE;
	return put_data(g, in, bytes ? bytes : g->bounce);
}

int install_verify(struct guest *g, struct err *err)
{
	uint32_t layer = g->unverified;

	g->unverified = EXTENT_ZERO;
	return source_check(g->src, layer, err);
}

/* Is the layer unchanged, and was it unchanged when bytes were last copied from it? */
static int check_layer(struct guest *g, uint32_t layer, struct err *err)
{
	if (g->unverified != layer && install_verify(g, err))
		return -1;
	g->unverified = EXTENT_ZERO;
	return source_check(g->src, layer, err);
}

/* The same for a page that a thread waits for: one check is valid for INSTALL_CHECKED_US. */
static int check_faulted(struct guest *g, uint32_t layer, struct err *err)
{
	uint64_t now = now_us();

	if (g->unverified == layer && now - g->checked_us < INSTALL_CHECKED_US)
		return 0;
	g->checked_us = now;
	return check_layer(g, layer, err);
}

/* @from: bytes of @layer. */
static enum uf_outcome put_layer(struct guest *g, struct install *in, const void *from,
				 uint32_t layer, struct err *err)
{
	enum uf_outcome o = put_data(g, in, from);

	if (o == UF_SOURCE)
		err_set(err, ERR_SNAPSHOT,
			"layer %u cannot be read: an I/O error, or its file "
			"was truncated",
			layer);
	return o;
}

/*
 * Copies straight from the layer's mapping: the kernel copies. The file is checked before, so that
 * changed bytes are not served, and after, so that a change during the copy is noticed.
 */
static enum uf_outcome put_mapped(struct guest *g, struct install *in, const struct source_run *run,
				  struct err *err)
{
	enum uf_outcome o;

	if (check_layer(g, run->layer, err))
		return UF_SOURCE;
	o = put_layer(g, in, run->data, run->layer, err);
	return source_check(g->src, run->layer, err) ? UF_SOURCE : o;
}

enum uf_outcome install_snapshot(struct guest *g, struct install *in, struct err *err)
{
	struct source_run run = source_at(g->src, in->page * g->page_bytes, in->n * g->page_bytes);
	uint64_t whole = run.len / g->page_bytes;
	struct install part = {in->page, in->addr, max_u64(whole, 1), 0};
	enum uf_outcome o;

	if (whole == 0)
		o = put_assembled(g, &part, err);
	else if (!run.data)
		o = install_zeros(g, &part);
	else
		o = put_mapped(g, &part, &run, err);
	in->done = part.done;
	return o == UF_DONE && in->done < in->n ? UF_PART : o;
}

/*
 * Bytes that were read into our own buffer are checked after the read, so they are certainly right.
 * For bytes that the kernel copies from the map, the check after the copy does not delay the fault:
 * it comes with one of the next pages, or with install_verify().
 */
enum uf_outcome install_faulted(struct guest *g, struct install *in, const struct source_run *run,
				bool read, struct err *err)
{
	in->done = 0;
	if (read ? check_layer(g, run->layer, err) : check_faulted(g, run->layer, err))
		return UF_SOURCE;
	if (!read)
		g->unverified = run->layer;
	return put_layer(g, in, read ? g->bounce : run->data, run->layer, err);
}
