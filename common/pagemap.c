#include "common/pagemap.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/io.h"

#define WORD_PAGES 32
#define LOW_BITS 0x5555555555555555ull /* the lower bit of each page of a word */
#define SPAN_MAX ((uint64_t)1 << 44)   /* bytes; 2^32 pages of 4 KiB, as many as an extent counts */

/* One pagemap_runs() reads at most so many chunks of a map, which may be hostile. */
#define CHUNK_WORDS 8192
#define CHUNKS_MAX 256
/* A reader tries again, because the worker may be moving regions at the moment. */
#define READ_TRIES 3

static_assert(sizeof(struct pagemap_head) <= PAGEMAP_REGIONS_OFF, "layout");
static_assert(sizeof(struct regions) <= PAGEMAP_STATS_OFF - PAGEMAP_REGIONS_OFF, "layout");
static_assert(sizeof(struct pagemap_stats) <= PAGEMAP_INBOX_OFF - PAGEMAP_STATS_OFF, "layout");
static_assert(sizeof(struct uf_inbox) <= PAGEMAP_BITS_OFF - PAGEMAP_INBOX_OFF, "layout");

const char *const page_state_names[PAGE_STATE_COUNT] = {
#define X(state, name) [state] = name,
	PAGE_STATES(X)
#undef X
};

const char *const pagemap_limit_texts[LIMIT_COUNT] = {
#define X(limit, text) [limit] = text,
	PAGEMAP_LIMITS(X)
#undef X
};

uint64_t pagemap_file_bytes(uint64_t span_bytes)
{
	uint64_t pages = align_up(span_bytes, PAGE_4K) / PAGE_4K;

	return PAGEMAP_BITS_OFF + align_up(pages, WORD_PAGES) / WORD_PAGES * sizeof(uint64_t);
}

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void store(uint64_t *word, uint64_t v)
{
	__atomic_store_n(word, v, __ATOMIC_RELAXED);
}

/* The low bit of each page of @word that is in @state. */
static uint64_t in_state(uint64_t word, enum page_state state)
{
	uint64_t differs = word ^ (LOW_BITS * state);

	return ~(differs | differs >> 1) & LOW_BITS;
}

/* Both bits of @n pages from page @first of a word on. */
static uint64_t pages_mask(unsigned first, unsigned n)
{
	uint64_t mask = n == WORD_PAGES ? UINT64_MAX : ((uint64_t)1 << 2 * n) - 1;

	return mask << 2 * first;
}

/* File */

static int size_file(int fd, uint64_t bytes, struct err *err)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at the page map file");
	if (st.st_size != 0)
		return err_set(err, ERR_STATE, "the page map file is in use already");
	/* Reserves all of it now: once mapped, a full tmpfs would be a SIGBUS, not an error. */
	do
		r = fallocate(fd, 0, 0, (off_t)bytes);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_sys(err,
			       "cannot reserve %llu KiB for the page map: make the run "
			       "directory's tmpfs larger",
			       (unsigned long long)bytes / 1024);
	return 0;
}

static int map_file(int fd, uint64_t bytes, struct pagemap *ret, struct err *err)
{
	char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return err_sys(err, "cannot map the page map");
	*ret = (struct pagemap){
		.head = (struct pagemap_head *)base,
		.regions = (struct regions *)(base + PAGEMAP_REGIONS_OFF),
		.stats = (struct pagemap_stats *)(base + PAGEMAP_STATS_OFF),
		.inbox = (struct uf_inbox *)(base + PAGEMAP_INBOX_OFF),
		.bits = (uint64_t *)(base + PAGEMAP_BITS_OFF),
		.map_bytes = bytes,
	};
	return 0;
}

int pagemap_create(int fd, uint64_t span_bytes, struct pagemap *ret, struct err *err)
{
	uint64_t bytes;

	if (span_bytes == 0 || span_bytes > SPAN_MAX)
		return err_set(err, ERR_TOOBIG, "a snapshot of %llu bytes is outside 1 to %llu",
			       (unsigned long long)span_bytes, (unsigned long long)SPAN_MAX);
	bytes = pagemap_file_bytes(span_bytes);
	if (size_file(fd, bytes, err) < 0)
		return -1;
	if (map_file(fd, bytes, ret, err) < 0)
		return -1;
	ret->head->version = PAGEMAP_VERSION;
	ret->head->span_bytes = span_bytes;
	__atomic_store_n(&ret->head->magic, PAGEMAP_MAGIC, __ATOMIC_RELEASE);
	return 0;
}

void pagemap_connect(struct pagemap *pm, const struct regions *regions, uint32_t pid, uint32_t uid,
		     uint32_t gid)
{
	struct pagemap_head *head = pm->head;

	*pm->regions = *regions;
	pm->npages = (head->span_bytes + regions->page_bytes - 1) / regions->page_bytes;
	memset(pm->stats->pages, 0, sizeof(pm->stats->pages));
	pm->stats->pages[PAGE_ABSENT] = regions_bytes(regions) / regions->page_bytes;
	head->vmm_pid = pid;
	head->vmm_uid = uid;
	head->vmm_gid = gid;
	__atomic_store_n(&head->connected, 1, __ATOMIC_RELEASE);
}

static void recount(struct pagemap *pm)
{
	uint64_t counts[PAGE_STATE_COUNT] = {0};

	for (uint32_t i = 0; i < pm->regions->n; i++) {
		const struct region *r = &pm->regions->v[i];
		uint64_t page = r->offset / pm->regions->page_bytes;
		uint64_t end = (r->offset + r->size) / pm->regions->page_bytes;

		for (; page < end; page++)
			counts[pagemap_get(pm, page)]++;
	}
	memcpy(pm->stats->pages, counts, sizeof(counts));
}

int pagemap_open(int fd, struct pagemap *ret, struct err *err)
{
	struct pagemap_view view;
	struct stat st;

	/* The checks of any reader: a captured predecessor may have written anything. */
	if (pagemap_view(fd, &view, err) < 0)
		return -1;
	if (!view.head.connected)
		return err_set(err, ERR_STATE, "the page map knows no VMM");
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != pagemap_file_bytes(view.head.span_bytes))
		return err_set(err, ERR_SYSTEM, "the page map file has %lld bytes, not %llu",
			       (long long)st.st_size,
			       (unsigned long long)pagemap_file_bytes(view.head.span_bytes));
	if (map_file(fd, pagemap_file_bytes(view.head.span_bytes), ret, err) < 0)
		return -1;
	ret->npages = (view.head.span_bytes + view.regions.page_bytes - 1) /
		      view.regions.page_bytes;
	recount(ret);
	return 0;
}

void pagemap_close(struct pagemap *pm)
{
	if (pm->head)
		munmap(pm->head, pm->map_bytes);
	*pm = (struct pagemap){0};
}

/* The worker's side */

enum page_state pagemap_get(const struct pagemap *pm, uint64_t page)
{
	assert(page < pm->npages);
	return load(&pm->bits[page / WORD_PAGES]) >> 2 * (page % WORD_PAGES) & 3;
}

void pagemap_set(struct pagemap *pm, uint64_t page, uint64_t n, enum page_state state)
{
	const uint64_t end = page + n, all = LOW_BITS * state;
	uint64_t was[PAGE_STATE_COUNT] = {0};

	assert(n <= pm->npages && page <= pm->npages - n);
	while (page < end) {
		uint64_t *word = &pm->bits[page / WORD_PAGES];
		unsigned first = page % WORD_PAGES;
		unsigned count = (unsigned)min_u64(WORD_PAGES - first, end - page);
		uint64_t mask = pages_mask(first, count);
		uint64_t old = load(word);

		store(word, (old & ~mask) | (all & mask));
		if ((old & mask) == 0)
			was[PAGE_ABSENT] += count;
		else
			for (unsigned s = 0; s < PAGE_STATE_COUNT; s++)
				was[s] += (unsigned)__builtin_popcountll(in_state(old, s) & mask);
		page += count;
	}
	for (unsigned s = 0; s < PAGE_STATE_COUNT; s++)
		if (s != state && was[s]) {
			store(&pm->stats->pages[s], pm->stats->pages[s] - was[s]);
			store(&pm->stats->pages[state], pm->stats->pages[state] + was[s]);
		}
}

/* First page of [page, end) that is absent, or not absent; @end if there is none. */
static uint64_t find_absent(const struct pagemap *pm, uint64_t page, uint64_t end, bool absent)
{
	while (page < end) {
		uint64_t hits = in_state(load(&pm->bits[page / WORD_PAGES]), PAGE_ABSENT);

		if (!absent)
			hits ^= LOW_BITS;
		hits >>= 2 * (page % WORD_PAGES);
		if (hits)
			return min_u64(page + (unsigned)__builtin_ctzll(hits) / 2, end);
		page = align_down(page, WORD_PAGES) + WORD_PAGES;
	}
	return end;
}

uint64_t pagemap_absent_run(const struct pagemap *pm, uint64_t page, uint64_t end, uint64_t max,
			    uint64_t *ret_page)
{
	uint64_t start;

	assert(end <= pm->npages);
	start = find_absent(pm, page, end, true);
	*ret_page = start;
	if (start >= end)
		return 0;
	return find_absent(pm, start, start + min_u64(max, end - start), false) - start;
}

/* The reader's side: nothing in the file is used before it is checked */

static int read_at(int fd, void *buf, size_t len, uint64_t off, struct err *err)
{
	if (io_read_at(fd, buf, len, off) == len)
		return 0;
	return errno ? err_sys(err, "cannot read the page map")
		     : err_set(err, ERR_UNREADY, "the page map is cut short");
}

static int check_head(int fd, const struct pagemap_head *head, struct err *err)
{
	struct stat st;

	if (head->magic == 0)
		return err_set(err, ERR_UNREADY, "the page map is not ready yet");
	if (head->magic != PAGEMAP_MAGIC)
		return err_set(err, ERR_SYSTEM, "the page map is not one: bad magic number");
	if (head->version != PAGEMAP_VERSION)
		return err_set(err, ERR_SYSTEM, "the page map has version %u, not %d",
			       head->version, PAGEMAP_VERSION);
	if (head->span_bytes == 0 || head->span_bytes > SPAN_MAX)
		return err_set(err, ERR_SYSTEM, "the page map is damaged: a snapshot of %llu bytes",
			       (unsigned long long)head->span_bytes);
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at the page map file");
	if ((uint64_t)st.st_size < pagemap_file_bytes(head->span_bytes))
		return err_set(err, ERR_SYSTEM, "the page map is damaged: %lld bytes are too few",
			       (long long)st.st_size);
	return 0;
}

static int read_regions(int fd, uint64_t span_bytes, struct regions *ret, struct err *err)
{
	for (int i = 0; i < READ_TRIES; i++) {
		if (read_at(fd, ret, sizeof(*ret), PAGEMAP_REGIONS_OFF, err) < 0)
			return -1;
		if (regions_check(ret, align_up(span_bytes, PAGE_4K), err) == 0)
			return 0;
	}
	return err_wrap(err, "the page map is damaged");
}

static int check_stats(struct pagemap_view *v, struct err *err)
{
	uint64_t pages;

	if (!v->head.connected) {
		/* The worker may be about to connect, and its counters may be half written. */
		memset(v->stats.pages, 0, sizeof(v->stats.pages));
		return 0;
	}
	pages = regions_bytes(&v->regions) / v->regions.page_bytes;
	for (int s = 0; s < PAGE_STATE_COUNT; s++)
		if (v->stats.pages[s] > pages)
			return err_set(err, ERR_SYSTEM, "the page map is damaged: %llu %s pages",
				       (unsigned long long)v->stats.pages[s], page_state_names[s]);
	return 0;
}

int pagemap_view(int fd, struct pagemap_view *ret, struct err *err)
{
	struct pagemap_view v = {0};

	if (read_at(fd, &v.head, sizeof(v.head), 0, err) < 0 || check_head(fd, &v.head, err) < 0)
		return -1;
	v.head.connected = v.head.connected != 0;
	if (v.head.prefetch_limit >= LIMIT_COUNT)
		v.head.prefetch_limit = LIMIT_NONE;
	if (v.head.connected && read_regions(fd, v.head.span_bytes, &v.regions, err) < 0)
		return -1;
	if (read_at(fd, &v.stats, sizeof(v.stats), PAGEMAP_STATS_OFF, err) < 0 ||
	    check_stats(&v, err) < 0)
		return -1;
	*ret = v;
	return 0;
}

/* False if the list is full. */
static bool add_run(struct pagemap_runs *list, uint64_t offset, uint64_t len, enum page_state state)
{
	struct pagemap_run *last = list->n ? &list->v[list->n - 1] : NULL;

	if (last && last->state == state && last->offset + last->len == offset) {
		last->len += len;
		return true;
	}
	if (list->n == list->max)
		return false;
	list->v[list->n++] = (struct pagemap_run){.offset = offset, .len = len, .state = state};
	return true;
}

/*
 * Adds the pages [page, end) of @words, whose first page is @base, word by word. Returns the first
 * page that found no room, or @end.
 */
static uint64_t add_pages(struct pagemap_runs *list, const uint64_t *words, uint64_t base,
			  uint64_t page, uint64_t end, uint64_t page_bytes)
{
	while (page < end) {
		unsigned first = page % WORD_PAGES;
		uint64_t word = words[(page - base) / WORD_PAGES] >> 2 * first;
		enum page_state state = word & 3;
		uint64_t other = in_state(word, state) ^ LOW_BITS;
		unsigned n = WORD_PAGES - first;

		if (other)
			n = (unsigned)min_u64(n, (unsigned)__builtin_ctzll(other) / 2);
		n = (unsigned)min_u64(n, end - page);
		if (!add_run(list, page * page_bytes, n * page_bytes, state))
			return page;
		page += n;
	}
	return end;
}

/* The first offset >= @offset that lies in a region, and where that region ends. */
static bool next_part(const struct regions *regions, uint64_t *offset, uint64_t *ret_end)
{
	const struct region *r = regions_at_offset(regions, *offset);

	if (!r)
		r = regions_next_offset(regions, *offset, true);
	if (!r)
		return false;
	*offset = max_u64(*offset, r->offset);
	*ret_end = r->offset + r->size;
	return true;
}

int pagemap_runs(int fd, const struct pagemap_view *view, uint64_t offset,
		 struct pagemap_runs *runs, struct err *err)
{
	const struct regions *regions = &view->regions;
	const uint64_t page_bytes = regions->page_bytes;
	struct pagemap_runs list = {.v = runs->v, .max = runs->max, .next = UINT64_MAX};
	uint64_t words[CHUNK_WORDS], end;

	for (int chunk = 0; regions->n && next_part(regions, &offset, &end); chunk++) {
		uint64_t page = offset / page_bytes, base = align_down(page, WORD_PAGES), stop;

		list.next = offset;
		if (chunk == CHUNKS_MAX)
			break;
		stop = min_u64(end / page_bytes, base + CHUNK_WORDS * WORD_PAGES);
		if (read_at(fd, words, (stop - base + WORD_PAGES - 1) / WORD_PAGES * sizeof(*words),
			    PAGEMAP_BITS_OFF + base / WORD_PAGES * sizeof(*words), err) < 0)
			return -1;
		list.next = add_pages(&list, words, base, page, stop, page_bytes) * page_bytes;
		if (list.next < stop * page_bytes)
			break;
		offset = list.next;
		list.next = UINT64_MAX;
	}
	*runs = list;
	return 0;
}
