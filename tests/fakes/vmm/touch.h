/*
 * touch - memory under a userfaultfd of our own, and threads that touch it
 *
 * For use inside a Check test: what must not happen fails the test, and every
 * wait has a deadline. The test is the server; it may touch only what it has
 * installed, for nobody else would serve it.
 *
 *   touch_open(&m, 0, 4); touch_start(&t); touch_read_one(m.uffd);
 *   touch_copy(&m, 1, 1); touch_join(&t); touch_close(&m);
 */
#ifndef UFFDD_TESTS_TOUCH_H
#define UFFDD_TESTS_TOUCH_H

#include <pthread.h>
#include <sys/types.h>

#include "common/uffd.h"
#include "tests/support/runner.h"
#include "tests/support/vmmside.h"

#define ck_outcome(got, want)                                                           \
	do {                                                                            \
		enum uf_outcome got_ = (got);                                           \
		ck_assert_msg(got_ == (want), "%s, expected %s", uf_outcome_name(got_), \
			      uf_outcome_name(want));                                   \
	} while (0)

struct touch_mem {
	int uffd; /* owned */
	char *mem;
	uint64_t base; /* mem as the kernel counts */
	uint64_t len;
	char *src; /* as long; page n is full of 'a' + n */
};

/* An empty inbox, good until the next call. */
struct uf_inbox *touch_box(void);

/* A userfaultfd before UFFDIO_API, with these flags and no other; -1: none is to be had. */
int touch_raw(int flags);
/* Memory and a userfaultfd with UF_FEATURE_*, not yet registered. */
void touch_map(struct touch_mem *m, unsigned features, size_t pages);
/* The same, registered. */
void touch_open(struct touch_mem *m, unsigned features, size_t pages);
/* Closes the uffd first, as a VMM that ends: no thread stays blocked. */
void touch_close(struct touch_mem *m);

/* A thread that does one thing; done becomes readable when it has. */
struct touch {
	struct touch_mem *m;
	void (*body)(struct touch *t);
	size_t page;
	char value; /* what was loaded, or is to be stored */
	pid_t child;
	int done; /* eventfd, owned between start and join */
	pthread_t id;
};

void touch_load(struct touch *t);
void touch_store(struct touch *t);
void touch_discard(struct touch *t); /* two pages: MADV_DONTNEED */
void touch_unmap(struct touch *t);   /* two pages */
void touch_remap(struct touch *t);   /* two pages, onto the last two */
void touch_fork(struct touch *t);    /* the child exits at once; the test reaps it */

void touch_start(struct touch *t);
void touch_join(struct touch *t);

bool touch_readable(int fd, int timeout_ms);
/* Waits for messages; returns how many came. */
size_t touch_read(int uffd, struct uf_msg *msgs, size_t max);
/* Exactly one. */
struct uf_msg touch_read_one(int uffd);
/* Until that many faults are queued, as the kernel counts them. */
void touch_await_faults(int uffd, int want);

enum touch_how { TOUCH_COPY, TOUCH_ZERO, TOUCH_POISON, TOUCH_HOWS };
enum uf_outcome touch_install(const struct touch_mem *m, enum touch_how how, uint64_t off,
			      uint64_t len, uint64_t *ret_done);
/* Copies, as long as the answer is UF_AGAIN: a removal that was read needs a moment to end. */
enum uf_outcome touch_copy(const struct touch_mem *m, size_t page, size_t pages);
/* False, with a note on stderr, where the kernel has no UFFDIO_POISON. */
bool touch_have_poison(void);

#endif
