/*
 * bench_create - from the request to a socket that listens: one alone, and many at once
 */
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "tests/bench/bench_place.h"
#include "tests/fakes/snapshot/snapgen.h"

#define SNAPSHOT_BYTES (64 * MIB)
#define CROWD 200

/* A chain of layers with some thousand extents, as a sandbox's. */
static int make_snapshot(const struct bench_run *r, char ret_body[PATH_MAX], struct err *err)
{
	const struct snapgen_opts opts = {.kind = SNAPGEN_LAYERS,
					  .size_bytes = SNAPSHOT_BYTES,
					  .nlayers = 3,
					  .zero_percent = 40,
					  .run_pages = 16,
					  .seed = 1};
	char dir[PATH_MAX / 2 + 16];

	snprintf(dir, sizeof(dir), "%s/create", r->dir);
	snprintf(ret_body, PATH_MAX, "{\"snapshot\":{\"dir\":\"%s\"}}", dir);
	return access(dir, F_OK) == 0 ? 0 : snapgen_write(&opts, dir, err);
}

/* --- one restore --- */

struct one {
	const struct bench_run *run;
	const char *body;
	unsigned number;
	uint64_t done_ns;
	int rc;
	struct err err;
	pthread_barrier_t *ready; /* NULL: go at once */
	pthread_t thread;
};

static void target_of(const struct one *o, char ret[static 64])
{
	snprintf(ret, 64, "/v1/restores/c%u", o->number);
}

/* The clock stops with the answer: from then on a VMM may connect. */
static void *create(void *arg)
{
	struct one *o = arg;
	char target[64];

	target_of(o, target);
	if (o->ready)
		pthread_barrier_wait(o->ready);
	o->rc = rig_call(&o->run->rig, "PUT", target, o->body, NULL, &o->err);
	o->done_ns = bench_now_ns();
	return NULL;
}

/* It listens indeed; then away with it. */
static int check_and_stop(const struct one *o, struct err *err)
{
	cleanup_json struct json_object *shown = NULL;
	cleanup_fd int fd = -1;
	char target[64];

	if (o->rc) {
		*err = o->err;
		return -1;
	}
	target_of(o, target);
	return rig_call(&o->run->rig, "GET", target, NULL, &shown, err) ||
			       sock_connect(rig_text(shown, "mem_backend.backend_path"),
					    SOCK_STREAM, &fd, err) ||
			       rig_call(&o->run->rig, "DELETE", target, NULL, NULL, err)
		       ? -1
		       : 0;
}

static int create_alone(struct bench_run *r, const char *body, uint64_t *ret_ns, struct err *err)
{
	struct one o = {.run = r, .body = body, .number = r->restores++};
	uint64_t start;

	if (rig_await_workers(&r->rig, RIG_POOL, err))
		return -1;
	start = bench_now_ns();
	create(&o);
	*ret_ns = o.done_ns - start;
	return check_and_stop(&o, err);
}

/* --- one alone, beside what starting any program costs --- */

static int exec_true(uint64_t *ret_ns, struct err *err)
{
	static const char *const argv[] = {"/bin/true", NULL};
	uint64_t start = bench_now_ns();
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return err_set(err, ERR_SYSTEM, "%s cannot be run", argv[0]);
	*ret_ns = bench_now_ns() - start;
	return 0;
}

int bench_create(struct bench_run *r, struct err *err)
{
	cleanup_free uint64_t *own = xcalloc(r->rounds, sizeof(*own));
	cleanup_free uint64_t *yardstick = xcalloc(r->rounds, sizeof(*yardstick));
	char body[PATH_MAX];

	if (make_snapshot(r, body, err))
		return -1;
	for (size_t pair = 0; pair < r->pairs; pair++) {
		for (size_t i = 0; i < r->rounds; i++)
			/* All idle workers are there again before each: nobody else is at work. */
			if (create_alone(r, body, &own[i], err) ||
			    rig_await_workers(&r->rig, RIG_POOL, err) ||
			    exec_true(&yardstick[i], err))
				return -1;
		bench_pair(r, 0, bench_percentile(own, r->rounds, 50),
			   bench_percentile(yardstick, r->rounds, 50));
	}
	r->samples = r->pairs * r->rounds;
	return 0;
}

/* --- many at once --- */

static int create_crowd(struct bench_run *r, const char *body, uint64_t *ret_ns, struct err *err)
{
	static struct one all[CROWD];
	pthread_barrier_t ready;
	uint64_t start, last = 0;

	if (rig_await_workers(&r->rig, RIG_POOL, err))
		return -1;
	pthread_barrier_init(&ready, NULL, CROWD + 1);
	for (size_t i = 0; i < CROWD; i++) {
		all[i] = (struct one){.run = r,
				      .body = body,
				      .number = r->restores++,
				      .ready = &ready};
		if (pthread_create(&all[i].thread, NULL, create, &all[i]))
			abort();
	}
	start = bench_now_ns();
	pthread_barrier_wait(&ready);
	for (size_t i = 0; i < CROWD; i++)
		pthread_join(all[i].thread, NULL);
	pthread_barrier_destroy(&ready);
	for (size_t i = 0; i < CROWD; i++) {
		last = max_u64(last, all[i].done_ns);
		if (check_and_stop(&all[i], err))
			return -1;
	}
	*ret_ns = last - start;
	return 0;
}

int bench_crowd(struct bench_run *r, struct err *err)
{
	cleanup_free uint64_t *alone = xcalloc(r->rounds, sizeof(*alone));
	char body[PATH_MAX];
	uint64_t ns;

	if (make_snapshot(r, body, err))
		return -1;
	for (size_t pair = 0; pair < r->pairs; pair++) {
		for (size_t i = 0; i < r->rounds; i++)
			if (create_alone(r, body, &alone[i], err))
				return -1;
		if (create_crowd(r, body, &ns, err))
			return -1;
		bench_pair(r, 0, (double)ns / 1e9, CROWD * bench_percentile(alone, r->rounds, 50));
	}
	r->samples = r->pairs;
	return 0;
}
