/*
 * What an orchestrator does with a restore at work: hold and bound prefetch, pause
 * it around a snapshot and ask for page states, let the guest go when it is complete.
 */
#include <fcntl.h>
#include <string.h>

#include "tests/fakes/vmm/pages.h"
#include "tests/support/runner.h"
#include "tests/fakes/snapshot/snapgen.h"
#include "tests/support/stage.h"

#define MIB ((uint64_t)1 << 20)

static struct scene scene;
static struct snapshot {
	char json[256], image[256];
} large, small; /* 64 MiB and 4 MiB, all data but for a few zeros in small */

/* --- prefetch --- */

static const char no_touch[] = "--no-touch --wait-resident 600";

static void begin(struct stage *s, const char *id, const struct snapshot *snapshot,
		  const char *members)
{
	*s = (struct stage){.scene = &scene};
	snprintf(s->id, sizeof(s->id), "%s", id);
	stage_create(s, snapshot->json, members);
}

static void order_prefetch(const struct stage *s, const char *body)
{
	stage_tell(s, "PUT", "/prefetch", body);
}

static uint64_t prefetched(const struct stage *s)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	return scene_number(o, "prefetch.done_bytes");
}

static void check_prefetch(const struct stage *s, const char *state)
{
	cleanup_json struct json_object *o = stage_ask(s, "GET", "", NULL);

	ck_assert_str_eq(scene_text(o, "prefetch.state"), state);
}

/* Much longer than a step of prefetch takes, and many requests long. */
static void pass_time(const struct stage *s)
{
	uint64_t until = now_us() + 300000;

	while (now_us() < until)
		(void)prefetched(s);
}

static void end_right(struct stage *s)
{
	int code = stage_end(s);

	stage_check(s, code == 0, "the VMM ended with %d", code);
}

static void finish(struct stage *s)
{
	end_right(s);
	json_object_put(stage_ended(s, "vmm-exited"));
	stage_fini(s);
}

START_TEST(prefetch_begins_on_request)
{
	struct json_object *o;
	struct stage s;

	begin(&s, "on-request", &large, "\"prefetch\": {\"mode\": \"none\"}");
	stage_start(&s, large.image, no_touch);
	json_object_put(stage_await(&s, "serving"));
	check_prefetch(&s, "off");
	stage_settle(&s);
	ck_assert_uint_eq(prefetched(&s), 0);
	order_prefetch(&s, "{\"mode\": \"all\"}");
	o = stage_await(&s, "complete");
	ck_assert_str_eq(scene_text(o, "prefetch.state"), "done");
	ck_assert_uint_eq(scene_number(o, "prefetch.done_bytes"), 64 * MIB);
	ck_assert_uint_eq(scene_number(o, "faults.count"), 0);
	json_object_put(o);
	finish(&s);
}
END_TEST

/* Held from before there is a VMM, and by a change of mode and back. */
START_TEST(prefetch_held_from_the_start)
{
	struct stage s;

	begin(&s, "held-first", &large, NULL);
	order_prefetch(&s, "{\"paused\": true}");
	stage_start(&s, large.image, no_touch);
	json_object_put(stage_await(&s, "serving"));
	check_prefetch(&s, "paused");
	pass_time(&s);
	ck_assert_uint_eq(prefetched(&s), 0);
	order_prefetch(&s, "{\"mode\": \"none\", \"paused\": false}");
	pass_time(&s);
	ck_assert_uint_eq(prefetched(&s), 0);
	order_prefetch(&s, "{\"mode\": \"all\"}");
	json_object_put(stage_await(&s, "complete"));
	finish(&s);
}
END_TEST

static bool has_begun(void *arg)
{
	return prefetched(arg) > 0;
}

START_TEST(prefetch_held_on_the_way)
{
	struct stage s;
	uint64_t done;

	begin(&s, "held", &large, "\"prefetch\": {\"rate_bytes_per_s\": 262144}");
	stage_start(&s, large.image, no_touch);
	ck_assert(harness_wait(has_begun, &s, SCENE_MS));
	order_prefetch(&s, "{\"paused\": true}");
	stage_settle(&s);
	check_prefetch(&s, "paused");
	done = prefetched(&s);
	pass_time(&s);
	ck_assert_uint_eq(prefetched(&s), done);
	ck_assert_uint_lt(done, 64 * MIB);
	order_prefetch(&s, "{\"paused\": false, \"rate_bytes_per_s\": 0}");
	json_object_put(stage_await(&s, "complete"));
	ck_assert_uint_eq(prefetched(&s), 64 * MIB);
	finish(&s);
}
END_TEST

/* Of two, the one whose rate is next to nothing is touched: demand is never limited. */
START_TEST(prefetch_keeps_to_its_rate)
{
	struct stage slow, demand;
	uint64_t start;

	begin(&slow, "rate", &large, "\"prefetch\": {\"rate_bytes_per_s\": 16777216}");
	begin(&demand, "rate-demand", &large, "\"prefetch\": {\"rate_bytes_per_s\": 1}");
	start = now_us();
	stage_start(&slow, large.image, no_touch);
	stage_start(&demand, large.image, "--threads 8 --order rand");
	finish(&demand);
	json_object_put(stage_await(&slow, "complete"));
	ck_assert_uint_ge(now_us() - start, 3000000);
	finish(&slow);
}
END_TEST

/* --- page states --- */

static const char *const state_names[] = {"absent", "present", "removed", "zeroed"};
enum { ABSENT, PRESENT, REMOVED, ZEROED };

/* This process is the VMM, so that it knows of each page what it did to it. */
struct guest {
	struct stage s;
	struct vmm *v;
	struct walker seat;
	uint8_t *states; /* owned, by page */
};

#define GUEST_PAGES ((uint64_t)700) /* of the 1024 of small */

static void open_guest(struct guest *g, const char *id)
{
	static const uint64_t split[] = {3 * PAGE_4K, 0, 77 * PAGE_4K};
	const struct vmm_opts o = {
		.image = small.image,
		.size = GUEST_PAGES * PAGE_4K,
		.split = split,
		.nsplit = ARRAY_LEN(split),
		.reverse = true,
		.features = UF_FEATURE_REMOVE,
	};
	const struct vmm_link link = {0};
	struct err err = {.msg = ""};

	/* Were its bytes not to come, this test would be told by SIGBUS. */
	begin(&g->s, id, &small, "\"prefetch\": {\"mode\": \"none\"}, \"on_failure\": \"poison\"");
	ck_assert_msg(vmm_create(&o, &g->v, &err) == 0, "%s", err.msg);
	ck_assert_msg(vmm_connect(g->v, g->s.socket, &link, &err) == 0, "%s", err.msg);
	walker_init(&g->seat, g->v, "guest", 1);
	g->states = xcalloc(GUEST_PAGES, 1);
	json_object_put(stage_await(&g->s, "serving"));
}

static void touch(struct guest *g, uint64_t page)
{
	uint8_t *state = &g->states[page];

	ck_assert(pages_touch(&g->seat, page, page % 3 == 0));
	if (*state == ABSENT || *state == REMOVED)
		*state = *state == ABSENT ? PRESENT : ZEROED;
}

static void discard(struct guest *g, uint64_t page, uint64_t n)
{
	struct err err = {.msg = ""};
	uint64_t got;

	for (uint64_t end = page + n; page < end; page += got) {
		ck_assert_msg(pages_remove(&g->seat, page, end - page, &got, &err) == 0, "%s",
			      err.msg);
		memset(g->states + page, REMOVED, got);
	}
}

/* What the kernel says: is the page there? */
static bool is_resident(const struct guest *g, uint64_t page)
{
	cleanup_fd int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry, at = (uint64_t)g->v->pages[page].addr / PAGE_4K * sizeof(entry);

	ck_assert_int_eq(pread(fd, &entry, sizeof(entry), (off_t)at), sizeof(entry));
	return entry >> 63;
}

/* Writes the states of a reply; returns the next offset, or UINT64_MAX. */
static uint64_t read_runs(struct json_object *o, uint64_t offset, uint8_t *ret_states)
{
	struct json_object *runs, *next;

	ck_assert(json_object_object_get_ex(o, "runs", &runs));
	ck_assert(json_object_object_get_ex(o, "next_offset", &next));
	for (size_t i = 0; i < json_object_array_length(runs); i++) {
		struct json_object *run = json_object_array_get_idx(runs, i);
		uint64_t end, state = 0;

		ck_assert_uint_eq(scene_number(run, "offset"), offset);
		end = offset + scene_number(run, "length");
		ck_assert_uint_le(end, GUEST_PAGES * PAGE_4K);
		while (strcmp(state_names[state], scene_text(run, "state")) != 0)
			ck_assert_uint_lt(++state, ARRAY_LEN(state_names));
		memset(ret_states + offset / PAGE_4K, (int)state, (end - offset) / PAGE_4K);
		offset = end;
	}
	if (next)
		ck_assert_uint_eq(json_object_get_uint64(next), offset);
	return next ? offset : UINT64_MAX;
}

/* All pages, @limit runs at a time (0: at once). Returns how many replies it took. */
static unsigned read_states(const struct guest *g, unsigned limit, bool exact, uint8_t *ret_states)
{
	uint64_t offset = 0;
	unsigned n = 0;

	while (offset != UINT64_MAX) {
		struct json_object *o;
		char suffix[64];

		snprintf(suffix, sizeof(suffix), limit ? "/pages?offset=%llu&limit=%u" : "/pages",
			 (unsigned long long)offset, limit);
		o = stage_ask(&g->s, "GET", suffix, NULL);
		ck_assert_int_eq(scene_flag(o, "exact"), exact);
		ck_assert_uint_eq(scene_number(o, "page_bytes"), PAGE_4K);
		offset = read_runs(o, offset, ret_states);
		json_object_put(o);
		n++;
	}
	return n;
}

static void check_states(const struct guest *g)
{
	uint8_t at_once[GUEST_PAGES], in_parts[GUEST_PAGES];

	memset(at_once, 0xff, sizeof(at_once));
	memset(in_parts, 0xff, sizeof(in_parts));
	ck_assert_uint_eq(read_states(g, 0, true, at_once), 1);
	ck_assert_uint_gt(read_states(g, 3, true, in_parts), 3);
	ck_assert_mem_eq(at_once, in_parts, sizeof(at_once));
	for (uint64_t page = 0; page < GUEST_PAGES; page++)
		ck_assert_msg(at_once[page] == g->states[page],
			      "page %llu is said to be %s, it is %s", (unsigned long long)page,
			      state_names[at_once[page] % ARRAY_LEN(state_names)],
			      state_names[g->states[page]]);
}

/* Makes some of every state, in runs of odd lengths. */
static void mix_states(struct guest *g)
{
	for (uint64_t page = 0; page < GUEST_PAGES; page += 1 + page % 7)
		touch(g, page);
	for (uint64_t page = 5; page + 9 < GUEST_PAGES; page += 31)
		discard(g, page, 1 + page % 9);
	for (uint64_t page = 6; page < GUEST_PAGES; page += 62)
		touch(g, page);
}

static void order_pause(const struct guest *g, const char *what)
{
	stage_tell(&g->s, "POST", what, NULL);
}

/* Complete, so it can be stopped while we live; what is given back then reads zero. */
static void close_guest(struct guest *g)
{
	order_prefetch(&g->s, "{\"mode\": \"all\", \"rate_bytes_per_s\": 0}");
	json_object_put(stage_await(&g->s, "complete"));
	stage_tell(&g->s, "DELETE", "", NULL);
	json_object_put(stage_ended(&g->s, "stopped"));
	discard(g, 100, 50);
	ck_assert_uint_eq(pages_verify(&g->seat), GUEST_PAGES);
	ck_assert_uint_eq(atomic_load(&g->v->wrong), 0);
	walker_fini(&g->seat);
	vmm_destroy(g->v);
	free(g->states);
}

START_TEST(pause_makes_states_exact)
{
	uint8_t states[GUEST_PAGES];
	struct guest g;

	open_guest(&g, "exact");
	mix_states(&g);
	read_states(&g, 0, false, states);
	order_pause(&g, "/pause");
	check_states(&g);
	/* It stays exact: demand goes on, and so does the guest giving back. */
	order_pause(&g, "/pause");
	touch(&g, 4);
	touch(&g, 5);
	discard(&g, 300, 20);
	touch(&g, 310);
	check_states(&g);
	stage_refused(&g.s, "PUT", "/prefetch", "{\"mode\": \"all\"}", ERR_PAUSED);
	stage_refused(&g.s, "DELETE", "", NULL, ERR_PAUSED);
	check_states(&g);
	order_pause(&g, "/resume");
	order_pause(&g, "/resume");
	close_guest(&g);
}
END_TEST

/* What prefetch has installed is said exactly as well: the kernel is the judge. */
START_TEST(pause_stops_prefetch)
{
	uint8_t before[GUEST_PAGES], states[GUEST_PAGES];
	unsigned present = 0, absent = 0;
	struct guest g;

	open_guest(&g, "drained");
	mix_states(&g);
	order_prefetch(&g.s, "{\"mode\": \"all\", \"rate_bytes_per_s\": 32768}");
	ck_assert(harness_wait(has_begun, &g.s, SCENE_MS));
	order_pause(&g, "/pause");
	check_prefetch(&g.s, "paused");
	read_states(&g, 0, true, before);
	pass_time(&g.s);
	read_states(&g, 0, true, states);
	ck_assert_mem_eq(before, states, sizeof(states));
	for (uint64_t page = 0; page < GUEST_PAGES; page++) {
		bool there = states[page] == PRESENT || states[page] == ZEROED;

		ck_assert_msg(there == is_resident(&g, page), "page %llu is said to be %s",
			      (unsigned long long)page, state_names[states[page]]);
		present += states[page] == PRESENT;
		absent += states[page] == ABSENT;
		if (g.states[page] != ABSENT || states[page] == REMOVED || states[page] == ZEROED)
			ck_assert_uint_eq(states[page], g.states[page]);
	}
	ck_assert_uint_gt(present, 0);
	ck_assert_uint_gt(absent, 0);
	order_pause(&g, "/resume");
	close_guest(&g);
}
END_TEST

/* --- release --- */

static const struct release {
	const char *name, *members, *vmm;
	bool waits; /* for the release, before it touches and gives back */
} releases[] = {
	{"prefetched", "", "--hold-before --threads 4 --remove 40 --write 20 --passes 2", true},
	{"prefetched-no-keep", "", "--hold-before --no-keep --threads 4 --remove 40", true},
	{"prefetched-events", "", "--hold-before --events all --remove 40 --unmap --remap --fork",
	 true},
	{"touched", "\"prefetch\": {\"mode\": \"none\"}, ", "--threads 4 --remove 20 --hold",
	 false},
	{"under-way", "", "--balloon 1 --threads 4 --write 20 --hold", false},
	{"kvm", "", "--kvm --hold-before --threads 2 --remove 40", true},
};

START_TEST(release_leaves_the_guest)
{
	const struct release *r = &releases[_i];
	struct json_object *o;
	char members[128];
	struct stage s;

	snprintf(members, sizeof(members), "%s\"when_complete\": \"release\"", r->members);
	begin(&s, r->name, &small, members);
	stage_start(&s, small.image, r->vmm);
	if (!stage_hears(&s, "connected")) {
		ck_assert_int_eq(stage_end(&s), 77);
		fprintf(stderr, "# %s: %s", s.id, stage_printed(&s));
		stage_tell(&s, "DELETE", "", NULL);
		stage_fini(&s);
		return;
	}
	o = stage_ended(&s, "released");
	ck_assert(scene_vmm_lives(&s.vmm));
	ck_assert(scene_flag(o, "complete"));
	json_object_put(o);
	if (r->waits)
		scene_vmm_go(&s.vmm);
	end_right(&s);
	o = stage_report(&s);
	ck_assert_uint_gt(scene_number(o, "removed"), 0);
	json_object_put(o);
	stage_fini(&s);
}
END_TEST

/* --- the whole --- */

START_TEST(leaves_nothing)
{
	stage_over(&scene);
}
END_TEST

static void make_snapshot(struct snapshot *ret, const char *name, const struct snapgen_opts *o)
{
	struct err err = {.msg = ""};
	char dir[192];

	snprintf(dir, sizeof(dir), "%s/%s", scene.d.dir, name);
	ck_assert_msg(snapgen_write(o, dir, &err) == 0, "%s", err.msg);
	snprintf(ret->json, sizeof(ret->json), "{\"dir\": \"%s\"}", dir);
	snprintf(ret->image, sizeof(ret->image), "%s/" SNAPGEN_IMAGE, dir);
}

static void start(void)
{
	struct snapgen_opts o = snapgen_defaults;

	scene_open(&scene);
	o.size_bytes = 64 * MIB;
	o.zero_percent = 0;
	make_snapshot(&large, "large", &o);
	o.size_bytes = 4 * MIB;
	o.zero_percent = 10;
	make_snapshot(&small, "small", &o);
}

static void stop(void)
{
	stage_close(&scene);
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("control");
	TCase *tc = tcase_create("control");

	tcase_add_unchecked_fixture(tc, start, stop);
	tcase_add_test(tc, prefetch_begins_on_request);
	tcase_add_test(tc, prefetch_held_from_the_start);
	tcase_add_test(tc, prefetch_held_on_the_way);
	tcase_add_test(tc, prefetch_keeps_to_its_rate);
	tcase_add_test(tc, pause_makes_states_exact);
	tcase_add_test(tc, pause_stops_prefetch);
	tcase_add_loop_test(tc, release_leaves_the_guest, 0, ARRAY_LEN(releases));
	tcase_add_test(tc, leaves_nothing);
	suite_add_tcase(suite, tc);
	return suite;
}
