/*
 * warm - threads that wait for the disk, so that the owner thread need not
 *
 * They bring ranges of the snapshot into the page cache, and put huge pages
 * together, and do nothing else: they know no guest, no page map, no userfaultfd. A thread is started when there is
 * work for it and ends when it has had none for WARM_IDLE_S. What a guest's
 * thread waits for comes before what prefetch wants; that is taken in batches, so
 * that the disk has many requests at a time, however short they are.
 *
 *   owner ──warm_ask()──► demand ─┐                    ┌─► done ──warm_fd, warm_take()──► owner
 *                         ahead  ─┴─► threads: read ───┘
 */
#ifndef UFFDD_WARM_H
#define UFFDD_WARM_H

#include "worker/source.h"

#define WARM_THREADS_MAX 8
#define WARM_AHEAD_THREADS_MAX 2 /* of these, at work for prefetch */
#define WARM_DEMAND_MAX 4096     /* ranges waiting or at work */
#define WARM_AHEAD_MAX 256
/* Ranges that one thread asks the disk for at once: for prefetch, and of those waited for. */
#define WARM_BATCH 64
#define WARM_TOGETHER 4
#define WARM_BUFFERS 4     /* for huge pages that are put together of several extents */
#define WARM_IDLE_S 1
#define WARM_END_MS 100

enum warm_why { WARM_DEMAND, WARM_AHEAD, WARM_WHYS };

struct warm_range {
	uint64_t off, len; /* snapshot bytes */
	enum warm_why why;
	/* Done: the bytes, where they had to be put together; to be given back. NULL: they are in memory. */
	void *bytes;
};

struct warm;

/* @src is borrowed. Starts no thread yet. */
int warm_new(const struct source *src, struct warm **ret, struct err *err);
/*
 * warm_free - end the threads
 *
 * False: one of them still waits for the disk after WARM_END_MS. Then nothing is freed,
 * neither may the source be, and only the end of the process is left. Accepts NULL.
 */
bool warm_free(struct warm *w);

/* False: nobody can (too many, or no thread could be started): do without. */
bool warm_ask(struct warm *w, uint64_t off, uint64_t len, enum warm_why why);
/* Readable while something is done. */
int warm_fd(const struct warm *w);
/* What is done, in the order of its end; at most @max. Returns how many. */
size_t warm_take(struct warm *w, struct warm_range *ret, size_t max);
/* Gives the bytes of a range back. */
void warm_give_back(struct warm *w, void *bytes);

#endif
