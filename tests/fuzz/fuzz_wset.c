/* fuzz_wset - the working-set file, also with its checksum made right: what is read is written */
#include "common/wset_file.h"

#include <endian.h>

#include "common/crc.h"
#include "tests/fuzz/fuzz.h"

#define CRC_AT 12
#define CRC_BYTES 4
#define HEAD_BYTES 88

static void seal(uint8_t *bytes, size_t len)
{
	uint32_t crc;

	memset(bytes + CRC_AT, 0, CRC_BYTES);
	crc = htole32(crc_add(0, bytes, len));
	memcpy(bytes + CRC_AT, &crc, CRC_BYTES);
}

static void check_runs(const struct wset *s)
{
	uint64_t end = 0, pages = 0, all = wset_span_pages(s->span_bytes, s->page_bytes);

	for (size_t i = 0; i < s->n; i++) {
		const struct wset_run *run = &s->v[i];

		FUZZ_CHECK(run->pages && run->page >= end);
		FUZZ_CHECK(run->score >= WSET_CANDIDATE && run->score <= WSET_SCORE_MAX);
		FUZZ_CHECK(run->group < WSET_GROUPS);
		end = (uint64_t)run->page + run->pages;
		pages += run->pages;
	}
	FUZZ_CHECK(end <= all && pages == s->pages);
}

static void check_walk(const struct wset *s)
{
	struct wset_cursor c = {0};
	struct wset_run run;
	size_t n = 0;

	while (wset_next(s, &c, &run))
		FUZZ_CHECK(run.score >= WSET_MEMBER && ++n <= s->n);
}

static void check_other_sizes(const struct wset *s)
{
	struct wset other, both;
	struct err err;

	if (wset_convert(s, s->page_bytes == PAGE_4K ? PAGE_2M : PAGE_4K, &other, &err) == 0) {
		check_runs(&other);
		wset_fini(&other);
	}
	if (wset_union(s, s, &both, &err) == 0) {
		check_runs(&both);
		FUZZ_CHECK(both.pages == s->pages);
		wset_fini(&both);
	}
}

static void check_trimmed(struct wset *s)
{
	uint64_t room = max_u64(wset_file_bytes(s) / 2, HEAD_BYTES);

	wset_file_trim(s, room);
	FUZZ_CHECK(wset_file_bytes(s) <= room);
	check_runs(s);
}

static void read_file(const uint8_t *bytes, size_t len)
{
	struct err err = {.msg = ""};
	struct wset_head head;
	struct wset s;
	void *back;
	size_t n;

	if (wset_file_decode(bytes, len, &s, &err)) {
		FUZZ_CHECK_ERR(&err);
		return;
	}
	FUZZ_CHECK(wset_file_head(bytes, len, &head, &err) == 0);
	FUZZ_CHECK(head.pages == s.pages && head.runs == s.n);
	check_runs(&s);
	check_walk(&s);
	FUZZ_CHECK(wset_file_bytes(&s) == len);
	FUZZ_CHECK(wset_file_encode(&s, &back, &n, &err) == 0);
	FUZZ_CHECK(n == len && memcmp(back, bytes, len) == 0);
	free(back);
	check_other_sizes(&s);
	check_trimmed(&s);
	wset_fini(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_free uint8_t *sealed = NULL;

	read_file(data, len);
	if (len < CRC_AT + CRC_BYTES)
		return 0;
	sealed = malloc(len);
	if (!sealed)
		return 0;
	memcpy(sealed, data, len);
	seal(sealed, len);
	read_file(sealed, len);
	return 0;
}
