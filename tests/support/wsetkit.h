/*
 * wsetkit - what the tests of stored working sets share: sets, and the descriptors by which a worker
 * sends them
 */
#ifndef UFFDD_TESTS_WSETKIT_H
#define UFFDD_TESTS_WSETKIT_H

#include <fcntl.h>
#include <sys/mman.h>

#include "common/wset_file.h"
#include "tests/support/runner.h"

#define WSETKIT_SPAN ((uint64_t)1 << 30) /* bytes of each snapshot */
#define WSETKIT_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* Of snapshot @number, with @runs runs of two pages. Freed by wset_fini(). */
static inline struct wset wsetkit_make(uint64_t number, uint64_t page_bytes, uint32_t runs)
{
	struct wset s = {
		.key = {.kind = WSET_FILES, .number = number},
		.page_bytes = page_bytes,
		.span_bytes = WSETKIT_SPAN,
		.restores = 1,
	};
	struct err err;

	for (uint32_t i = 0; i < runs; i++) {
		const struct wset_run run = {5 * i, 2, 2, (uint8_t)(i % WSET_GROUPS)};

		ck_assert_int_eq(wset_add(&s, &run, &err), 0);
	}
	return s;
}

/* Owned by the caller, like the next one's. */
static inline int wsetkit_memfd(const void *bytes, size_t len, int seals)
{
	int fd = memfd_create("set", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* The set as a worker sends it; frees the set. */
static inline int wsetkit_send(struct wset s)
{
	cleanup_free void *bytes = NULL;
	struct err err = {.msg = ""};
	size_t len;

	ck_assert_msg(wset_file_encode(&s, &bytes, &len, &err) == 0, "%s", err.msg);
	wset_fini(&s);
	return wsetkit_memfd(bytes, len, WSETKIT_SEALS);
}

#endif
