/*
 * readahead - threads that wait for the disk, so that the owner thread need not
 *
 * They bring ranges of the snapshot into the page cache, and put huge pages
 * together, and do nothing else: they know no guest, no page map, no userfaultfd. A thread is started when there is
 * work for it and ends when it has had none for READAHEAD_IDLE_S. What a guest's
 * thread waits for comes before what prefetch wants; that is taken in batches, so
 * that the disk has many requests at a time, however short they are.
 *
 *   owner ──readahead_ask()──► demand ─┐                    ┌─► done ──readahead_fd, readahead_take()──► owner
 *                         ahead  ─┴─► threads: read ───┘
 */
#ifndef UFFDD_READAHEAD_H
#define UFFDD_READAHEAD_H

#include "worker/source.h"

#define READAHEAD_THREADS_MAX 8
#define READAHEAD_AHEAD_THREADS_MAX 2 /* of these, at work for prefetch */
#define READAHEAD_DEMAND_MAX 4096     /* ranges waiting or at work */
#define READAHEAD_AHEAD_MAX 256
/* Ranges that one thread asks the disk for at once: for prefetch, and of those waited for. */
#define READAHEAD_BATCH 64
#define READAHEAD_TOGETHER 4
#define READAHEAD_BUFFERS 4 /* for huge pages that are put together of several extents */
#define READAHEAD_IDLE_S 1
#define READAHEAD_END_MS 100

enum readahead_why { READAHEAD_DEMAND, READAHEAD_AHEAD, READAHEAD_WHYS };

struct readahead_range {
	uint64_t off, len; /* snapshot bytes */
	enum readahead_why why;
	/* Done: the bytes, where they had to be put together; to be given back. NULL: they are in memory. */
	void *bytes;
};

struct readahead;

/* @src is borrowed. Starts no thread yet. */
int readahead_new(const struct source *src, struct readahead **ret, struct err *err);
/*
 * readahead_free - end the threads
 *
 * False: one of them still waits for the disk after READAHEAD_END_MS. Then nothing is freed,
 * neither may the source be, and only the end of the process is left. Accepts NULL.
 */
bool readahead_free(struct readahead *w);

/* False: nobody can (too many, or no thread could be started): do without. */
bool readahead_ask(struct readahead *w, uint64_t off, uint64_t len, enum readahead_why why);
/* Readable while something is done. */
int readahead_fd(const struct readahead *w);
/* What is done, in the order of its end; at most @max. Returns how many. */
size_t readahead_take(struct readahead *w, struct readahead_range *ret, size_t max);
/* Gives the bytes of a range back. */
void readahead_give_back(struct readahead *w, void *bytes);

#endif
