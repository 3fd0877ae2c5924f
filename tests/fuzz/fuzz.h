/*
 * fuzz - what all fuzz targets share: an input that is read like a tape, and a check that ends the
 * process
 *
 * A target exports LLVMFuzzerTestOneInput(), which libFuzzer (make fuzz) or replay.c (make check)
 * calls.
 */
#ifndef UFFDD_TESTS_FUZZ_H
#define UFFDD_TESTS_FUZZ_H

#include <string.h>

#include "common/base.h"
#include "common/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
/* Defined by a target that works as root only. */
bool fuzz_needs_root(void) __attribute__((weak));

/* Says where and what, then aborts: libFuzzer keeps the input. */
void fuzz_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));
#define FUZZ_CHECK(cond)                                            \
	do {                                                        \
		if (!(cond))                                        \
			fuzz_fail(__FILE__, __LINE__, "%s", #cond); \
	} while (0)
/* The call failed: its error must be one that can be shown. */
#define FUZZ_CHECK_ERR(err)                                              \
	FUZZ_CHECK((unsigned)(err)->code < ERR_COUNT && (err)->msg[0] && \
		   memchr((err)->msg, 0, sizeof((err)->msg)))

/* What is left of an input. At its end all numbers are 0. */
struct tape {
	const uint8_t *at;
	size_t left;
};

/* Fills @ret with the next @len bytes, and with zeros where there are none. */
static inline void tape_copy(struct tape *t, void *ret, size_t len)
{
	size_t n = min_u64(len, t->left);

	memset(ret, 0, len);
	if (n)
		memcpy(ret, t->at, n);
	t->at += n;
	t->left -= n;
}

static inline uint8_t tape_u8(struct tape *t)
{
	uint8_t v;

	tape_copy(t, &v, sizeof(v));
	return v;
}

static inline uint16_t tape_u16(struct tape *t)
{
	uint16_t v;

	tape_copy(t, &v, sizeof(v));
	return v;
}

static inline uint64_t tape_u64(struct tape *t)
{
	uint64_t v;

	tape_copy(t, &v, sizeof(v));
	return v;
}

#endif
