#include "tests/bench/bench.h"

#include <config.h>
#include <inttypes.h>
#include <string.h>
#include <sys/utsname.h>

/* --- the machine --- */

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

struct json_object *bench_about_machine(void)
{
	struct json_object *o = json_object_new_object(), *machine = json_object_new_object();
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE_4K;
	struct utsname u;
	char cpu[200];

	uname(&u);
	read_cpu(cpu, sizeof(cpu));
	js_add_string(o, "uffdd", PACKAGE_VERSION);
	js_add_time(o, "date", wall_ms());
	js_add_string(machine, "cpu", cpu);
	js_add_u64(machine, "cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	js_add_u64(machine, "memory_bytes", memory);
	js_add_string(machine, "machine", u.machine);
	js_add_string(machine, "kernel", u.release);
	json_object_object_add(o, "machine", machine);
	printf("uffdd %s on %s, %ld CPUs, %" PRIu64 " GiB, %s, Linux %s\n", PACKAGE_VERSION, cpu,
	       sysconf(_SC_NPROCESSORS_ONLN), (memory + GIB / 2) / GIB, u.machine, u.release);
	return o;
}

/* --- values for people --- */

static void show(char ret[static 24], enum bench_unit unit, double v)
{
	switch (unit) {
	case BENCH_SECONDS:
		if (v < 1e-3)
			snprintf(ret, 24, "%.2f us", v * 1e6);
		else if (v < 1)
			snprintf(ret, 24, "%.2f ms", v * 1e3);
		else
			snprintf(ret, 24, "%.2f s", v);
		return;
	case BENCH_BYTES:
		if (v < (double)MIB)
			snprintf(ret, 24, "%.0f KiB", v / 1024);
		else
			snprintf(ret, 24, "%.1f MiB", v / (double)MIB);
		return;
	case BENCH_BYTES_PER_S:
		snprintf(ret, 24, "%.2f GiB/s", v / (double)GIB);
		return;
	case BENCH_PER_S:
		snprintf(ret, 24, "%.0f /s", v);
		return;
	case BENCH_SHARE:
		snprintf(ret, 24, "%.2f %%", v * 100);
		return;
	}
}

static const char *const unit_names[] = {
	[BENCH_SECONDS] = "s", [BENCH_BYTES] = "bytes", [BENCH_BYTES_PER_S] = "bytes/s",
	[BENCH_PER_S] = "1/s", [BENCH_SHARE] = "share",
};

void bench_print_head(void)
{
	printf("  %-79s %12s %12s %8s %11s\n", "", "uffdd", "yardstick", "ratio", "aim");
	fflush(stdout);
}

/* --- rows --- */

/* Of a figure without a yardstick, the value itself. */
static double result(const struct bench_run *r, size_t i)
{
	double ratio[BENCH_PAIRS_MAX];

	if (!r->row->figures[i].yardstick)
		return bench_median(r->own[i], r->n[i]);
	for (size_t k = 0; k < r->n[i]; k++)
		ratio[k] = r->own[i][k] / r->yardstick[i][k];
	return bench_median(ratio, r->n[i]);
}

static struct json_object *values(const double *v, size_t n)
{
	struct json_object *a = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(a, json_object_new_double(v[i]));
	return a;
}

static void add_side(struct json_object *o, const char *key, const double *v, size_t n)
{
	struct json_object *side = json_object_new_object();

	json_object_object_add(side, "median", json_object_new_double(bench_median(v, n)));
	json_object_object_add(side, "pairs", values(v, n));
	json_object_object_add(o, key, side);
}

static bool is_met(const struct bench_figure *f, double value)
{
	return f->at_least ? value >= f->aim : value <= f->aim;
}

static void add_figure(const struct bench_run *r, size_t i, struct json_object *figures)
{
	const struct bench_figure *f = &r->row->figures[i];
	struct json_object *o = json_object_new_object();
	double value = result(r, i);

	js_add_string(o, "what", f->what);
	js_add_string(o, "unit", unit_names[f->unit]);
	js_add_u64(o, "pairs", r->n[i]);
	add_side(o, "uffdd", r->own[i], r->n[i]);
	if (f->yardstick) {
		js_add_string(o, "against", f->yardstick);
		add_side(o, "yardstick", r->yardstick[i], r->n[i]);
		json_object_object_add(o, "ratio", json_object_new_double(value));
	}
	if (f->aim > 0) {
		json_object_object_add(o, "aim", json_object_new_double(f->aim));
		js_add_string(o, "reach", f->at_least ? "at least" : "at most");
		js_add_bool(o, "met", is_met(f, value));
	}
	json_object_array_add(figures, o);
}

static void print_figure(const struct bench_run *r, size_t i)
{
	const struct bench_figure *f = &r->row->figures[i];
	char own[24], yardstick[24] = "", ratio[24] = "", aim[32], text[200];
	const char *sign = f->at_least ? ">=" : "<=";
	double value = result(r, i);

	show(own, f->unit, bench_median(r->own[i], r->n[i]));
	if (f->yardstick) {
		show(yardstick, f->unit, bench_median(r->yardstick[i], r->n[i]));
		snprintf(ratio, sizeof(ratio), "%.2f", value);
		snprintf(aim, sizeof(aim), "%s %.2f", sign, f->aim);
		snprintf(text, sizeof(text), "%s, %s : %s", r->row->text, f->what, f->yardstick);
	} else {
		char limit[24];

		show(limit, f->unit, f->aim);
		snprintf(aim, sizeof(aim), "%s %s", sign, limit);
		snprintf(text, sizeof(text), "%s, %s", r->row->text, f->what);
	}
	if (f->aim > 0)
		printf("  %-79s %12s %12s %8s %11s  %s\n", text, own, yardstick, ratio, aim,
		       is_met(f, value) ? "met" : "MISSED");
	else
		printf("  %-79s %12s %12s %8s\n", text, own, yardstick, ratio);
}

void bench_tell(const struct bench_run *r, double seconds, const struct err *why,
		struct json_object *out)
{
	struct json_object *o = json_object_new_object(), *figures = json_object_new_array();

	js_add_string(o, "name", r->row->name);
	js_add_string(o, "text", r->row->text);
	js_add_u64(o, "samples", r->samples);
	json_object_object_add(o, "seconds", json_object_new_double(seconds));
	js_add_string(o, "not_measured", why && r->absent ? why->msg : NULL);
	js_add_string(o, "failed", why && !r->absent ? why->msg : NULL);
	json_object_object_add(o, "figures", figures);
	json_object_array_add(out, o);
	if (why)
		printf("  %-79s %s: %s\n", r->row->text, r->absent ? "not measured" : "FAILED",
		       why->msg);
	for (size_t i = 0; !why && i < BENCH_FIGURES_MAX && r->row->figures[i].what; i++) {
		add_figure(r, i, figures);
		print_figure(r, i);
	}
	fflush(stdout);
}
