/*
 * bench - runs the rows of the table, prints them, writes bench.json where it is started
 *
 * BENCH_ROUNDS: instead of each row's own number. Exit 1 if a row could not be measured;
 * a missed aim is shown, not failed: machines differ.
 */
#include "tests/bench.h"

#include <inttypes.h>
#include <string.h>
#include <sys/utsname.h>

#include "common/js.h"

#define OUTPUT "bench.json"

static const struct bench_row rows[] = {
	{"takeover after SIGKILL of a worker", "fork+exec+exit of the worker program", 3, 200,
	 bench_takeover},
};

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void bench_add(struct bench_samples *s, uint64_t ns)
{
	if (s->n < BENCH_SAMPLES_MAX)
		s->ns[s->n++] = ns;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Nearest rank, of sorted samples, in microseconds. */
static double percentile(const struct bench_samples *s, unsigned percent)
{
	size_t rank = (s->n * percent + 99) / 100;

	return s->n ? (double)s->ns[rank ? rank - 1 : 0] / 1e3 : 0;
}

static void read_cpu(char *ret, size_t size)
{
	cleanup_file FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(ret, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		snprintf(ret, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
		return;
	}
}

static struct json_object *about_machine(void)
{
	struct json_object *o = json_object_new_object();
	struct utsname u;
	char cpu[200];

	uname(&u);
	read_cpu(cpu, sizeof(cpu));
	js_add_string(o, "cpu", cpu);
	js_add_u64(o, "cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	js_add_string(o, "machine", u.machine);
	js_add_string(o, "kernel", u.release);
	printf("%s, %ld CPUs, %s, Linux %s\n", cpu, sysconf(_SC_NPROCESSORS_ONLN), u.machine,
	       u.release);
	return o;
}

static struct json_object *about_samples(const struct bench_samples *s, const char *name)
{
	struct json_object *o = json_object_new_object();

	js_add_string(o, "name", name);
	js_add_u64(o, "samples", s->n);
	json_object_object_add(o, "p50_us", json_object_new_double(percentile(s, 50)));
	json_object_object_add(o, "p99_us", json_object_new_double(percentile(s, 99)));
	printf("  %-40s %8zu %10.0f %10.0f\n", name, s->n, percentile(s, 50), percentile(s, 99));
	return o;
}

static size_t rounds_of(const struct bench_row *row)
{
	const char *text = getenv("BENCH_ROUNDS");
	uint64_t n = text && *text ? strtoull(text, NULL, 10) : row->rounds;

	return n < 1 ? 1 : min_u64(n, BENCH_SAMPLES_MAX);
}

static int measure(const struct bench_row *row, struct json_object *out, struct err *err)
{
	static struct bench_samples own, yardstick;
	struct json_object *o;
	double ratio;

	own.n = yardstick.n = 0;
	if (row->run(rounds_of(row), &own, &yardstick, err))
		return err_wrap(err, "%s", row->name);
	qsort(own.ns, own.n, sizeof(own.ns[0]), by_value);
	qsort(yardstick.ns, yardstick.n, sizeof(yardstick.ns[0]), by_value);
	ratio = percentile(&own, 50) / percentile(&yardstick, 50);
	o = about_samples(&own, row->name);
	json_object_object_add(o, "yardstick", about_samples(&yardstick, row->yardstick));
	json_object_object_add(o, "ratio_p50", json_object_new_double(ratio));
	json_object_object_add(o, "aim", json_object_new_double(row->aim));
	json_object_array_add(out, o);
	printf("  p50 is %.2f times the yardstick's, the aim is %.0f: %s\n", ratio, row->aim,
	       ratio <= row->aim ? "met" : "MISSED");
	return 0;
}

int main(void)
{
	cleanup_json struct json_object *o = json_object_new_object();
	struct json_object *out = json_object_new_array();
	int failed = 0;

	json_object_object_add(o, "machine", about_machine());
	json_object_object_add(o, "rows", out);
	printf("  %-40s %8s %10s %10s\n", "", "samples", "p50 us", "p99 us");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err;

		if (measure(&rows[i], out, &err)) {
			fprintf(stderr, "bench: %s\n", err.msg);
			failed = 1;
		}
	}
	if (json_object_to_file_ext(OUTPUT, o, JSON_C_TO_STRING_PRETTY)) {
		fprintf(stderr, "bench: cannot write " OUTPUT "\n");
		failed = 1;
	}
	return failed;
}
