/*
 * residency - is a piece of a file in memory? Found out without waiting for the disk
 *
 * A read that may not wait (RWF_NOWAIT) tells, and returns the bytes at once. A chunk that was
 * found to be in memory as a whole counts as being in memory for a while: if a page is evicted
 * meanwhile, that costs one wait, never a wrong byte.
 *
 *   unknown ──enough pieces of it were there──► asked ──all of it there──► warm
 *      ▲                                          │                          │
 *      └────── a piece was cold, or not all ──────┴── RESIDENCY_BELIEVED_S ──┘
 */
#ifndef UFFDD_RESIDENCY_H
#define UFFDD_RESIDENCY_H

#include <sys/types.h>

#include "common/base.h"
#include "worker/calls.h"

#define RESIDENCY_CHUNK ((uint64_t)2 << 20)
#define RESIDENCY_READ_MAX ((uint64_t)64 << 10) /* larger pieces: mincore() */
#define RESIDENCY_BELIEVED_S 10

struct residency_chunk {
	uint32_t warm_until_s; /* monotonic seconds; 0: unknown */
	uint16_t hits;         /* pieces found in memory since the chunk was last asked about */
	uint16_t enough;       /* hits after which to ask (again); 0: the first time */
};

struct residency {
	int fd;                         /* borrowed */
	const uint8_t *map;             /* borrowed: the file from offset 0 on */
	uint64_t bytes;                 /* length of the map */
	struct residency_chunk *chunks; /* owned */
	bool in_memory; /* the file system has no disk below it: tmpfs and its like */
	bool nowait;    /* the file system knows RWF_NOWAIT */
	bool told;      /* mincore() tells this process the truth: it owns the file */
};

enum residency_answer {
	RESIDENCY_WARM, /* in memory: copy from the map */
	RESIDENCY_READ, /* in memory, and now in the buffer */
	RESIDENCY_COLD, /* not in memory, or not known */
};

/*
 * For a file of user @uid that is mapped from offset 0 on. @fd and @map are borrowed. Returns 0, or
 * -1: no memory.
 */
int residency_init(struct residency *h, int fd, uid_t uid, const uint8_t *map, uint64_t bytes);
void residency_fini(struct residency *h);

/*
 * Looks at [off, off + len) of the file. @buf has room for @len bytes if @len is at most
 * RESIDENCY_READ_MAX. For the owner thread only.
 */
enum residency_answer residency_look(struct residency *h, uint64_t off, uint64_t len, void *buf);

/*
 * Each brings a piece of the file into memory. For any thread. Errors show when the piece is used.
 *   announce  asks the disk for the piece, and does not wait
 *   fill      waits for an announced piece, and maps it in; of a piece that was not announced it
 *             may read the neighbours, too
 *   read      waits for the piece, and reads nothing else
 */
void residency_announce(const struct residency *h, uint64_t off, uint64_t len);
void residency_fill(const struct residency *h, uint64_t off, uint64_t len);
void residency_read(const struct residency *h, uint64_t off, uint64_t len);

/* What these functions need of the kernel (calls.h). */
extern const struct calls residency_calls;

#endif
