/*
 * bench_takeover - how long a guest's thread waits when the worker dies under it
 *
 * A fault is made to wait by stopping the worker; from its SIGKILL to the moment
 * at which the thread goes on is what is measured: the supervisor must notice, hand
 * the guest to an idle worker, that one must map the snapshot, wake the thread, and
 * answer its fault.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/support/rig.h"
#include "tests/fakes/snapshot/snapgen.h"
#include "tests/fakes/vmm/vmm.h"

#define MEMORY_BYTES ((uint64_t)64 << 20)
#define ID "bench"
#define WAIT_MS 10000

/* The thread of the guest: touches a page each time it is told to. */
struct toucher {
	struct vmm *v;
	pthread_t thread;
	sem_t go, done;
	uint64_t page; /* next; BENCH_END: leave */
	uint64_t done_ns;
};
#define BENCH_END UINT64_MAX

struct scene {
	struct bench_run *run;
	struct vmm *v;
	struct toucher t;
	bool touching; /* the thread runs */
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	for (;;) {
		while (sem_wait(&t->go))
			;
		if (t->page == BENCH_END)
			return NULL;
		(void)*(volatile uint8_t *)t->v->pages[t->page].addr;
		t->done_ns = bench_now_ns();
		sem_post(&t->done);
	}
}

/* --- waiting for what must be so before the clock starts --- */

/* Asks every millisecond, for at most WAIT_MS. */
static int wait_until(bool (*cond)(struct scene *g, pid_t pid), struct scene *g, pid_t pid,
		      const char *what, struct err *err)
{
	uint64_t deadline = now_us() + (uint64_t)WAIT_MS * 1000;

	while (!cond(g, pid)) {
		if (now_us() >= deadline)
			return err_set(err, ERR_TIMEOUT, "%s: not within %d ms", what, WAIT_MS);
		poll(NULL, 0, 1);
	}
	return 0;
}

static bool is_stopped(struct scene *g, pid_t pid)
{
	char text[16], state;
	pid_t parent;

	(void)g;
	snprintf(text, sizeof(text), "%d", (int)pid);
	return rig_process(text, &state, &parent) && state == 'T';
}

/* One thread waits, as the kernel counts. */
static bool is_pending(struct scene *g, pid_t pid)
{
	cleanup_file FILE *f = NULL;
	char path[64], line[128];
	unsigned n = 0;

	(void)pid;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", g->v->uffd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "pending: %u", &n) == 1)
			break;
	return n > 0;
}

static int find_worker(struct scene *g, pid_t *ret, struct err *err)
{
	uint64_t deadline = now_us() + (uint64_t)WAIT_MS * 1000;
	bool serving = false;

	while (!serving) {
		cleanup_json struct json_object *o = NULL;

		if (rig_call(&g->run->rig, "GET", "/v1/restores/" ID, NULL, &o, err))
			return -1;
		serving = strcmp(rig_text(o, "state"), "serving") == 0;
		*ret = (pid_t)json_object_get_int64(rig_member(o, "worker.pid"));
		if (!serving && now_us() >= deadline)
			return err_set(err, ERR_TIMEOUT, "the restore is %s, not serving",
				       rig_text(o, "state"));
		if (!serving)
			poll(NULL, 0, 1);
	}
	return 0;
}

/* --- what is measured --- */

static int await_answer(struct scene *g, struct err *err)
{
	struct timespec by;

	clock_gettime(CLOCK_MONOTONIC, &by);
	by.tv_sec += WAIT_MS / 1000;
	while (sem_clockwait(&g->t.done, CLOCK_MONOTONIC, &by))
		if (errno != EINTR)
			return err_set(err, ERR_TIMEOUT, "the fault was not answered within %d ms",
				       WAIT_MS);
	return 0;
}

static int one_takeover(struct scene *g, uint64_t page, uint64_t *ret_ns, struct err *err)
{
	uint64_t start;
	pid_t worker;

	if (find_worker(g, &worker, err) || rig_await_workers(&g->run->rig, RIG_POOL + 1, err))
		return -1;
	kill(worker, SIGSTOP);
	if (wait_until(is_stopped, g, worker, "SIGSTOP of the worker", err))
		return -1;
	g->t.page = page;
	sem_post(&g->t.go);
	if (wait_until(is_pending, g, 0, "a fault that waits", err))
		return -1;
	start = bench_now_ns();
	kill(worker, SIGKILL);
	if (await_answer(g, err))
		return -1;
	*ret_ns = g->t.done_ns - start;
	return 0;
}

static int one_exec(int null, uint64_t *ret_ns, struct err *err)
{
	static const char *const argv[] = {TEST_BUILD "/worker/uffdd-worker", "--version", NULL};
	uint64_t start = bench_now_ns();
	pid_t pid = rig_spawn(argv, null);
	int status;

	if (pid < 0)
		return err_sys(err, "cannot fork");
	if (waitpid(pid, &status, 0) != pid || status)
		return err_set(err, ERR_SYSTEM, "%s --version fails", argv[0]);
	*ret_ns = bench_now_ns() - start;
	return 0;
}

static int run_rounds(struct scene *g, size_t pair, uint64_t *own, uint64_t *yardstick,
		      struct err *err)
{
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	size_t rounds = g->run->rounds;
	uint64_t step = g->v->npages / (rounds * g->run->pairs);

	for (size_t i = 0; i < rounds; i++) {
		if (one_takeover(g, (pair * rounds + i) * step, &own[i], err))
			return -1;
		/* Nobody but us at work then, or it would be the slower for it. */
		if (rig_await_workers(&g->run->rig, RIG_POOL + 1, err) ||
		    one_exec(null, &yardstick[i], err))
			return -1;
	}
	return 0;
}

static int run_pairs(struct scene *g, struct err *err)
{
	struct bench_run *r = g->run;
	cleanup_free uint64_t *own = xcalloc(r->rounds, sizeof(*own));
	cleanup_free uint64_t *yardstick = xcalloc(r->rounds, sizeof(*yardstick));

	if (r->rounds * r->pairs > g->v->npages)
		return err_set(err, ERR_INVALID, "more rounds than pages: %zu", r->rounds);
	for (size_t i = 0; i < r->pairs; i++) {
		if (run_rounds(g, i, own, yardstick, err))
			return -1;
		bench_pair(r, 0, bench_percentile(own, r->rounds, 50),
			   bench_percentile(yardstick, r->rounds, 50));
		r->samples += r->rounds;
	}
	return 0;
}

/* --- set up and take down --- */

static int make_guest(struct scene *g, struct err *err)
{
	const struct snapgen_opts opts = {.kind = SNAPGEN_MEMORY,
					  .size_bytes = MEMORY_BYTES,
					  .nlayers = 1,
					  .run_pages = 64,
					  .seed = 1,
					  .image = true};
	const struct vmm_link link = {0};
	char dir[sizeof(g->run->rig.dir) + 16], image[sizeof(dir) + 16], body[1024];
	struct vmm_opts vmm = {.image = image, .features = UF_FEATURE_REMOVE, .seed = 1};
	cleanup_json struct json_object *o = NULL;

	snprintf(dir, sizeof(dir), "%s/snapshot", g->run->rig.dir);
	snprintf(image, sizeof(image), "%s/" SNAPGEN_IMAGE, dir);
	snprintf(body, sizeof(body),
		 "{\"snapshot\":{\"memory\":[\"%s/" SNAPGEN_BASE "\"]},"
		 "\"prefetch\":{\"mode\":\"none\"},\"on_failure\":\"hold\"}",
		 dir);
	if (snapgen_write(&opts, dir, err) ||
	    rig_call(&g->run->rig, "PUT", "/v1/restores/" ID, body, &o, err) ||
	    vmm_create(&vmm, &g->v, err))
		return -1;
	return vmm_connect(g->v, rig_text(o, "mem_backend.backend_path"), &link, err);
}

static int start_thread(struct scene *g, struct err *err)
{
	g->t.v = g->v;
	sem_init(&g->t.go, 0, 0);
	sem_init(&g->t.done, 0, 0);
	if (pthread_create(&g->t.thread, NULL, touch, &g->t))
		return err_set(err, ERR_SYSTEM, "no thread can be started");
	g->touching = true;
	return 0;
}

static void end_thread(struct scene *g)
{
	if (!g->touching)
		return;
	g->t.page = BENCH_END;
	sem_post(&g->t.go);
	pthread_join(g->t.thread, NULL);
}

int bench_takeover(struct bench_run *r, struct err *err)
{
	static struct scene g;
	int rc;

	g = (struct scene){.run = r};
	rc = make_guest(&g, err);
	if (rc == 0)
		rc = start_thread(&g, err);
	if (rc == 0)
		rc = run_pairs(&g, err);
	if (rc == 0)
		end_thread(&g);
	/* A fault that nobody answered ends with the userfaultfd; then its thread does, too. */
	vmm_destroy(g.v);
	return rc;
}
