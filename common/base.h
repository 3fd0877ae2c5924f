/*
 * base - what every file may use: ownership helpers, page arithmetic, clocks
 *
 * Descriptors: -1 is the only invalid one; every descriptor is CLOEXEC from its creation.
 * Allocation: xcalloc() is for small, fixed amounts and aborts without memory. An amount that an
 * outsider chooses is bounded first, and its allocation is checked by the caller.
 */
#ifndef UFFDD_BASE_H
#define UFFDD_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Granularity of snapshot files and size of the smallest guest page, in bytes. */
#define PAGE_4K ((uint64_t)4096)
#define PAGE_2M ((uint64_t)2 << 20)

/* @a: a power of two, in this function and the next two. */
static inline uint64_t align_down(uint64_t v, uint64_t a)
{
	return v & ~(a - 1);
}

/* The caller has checked that v + a does not wrap. */
static inline uint64_t align_up(uint64_t v, uint64_t a)
{
	return align_down(v + a - 1, a);
}

static inline bool is_aligned(uint64_t v, uint64_t a)
{
	return (v & (a - 1)) == 0;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Monotonic microseconds: deadlines, back-off, rates. */
static inline uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Wall clock in milliseconds since 1970: what is stored and shown. */
static inline int64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What follows the first @c in @text; NULL: there is none. */
static inline const char *text_after(const char *text, char c)
{
	const char *at = strchr(text, c);

	return at ? at + 1 : NULL;
}

/* Zeroed memory, freed by free(). Aborts without memory. */
static inline void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p) {
		fputs("out of memory\n", stderr);
		abort();
	}
	return p;
}

static inline void cleanup_fd_fn(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free_fn(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_file_fn(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define cleanup_fd __attribute__((cleanup(cleanup_fd_fn)))
#define cleanup_free __attribute__((cleanup(cleanup_free_fn)))
#define cleanup_file __attribute__((cleanup(cleanup_file_fn)))

/* Returns the descriptor and leaves -1: ownership moves to the caller. */
static inline int steal_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

/* Closes the descriptor, unless it is -1, and sets it to -1. Safe to repeat. */
static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Returns the pointer and leaves NULL: ownership moves to the caller. */
#define steal_ptr(pp)                         \
	__extension__({                       \
		__typeof__(*(pp)) p_ = *(pp); \
		*(pp) = NULL;                 \
		p_;                           \
	})

#endif
