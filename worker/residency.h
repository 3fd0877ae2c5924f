/*
 * residency - is a piece of a file in memory? Found out without waiting for the disk
 *
 * A read that may not wait (RWF_NOWAIT) tells, and brings the bytes at once. A
 * chunk that was found to be in memory as a whole is believed to stay there for a
 * while: a page that was evicted meanwhile costs one wait, never a wrong byte.
 *
 *   unknown ──enough pieces of it were there──► asked ──all of it there──► warm
 *      ▲                                          │                          │
 *      └────────── a piece was cold, or not all ──┴──── RESIDENCY_BELIEVED_S ─────┘
 */
#ifndef UFFDD_RESIDENCY_H
#define UFFDD_RESIDENCY_H

#include <sys/types.h>

#include "common/base.h"

#define RESIDENCY_CHUNK ((uint64_t)2 << 20)
#define RESIDENCY_READ_MAX ((uint64_t)64 << 10) /* longer pieces are not read, only asked about */
#define RESIDENCY_BELIEVED_S 10

struct residency_chunk {
	uint32_t warm_until_s; /* monotonic; 0: unknown */
	uint16_t hits;         /* pieces that were there since it was last asked about */
	uint16_t enough;       /* hits after which to ask (again); 0: the first time */
};

struct residency {
	int fd;                         /* borrowed */
	const uint8_t *map;             /* borrowed: the file from offset 0 on */
	uint64_t bytes;                 /* of the map */
	struct residency_chunk *chunks; /* owned */
	bool in_memory;                 /* no disk below it: tmpfs and its like */
	bool nowait;                    /* its file system knows RWF_NOWAIT */
	bool told; /* mincore() tells the truth: to the owner of the file alone */
};

enum residency_answer {
	RESIDENCY_WARM, /* in memory: it can be taken from the map */
	RESIDENCY_READ, /* in memory, and in the buffer now */
	RESIDENCY_COLD, /* not in memory, or nobody can tell */
};

/* For a file of user @uid that is mapped whole. Returns 0, or -1: no memory. */
int residency_init(struct residency *h, int fd, uid_t uid, const uint8_t *map, uint64_t bytes);
void residency_fini(struct residency *h);

/* @buf: room for @len bytes, if that is at most RESIDENCY_READ_MAX. The owner thread's alone. */
enum residency_answer residency_look(struct residency *h, uint64_t off, uint64_t len, void *buf);

/*
 * Each brings a piece into memory. Any thread. Errors show when it is used.
 *   announce  asks the disk for it, and does not wait
 *   fill      waits for what was announced, and maps it in; of what was not, it may read
 *             the neighbours, too
 *   read      waits for it, and for nothing else
 */
void residency_announce(const struct residency *h, uint64_t off, uint64_t len);
void residency_fill(const struct residency *h, uint64_t off, uint64_t len);
void residency_read(const struct residency *h, uint64_t off, uint64_t len);

#endif
