/*
 * pages - the expectation table
 *
 * One word per page says what must be read. Who changes a page owns it (BUSY)
 * for that time; who touches pins it, so that an address range is only taken
 * away while nobody is in it. A reader compares bytes with what the word said,
 * and the comparison counts if the word said the same afterwards. All access
 * to guest memory is atomic, word by word: a thread may find a page half zapped.
 *
 *   63         32 31      24 23      8 7          0
 *   [  version   ][   -    ][  pins   ][  flags   ]
 */
#include "tests/fakes/vmm/pages.h"

#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ZERO ((uint64_t)1 << 0)    /* reads zero, else the image */
#define WRITTEN ((uint64_t)1 << 1) /* one word of it reads written_value() */
#define BUSY ((uint64_t)1 << 2)    /* being changed by its owner */
#define GONE ((uint64_t)1 << 3)    /* not mapped: stay out */
#define TOUCHED ((uint64_t)1 << 4) /* at least once; no part of the state */
#define PIN ((uint64_t)1 << 8)
#define PINS ((uint64_t)0xffff << 8)
#define VERSION ((uint64_t)1 << 32)

#define STATE (~(PINS | TOUCHED))

void walker_init(struct walker *w, struct vmm *v, const char *name, uint64_t seed)
{
	*w = (struct walker){.v = v, .name = name, .rng = vmm_mix(seed)};
	atomic_init(&w->at, WALKER_IDLE);
	w->copy = xcalloc(2, v->page_bytes);
	w->want = w->copy + v->page_bytes;
	pthread_mutex_lock(&v->lock);
	w->next = v->walkers;
	v->walkers = w;
	pthread_mutex_unlock(&v->lock);
}

void walker_fini(struct walker *w)
{
	struct walker **link = &w->v->walkers;

	pthread_mutex_lock(&w->v->lock);
	while (*link && *link != w)
		link = &(*link)->next;
	if (*link)
		*link = w->next;
	pthread_mutex_unlock(&w->v->lock);
	free(w->copy);
	w->copy = NULL;
}

uint64_t walker_random(struct walker *w, uint64_t below)
{
	w->rng = vmm_mix(w->rng);
	return w->rng % below;
}

/* Which word of the page is the one that writes go to. */
static uint64_t written_index(const struct vmm *v, uint64_t page)
{
	return vmm_mix(v->seed ^ page) % (v->page_bytes / sizeof(uint64_t));
}

static uint64_t written_value(const struct vmm *v, uint64_t page, uint64_t state)
{
	return vmm_mix(v->seed + page) ^ vmm_mix(state / VERSION);
}

static bool own(struct vmm_page *p)
{
	uint64_t word = atomic_load(&p->word);

	do {
		if (word & (BUSY | GONE))
			return false;
	} while (!atomic_compare_exchange_weak(&p->word, &word, word | BUSY));
	return true;
}

static uint64_t next_version(const struct vmm_page *p)
{
	return (atomic_load(&p->word) / VERSION + 1) * VERSION;
}

/* Ends ownership; @state holds flags and version. */
static void disown(struct vmm_page *p, uint64_t state)
{
	uint64_t word = atomic_load(&p->word);

	while (!atomic_compare_exchange_weak(&p->word, &word, (word & ~STATE) | state))
		;
}

static uint64_t image_word(const struct vmm *v, uint64_t page, uint64_t i)
{
	uint64_t word;

	memcpy(&word, v->image + page * v->page_bytes + i * sizeof(word), sizeof(word));
	return word;
}

static uint64_t expected_word(const struct vmm *v, uint64_t page, uint64_t state, uint64_t i)
{
	if ((state & WRITTEN) && i == written_index(v, page))
		return written_value(v, page, state);
	return state & ZERO ? 0 : image_word(v, page, i);
}

void pages_wrong(struct vmm *v, const struct vmm_wrong *wrong)
{
	uint64_t n = atomic_fetch_add(&v->wrong, 1);

	if (n >= VMM_WRONG_MAX)
		return;
	pthread_mutex_lock(&v->lock);
	v->first_wrong[n] = *wrong;
	pthread_mutex_unlock(&v->lock);
}

static void wrong_word(struct walker *w, uint64_t page, uint64_t state, uint64_t i)
{
	struct vmm_wrong wrong = {
		.page = page,
		.at = i * sizeof(uint64_t),
		.expected = expected_word(w->v, page, state, i),
		.as = state & BUSY      ? "changing"
		      : state & WRITTEN ? "written"
		      : state & ZERO    ? "zero"
					: "image",
	};

	memcpy(&wrong.got, w->copy + wrong.at, sizeof(wrong.got));
	pages_wrong(w->v, &wrong);
}

/* The page was being changed meanwhile: each word is old or new, and no third thing. */
static void check_changing(struct walker *w, uint64_t page)
{
	uint64_t written = written_index(w->v, page);

	for (uint64_t i = 0; i < w->v->page_bytes / sizeof(uint64_t); i++) {
		uint64_t got;

		memcpy(&got, w->copy + i * sizeof(got), sizeof(got));
		if (got != 0 && i != written && got != image_word(w->v, page, i)) {
			wrong_word(w, page, BUSY, i);
			return;
		}
	}
}

static void expect_bytes(const struct vmm *v, uint64_t page, uint64_t state, uint8_t *buf)
{
	uint64_t i = written_index(v, page);
	uint64_t value = expected_word(v, page, state, i);

	if (state & ZERO)
		memset(buf, 0, v->page_bytes);
	else
		memcpy(buf, v->image + page * v->page_bytes, v->page_bytes);
	memcpy(buf + i * sizeof(value), &value, sizeof(value));
}

static void check_settled(struct walker *w, uint64_t page, uint64_t state)
{
	uint64_t i = 0;

	expect_bytes(w->v, page, state, w->want);
	if (memcmp(w->copy, w->want, w->v->page_bytes) == 0)
		return;
	while (memcmp(w->copy + i * sizeof(i), w->want + i * sizeof(i), sizeof(i)) == 0)
		i++;
	wrong_word(w, page, state, i);
}

static void compare(struct walker *w, uint64_t page)
{
	struct vmm_page *p = &w->v->pages[page];
	uint64_t before = atomic_load(&p->word) & STATE;
	const uint64_t *guest = (const uint64_t *)(void *)p->addr;

	for (uint64_t i = 0; i < w->v->page_bytes / sizeof(uint64_t); i++) {
		uint64_t word = __atomic_load_n(&guest[i], __ATOMIC_ACQUIRE);

		memcpy(w->copy + i * sizeof(word), &word, sizeof(word));
	}
	if (!(before & BUSY) && (atomic_load(&p->word) & STATE) == before)
		check_settled(w, page, before);
	else
		check_changing(w, page);
}

/*
 * The access that may fault. Who wants to write but does not own the page still
 * makes a write access: it exchanges a zero for a zero, or nothing at all.
 */
static void access_page(struct walker *w, uint64_t page, bool write, bool mine)
{
	struct vmm_page *p = &w->v->pages[page];
	uint64_t *word = (uint64_t *)(void *)p->addr + written_index(w->v, page);
	uint64_t state, none = 0;

	if (mine) {
		state = next_version(p) | (atomic_load(&p->word) & ZERO) | WRITTEN;
		__atomic_store_n(word, written_value(w->v, page, state), __ATOMIC_SEQ_CST);
		disown(p, state);
	} else if (write) {
		__atomic_compare_exchange_n(word, &none, 0, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
	} else {
		(void)__atomic_load_n(word, __ATOMIC_ACQUIRE);
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

bool pages_touch(struct walker *w, uint64_t page, bool write)
{
	struct vmm_page *p = &w->v->pages[page];
	uint64_t before = atomic_fetch_add(&p->word, PIN);
	uint64_t start;

	if (before & GONE) {
		atomic_fetch_sub(&p->word, PIN);
		return false;
	}
	atomic_store(&w->at, page);
	start = now_ns();
	access_page(w, page, write, write && own(p));
	w->last_ns = now_ns() - start;
	w->fault_us += w->last_ns / 1000;
	w->touched++;
	if (!w->quick)
		compare(w, page);
	if (!(before & TOUCHED))
		atomic_fetch_or(&p->word, TOUCHED);
	atomic_store(&w->at, WALKER_IDLE);
	atomic_fetch_sub(&p->word, PIN);
	return true;
}

uint64_t pages_verify(struct walker *w)
{
	uint64_t n = 0;

	for (uint64_t page = 0; page < w->v->npages; page++)
		n += pages_touch(w, page, false);
	return n;
}

bool pages_expect(struct vmm *v, uint64_t page, uint8_t *buf)
{
	uint64_t state = atomic_load(&v->pages[page].word) & STATE;

	if (state & (GONE | BUSY))
		return false;
	expect_bytes(v, page, state, buf);
	return true;
}

/* End the ownership of a run, each page with these flags alone and a new version. */
static void settle(struct vmm *v, uint64_t first, uint64_t n, uint64_t flags)
{
	for (struct vmm_page *p = &v->pages[first]; p < &v->pages[first + n]; p++)
		disown(p, next_version(p) | flags);
}

/* End the ownership of a run that reads as before. */
static void settle_same(struct vmm *v, uint64_t first, uint64_t n)
{
	for (struct vmm_page *p = &v->pages[first]; p < &v->pages[first + n]; p++)
		disown(p, atomic_load(&p->word) & STATE & ~(BUSY | GONE));
}

/* Own adjacent pages from @first on; returns how many. */
static uint64_t own_run(struct vmm *v, uint64_t first, uint64_t max, uint64_t need)
{
	uint64_t n = 0;

	while (n < max && first + n < v->npages) {
		struct vmm_page *p = &v->pages[first + n];

		if ((atomic_load(&p->word) & need) != need || !own(p))
			break;
		if (n > 0 && p->addr != p[-1].addr + v->page_bytes) {
			settle_same(v, first + n, 1);
			break;
		}
		n++;
	}
	return n;
}

/* Keep everybody out of an owned run, and wait for those who are in. */
static void clear_out(struct vmm *v, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++) {
		atomic_fetch_or(&v->pages[i].word, GONE);
		while (atomic_load(&v->pages[i].word) & PINS)
			sched_yield();
	}
}

int pages_remove(struct walker *w, uint64_t first, uint64_t max, uint64_t *ret_n, struct err *err)
{
	struct vmm *v = w->v;
	uint64_t need = v->features & UF_FEATURE_REMOVE ? 0 : TOUCHED;
	uint64_t n = own_run(v, first, max, need);
	int rc = 0;

	if (n > 0) {
		atomic_store(&w->at, first);
		rc = madvise(v->pages[first].addr, n * v->page_bytes, MADV_DONTNEED);
		atomic_store(&w->at, WALKER_IDLE);
		settle(v, first, n, ZERO);
	}
	if (rc)
		return err_sys(err, "giving back %" PRIu64 " pages", n);
	atomic_fetch_add(&v->removed, n);
	*ret_n = n;
	return 0;
}

int pages_unmap(struct walker *w, uint64_t first, uint64_t max, uint64_t *ret_n, struct err *err)
{
	struct vmm *v = w->v;
	uint64_t n = own_run(v, first, max, 0);
	int rc = 0;

	if (n > 0) {
		atomic_store(&w->at, first);
		clear_out(v, first, n);
		rc = munmap(v->pages[first].addr, n * v->page_bytes);
		atomic_store(&w->at, WALKER_IDLE);
		settle(v, first, n, GONE);
	}
	if (rc)
		return err_sys(err, "unmapping %" PRIu64 " pages", n);
	*ret_n = n;
	return 0;
}

/* A fresh address range, of the alignment that huge pages need. */
static uint8_t *reserve(uint64_t len, uint64_t align)
{
	uint8_t *p = mmap(NULL, len + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t skip;

	if (p == MAP_FAILED)
		return NULL;
	skip = align_up((uint64_t)p, align) - (uint64_t)p;
	if (skip > 0)
		munmap(p, skip);
	munmap(p + skip + len, align - skip);
	return p + skip;
}

int pages_remap(struct walker *w, uint64_t first, uint64_t max, uint64_t *ret_n, struct err *err)
{
	struct vmm *v = w->v;
	uint64_t n = own_run(v, first, max, 0);
	uint64_t len = n * v->page_bytes;
	uint8_t *to;
	void *got = MAP_FAILED;

	if (n > 0) {
		atomic_store(&w->at, first);
		clear_out(v, first, n);
		to = reserve(len, v->page_bytes);
		if (to)
			got = mremap(v->pages[first].addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
				     to);
		atomic_store(&w->at, WALKER_IDLE);
		for (uint64_t i = 0; got != MAP_FAILED && i < n; i++)
			v->pages[first + i].addr = to + i * v->page_bytes;
		settle_same(v, first, n);
	}
	if (n > 0 && got == MAP_FAILED)
		return err_sys(err, "moving %" PRIu64 " pages", n);
	*ret_n = n;
	return 0;
}

int pages_fork(struct err *err)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		return err_sys(err, "forking the VMM");
	return 0;
}

uint64_t pages_run(struct vmm *v, uint64_t first)
{
	uint64_t n = 0;

	while (first + n < v->npages) {
		const struct vmm_page *p = &v->pages[first + n];

		if (atomic_load(&p->word) & GONE)
			break;
		if (n > 0 && p->addr != p[-1].addr + v->page_bytes)
			break;
		n++;
	}
	return n;
}
