#include "tests/bench/bench_guest.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "common/proc.h"
#include "tests/bench/bench_place.h"
#include "tests/fakes/vmm/walk.h"

#define SAMPLE_MS 120000
#define THREADS_MAX 64

void *bench_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

void bench_unshare(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

uint32_t *bench_order(size_t n, size_t npages, uint64_t seed)
{
	uint32_t *pages = xcalloc(n, sizeof(*pages));

	for (size_t i = 0; i < n; i++)
		pages[i] = (uint32_t)walk_page(WALK_RAND, i, npages, seed);
	return pages;
}

/* --- the process --- */

struct life {
	const struct bench_server *server;
	const struct bench_plan *plan;
};

static int live(void *arg, struct err *err)
{
	const struct bench_plan *plan = ((struct life *)arg)->plan;
	const struct bench_server *s = ((struct life *)arg)->server;
	struct vmm_opts opts = {.image = plan->image,
				.size = plan->bytes,
				.page_bytes = plan->page_bytes,
				.features = UF_FEATURE_REMOVE,
				.seed = 1};
	struct bench_guest g = {.server = s, .image = plan->image};

	if (vmm_create(&opts, &g.v, err) ||
	    bench_place_memory(plan->install_bytes, g.v->page_bytes, err))
		return -1;
	g.memory = (uint8_t *)g.v->regions.v[0].base;
	return plan->act(&g, plan->arg, err);
}

/* The guest's end, or ours if it takes too long. */
static int await_end(pid_t pid, struct err *err)
{
	cleanup_fd int pidfd = -1;
	struct pollfd p;
	int status;
	bool late;

	if (proc_pidfd(pid, &pidfd, err))
		return -1;
	p = (struct pollfd){.fd = pidfd, .events = POLLIN};
	late = poll(&p, 1, SAMPLE_MS) != 1;
	if (late)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (late)
		return err_set(err, ERR_TIMEOUT, "a guest was still at it after %d ms", SAMPLE_MS);
	if (!WIFEXITED(status))
		return err_set(err, ERR_SYSTEM, "a guest died (wait status %#x)", status);
	return 0;
}

int bench_process(int (*run)(void *arg, struct err *err), void *arg, struct err *err)
{
	struct {
		int rc;
		struct err err;
	} *said = bench_shared(sizeof(*said));
	pid_t parent = getpid(), pid = fork();
	int rc = 0;

	said->rc = -1;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		said->rc = run(arg, &said->err);
		_exit(0);
	}
	if (pid < 0)
		rc = err_sys(err, "cannot fork a guest");
	else
		rc = await_end(pid, err);
	if (rc == 0 && said->rc) {
		*err = said->err;
		rc = -1;
	}
	bench_unshare(said, sizeof(*said));
	return rc;
}

int bench_guest_run(struct bench_server *s, const struct bench_plan *plan, struct err *err)
{
	struct life life = {s, plan};
	struct err ignored;
	int rc = bench_server_open(s, err);

	if (rc == 0)
		rc = bench_process(live, &life, err);
	return bench_server_close(s, rc ? &ignored : err) || rc ? -1 : 0;
}

static int run_side(struct bench_side *s, double ret[BENCH_FIGURES_MAX], struct err *err)
{
	int rc = 0;

	if (s->cold)
		rc = bench_place_cold(s->cold, err);
	if (rc == 0)
		rc = s->instead ? s->instead(s, err) : bench_guest_run(&s->server, &s->plan, err);
	if (rc == 0)
		s->take(s, ret);
	return rc;
}

int bench_pairs(struct bench_run *r, struct bench_side side[2], size_t first, size_t n,
		struct err *err)
{
	double v[2][BENCH_FIGURES_MAX];

	for (size_t pair = 0; pair < r->pairs; pair++) {
		/* Neither side always comes after the other. */
		size_t one = pair % 2;

		if (run_side(&side[one], v[one], err) || run_side(&side[!one], v[!one], err))
			return -1;
		for (size_t i = 0; i < n; i++)
			bench_pair(r, first + i, v[0][i], v[1][i]);
	}
	return 0;
}

/* --- in the process --- */

int bench_guest_connect(struct bench_guest *g, struct err *err)
{
	const struct vmm_link link = {0};

	return vmm_connect(g->v, g->server->socket, &link, err);
}

struct hand {
	struct bench_guest *g;
	struct bench_touches *t;
	unsigned first;
	pthread_t thread;
	pthread_barrier_t *ready;
};

/* A vCPU that computes for a while; drawn, so that no server can be in step with it. */
static void compute(uint64_t us)
{
	uint64_t until = bench_now_ns() + us * 1000;

	while (bench_now_ns() < until)
		;
}

static void *touch(void *arg)
{
	struct hand *h = arg;
	const uint64_t page_bytes = h->g->v->page_bytes;

	if (h->ready)
		pthread_barrier_wait(h->ready);
	for (size_t i = h->first; i < h->t->n; i += h->t->threads) {
		const uint8_t *at = h->g->memory + h->t->pages[i] * page_bytes;
		uint64_t start;

		if (h->t->pause_us)
			compute(vmm_mix(h->t->pages[i]) % (h->t->pause_us + 1));
		start = bench_now_ns();
		(void)*(const volatile uint8_t *)at;
		h->t->ns[i] = bench_now_ns() - start;
	}
	return NULL;
}

int bench_guest_touch(struct bench_guest *g, struct bench_touches *t, struct err *err)
{
	struct hand hands[THREADS_MAX];
	pthread_barrier_t ready;
	uint64_t start;
	bool several = t->threads > 1;

	if (t->threads < 1 || t->threads > THREADS_MAX)
		return err_set(err, ERR_INVALID, "%u threads", t->threads);
	pthread_barrier_init(&ready, NULL, t->threads + 1);
	for (unsigned i = 0; i < t->threads; i++) {
		hands[i] =
			(struct hand){.g = g, .t = t, .first = i, .ready = several ? &ready : NULL};
		if (several && pthread_create(&hands[i].thread, NULL, touch, &hands[i]))
			return err_set(err, ERR_SYSTEM, "no thread can be started");
	}
	if (several)
		pthread_barrier_wait(&ready);
	start = bench_now_ns();
	if (!several)
		touch(&hands[0]);
	for (unsigned i = 0; several && i < t->threads; i++)
		pthread_join(hands[i].thread, NULL);
	t->wall_ns = bench_now_ns() - start;
	pthread_barrier_destroy(&ready);
	return 0;
}

int bench_guest_verify(const struct bench_guest *g, struct err *err)
{
	if (g->image && bench_place_warm(g->image, err))
		return -1;
	for (uint64_t off = 0; off < g->v->size; off += g->v->page_bytes)
		if (memcmp(g->memory + off, g->v->image + off, g->v->page_bytes) != 0)
			return err_set(err, ERR_SNAPSHOT, "guest memory is wrong at %#" PRIx64,
				       off);
	return 0;
}

int bench_guest_load(struct bench_guest *g, uint64_t *ret_ns, struct err *err)
{
	uint64_t start = bench_now_ns();

	if (bench_guest_connect(g, err) || bench_server_await(g->server, g->v->sock, err))
		return -1;
	*ret_ns = bench_now_ns() - start;
	return 0;
}

size_t bench_guest_count(const struct bench_guest *g, uint64_t n)
{
	cleanup_free unsigned char *there = xcalloc(n, 1);
	size_t count = 0;

	if (mincore(g->memory, n * PAGE_4K, there))
		return 0;
	for (uint64_t i = 0; i < n; i++)
		count += there[i] & 1;
	return count;
}

bool bench_guest_has(const struct bench_guest *g, uint64_t page)
{
	unsigned char there = 0;

	return mincore(g->memory + page * g->v->page_bytes, g->v->page_bytes, &there) == 0 &&
	       (there & 1);
}
