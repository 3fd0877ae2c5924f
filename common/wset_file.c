#include "common/wset_file.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

#include "common/crc.h"

#define MAGIC 0x7465737764666675ull /* "uffdwset" */
#define CRC_AT 12
#define RUN_BYTES_MIN 3
#define LEB_MAX 5 /* bytes that 32 bits may take */

struct wire {
	uint64_t magic;
	uint32_t version, crc;
	uint64_t length, span_bytes;
	uint32_t page_bytes, restores;
	uint32_t kind, zero;
	uint8_t id[16];
	uint64_t number, runs, pages;
};

_Static_assert(sizeof(struct wire) == 88, "file format");
_Static_assert(offsetof(struct wire, crc) == CRC_AT, "file format");

/* Of a whole file, with its checksum field taken as zero. */
static uint32_t checksum(const uint8_t *bytes, size_t len)
{
	static const uint8_t zero[4];
	uint32_t crc = crc_add(crc_add(0, bytes, CRC_AT), zero, sizeof(zero));

	return crc_add(crc, bytes + CRC_AT + 4, len - CRC_AT - 4);
}

/* ---- out ---- */

static size_t leb_bytes(uint32_t v)
{
	size_t n = 1;

	while (v >>= 7)
		n++;
	return n;
}

static uint8_t *put_leb(uint8_t *p, uint32_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}

uint64_t wset_file_bytes(const struct wset *s)
{
	uint64_t bytes = sizeof(struct wire);
	uint32_t end = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct wset_run *r = &s->v[i];

		bytes += leb_bytes(r->page - end) + leb_bytes(r->pages) + 1;
		end = r->page + r->pages;
	}
	return bytes;
}

void wset_file_trim(struct wset *s, uint64_t bytes)
{
	if (wset_file_bytes(s) <= bytes)
		return;
	wset_keep(s, WSET_MEMBER, WSET_GROUPS);
	for (unsigned groups = WSET_GROUPS; groups > 1 && wset_file_bytes(s) > bytes;)
		wset_keep(s, WSET_MEMBER, --groups);
	/* All pages are of the first group: any part is as good as another. */
	while (s->n && wset_file_bytes(s) > bytes) {
		s->n /= 2;
		wset_keep(s, WSET_MEMBER, WSET_GROUPS);
	}
}

static void fill_wire(const struct wset *s, uint64_t length, struct wire *w)
{
	*w = (struct wire){
		.magic = htole64(MAGIC),
		.version = htole32(WSET_FILE_VERSION),
		.length = htole64(length),
		.span_bytes = htole64(s->span_bytes),
		.page_bytes = htole32((uint32_t)s->page_bytes),
		.restores = htole32(s->restores),
		.kind = htole32(s->key.kind),
		.number = htole64(s->key.number),
		.runs = htole64(s->n),
		.pages = htole64(s->pages),
	};
	memcpy(w->id, s->key.id, sizeof(w->id));
}

int wset_file_encode(const struct wset *s, void **ret_bytes, size_t *ret_len, struct err *err)
{
	uint64_t len = wset_file_bytes(s);
	uint8_t *bytes = malloc(len), *p;
	uint32_t end = 0, crc;
	struct wire w;

	if (!bytes)
		return err_sys(err, "cannot hold %" PRIu64 " bytes of a working set", len);
	fill_wire(s, len, &w);
	memcpy(bytes, &w, sizeof(w));
	p = bytes + sizeof(w);
	for (size_t i = 0; i < s->n; i++) {
		const struct wset_run *r = &s->v[i];

		p = put_leb(put_leb(p, r->page - end), r->pages);
		*p++ = (uint8_t)(r->score | r->group << 2);
		end = r->page + r->pages;
	}
	crc = htole32(checksum(bytes, len));
	memcpy(bytes + CRC_AT, &crc, sizeof(crc));
	*ret_bytes = bytes;
	*ret_len = len;
	return 0;
}

/* ---- in ---- */

static int damaged(struct err *err, const char *what, uint64_t value)
{
	return err_set(err, ERR_INVALID, "the working set is damaged: %s %" PRIu64, what, value);
}

/* Faults that are no damage, and have another cure. */
static int check_kind(const uint8_t *bytes, size_t len, struct wire *w, struct err *err)
{
	if (len > WSET_FILE_MAX)
		return err_set(err, ERR_INVALID,
			       "the working set has %zu bytes, at most %" PRIu64 " are taken", len,
			       WSET_FILE_MAX);
	memcpy(w, bytes, min_u64(len, sizeof(*w)));
	if (len < 8 || le64toh(w->magic) != MAGIC)
		return err_set(err, ERR_INVALID, "this is no working-set file");
	if (len < sizeof(*w))
		return damaged(err, "cut off after bytes", len);
	if (le32toh(w->version) != WSET_FILE_VERSION)
		return err_set(err, ERR_INVALID,
			       "the working set has version %u, this uffdd knows "
			       "%d: record it anew",
			       le32toh(w->version), WSET_FILE_VERSION);
	if (le64toh(w->length) != len)
		return damaged(err, "it is not of the length it should be,", le64toh(w->length));
	if (le32toh(w->crc) != checksum(bytes, len))
		return err_set(err, ERR_INVALID, "the working set is damaged: wrong checksum");
	return 0;
}

static bool key_is_plain(const struct wset_key *key)
{
	static const uint8_t none[16];

	if (key->kind == WSET_HASH)
		return memcmp(key->id, none, sizeof(none)) == 0;
	return key->kind == WSET_BUILD || key->kind == WSET_FILES;
}

static int check_head(const struct wset_head *h, uint64_t length, struct err *err)
{
	if (h->page_bytes != PAGE_4K && h->page_bytes != PAGE_2M)
		return damaged(err, "page size", h->page_bytes);
	if (h->span_bytes == 0 || h->span_bytes > WSET_SPAN_MAX ||
	    !is_aligned(h->span_bytes, PAGE_4K))
		return damaged(err, "bytes of memory", h->span_bytes);
	if (!key_is_plain(&h->key))
		return damaged(err, "kind of key", h->key.kind);
	if (h->restores == 0)
		return damaged(err, "number of restores", h->restores);
	if (h->runs > (length - sizeof(struct wire)) / RUN_BYTES_MIN)
		return damaged(err, "number of runs", h->runs);
	if (h->pages < h->runs || h->pages > wset_span_pages(h->span_bytes, h->page_bytes))
		return damaged(err, "number of pages", h->pages);
	return 0;
}

int wset_file_head(const void *bytes, size_t len, struct wset_head *ret, struct err *err)
{
	struct wset_head h;
	struct wire w;

	if (check_kind(bytes, len, &w, err))
		return -1;
	h = (struct wset_head){
		.key = {.kind = le32toh(w.kind),
			.pad = le32toh(w.zero),
			.number = le64toh(w.number)},
		.page_bytes = le32toh(w.page_bytes),
		.span_bytes = le64toh(w.span_bytes),
		.runs = le64toh(w.runs),
		.pages = le64toh(w.pages),
		.restores = le32toh(w.restores),
	};
	memcpy(h.key.id, w.id, sizeof(w.id));
	if (h.key.pad)
		return damaged(err, "not zero at byte 44:", h.key.pad);
	if (check_head(&h, len, err))
		return -1;
	*ret = h;
	return 0;
}

struct reader {
	const uint8_t *p, *end;
	uint64_t page; /* end of the run before */
	uint64_t all;  /* pages of the snapshot */
};

/* False: cut off, longer than needed, or more than 32 bits. */
static bool get_leb(struct reader *r, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < LEB_MAX && r->p < r->end; i++) {
		uint8_t byte = *r->p++;

		v |= (uint64_t)(byte & 0x7f) << 7 * i;
		if (byte & 0x80)
			continue;
		*ret = v;
		return (byte || i == 0) && v <= UINT32_MAX;
	}
	return false;
}

static int read_run(struct reader *r, size_t i, const struct wset_run *before, struct wset_run *ret,
		    struct err *err)
{
	uint64_t gap, pages;
	uint8_t kind;

	if (!get_leb(r, &gap) || !get_leb(r, &pages) || r->p == r->end)
		return damaged(err, "no whole run", i);
	kind = *r->p++;
	if (pages == 0 || gap > r->all - r->page || pages > r->all - r->page - gap)
		return damaged(err, "pages that the snapshot does not have in run", i);
	*ret = (struct wset_run){(uint32_t)(r->page + gap), (uint32_t)pages, kind & 3,
				 kind >> 2 & 7};
	if (ret->score < WSET_CANDIDATE || kind >> 5)
		return damaged(err, "score or group of run", i);
	if (before && gap == 0 && before->score == ret->score && before->group == ret->group &&
	    (uint64_t)before->pages + pages <= UINT32_MAX)
		return damaged(err, "joins the one before: run", i);
	r->page += gap + pages;
	return 0;
}

static int read_runs(struct reader *r, const struct wset_head *h, struct wset *s, struct err *err)
{
	for (; s->n < h->runs; s->n++) {
		struct wset_run *before = s->n ? &s->v[s->n - 1] : NULL;

		if (read_run(r, s->n, before, &s->v[s->n], err))
			return -1;
		s->pages += s->v[s->n].pages;
	}
	if (r->p != r->end)
		return damaged(err, "bytes behind its runs:", (uint64_t)(r->end - r->p));
	if (s->pages != h->pages)
		return damaged(err, "number of pages", h->pages);
	return 0;
}

int wset_file_decode(const void *bytes, size_t len, struct wset *ret, struct err *err)
{
	struct reader r = {.p = (const uint8_t *)bytes + sizeof(struct wire),
			   .end = (const uint8_t *)bytes + len};
	struct wset_head h;
	struct wset s;

	if (wset_file_head(bytes, len, &h, err))
		return -1;
	r.all = wset_span_pages(h.span_bytes, h.page_bytes);
	s = (struct wset){
		.key = h.key,
		.page_bytes = h.page_bytes,
		.span_bytes = h.span_bytes,
		.restores = h.restores,
		.v = calloc(h.runs + 1, sizeof(*s.v)),
		.cap = h.runs + 1,
	};
	if (!s.v)
		return err_sys(err, "cannot hold a working set of %" PRIu64 " runs", h.runs);
	if (read_runs(&r, &h, &s, err)) {
		wset_fini(&s);
		return -1;
	}
	*ret = s;
	return 0;
}
