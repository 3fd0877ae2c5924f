/*
 * readahead - threads that wait for the disk, so that the owner thread need not
 *
 * The threads read ranges of the snapshot into the page cache and assemble huge pages, and do
 * nothing else: they know no guest, no page map, no userfaultfd. A thread starts when there is work
 * for it and ends after READAHEAD_IDLE_S without work. Ranges that a guest's thread waits for come
 * before ranges for prefetch. Prefetch's ranges are taken in batches, so that the disk has many
 * requests at a time, however short they are.
 *
 *   owner ──readahead_ask()─┬─► demand ─┐
 *                           └─► ahead  ─┴─► threads: read ──► done ──readahead_take()──► owner
 */
#ifndef UFFDD_READAHEAD_H
#define UFFDD_READAHEAD_H

#include "worker/source.h"
#include "worker/calls.h"

#define READAHEAD_THREADS_MAX 8
#define READAHEAD_AHEAD_THREADS_MAX 2 /* threads that may work for prefetch */
#define READAHEAD_DEMAND_MAX 4096     /* ranges waiting or at work */
#define READAHEAD_AHEAD_MAX 256
/* Ranges that one thread asks the disk for at once: of prefetch, and of demand. */
#define READAHEAD_BATCH 64
#define READAHEAD_TOGETHER 4
#define READAHEAD_BUFFERS 4 /* buffers for huge pages that are assembled from several extents */
#define READAHEAD_IDLE_S 1
#define READAHEAD_END_MS 100

enum readahead_why { READAHEAD_DEMAND, READAHEAD_AHEAD, READAHEAD_WHYS };

struct readahead_range {
	uint64_t off, len; /* bytes of the snapshot */
	enum readahead_why why;
	/* Done: the assembled bytes, to be given back; NULL: the range is in the page cache. */
	void *bytes;
};

struct readahead;

/* @src is borrowed until readahead_free(). Starts no thread. Returns 0, or -1 with ERR_SYSTEM. */
int readahead_new(const struct source *src, struct readahead **ret, struct err *err);
/*
 * readahead_free - end the threads and free
 *
 * False: a thread still waits for the disk after READAHEAD_END_MS. Then nothing was freed, the
 * source must not be freed either, and only the process can end. Accepts NULL.
 */
bool readahead_free(struct readahead *w);

/*
 * Asks for [off, off + len) of the snapshot, bytes. False: too many ranges, or no thread can be
 * started; then the caller does without.
 */
bool readahead_ask(struct readahead *w, uint64_t off, uint64_t len, enum readahead_why why);
/* Borrowed; readable while a range is done. */
int readahead_fd(const struct readahead *w);
/* Takes ranges that are done, in the order of their ends; at most @max. Returns their number. */
size_t readahead_take(struct readahead *w, struct readahead_range *ret, size_t max);
/* Gives the buffer @bytes of a range back. */
void readahead_give_back(struct readahead *w, void *bytes);

/* What these functions need of the kernel (calls.h). */
extern const struct calls readahead_calls;

#endif
