/*
 * Whole restores: daemon, worker and stand-in VMM as programs of their own.
 * Every snapshot in every way of needing its pages; afterwards all bytes were
 * right, the counters add up, and nothing of the restore is left.
 */
#include <string.h>

#include "tests/support/hugepool.h"
#include "tests/support/runner.h"
#include "tests/support/shelf.h"
#include "tests/support/stage.h"

#define MIB ((uint64_t)1 << 20)
#define SKIPPED 77

static struct scene scene;
static struct shelf golden, made, small, huge;

/* --- how pages are needed --- */

enum {
	CHANGES = 1 << 0, /* pages are given back, so what is installed does not add up */
	REMOVES = 1 << 1, /* each page at most once, and all are read again */
	UNMAPS = 1 << 2,
	EVENTS = 1 << 3, /* one of every kind at least */
	ALONE = 1 << 4,  /* prefetch does it all */
	FIRST = 1 << 5,  /* prefetch is through before the VMM goes on */
	IDLE = 1 << 6,   /* nothing is installed before the VMM goes on */
	PART = 1 << 7,   /* guest memory is less than the snapshot */
};

struct row {
	const char *name, *prefetch, *vmm;
	unsigned flags;
};

#define ODD "--split 4K,12K,rest,20K"
#define EVERYTHING "--threads 8 --events all --unmap --remap --fork --remove 20"

static const struct row golden_rows[] = {
	{"demand", "none", "--order seq", 0},
	{"demand-not-before", "none", "--hold-before --order rev", IDLE},
	{"demand-part", "none", "--size 256K --threads 8", PART},
	{"demand-8", "none", "--threads 8 --order rand", 0},
	{"demand-8-same", "none", "--threads 8 --order same", 0},
	{"demand-regions", "none", ODD " --order stride", 0},
	{"demand-regions-rev-8", "none", ODD " --offset-order rev --threads 8", 0},
	{"demand-removes", "none", "--order rand --remove 30", REMOVES},
	{"demand-removes-8", "none", "--threads 8 --remove 30", REMOVES},
	{"demand-removes-regions", "none", ODD " --offset-order rev --remove 50", REMOVES},
	{"demand-removes-unseen", "none", "--threads 8 --events none --remove 30", REMOVES},
	{"demand-writes", "none", "--write 100", 0},
	{"demand-writes-removes-8", "none", "--threads 8 --write 50 --remove 30 --passes 2",
	 REMOVES},
	{"demand-balloon", "none", "--threads 8 --write 20 --order rand --balloon 1", CHANGES},
	{"demand-events", "none", EVERYTHING, CHANGES | UNMAPS | EVENTS},
	{"prefetch", "all", "--no-touch --wait-resident 600", ALONE},
	{"prefetch-regions", "all", ODD " --no-touch --wait-resident 600", ALONE},
	{"prefetch-regions-rev", "all", ODD " --offset-order rev --no-touch --wait-resident 600",
	 ALONE},
	{"prefetch-removes", "all", "--hold-before --threads 8 --write 30 --remove 30",
	 FIRST | REMOVES},
	{"both", "all", "--order rev", 0},
	{"both-8", "all", "--threads 8 --order rand --passes 2", 0},
	{"both-8-same", "all", "--threads 8 --order same", 0},
	{"both-regions-rev-8", "all", ODD " --offset-order rev --threads 8 --order rand", 0},
	{"both-removes", "all", "--order rev --remove 30", REMOVES},
	{"both-removes-unseen", "all", "--order rev --events none --remove 30", REMOVES},
	{"both-writes-removes-8", "all", "--threads 8 --write 50 --remove 30 --order rev", REMOVES},
	{"both-balloon", "all", "--threads 8 --write 20 --order rand --balloon 1", CHANGES},
	{"both-events", "all", EVERYTHING " --order rev", CHANGES | UNMAPS | EVENTS},
};

static const struct row made_rows[] = {
	{"demand", "none", "--threads 8 --order rand", 0},
	{"demand-removes", "none", "--threads 8 --order rand --remove 20 --write 20", REMOVES},
	{"prefetch", "all", "--no-touch --wait-resident 600", ALONE},
	{"both", "all", "--threads 8 --order rand", 0},
	{"both-removes", "all", "--threads 8 --order rand --remove 20 --write 20", REMOVES},
	{"both-events", "all", EVERYTHING " --order rand", CHANGES | UNMAPS | EVENTS},
};

static const struct row handshake_rows[] = {
	{"style-both", "all", "--threads 8 --order rand --style both", 0},
	{"style-kib", "all", "--threads 8 --order rand --style kib", 0},
	{"style-size", "all", "--threads 8 --order rand --style size", 0},
	{"style-neither", "all", "--threads 8 --order rand --style neither", 0},
	{"fds", "all", "--threads 8 --order rand --fds 3", 0},
	{"split-send", "all", "--threads 8 --order rand --split-send", 0},
	{"drop", "all", "--threads 8 --order rand --drop", 0},
	{"no-keep", "all", "--threads 8 --order rand --no-keep --remove 10", REMOVES},
	{"drop-no-keep", "none", "--threads 8 --order rand --drop --no-keep --remove 10", REMOVES},
};

#define HUGE "--page-size 2M --threads 4 --order rand"

static const struct row huge_rows[] = {
	{"demand", "none", HUGE, 0},
	{"demand-removes", "none", HUGE " --remove 40 --write 30", REMOVES},
	{"prefetch", "all", "--page-size 2M --no-touch --wait-resident 600", ALONE},
	{"both", "all", HUGE, 0},
	{"both-removes", "all", HUGE " --remove 40 --write 30", REMOVES},
	{"both-regions", "all", HUGE " --split 2M,6M,rest --offset-order rev --remove 40", REMOVES},
};

static const struct row kvm_rows[] = {
	{"demand", "none", "--kvm", 0},
	{"demand-2", "none", "--kvm --threads 2 --order rand", 0},
	{"demand-removes-2", "none", "--kvm --threads 2 --remove 30", REMOVES},
	{"prefetch-2", "all", "--kvm --threads 2 --hold-before", FIRST | ALONE},
	{"both", "all", "--kvm --order rev", 0},
	{"both-2", "all", "--kvm --threads 2 --order rand", 0},
	{"both-removes-2", "all", "--kvm --threads 2 --remove 30 --fork " ODD, REMOVES},
};

/* --- what must be so afterwards --- */

struct outcome {
	const struct row *row;
	const struct shelf_snapshot *snapshot;
	struct stage *s;
	struct json_object *restore, *report; /* owned */
};

#define check_eq(o, what, a, b)                                              \
	do {                                                                 \
		uint64_t a_ = (a), b_ = (b);                                 \
		stage_check((o)->s, a_ == b_, what ": %llu is not %llu: %s", \
			    (unsigned long long)a_, (unsigned long long)b_,  \
			    json_object_to_json_string((o)->restore));       \
	} while (0)

static uint64_t counter(const struct outcome *o, const char *path)
{
	return scene_number(o->restore, path);
}

static void check_vmm(const struct outcome *o)
{
	uint64_t pages = scene_number(o->report, "pages"), verified;

	check_eq(o, "pages", pages * counter(o, "memory.page_bytes"),
		 counter(o, "memory.total_bytes"));
	check_eq(o, "wrong pages", scene_number(o->report, "wrong"), 0);
	verified = scene_number(o->report, "verified");
	if (o->row->flags & UNMAPS) {
		stage_check(o->s, verified > 0 && verified < pages, "pages are not unmapped");
		return;
	}
	check_eq(o, "verified pages", verified, pages);
	check_eq(o, "resident", counter(o, "memory.resident_bytes"),
		 counter(o, "memory.total_bytes"));
	stage_check(o->s, scene_flag(o->restore, "complete"), "it is not complete");
}

/* What of the snapshot is data; the most it can be where that is not known. */
static uint64_t data_bytes(const struct outcome *o)
{
	uint64_t size = counter(o, "memory.size_bytes");

	if (o->snapshot->zeros_stored || counter(o, "memory.page_bytes") != PAGE_4K)
		return size;
	return size - o->snapshot->zero_bytes;
}

/* Every page is installed once, by a fault or by prefetch, and zeros as zeros. */
static void check_installed(const struct outcome *o)
{
	uint64_t data = counter(o, "installed.data_bytes"), most = data_bytes(o);
	uint64_t total = counter(o, "memory.total_bytes"), page = counter(o, "memory.page_bytes");

	stage_check(o->s, data <= most, "%llu bytes of data were installed, there are %llu",
		    (unsigned long long)data, (unsigned long long)most);
	if (o->row->flags & (CHANGES | REMOVES))
		return;
	check_eq(o, "installed", data + counter(o, "installed.zero_bytes"), total);
	check_eq(o, "faults and prefetch",
		 counter(o, "faults.served") * page + counter(o, "prefetch.done_bytes"), total);
	if (most < total && !(o->row->flags & PART))
		check_eq(o, "installed as zero", total - data, o->snapshot->zero_bytes);
}

static void check_way(const struct outcome *o)
{
	unsigned flags = o->row->flags;

	if (strcmp(o->row->prefetch, "none") == 0) {
		check_eq(o, "prefetched", counter(o, "prefetch.done_bytes"), 0);
		stage_check(o->s, counter(o, "faults.served") > 0, "no fault was served");
	}
	if (flags & ALONE)
		check_eq(o, "faults", counter(o, "faults.count"), 0);
	if (flags & (ALONE | FIRST))
		check_eq(o, "prefetched", counter(o, "prefetch.done_bytes"),
			 counter(o, "memory.total_bytes"));
	check_eq(o, "source errors", counter(o, "errors.source"), 0);
	check_eq(o, "refused peers", counter(o, "errors.refused_peers"), 0);
}

static void check_events(const struct outcome *o)
{
	static const char *const kinds[] = {"remove", "unmap", "remap", "fork"};
	uint64_t removed = scene_number(o->report, "removed");

	if (o->row->flags & REMOVES) {
		stage_check(o->s, removed > 0, "nothing was removed");
		check_eq(o, "zeroed", counter(o, "memory.zero_bytes"),
			 removed * counter(o, "memory.page_bytes"));
		/* More: what is installed between its event and its removal goes as well. */
		stage_check(o->s, counter(o, "faults.zero") >= removed, "%llu zero faults",
			    (unsigned long long)counter(o, "faults.zero"));
	}
	for (size_t i = 0; i < ARRAY_LEN(kinds) && o->row->flags & EVENTS; i++) {
		char path[32];

		snprintf(path, sizeof(path), "events.%s", kinds[i]);
		stage_check(o->s, counter(o, path) > 0, "no event %s", kinds[i]);
	}
}

/* --- one row --- */

static void begin(struct stage *s, const struct row *row, const struct shelf_snapshot *snapshot)
{
	cleanup_free char *options = scene_format("%s --hold", row->vmm);
	char members[64];

	*s = (struct stage){.scene = &scene};
	snprintf(s->id, sizeof(s->id), "%s.%s", row->name, snapshot->name);
	snprintf(members, sizeof(members), "\"prefetch\": {\"mode\": \"%s\"}", row->prefetch);
	stage_create(s, snapshot->json, members);
	stage_start(s, snapshot->image, options);
}

/* The VMM has connected and waits, unless it cannot run here. */
static void go_on(struct stage *s, const struct row *row)
{
	struct json_object *o;

	if (!(row->flags & (FIRST | IDLE)) || !stage_hears(s, "connected"))
		return;
	o = stage_await(s, row->flags & FIRST ? "complete" : "serving");
	if (row->flags & IDLE) {
		ck_assert_uint_eq(scene_number(o, "memory.resident_bytes"), 0);
		ck_assert_str_eq(scene_text(o, "prefetch.state"), "off");
	}
	json_object_put(o);
	scene_vmm_go(&s->vmm);
}

static void skip(struct stage *s)
{
	const char *why = strstr(stage_printed(s), "SKIP");

	fprintf(stderr, "# %s: %s", s->id, why ? why : "skipped\n");
	stage_tell(s, "DELETE", "", NULL);
	stage_fini(s);
}

static void finish(struct stage *s, const struct row *row, const struct shelf_snapshot *snapshot)
{
	struct outcome o = {.row = row, .snapshot = snapshot, .s = s};
	int code;

	/* A page is there a moment before it is counted: not to end in that moment. */
	if (stage_hears(s, "holding"))
		stage_settle(s);
	code = stage_end(s);
	if (code == SKIPPED) {
		skip(s);
		return;
	}
	stage_check(s, code == 0, "the VMM ended with %d", code);
	o.restore = stage_ended(s, "vmm-exited");
	o.report = stage_report(s);
	check_vmm(&o);
	check_installed(&o);
	check_way(&o);
	check_events(&o);
	json_object_put(o.restore);
	json_object_put(o.report);
	stage_fini(s);
}

/* All snapshots of the shelf at the same time. */
static void play(const struct row *row, const struct shelf *shelf)
{
	struct stage s[SHELF_MAX];

	for (size_t i = 0; i < shelf->n; i++)
		begin(&s[i], row, &shelf->v[i]);
	for (size_t i = 0; i < shelf->n; i++)
		go_on(&s[i], row);
	for (size_t i = 0; i < shelf->n; i++)
		finish(&s[i], row, &shelf->v[i]);
}

START_TEST(serves_golden)
{
	play(&golden_rows[_i], &golden);
}
END_TEST

START_TEST(serves_made)
{
	play(&made_rows[_i], &made);
}
END_TEST

START_TEST(serves_any_handshake)
{
	play(&handshake_rows[_i], &small);
}
END_TEST

START_TEST(serves_huge_pages)
{
	play(&huge_rows[_i], &huge);
}
END_TEST

START_TEST(serves_a_guest)
{
	play(&kvm_rows[_i], &small);
}
END_TEST

START_TEST(leaves_nothing)
{
	stage_over(&scene);
}
END_TEST

/* --- the daemon and what it serves, once for all tests of a case --- */

static void start_golden(void)
{
	scene_open(&scene);
	shelf_fill_golden(&golden);
}

static void stop_golden(void)
{
	shelf_clear(&golden);
	stage_close(&scene);
}

static void start_made(void)
{
	struct snapgen_opts o = snapgen_defaults;

	scene_open(&scene);
	o.size_bytes = 64 * MIB;
	o.nlayers = 5;
	o.run_pages = 4;
	for (int kind = 0; kind < SNAPGEN_KINDS; kind++) {
		o.kind = (enum snapgen_kind)kind;
		shelf_make(&made, scene.d.dir, snapgen_kind_names[kind], &o);
	}
	o.kind = SNAPGEN_LAYERS;
	o.size_bytes = 8 * MIB;
	shelf_make(&small, scene.d.dir, "small", &o);
}

static void stop_made(void)
{
	shelf_clear(&made);
	shelf_clear(&small);
	stage_close(&scene);
}

#define HUGE_BYTES (16 * MIB)
static struct hugepool pool;

static void start_huge(void)
{
	struct snapgen_opts o = snapgen_defaults;

	scene_open(&scene);
	o.size_bytes = HUGE_BYTES;
	shelf_make(&huge, scene.d.dir, "huge", &o);
	/* The last one is not for prefetch. */
	if (!hugepool_open(&pool, HUGE_BYTES / PAGE_2M + 1))
		fputs("# there are no huge pages to be had\n", stderr);
}

static void stop_huge(void)
{
	hugepool_close(&pool);
	shelf_clear(&huge);
	stage_close(&scene);
}

static TCase *add_case(Suite *suite, const char *name, void (*start)(void), void (*stop)(void))
{
	TCase *tc = tcase_create(name);

	tcase_add_unchecked_fixture(tc, start, stop);
	suite_add_tcase(suite, tc);
	return tc;
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("restore");
	TCase *tc;

	tc = add_case(suite, "golden", start_golden, stop_golden);
	tcase_add_loop_test(tc, serves_golden, 0, ARRAY_LEN(golden_rows));
	tcase_add_test(tc, leaves_nothing);
	tc = add_case(suite, "made", start_made, stop_made);
	tcase_add_loop_test(tc, serves_made, 0, ARRAY_LEN(made_rows));
	tcase_add_loop_test(tc, serves_any_handshake, 0, ARRAY_LEN(handshake_rows));
	tcase_add_loop_test(tc, serves_a_guest, 0, ARRAY_LEN(kvm_rows));
	tcase_add_test(tc, leaves_nothing);
	tc = add_case(suite, "huge", start_huge, stop_huge);
	tcase_add_loop_test(tc, serves_huge_pages, 0, ARRAY_LEN(huge_rows));
	tcase_add_test(tc, leaves_nothing);
	return suite;
}
