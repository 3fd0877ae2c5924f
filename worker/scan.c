#include "worker/scan.h"

#include <errno.h>
#include <inttypes.h>

#include "common/header.h"

/* The next run of data at or after @pos; *ret_data == size: no more data. */
static int next_data(const struct layer *f, uint64_t pos, uint64_t *ret_data, uint64_t *ret_hole,
		     struct err *err)
{
	uint64_t size = f->size_bytes;
	off_t data = lseek(f->fd, (off_t)pos, SEEK_DATA);
	off_t hole = data < 0 ? -1 : lseek(f->fd, data, SEEK_HOLE);

	if (data < 0 && errno == ENXIO) {
		*ret_data = *ret_hole = size;
		return 0;
	}
	if (hole < 0)
		return err_sys(err, "%s: looking for holes from %" PRIu64, layer_shown(f->path),
			       pos);
	*ret_data = min_u64((uint64_t)data, size);
	*ret_hole = min_u64((uint64_t)hole, size);
	return 0;
}

static int add_run(struct scan *s, uint64_t to, uint32_t layer, struct err *err)
{
	uint64_t at = (uint64_t)s->out->npages * PAGE_4K;

	if (to == at)
		return 0;
	return extents_add(s->out, (uint32_t)((to - at) / PAGE_4K), layer, (uint32_t)(at / PAGE_4K),
			   err);
}

/*
 * In the base, a hole that begins or ends inside a page joins that page's data: both read zero. In
 * a diff such a page would be half the parent's.
 */
int scan_file(struct scan *s, struct err *err)
{
	uint64_t size = s->f->size_bytes;

	for (uint64_t pos = 0; pos < size;) {
		uint64_t data = 0, hole = 0;

		if (next_data(s->f, pos, &data, &hole, err) < 0)
			return -1;
		if (s->layer > 0 && !(is_aligned(data, PAGE_4K) && is_aligned(hole, PAGE_4K)))
			return err_set(err, ERR_SNAPSHOT,
				       "%s: data from %" PRIu64 " to %" PRIu64
				       " is not whole pages: write diffs by pages of 4096 bytes",
				       layer_shown(s->f->path), data, hole);
		if (data < size && (*s->budget)-- == 0)
			return err_set(err, ERR_SNAPSHOT,
				       "%s: more than %u runs of data: merge "
				       "the diffs or write the file without holes",
				       layer_shown(s->f->path), HEADER_ENTRIES_MAX);
		data = max_u64(align_down(data, PAGE_4K), pos);
		hole = align_up(hole, PAGE_4K);
		if (add_run(s, data, EXTENT_ZERO, err) < 0 || add_run(s, hole, s->layer, err) < 0)
			return -1;
		if (hole > data)
			s->end = hole;
		pos = hole;
	}
	return extents_end(s->out, err);
}

static uint64_t data_bytes(const struct extents *e)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < e->n; i++)
		if (e->v[i].layer != EXTENT_ZERO)
			pages += e->v[i + 1].page - e->v[i].page;
	return pages * PAGE_4K;
}

int scan_judge(const struct scan *s, bool dense, struct err *err)
{
	const struct layer *f = s->f;
	uint64_t data = data_bytes(s->out), blocks = (uint64_t)f->id.st_blocks * 512;

	if (blocks < data)
		return err_set(err, ERR_SNAPSHOT,
			       "%s is sparse, but its file system does not tell "
			       "where its holes are (data of %" PRIu64
			       " bytes in blocks of %" PRIu64
			       "): copy it to ext4, xfs, btrfs or tmpfs with tar --sparse",
			       layer_shown(f->path), data, blocks);
	if (data == f->size_bytes && !dense)
		return err_set(err, ERR_SNAPSHOT,
			       "%s has no hole, so nothing of its base would be "
			       "left: a copy by gzip, scp or an object store has filled them: copy "
			       "it with tar --sparse, or say dense_diffs if it never had any",
			       layer_shown(f->path));
	return 0;
}
