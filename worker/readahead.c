#include "worker/readahead.h"

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define STACK_BYTES ((size_t)128 << 10)

/* A queue of fixed size; its users make sure that there is room. */
struct ring {
	struct readahead_range *v; /* owned */
	size_t max, first, n;
};

struct readahead {
	const struct source *src; /* borrowed */
	int fd;                   /* owned eventfd */
	pthread_mutex_t lock;     /* of everything below */
	pthread_cond_t work, gone;
	struct ring asked[READAHEAD_WHYS], done;
	size_t open[READAHEAD_WHYS];      /* asked for and not yet taken */
	void *buffers[READAHEAD_BUFFERS]; /* owned; one huge page each, the unused ones first */
	size_t unused, mapped;
	unsigned threads, idle, ahead;
	bool ending;
};

static const size_t limits[READAHEAD_WHYS] = {
	[READAHEAD_DEMAND] = READAHEAD_DEMAND_MAX,
	[READAHEAD_AHEAD] = READAHEAD_AHEAD_MAX,
};

/* ---- rings ---- */

static int ring_init(struct ring *r, size_t max)
{
	*r = (struct ring){.v = calloc(max, sizeof(*r->v)), .max = max};
	return r->v ? 0 : -1;
}

static void ring_put(struct ring *r, struct readahead_range range)
{
	assert(r->n < r->max);
	r->v[(r->first + r->n++) % r->max] = range;
}

static struct readahead_range ring_get(struct ring *r)
{
	struct readahead_range range = r->v[r->first];

	assert(r->n > 0);
	r->first = (r->first + 1) % r->max;
	r->n--;
	return range;
}

/* ---- the threads ---- */

struct batch {
	struct readahead_range v[READAHEAD_BATCH];
	size_t n;
};

/* Demand first. Prefetch leaves threads for demand, and half of its ranges for its other thread. */
static bool next_batch(struct readahead *w, struct batch *b)
{
	enum readahead_why why = w->asked[READAHEAD_DEMAND].n ? READAHEAD_DEMAND : READAHEAD_AHEAD;
	struct ring *asked = &w->asked[why];
	size_t n = min_u64(asked->n, READAHEAD_TOGETHER);

	if (why == READAHEAD_AHEAD)
		n = w->ahead < READAHEAD_AHEAD_THREADS_MAX
			    ? min_u64((asked->n + 1) / 2, READAHEAD_BATCH)
			    : 0;
	for (b->n = 0; b->n < n; b->n++)
		b->v[b->n] = ring_get(asked);
	return n > 0;
}

static struct timespec in_ms(uint64_t ms)
{
	uint64_t by = now_us() + ms * 1000;

	return (struct timespec){(time_t)(by / 1000000), (long)(by % 1000000) * 1000};
}

/* False: there was no work for a while, or the threads shall end. */
static bool await_batch(struct readahead *w, struct batch *b)
{
	const struct timespec by = in_ms(READAHEAD_IDLE_S * 1000);

	while (!w->ending && !next_batch(w, b)) {
		int timed_out;

		w->idle++;
		timed_out = pthread_cond_timedwait(&w->work, &w->lock, &by);
		w->idle--;
		if (timed_out)
			return next_batch(w, b);
	}
	return !w->ending;
}

/* NULL: all buffers are in use. */
static void *take_buffer(struct readahead *w)
{
	void *buffer = NULL;

	pthread_mutex_lock(&w->lock);
	if (w->unused) {
		buffer = w->buffers[--w->unused];
	} else if (w->mapped < READAHEAD_BUFFERS) {
		buffer = mmap(NULL, PAGE_2M, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0);
		if (buffer == MAP_FAILED)
			buffer = NULL;
		else /* Guest bytes do not belong into a core dump. */
			madvise(buffer, PAGE_2M, MADV_DONTDUMP);
		w->mapped += buffer != NULL;
	}
	pthread_mutex_unlock(&w->lock);
	return buffer;
}

void readahead_give_back(struct readahead *w, void *bytes)
{
	pthread_mutex_lock(&w->lock);
	w->buffers[w->unused++] = bytes;
	pthread_mutex_unlock(&w->lock);
}

/* Buffers cost memory, and are needed only for a while. */
static void free_buffers(struct readahead *w)
{
	while (w->unused) {
		munmap(w->buffers[--w->unused], PAGE_2M);
		w->mapped--;
	}
}

/* A read error or a changed file is left to the owner thread, which reports it. */
static bool put_together(struct readahead *w, struct readahead_range *range)
{
	void *buffer;
	struct err err;

	if (range->len > PAGE_2M || source_whole(w->src, range->off, range->len))
		return false;
	buffer = take_buffer(w);
	if (!buffer)
		return false;
	if (source_read(w->src, range->off, range->len, buffer, &err)) {
		readahead_give_back(w, buffer);
		return false;
	}
	range->bytes = buffer;
	return true;
}

static void fill(struct readahead *w, struct readahead_range *range)
{
	if (range->len <= RESIDENCY_READ_MAX || !put_together(w, range))
		source_fill(w->src, range->off, range->len);
}

static void signal_done(struct readahead *w, struct readahead_range range)
{
	pthread_mutex_lock(&w->lock);
	ring_put(&w->done, range);
	if (w->done.n == 1)
		eventfd_write(w->fd, 1);
	pthread_mutex_unlock(&w->lock);
}

/* A single small page is read alone; several ranges are announced to the disk all at once. */
static void readahead_batch(struct readahead *w, struct batch *b)
{
	bool alone = b->n == 1 && b->v[0].len <= RESIDENCY_READ_MAX;

	for (size_t i = 0; i < b->n && !alone; i++)
		source_announce(w->src, b->v[i].off, b->v[i].len);
	for (size_t i = 0; i < b->n; i++) {
		struct readahead_range *r = &b->v[i];

		if (r->why == READAHEAD_DEMAND && r->len <= RESIDENCY_READ_MAX)
			source_read_in(w->src, r->off, r->len);
		else
			fill(w, r);
		signal_done(w, *r);
	}
}

static void *run(void *arg)
{
	struct readahead *w = arg;
	struct batch b;

	pthread_mutex_lock(&w->lock);
	while (await_batch(w, &b)) {
		bool ahead = b.v[0].why == READAHEAD_AHEAD;

		w->ahead += ahead;
		pthread_mutex_unlock(&w->lock);
		readahead_batch(w, &b);
		pthread_mutex_lock(&w->lock);
		w->ahead -= ahead;
	}
	if (--w->threads == 0)
		free_buffers(w);
	pthread_cond_signal(&w->gone);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static bool start_thread(struct readahead *w)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	rc = pthread_create(&thread, &attr, run, w);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		w->threads++;
	return rc == 0;
}

/* One thread for each waiting range, up to the limits. */
static bool enough_threads(struct readahead *w)
{
	size_t ahead = min_u64(w->asked[READAHEAD_AHEAD].n, READAHEAD_AHEAD_THREADS_MAX - w->ahead);

	if (w->idle < w->asked[READAHEAD_DEMAND].n + ahead && w->threads < READAHEAD_THREADS_MAX)
		start_thread(w);
	return w->threads > 0;
}

/* ---- the owner ---- */

bool readahead_ask(struct readahead *w, uint64_t off, uint64_t len, enum readahead_why why)
{
	bool asked = false;

	pthread_mutex_lock(&w->lock);
	if (w->open[why] < limits[why]) {
		ring_put(&w->asked[why], (struct readahead_range){off, len, why, NULL});
		asked = enough_threads(w);
		if (asked)
			w->open[why]++;
		else
			w->asked[why].n--;
		pthread_cond_signal(&w->work);
	}
	pthread_mutex_unlock(&w->lock);
	return asked;
}

int readahead_fd(const struct readahead *w)
{
	return w->fd;
}

size_t readahead_take(struct readahead *w, struct readahead_range *ret, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&w->lock);
	while (n < max && w->done.n) {
		ret[n] = ring_get(&w->done);
		w->open[ret[n++].why]--;
	}
	if (w->done.n == 0) {
		eventfd_t seen;

		eventfd_read(w->fd, &seen);
	}
	pthread_mutex_unlock(&w->lock);
	return n;
}

static void init_sync(struct readahead *w)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->work, &attr);
	pthread_cond_init(&w->gone, &attr);
	pthread_condattr_destroy(&attr);
}

int readahead_new(const struct source *src, struct readahead **ret, struct err *err)
{
	struct readahead *w = xcalloc(1, sizeof(*w));

	w->src = src;
	init_sync(w);
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->fd < 0 || ring_init(&w->asked[READAHEAD_DEMAND], READAHEAD_DEMAND_MAX) ||
	    ring_init(&w->asked[READAHEAD_AHEAD], READAHEAD_AHEAD_MAX) ||
	    ring_init(&w->done, READAHEAD_DEMAND_MAX + READAHEAD_AHEAD_MAX)) {
		err_sys(err, "prepare for reading the snapshot");
		readahead_free(w);
		return -1;
	}
	*ret = w;
	return 0;
}

static bool end_threads(struct readahead *w)
{
	const struct timespec by = in_ms(READAHEAD_END_MS);
	bool ended;

	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_broadcast(&w->work);
	while (w->threads && pthread_cond_timedwait(&w->gone, &w->lock, &by) == 0)
		;
	ended = w->threads == 0;
	pthread_mutex_unlock(&w->lock);
	return ended;
}

bool readahead_free(struct readahead *w)
{
	if (!w)
		return true;
	if (!end_threads(w))
		return false;
	free_buffers(w);
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->gone);
	pthread_mutex_destroy(&w->lock);
	for (size_t i = 0; i < READAHEAD_WHYS; i++)
		free(w->asked[i].v);
	free(w->done.v);
	close_fd(&w->fd);
	free(w);
	return true;
}

/* clang-format off */
static const struct call needs[] = {
	CALL(eventfd2),
};
/* clang-format on */
const struct calls readahead_calls = CALLS(needs);
