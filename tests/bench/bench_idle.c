/*
 * bench_idle - what many restores cost while nothing happens
 *
 * One process is the VMM of all of them; each has a memory of its own, all of it
 * installed. Memory is what smaps_rollup says; processor time is what the kernel
 * has counted for the supervisor and all of its workers, idle ones too.
 */
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "tests/bench/bench_guest.h"
#include "tests/bench/bench_place.h"

#define RESTORES 1000
#define GUEST_BYTES MIB
#define SETTLE_MS 2000
#define IDLE_MS 10000

/* Shared with the guests' process. */
struct idle {
	struct bench_run *run;
	const char *image;
	double supervisor_bytes, worker_bytes, cpu_share;
};

/* A line of smaps_rollup, in bytes. */
static bool read_memory(pid_t pid, const char *const *names, size_t n, uint64_t *ret)
{
	char path[64], line[128], name[32];
	cleanup_file FILE *f = NULL;
	uint64_t kib;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "re");
	*ret = 0;
	while (f && fgets(line, sizeof(line), f))
		for (size_t i = 0; i < n; i++)
			if (sscanf(line, "%31[^:]: %" SCNu64, name, &kib) == 2 &&
			    strcmp(name, names[i]) == 0)
				*ret += kib * 1024;
	return f && *ret;
}

/* Exact, where /proc/PID/stat counts in ticks of 10 ms. */
static uint64_t cpu_ns(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t cpu_of_all(const struct rig *rig, const pid_t *workers, size_t n)
{
	uint64_t sum = cpu_ns(rig->pid);

	for (size_t i = 0; i < n; i++)
		sum += cpu_ns(workers[i]);
	return sum;
}

static int measure(struct idle *d, struct err *err)
{
	static const char *const rss[] = {"Rss"}, *const own[] = {"Private_Clean", "Private_Dirty"};
	const struct rig *rig = &d->run->rig;
	static pid_t workers[RIG_WORKERS_MAX];
	size_t n = rig_workers(rig, workers);
	uint64_t bytes, sum = 0, start, ns;

	if (n < RESTORES)
		return err_set(err, ERR_SYSTEM, "%zu workers for %d restores", n, RESTORES);
	poll(NULL, 0, SETTLE_MS);
	ns = cpu_of_all(rig, workers, n);
	start = bench_now_ns();
	poll(NULL, 0, IDLE_MS);
	ns = cpu_of_all(rig, workers, n) - ns;
	d->cpu_share = (double)ns / (double)(bench_now_ns() - start);

	for (size_t i = 0; i < n; i++) {
		if (!read_memory(workers[i], own, ARRAY_LEN(own), &bytes))
			return err_sys(err, "cannot tell the memory of worker %d", workers[i]);
		sum += bytes;
	}
	if (!read_memory(rig->pid, rss, ARRAY_LEN(rss), &bytes))
		return err_sys(err, "cannot tell the memory of the supervisor");
	d->worker_bytes = (double)sum / (double)n;
	d->supervisor_bytes = (double)bytes;
	return 0;
}

/* Its memory is there, and right. */
static int fill(struct bench_server *s, struct err *err)
{
	struct vmm_opts opts = {.image = s->image, .features = UF_FEATURE_REMOVE, .seed = 1};
	struct bench_guest g = {.server = s};
	uint64_t ns;

	if (bench_server_open(s, err) || vmm_create(&opts, &g.v, err))
		return -1;
	g.memory = (uint8_t *)g.v->regions.v[0].base;
	return bench_guest_load(&g, &ns, err) || bench_guest_verify(&g, err) ? -1 : 0;
}

static int live(void *arg, struct err *err)
{
	struct idle *d = arg;

	for (unsigned i = 0; i < RESTORES; i++) {
		struct bench_server s = {.run = d->run,
					 .kind = BENCH_UFFDD,
					 .image = d->image,
					 .members = "\"prefetch\":{\"mode\":\"all\"}"};

		if (fill(&s, err))
			return err_wrap(err, "restore %u", i);
	}
	return measure(d, err);
}

int bench_idle(struct bench_run *r, struct err *err)
{
	struct idle *d = bench_shared(sizeof(*d));
	char image[PATH_MAX];
	int rc = bench_place_data(r, GUEST_BYTES, image, err);

	d->run = r;
	d->image = image;
	for (size_t i = 0; i < r->pairs && rc == 0; i++) {
		rc = bench_process(live, d, err);
		if (rc == 0)
			rc = rig_await_workers(&r->rig, RIG_POOL, err);
		r->restores += RESTORES;
		bench_pair(r, 0, d->supervisor_bytes, 0);
		bench_pair(r, 1, d->worker_bytes, 0);
		bench_pair(r, 2, d->cpu_share, 0);
	}
	r->samples = r->pairs * RESTORES;
	bench_unshare(d, sizeof(*d));
	return rc;
}
