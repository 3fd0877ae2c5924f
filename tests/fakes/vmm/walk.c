/* walk - threads that touch guest memory */
#include "tests/fakes/vmm/walk.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#define STRIDE_PAGES 17
#define PACE_MS 1

struct walk_thread {
	struct walk *walk;
	pthread_t id;
	unsigned index;
	char name[16];
	struct walker seat;
};

struct walk {
	struct vmm *v;
	struct walk_plan plan;
	_Atomic uint64_t next; /* index of the next touch, over all passes */
	_Atomic uint64_t touched;
	_Atomic uint64_t mark;       /* walk_wait() is told when touched gets here */
	_Atomic bool ended;          /* before its time */
	_Atomic uint64_t last_round; /* WALK_SAME: decided by thread 0 before its barrier */
	pthread_barrier_t barrier;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	unsigned running; /* under lock */
	unsigned started;
	struct walk_thread threads[]; /* plan.threads */
};

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t r = a % b;

		a = b;
		b = r;
	}
	return a;
}

/* A Feistel network over the next even number of bits, walked until it lands inside. */
static uint64_t permute(uint64_t i, uint64_t n, uint64_t seed)
{
	unsigned half = 1;
	uint64_t mask, left, right;

	while (half < 31 && ((uint64_t)1 << 2 * half) < n)
		half++;
	mask = ((uint64_t)1 << half) - 1;
	do {
		left = i >> half;
		right = i & mask;
		for (uint64_t round = 0; round < 4; round++) {
			uint64_t t = left ^ (vmm_mix(seed ^ (round << 32) ^ right) & mask);

			left = right;
			right = t;
		}
		i = left << half | right;
	} while (i >= n);
	return i;
}

uint64_t walk_page(enum walk_order order, uint64_t i, uint64_t n, uint64_t seed)
{
	uint64_t stride = STRIDE_PAGES;

	switch (order) {
	case WALK_SEQ:
		return i;
	case WALK_REV:
		return n - 1 - i;
	case WALK_STRIDE:
		while (gcd(stride, n) != 1)
			stride++;
		return i * stride % n;
	case WALK_RAND:
	case WALK_SAME:
		break;
	}
	return permute(i, n, vmm_mix(seed));
}

int walk_list(struct walker *seat, const char *list, uint64_t *ret_touched, struct err *err)
{
	uint64_t all = seat->v->npages, touched = 0;

	for (const char *text = list;; text++) {
		uint64_t first, n = 1;
		char *end;

		first = strtoull(text, &end, 10);
		if (end != text && *end == '+')
			n = strtoull(end + 1, &end, 10);
		if (end == text || (*end && *end != ',') || first >= all || n > all - first)
			return err_set(err, ERR_INVALID, "no pages of this guest: \"%s\"", text);
		for (uint64_t i = 0; i < n; i++, touched++)
			(void)pages_touch(seat, first + i, false);
		if (!*end)
			break;
		text = end;
	}
	printf("touched %" PRIu64 "\n", touched);
	*ret_touched = touched;
	return 0;
}

static int compare_ns(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

uint64_t walk_paced(struct walker *seat, uint64_t first, uint64_t n, uint64_t seed)
{
	cleanup_free uint64_t *ns = xcalloc(n, sizeof(*ns));
	uint64_t all = seat->v->npages;

	for (uint64_t i = 0; i < n; i++) {
		(void)pages_touch(seat, walk_page(WALK_RAND, first + i, all, seed), false);
		ns[i] = seat->last_ns;
		poll(NULL, 0, PACE_MS);
	}
	qsort(ns, n, sizeof(*ns), compare_ns);
	return ns[n / 2];
}

static void touch(struct walk_thread *t, uint64_t i)
{
	struct walk *walk = t->walk;
	uint64_t n = walk->v->npages;
	uint64_t page = walk_page(walk->plan.order, i % n, n, walk->plan.seed + i / n);
	bool write = walker_random(&t->seat, 100) < walk->plan.write_pct;

	(void)pages_touch(&t->seat, page, write);
	if (atomic_fetch_add(&walk->touched, 1) + 1 >= atomic_load(&walk->mark)) {
		pthread_mutex_lock(&walk->lock);
		pthread_cond_broadcast(&walk->moved);
		pthread_mutex_unlock(&walk->lock);
	}
}

static bool is_over(const struct walk *walk, uint64_t i)
{
	if (walk->plan.until_us)
		return atomic_load(&walk->ended) || now_us() >= walk->plan.until_us;
	return i >= walk->plan.passes * walk->v->npages;
}

static void walk_apart(struct walk_thread *t)
{
	for (;;) {
		uint64_t i = atomic_fetch_add(&t->walk->next, 1);

		if (is_over(t->walk, i))
			return;
		touch(t, i);
	}
}

/* Everybody must leave after the same round, else the barrier never opens again. */
static void walk_together(struct walk_thread *t)
{
	struct walk *walk = t->walk;

	for (uint64_t i = 0;; i++) {
		if (t->index == 0 && is_over(walk, i))
			atomic_store(&walk->last_round, i);
		pthread_barrier_wait(&walk->barrier);
		if (i >= atomic_load(&walk->last_round))
			return;
		touch(t, i);
	}
}

static void *thread_main(void *arg)
{
	struct walk_thread *t = arg;
	struct walk *walk = t->walk;

	if (walk->plan.order == WALK_SAME)
		walk_together(t);
	else
		walk_apart(t);
	pthread_mutex_lock(&walk->lock);
	walk->running--;
	pthread_cond_broadcast(&walk->moved);
	pthread_mutex_unlock(&walk->lock);
	return NULL;
}

static int start_thread(struct walk *walk, unsigned i, struct err *err)
{
	struct walk_thread *t = &walk->threads[i];

	t->walk = walk;
	t->index = i;
	snprintf(t->name, sizeof(t->name), "%u", i);
	walker_init(&t->seat, walk->v, t->name, walk->plan.seed + i);
	t->seat.quick = walk->plan.quick;
	if (pthread_create(&t->id, NULL, thread_main, t)) {
		walker_fini(&t->seat);
		return err_set(err, ERR_SYSTEM, "no more than %u threads can be started", i);
	}
	walk->started++;
	return 0;
}

int walk_start(struct vmm *v, const struct walk_plan *plan, struct walk **ret, struct err *err)
{
	struct walk *walk;
	struct walk_totals ignored;

	if (plan->threads < 1 || plan->threads > WALK_THREADS_MAX)
		return err_set(err, ERR_INVALID, "%u threads: 1 to %d", plan->threads,
			       WALK_THREADS_MAX);
	walk = xcalloc(1, sizeof(*walk) + plan->threads * sizeof(walk->threads[0]));
	walk->v = v;
	walk->plan = *plan;
	walk->running = plan->threads;
	atomic_init(&walk->mark, UINT64_MAX);
	atomic_init(&walk->last_round, UINT64_MAX);
	pthread_barrier_init(&walk->barrier, NULL, plan->threads);
	pthread_mutex_init(&walk->lock, NULL);
	pthread_cond_init(&walk->moved, NULL);
	for (unsigned i = 0; i < plan->threads; i++) {
		if (!start_thread(walk, i, err))
			continue;
		/* In WALK_SAME the others wait in a barrier that is too wide: they cannot end. */
		if (plan->order != WALK_SAME)
			walk_join(walk, &ignored);
		return -1;
	}
	*ret = walk;
	return 0;
}

void walk_wait(struct walk *walk, uint64_t n)
{
	atomic_store(&walk->mark, n);
	pthread_mutex_lock(&walk->lock);
	while (atomic_load(&walk->touched) < n && walk->running > 0)
		pthread_cond_wait(&walk->moved, &walk->lock);
	pthread_mutex_unlock(&walk->lock);
	atomic_store(&walk->mark, UINT64_MAX);
}

uint64_t walk_touched(const struct walk *walk)
{
	return atomic_load(&walk->touched);
}

void walk_end(struct walk *walk)
{
	atomic_store(&walk->ended, true);
}

void walk_join(struct walk *walk, struct walk_totals *ret)
{
	struct walk_totals sum = {0};

	for (unsigned i = 0; i < walk->started; i++) {
		struct walk_thread *t = &walk->threads[i];

		pthread_join(t->id, NULL);
		sum.touched += t->seat.touched;
		sum.fault_us += t->seat.fault_us;
		walker_fini(&t->seat);
	}
	pthread_barrier_destroy(&walk->barrier);
	pthread_mutex_destroy(&walk->lock);
	pthread_cond_destroy(&walk->moved);
	free(walk);
	*ret = sum;
}
