/*
 * bench [--help] - runs the rows of the table, prints them, writes bench.json where it is started
 *
 * BENCH_ROWS    names of rows, with commas between them: only these
 * BENCH_PAIRS   instead of each row's own number
 * BENCH_ROUNDS  likewise
 * BENCH_DIR     where files to measure with are made; else the build tree
 * TMPDIR        where the daemons run; else /dev/shm, if it is a tmpfs
 *
 * Exit 1 if a row failed, 2 after a wrong argument. A missed aim, or a row that this build or machine has not what
 * it takes for, is shown, not failed.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/bench/bench_place.h"

#define OUTPUT "bench.json"

#define CROWD_CONFIG                                                   \
	"\"http_connections\":1024,\"http_connections_per_uid\":1024," \
	"\"http_held\":1024"

/* clang-format off */
static const struct bench_row rows[] = {
	{"fault", "demand fault, warm source, random order",
	 {{"p50", "floor", BENCH_SECONDS, false, 1.10},
	  {"p99", "floor", BENCH_SECONDS, false, 1.25}},
	 15, 65536, NULL, bench_fault},
	{"extents", "the same with 1,000,000 extents",
	 {{"p50", "1 extent", BENCH_SECONDS, false, 1.10}},
	 7, 65536, NULL, bench_extents},
	{"busy", "demand fault while prefetch is running",
	 {{"p50", "idle", BENCH_SECONDS, false, 3},
	  {"rate of prefetch meanwhile", NULL, BENCH_BYTES_PER_S, true, 0},
	  {"p50, with pauses", "idle", BENCH_SECONDS, false, 3},
	  {"rate of prefetch meanwhile, with pauses", NULL, BENCH_BYTES_PER_S, true, 0}},
	 7, 8000, NULL, bench_busy},
	{"prefetch", "prefetch of data, warm",
	 {{"rate", "floor's UFFDIO_COPY at 1 MiB", BENCH_BYTES_PER_S, true, 0.95}},
	 9, 1, NULL, bench_prefetch},
	{"zeros", "prefetch of zero runs",
	 {{"rate", "prefetch of data", BENCH_BYTES_PER_S, true, 20}},
	 5, 1, NULL, bench_zeros},
	{"cold", "whole load, cold page cache",
	 {{"rate", "dd bs=1M of the same file", BENCH_BYTES_PER_S, true, 0.9}},
	 7, 1, NULL, bench_cold},
	{"threads", "8 threads of cold random faults",
	 {{"rate", "1 thread", BENCH_PER_S, true, 3}},
	 5, 4096, NULL, bench_threads},
	{"working-set", "walk through a working set after a cold restore",
	 {{"time", "on demand only", BENCH_SECONDS, false, 0.2}},
	 5, 1, NULL, bench_wset},
	{"huge", "2 MiB pages",
	 {{"rate of faults", "floor", BENCH_BYTES_PER_S, true, 0.95},
	  {"rate of prefetch", "floor's UFFDIO_COPY", BENCH_BYTES_PER_S, true, 0.95},
	  {"put together", "floor's UFFDIO_COPY", BENCH_BYTES_PER_S, true, 0.95}},
	 7, 1, NULL, bench_huge},
	{"create", "create request to listening socket",
	 {{"p50", "fork+exec of /bin/true", BENCH_SECONDS, false, 2}},
	 5, 20, NULL, bench_create},
	{"idle", "1,000 restores with connected VMMs, idle",
	 {{"RSS of the supervisor", NULL, BENCH_BYTES, false, 64 * MIB},
	  {"private memory per worker", NULL, BENCH_BYTES, false, 700 * KIB},
	  {"CPU of all, of one core", NULL, BENCH_SHARE, false, 0.01}},
	 1, 1, NULL, bench_idle},
	{"crowd", "200 restores created at once, last one listening",
	 {{"time", "one alone x 200", BENCH_SECONDS, false, 0.8}},
	 5, 10, CROWD_CONFIG, bench_crowd},
	{"takeover", "takeover after SIGKILL of a worker",
	 {{"p50", "fork+exec+exit of the worker program", BENCH_SECONDS, false, 3}},
	 5, 40, NULL, bench_takeover},
};
/* clang-format on */

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void bench_pair(struct bench_run *r, size_t figure, double own, double yardstick)
{
	size_t i = r->n[figure];

	if (i == BENCH_PAIRS_MAX)
		return;
	r->own[figure][i] = own;
	r->yardstick[figure][i] = yardstick;
	r->n[figure]++;
}

int bench_absent(struct bench_run *r)
{
	r->absent = true;
	return -1;
}

static int by_ns(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

double bench_percentile(uint64_t *ns, size_t n, unsigned percent)
{
	size_t rank = (n * percent + 99) / 100;

	qsort(ns, n, sizeof(ns[0]), by_ns);
	return n ? (double)ns[rank ? rank - 1 : 0] / 1e9 : 0;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

double bench_median(const double *v, size_t n)
{
	double sorted[BENCH_PAIRS_MAX];

	if (n == 0)
		return 0;
	memcpy(sorted, v, n * sizeof(v[0]));
	qsort(sorted, n, sizeof(sorted[0]), by_value);
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

uint64_t bench_setting(const char *name, uint64_t otherwise, uint64_t max)
{
	const char *text = getenv(name);
	uint64_t value = text && *text ? strtoull(text, NULL, 10) : otherwise;

	return value < 1 ? 1 : min_u64(value, max);
}

/* --- one row --- */

static int start_daemon(struct bench_run *r, struct err *err)
{
	snprintf(r->rig.state, sizeof(r->rig.state), "%s/state-%s", r->dir, r->row->name);
	r->rig.config = r->row->config;
	return rig_prepare(&r->rig, err) || rig_start(&r->rig, err) ? -1 : 0;
}

/* A worker outlives its daemon while its guest does. */
static void end_daemon(struct bench_run *r)
{
	pid_t pids[RIG_WORKERS_MAX];
	size_t n;

	rig_end(&r->rig, SIGTERM);
	n = rig_workers(&r->rig, pids);
	for (size_t i = 0; i < n; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	rig_remove(&r->rig);
}

/* False if it failed, which is told then. */
static bool measure(const struct bench_row *row, const char *dir, struct json_object *out)
{
	static struct bench_run r;
	uint64_t start = bench_now_ns();
	struct err err;
	int rc;

	r = (struct bench_run){
		.row = row,
		.dir = dir,
		.pairs = bench_setting("BENCH_PAIRS", row->pairs, BENCH_PAIRS_MAX),
		.rounds = bench_setting("BENCH_ROUNDS", row->rounds, 1 << 20),
	};
	rc = start_daemon(&r, &err);
	if (rc == 0)
		rc = row->run(&r, &err);
	end_daemon(&r);
	bench_tell(&r, (double)(bench_now_ns() - start) / 1e9, rc ? &err : NULL, out);
	return rc == 0 || r.absent;
}

static bool is_wanted(const char *name)
{
	const char *list = getenv("BENCH_ROWS");
	size_t len = strlen(name);

	if (!list || !*list)
		return true;
	for (; *list; list += strcspn(list, ",") + (list[strcspn(list, ",")] == ','))
		if (strcspn(list, ",") == len && strncmp(list, name, len) == 0)
			return true;
	return false;
}

/* --- the whole --- */

/* What is left behind on purpose is bench.json alone, however the run ends. */
struct traces {
	char dir[PATH_MAX / 2]; /* on a disk: files, stores */
	char run[PATH_MAX / 2]; /* on a tmpfs, if there is one: the daemons' run directories */
	uint64_t pool;          /* of huge pages */
};

static int make_dir(const char *base, char *ret, size_t size, struct err *err)
{
	snprintf(ret, size, "%s/bench-XXXXXX", base);
	return mkdtemp(ret) ? 0 : err_sys(err, "cannot make %s", ret);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	return remove(path);
}

static void remove_traces(const struct traces *t)
{
	nftw(t->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	nftw(t->run, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	if (bench_place_pool() != t->pool)
		bench_place_set_pool(t->pool);
}

static int arrange(struct traces *t, struct err *err)
{
	const char *base = getenv("BENCH_DIR"), *memory = getenv("TMPDIR");
	struct rlimit files;

	if (!memory || !*memory)
		memory = bench_place_on_disk("/dev/shm") ? "/tmp" : "/dev/shm";
	t->pool = bench_place_pool();
	if (make_dir(base && *base ? base : TEST_BUILD, t->dir, sizeof(t->dir), err))
		return -1;
	if (make_dir(memory, t->run, sizeof(t->run), err)) {
		rmdir(t->dir);
		return -1;
	}
	setenv("TMPDIR", t->run, 1);
	/* Many guests need many descriptors, here and in the daemon. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	return 0;
}

static int run_rows(const char *dir)
{
	cleanup_json struct json_object *o = bench_about_machine();
	struct json_object *out = json_object_new_array();
	int failed = 0;

	json_object_object_add(o, "rows", out);
	bench_print_head();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (is_wanted(rows[i].name) && !measure(&rows[i], dir, out))
			failed = 1;
	if (json_object_to_file_ext(OUTPUT, o, JSON_C_TO_STRING_PRETTY)) {
		fprintf(stderr, "bench: cannot write " OUTPUT "\n");
		failed = 1;
	}
	return failed;
}

/* Its daemons and guests die with it. */
static int await_rows(pid_t pid, const sigset_t *set)
{
	int status;

	for (;;) {
		int sig = sigwaitinfo(set, NULL);

		if (sig > 0 && sig != SIGCHLD)
			kill(pid, SIGKILL);
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	}
}

static int print_help(void)
{
	printf("Usage: tests/bench/bench [--help]\n\n"
	       "Measures uffdd in rows, each beside its yardstick, prints them and writes\n" OUTPUT
	       ". Needs root for huge pages. The environment chooses:\n\n"
	       "  BENCH_ROWS    names of rows, with commas between them: only these\n"
	       "  BENCH_PAIRS   how often each row is measured\n"
	       "  BENCH_ROUNDS  how much is measured each time\n"
	       "  BENCH_DIR     where files are made, which should be a disk (default:\n"
	       "                " TEST_BUILD ")\n\n"
	       "Rows:\n\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		printf("  %-12s  %s\n", rows[i].name, rows[i].text);
	return fflush(stdout) ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD};
	struct traces traces;
	sigset_t set, before;
	struct err err;
	pid_t pid;
	int rc = 1;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return print_help();
	if (argc > 1) {
		fprintf(stderr, "bench: takes no argument but --help, and not \"%s\"\n",
			argv[argc - 1]);
		return 2;
	}
	if (arrange(&traces, &err)) {
		fprintf(stderr, "bench: %s\n", err.msg);
		return 1;
	}
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		sigaddset(&set, ends[i]);
	sigprocmask(SIG_BLOCK, &set, &before);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigprocmask(SIG_SETMASK, &before, NULL);
		exit(run_rows(traces.dir));
	}
	if (pid > 0)
		rc = await_rows(pid, &set);
	remove_traces(&traces);
	return rc;
}
