/*
 * installkit - what the tests of install share: one install at a time into a guest that nobody
 * touches, and what counts of it
 */
#ifndef UFFDD_TESTS_INSTALLKIT_H
#define UFFDD_TESTS_INSTALLKIT_H

#include "tests/support/servekit.h"
#include "worker/install.h"

static inline struct install at(const struct served *v, uint64_t page, uint64_t n)
{
	return (struct install){page, v->m.base + page * v->s.guest.page_bytes, n, 77};
}

/* Each page has what the snapshot says; only pages that were installed may be asked for. */
static inline void check_bytes(const struct served *v, uint64_t page, uint64_t n)
{
	char want[PAGE_4K];

	for (; n > 0; page++, n--) {
		memset(want, page == HOLE ? 0 : 'a' + (int)page, sizeof(want));
		ck_assert_msg(memcmp(v->m.mem + page * PAGE_4K, want, sizeof(want)) == 0,
			      "page %d has other bytes", (int)page);
	}
}

static inline void check_counts(const struct served *v, uint64_t data_pages, uint64_t zero_pages)
{
	ck_assert_uint_eq(stats(v)->installed_bytes, data_pages * PAGE_4K);
	ck_assert_uint_eq(stats(v)->zero_installed_bytes, zero_pages * PAGE_4K);
}

enum how { SNAPSHOT, ZEROS, FAULTED, HOWS };
static const char *const how_names[HOWS] = {"snapshot", "zeros", "faulted"};

static inline enum uf_outcome put(struct served *v, enum how how, struct install *in)
{
	struct source_run run = source_at(v->s.job.src, in->page * PAGE_4K, v->s.guest.page_bytes);
	enum uf_outcome o = UF_FAIL;
	struct err err;

	if (how == SNAPSHOT)
		o = install_snapshot(&v->s.guest, in, &err);
	else if (how == ZEROS)
		o = install_zeros(&v->s.guest, in);
	else
		o = install_faulted(&v->s.guest, in, &run, false, &err);
	return o;
}

/* One page of 2 MiB: 'p' up to @data_bytes, then zeros. */
static inline void open_huge(struct served *v, uint64_t data_bytes)
{
	char path[64], page[PAGE_4K];
	const char *const paths[] = {path};

	served_prepare_page(v, PAGE_2M, 0);
	memset(page, 'p', sizeof(page));
	ck_assert_int_eq(ftruncate(v->layer, 0), 0);
	ck_assert_int_eq(ftruncate(v->layer, PAGE_2M), 0);
	for (uint64_t off = 0; off < data_bytes; off += PAGE_4K)
		ck_assert_int_eq(pwrite(v->layer, page, PAGE_4K, (off_t)off), PAGE_4K);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", v->layer);
	source_free(v->s.job.src);
	v->s.job.src = load_files(paths, 1);
	served_begin(v);
}

#endif
