/*
 * bench_load - rows about whole memories: how fast all of it comes
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/bench/bench_guest.h"
#include "tests/bench/bench_place.h"

#define PREFETCH "\"prefetch\":{\"mode\":\"all\"}"
#define DATA_BYTES (512 * MIB)

/* Shared with the guest's process. */
struct load {
	uint64_t bytes, ns;
};

static void take_rate(const struct bench_side *s, double ret[BENCH_FIGURES_MAX])
{
	const struct load *l = s->plan.arg;

	ret[0] = (double)l->bytes * 1e9 / (double)l->ns;
}

static int load_and_verify(struct bench_guest *g, void *arg, struct err *err)
{
	struct load *l = arg;

	return bench_guest_load(g, &l->ns, err) || bench_guest_verify(g, err) ? -1 : 0;
}

static struct bench_side loading(struct bench_run *r, enum bench_kind kind, const char *image,
				 uint64_t bytes, struct load *l)
{
	*l = (struct load){.bytes = bytes};
	return (struct bench_side){
		.server = {.run = r, .kind = kind, .image = image, .members = PREFETCH},
		.plan = {.bytes = bytes,
			 .install_bytes = bytes,
			 .image = image,
			 .act = load_and_verify,
			 .arg = l},
		.take = take_rate,
	};
}

/* --- from the page cache --- */

int bench_prefetch(struct bench_run *r, struct err *err)
{
	struct load *l = bench_shared(2 * sizeof(*l));
	char image[PATH_MAX];
	struct bench_side side[2] = {
		loading(r, BENCH_UFFDD, image, DATA_BYTES, &l[0]),
		loading(r, BENCH_FLOOR_BULK, image, DATA_BYTES, &l[1]),
	};
	int rc = -1;

	if (bench_place_data(r, DATA_BYTES, image, err) == 0 && bench_place_warm(image, err) == 0)
		rc = bench_pairs(r, side, 0, 1, err);
	r->samples = r->pairs;
	bench_unshare(l, 2 * sizeof(*l));
	return rc;
}

/* --- zeros --- */

#define ZERO_BYTES (4 * GIB)

int bench_zeros(struct bench_run *r, struct err *err)
{
	struct load *l = bench_shared(2 * sizeof(*l));
	char image[PATH_MAX], zeros[PATH_MAX];
	struct bench_side side[2] = {
		loading(r, BENCH_UFFDD, zeros, ZERO_BYTES, &l[0]),
		loading(r, BENCH_UFFDD, image, DATA_BYTES, &l[1]),
	};
	int rc = -1;

	/* They take page tables only; and no file needs to be read to know them. */
	side[0].plan.install_bytes = ZERO_BYTES / 512;
	side[0].plan.image = NULL;
	if (bench_place_zeros(r, ZERO_BYTES, zeros, err) == 0 &&
	    bench_place_data(r, DATA_BYTES, image, err) == 0 && bench_place_warm(image, err) == 0)
		rc = bench_pairs(r, side, 0, 1, err);
	r->samples = r->pairs;
	bench_unshare(l, 2 * sizeof(*l));
	return rc;
}

/* --- from the disk --- */

static int run_dd(struct bench_side *s, struct err *err)
{
	char input[PATH_MAX + 8];
	const char *argv[] = {"/bin/dd", input, "of=/dev/null", "bs=1M", NULL};
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct load *l = s->plan.arg;
	int status = -1;
	uint64_t start;
	pid_t pid;

	if (bench_place_memory(s->plan.install_bytes, PAGE_4K, err))
		return -1;
	snprintf(input, sizeof(input), "if=%s", s->server.image);
	start = bench_now_ns();
	pid = rig_spawn(argv, null);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return err_set(err, ERR_SYSTEM, "%s fails (wait status %#x)", argv[0], status);
	l->ns = bench_now_ns() - start;
	return 0;
}

int bench_cold(struct bench_run *r, struct err *err)
{
	struct load *l;
	char image[PATH_MAX];
	struct bench_side side[2];
	int rc = -1;

	if (!bench_place_on_disk(r->dir)) {
		err_set(err, ERR_SYSTEM, BENCH_NO_DISK, r->dir);
		return bench_absent(r);
	}
	l = bench_shared(2 * sizeof(*l));
	side[0] = loading(r, BENCH_UFFDD, image, DATA_BYTES, &l[0]);
	side[1] = loading(r, BENCH_FLOOR_BULK, image, DATA_BYTES, &l[1]);
	side[1].instead = run_dd;
	side[0].cold = side[1].cold = image;
	/* The page cache needs as much as the guest. */
	side[0].plan.install_bytes = 2 * DATA_BYTES;
	if (bench_place_data(r, DATA_BYTES, image, err) == 0)
		rc = bench_pairs(r, side, 0, 1, err);
	r->samples = r->pairs;
	bench_unshare(l, 2 * sizeof(*l));
	return rc;
}
