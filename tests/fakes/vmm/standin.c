/*
 * standin - the stand-in VMM as a program
 *
 * Exit: 0 everything touched was right, 1 wrong bytes, 2 usage, 3 could not be
 * set up, 4 hung, 77 skipped, 149 a page was poisoned (SIGBUS). Short lines on
 * stdout, the last one is JSON.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "tests/fakes/vmm/apart.h"
#include "tests/fakes/vmm/hostile.h"
#include "tests/fakes/vmm/kvm.h"
#include "tests/fakes/vmm/walk.h"
#include "tests/fakes/vmm/watchdog.h"

enum {
	EXIT_RIGHT,
	EXIT_WRONG,
	EXIT_USAGE,
	EXIT_SETUP,
	EXIT_HUNG,
	EXIT_SKIP = 77,
	EXIT_POISONED = 149, /* as Firecracker's */
};

#define REMOVE_RUN_PAGES 32
#define CHANGE_TRIES 1000
#define RESIDENT_POLL_MS 5
#define GRACE_S 5

struct args {
	const char *socket, *image, *hostile, *split, *only;
	uint64_t size, page_bytes, threads, seed, write_pct, passes, remove_pct;
	uint64_t resident_s, balloon_s, timeout_s, extra_fds, linger_ms;
	uint64_t order, style, reverse, events, helper;
	bool no_touch, quick, hold, hold_before, split_send, split_hold, drop, no_keep;
	bool unmap, remap, fork, kvm, pid_ns, scarce, main_ends, ends_slowly, help;
};

struct standin {
	struct args a;
	struct vmm *v;
	struct walker seat; /* of the main thread */
	struct walk_totals totals;
	uint64_t verified;
	uint64_t started_us;
};

/* --- the command line --- */

static const char *const orders[] = {"seq", "rev", "rand", "stride", "same", NULL};
static const char *const styles[] = {"both", "kib", "size", "neither", "kib-zero", "in-kib", NULL};
static const char *const helpers[] = {"none", "ends", "stays", NULL};
static const char *const directions[] = {"fwd", "rev", NULL};
static const char *const events[] = {"remove", "none", "all", NULL};
/* clang-format off */
static const unsigned event_features[] = {
	UF_FEATURE_REMOVE, 0,
	UF_FEATURE_REMOVE | UF_FEATURE_UNMAP | UF_FEATURE_REMAP | UF_FEATURE_FORK,
};
/* clang-format on */

enum kind { FLAG, TEXT, BYTES, NUMBER, CHOICE };

struct option {
	const char *name;
	enum kind kind;
	size_t at; /* in struct args: bool, const char * or uint64_t */
	uint64_t min, max;
	const char *const *choices;
	const char *help;
};

#define AT(field) offsetof(struct args, field)
static const struct option options[] = {
	{"--socket", TEXT, AT(socket), .help = "PATH of the server's socket (required)"},
	{"--image", TEXT, AT(image), .help = "FILE with what guest memory must hold (required)"},
	{"--size", BYTES, AT(size), 1, VMM_SIZE_MAX,
	 .help = "of guest memory; default: the image's"},
	{"--split", TEXT, AT(split), .help = "sizes of regions: 4K,12K,1M,rest"},
	{"--offset-order", CHOICE, AT(reverse), .choices = directions,
	 .help = "rev: later offsets at lower addresses"},
	{"--page-size", BYTES, AT(page_bytes), PAGE_4K, PAGE_2M, .help = "4K or 2M"},
	{"--scarce", FLAG, AT(scarce), .help = "also where there are too few huge pages for it"},
	{"--threads", NUMBER, AT(threads), 1, WALK_THREADS_MAX,
	 .help = "that touch; vCPUs with --kvm"},
	{"--order", CHOICE, AT(order), .choices = orders, .help = "in which pages are touched"},
	{"--seed", NUMBER, AT(seed), 0, UINT64_MAX, .help = "of everything random"},
	{"--write", NUMBER, AT(write_pct), 0, 100, .help = "percent of touches that write"},
	{"--passes", NUMBER, AT(passes), 1, 1000000, .help = "over all of memory"},
	{"--quick", FLAG, AT(quick), .help = "touches compare nothing; the last pass does"},
	{"--remove", NUMBER, AT(remove_pct), 0, 100,
	 .help = "percent of pages to give back half-way"},
	{"--balloon", NUMBER, AT(balloon_s), 0, 86400,
	 .help = "seconds of giving back and touching, or until the end of stdin"},
	{"--unmap", FLAG, AT(unmap), .help = "some pages half-way"},
	{"--remap", FLAG, AT(remap), .help = "some pages half-way"},
	{"--fork", FLAG, AT(fork), .help = "a child half-way"},
	{"--events", CHOICE, AT(events), .choices = events, .help = "asked of the userfaultfd"},
	{"--only", TEXT, AT(only), .help = "touch 0+64,128,…; a line on stdin: then the rest"},
	{"--linger", NUMBER, AT(linger_ms), 0, 86400000, .help = "ms; then --only again"},
	{"--no-touch", FLAG, AT(no_touch), .help = "leave it to prefetch"},
	{"--wait-resident", NUMBER, AT(resident_s), 0, 86400, .help = "s for all, then verify"},
	{"--kvm", FLAG, AT(kvm), .help = "a real guest reads instead of threads"},
	{"--hold-before", FLAG, AT(hold_before), .help = "wait for a line before touching"},
	{"--hold", FLAG, AT(hold), .help = "wait for end of stdin or SIGTERM before leaving"},
	{"--style", CHOICE, AT(style), .choices = styles, .help = "page sizes in the message"},
	{"--fds", NUMBER, AT(extra_fds), 0, HANDSHAKE_FDS_MAX - 1, .help = "after the uffd"},
	{"--split-send", FLAG, AT(split_send), .help = "the message byte by byte"},
	{"--split-hold", FLAG, AT(split_hold),
	 .help = "wait for a line on stdin in the middle of the message"},
	{"--drop", FLAG, AT(drop), .help = "the connection after the message"},
	{"--no-keep", FLAG, AT(no_keep), .help = "close the uffd after the message"},
	{"--helper", CHOICE, AT(helper), .choices = helpers,
	 .help = "another process that connects for it"},
	{"--main-ends", FLAG, AT(main_ends), .help = "its thread, once connected; others go on"},
	{"--ends-slowly", FLAG, AT(ends_slowly),
	 .help = "wait as with --hold once its memory and its uffd are gone"},
	{"--pid-ns", FLAG, AT(pid_ns), .help = "in a PID namespace of its own"},
	{"--hostile", TEXT, AT(hostile), .help = "WAY to misbehave; see below"},
	{"--timeout", NUMBER, AT(timeout_s), 1, 86400, .help = "seconds until everything is done"},
	{"--help", FLAG, AT(help), .help = "this"},
};

static void usage(FILE *f)
{
	fputs("usage: standin --socket PATH --image FILE [options]\n", f);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option *o = &options[i];

		fprintf(f, "  %-16s %s", o->name, o->help);
		for (const char *const *c = o->choices; c && *c; c++)
			fprintf(f, "%s%s", c == o->choices ? ": " : "|", *c);
		fputc('\n', f);
	}
	fputs("ways: ", f);
	hostile_list(f);
}

/* Decimal with an optional K, M or G; ends at the end of @text or at a comma. */
static bool parse_bytes(const char *text, uint64_t *ret, const char **ret_end)
{
	static const char suffixes[] = "KMG";
	const char *suffix;
	uint64_t factor = 1;
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (errno || text[0] < '0' || text[0] > '9')
		return false;
	suffix = *end ? strchr(suffixes, *end) : NULL;
	if (suffix) {
		factor <<= 10 * (suffix - suffixes + 1);
		end++;
	}
	*ret_end = end;
	return (*end == '\0' || *end == ',') && !__builtin_mul_overflow(*ret, factor, ret);
}

static bool parse_choice(const char *text, const char *const *choices, uint64_t *ret)
{
	for (*ret = 0; choices[*ret]; (*ret)++)
		if (!strcmp(choices[*ret], text))
			return true;
	return false;
}

static int set_option(struct args *a, const struct option *o, const char *value, struct err *err)
{
	void *field = (char *)a + o->at;
	uint64_t number = 0;
	const char *end = "";
	bool good;

	if (o->kind == FLAG) {
		*(bool *)field = true;
		return 0;
	}
	if (!value)
		return err_set(err, ERR_INVALID, "%s needs a value", o->name);
	if (o->kind == TEXT) {
		*(const char **)field = value;
		return 0;
	}
	if (o->kind == CHOICE)
		good = parse_choice(value, o->choices, &number);
	else
		good = parse_bytes(value, &number, &end) && !*end && number >= o->min &&
		       number <= o->max;
	if (!good)
		return err_set(err, ERR_INVALID, "%s: \"%s\" will not do", o->name, value);
	*(uint64_t *)field = number;
	return 0;
}

static int parse_args(struct args *a, char **argv, struct err *err)
{
	while (*argv) {
		const struct option *o = options;

		while (o < options + ARRAY_LEN(options) && strcmp(o->name, *argv))
			o++;
		if (o == options + ARRAY_LEN(options))
			return err_set(err, ERR_INVALID, "no option %s: see --help", *argv);
		if (set_option(a, o, argv[1], err))
			return -1;
		argv += o->kind == FLAG ? 1 : 2;
	}
	if (a->help)
		return 0;
	if (!a->socket || !a->image)
		return err_set(err, ERR_INVALID, "--socket and --image are needed: see --help");
	if (a->hostile && !hostile_find(a->hostile))
		return err_set(err, ERR_INVALID, "no way %s to misbehave: see --help", a->hostile);
	if (a->page_bytes != PAGE_4K && a->page_bytes != PAGE_2M)
		return err_set(err, ERR_INVALID, "--page-size is 4K or 2M");
	if (a->kvm && (a->unmap || a->remap || a->no_touch || a->balloon_s || a->write_pct ||
		       a->threads > KVM_VCPUS_MAX))
		return err_set(err, ERR_INVALID,
			       "--kvm reads with at most %d threads, and only "
			       "--remove and --fork may go with it",
			       KVM_VCPUS_MAX);
	return 0;
}

static int parse_split(const char *text, uint64_t *ret, size_t *ret_n, struct err *err)
{
	const char *end = text;

	for (*ret_n = 0; text && *end; text = end + 1) {
		uint64_t bytes = 0;

		if (*ret_n == REGIONS_MAX)
			return err_set(err, ERR_INVALID, "--split: at most %d regions",
				       REGIONS_MAX);
		if (!strncmp(text, "rest", 4) && (text[4] == ',' || !text[4]))
			end = text + 4;
		else if (!parse_bytes(text, &bytes, &end) || !bytes)
			return err_set(err, ERR_INVALID, "--split: no size at \"%s\"", text);
		ret[(*ret_n)++] = bytes;
	}
	return 0;
}

/* --- what happens to memory --- */

/* The length, at most @max, of the run of unmarked pages from @page on; marks it. */
static uint64_t mark_run(bool *marks, uint64_t n, uint64_t page, uint64_t max)
{
	uint64_t len = 0;

	while (len < max && page + len < n && !marks[page + len])
		marks[page + len++] = true;
	return len;
}

static int remove_share(struct standin *s, struct err *err)
{
	uint64_t n = s->v->npages;
	uint64_t left = (n * s->a.remove_pct + 99) / 100;
	cleanup_free bool *marks = xcalloc(n, sizeof(*marks));
	uint64_t got;

	for (uint64_t i = 0; i < n && left > 0; i++) {
		uint64_t page = walk_page(WALK_RAND, i, n, s->a.seed + 1);
		uint64_t max = 1 + walker_random(&s->seat, REMOVE_RUN_PAGES);

		max = mark_run(marks, n, page, min_u64(max, left));
		for (uint64_t end = page + max; page < end; page += max_u64(got, 1)) {
			if (pages_remove(&s->seat, page, end - page, &got, err))
				return -1;
			left -= got;
		}
	}
	printf("removed %" PRIu64 "\n", atomic_load(&s->v->removed));
	return 0;
}

/* Some pages at a random place: at least one, unless all of them are always being written. */
static int change_some(struct standin *s, const char *what,
		       int (*change)(struct walker *, uint64_t, uint64_t, uint64_t *, struct err *),
		       struct err *err)
{
	uint64_t n = s->v->npages;
	uint64_t got = 0;

	for (int i = 0; i < CHANGE_TRIES && got == 0; i++)
		if (change(&s->seat, walker_random(&s->seat, n), 1 + n / 16, &got, err))
			return -1;
	printf("%s %" PRIu64 "\n", what, got);
	return 0;
}

static int change_memory(struct standin *s, struct err *err)
{
	if (s->a.remap && change_some(s, "remapped", pages_remap, err))
		return -1;
	if (s->a.fork && pages_fork(err))
		return -1;
	if (s->a.fork)
		puts("forked");
	if (s->a.remove_pct && remove_share(s, err))
		return -1;
	return s->a.unmap ? change_some(s, "unmapped", pages_unmap, err) : 0;
}

/* Lines may wait in there. */
static bool stdin_has_ended(void)
{
	struct pollfd p = {.fd = STDIN_FILENO};

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

/* One touch at least between two removals: touching is to go on. */
static int inflate_until(struct standin *s, struct walk *walk, uint64_t until_us, struct err *err)
{
	uint64_t n;

	for (; now_us() < until_us && !stdin_has_ended(); walk_wait(walk, walk_touched(walk) + 1))
		if (pages_remove(&s->seat, walker_random(&s->seat, s->v->npages),
				 1 + walker_random(&s->seat, REMOVE_RUN_PAGES), &n, err))
			return -1;
	return 0;
}

static int touch_all(struct standin *s, struct err *err)
{
	struct walk_plan plan = {
		.threads = (unsigned)s->a.threads,
		.passes = (unsigned)s->a.passes,
		.write_pct = (unsigned)s->a.write_pct,
		.order = (enum walk_order)s->a.order,
		.seed = s->a.seed,
		.quick = s->a.quick,
	};
	struct walk *walk;
	int rc;

	if (s->a.balloon_s)
		plan.until_us = now_us() + s->a.balloon_s * 1000000;
	if (walk_start(s->v, &plan, &walk, err))
		return -1;
	walk_wait(walk, (s->v->npages + 1) / 2);
	rc = change_memory(s, err);
	if (!rc && plan.until_us)
		rc = inflate_until(s, walk, plan.until_us, err);
	walk_end(walk);
	watchdog_set(s->v, s->a.timeout_s);
	walk_join(walk, &s->totals);
	printf("touched %" PRIu64 "\n", s->totals.touched);
	return rc;
}

static int read_by_guest(struct standin *s, struct err *err)
{
	struct vmm *v = s->v;
	cleanup_free uint64_t *sums = xcalloc(v->npages, sizeof(*sums));
	cleanup_free uint8_t *want = xcalloc(1, v->page_bytes);

	if (kvm_read_all(v, (unsigned)s->a.threads, (enum walk_order)s->a.order, sums, err))
		return -1;
	for (uint64_t page = 0; page < v->npages; page++) {
		struct vmm_wrong wrong = {.page = page, .got = sums[page], .as = "vcpu-sum"};

		pages_expect(v, page, want);
		wrong.expected = kvm_sum(want, v->page_bytes);
		if (wrong.got != wrong.expected)
			pages_wrong(v, &wrong);
	}
	s->totals.touched += v->npages;
	return 0;
}

static int guest_all(struct standin *s, struct err *err)
{
	int rc = 0;

	for (uint64_t i = 0; i < s->a.passes && !rc; i++)
		rc = read_by_guest(s, err);
	if (!rc && (s->a.remove_pct || s->a.fork))
		rc = change_memory(s, err) ? -1 : read_by_guest(s, err);
	printf("touched %" PRIu64 "\n", s->totals.touched);
	return rc;
}

/* *ret_all: none were missing at the deadline. */
static int wait_resident(struct standin *s, bool *ret_all, struct err *err)
{
	uint64_t deadline = now_us() + s->a.resident_s * 1000000;
	uint64_t pages;

	for (;;) {
		if (vmm_resident(s->v, &pages, err))
			return -1;
		*ret_all = pages == s->v->npages;
		if (*ret_all || now_us() >= deadline)
			break;
		poll(NULL, 0, RESIDENT_POLL_MS);
	}
	printf("resident %" PRIu64 " of %" PRIu64 "\n", pages, s->v->npages);
	return 0;
}

static void verify(struct standin *s)
{
	s->verified = pages_verify(&s->seat);
	printf("verified %" PRIu64 " pages\n", s->verified);
}

/* --- the course of things --- */

/* False: the end came instead. */
static bool wait_line(void)
{
	char c = 0;

	while (c != '\n' && read(STDIN_FILENO, &c, 1) == 1)
		;
	return c == '\n';
}

static int hold(struct err *err)
{
	struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.events = POLLIN}};
	cleanup_fd int term = -1;
	char drop[256];
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	term = signalfd(-1, &set, SFD_CLOEXEC);
	if (term < 0)
		return err_sys(err, "waiting for SIGTERM");
	p[1].fd = term;
	puts("holding");
	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return err_sys(err, "waiting for the end");
		if (p[1].revents || (p[0].revents && read(STDIN_FILENO, drop, sizeof(drop)) <= 0))
			return 0;
	}
}

static int report(const struct standin *s)
{
	uint64_t wrong = atomic_load(&s->v->wrong);

	for (uint64_t i = 0; i < min_u64(wrong, VMM_WRONG_MAX); i++) {
		const struct vmm_wrong *w = &s->v->first_wrong[i];

		printf("wrong page=%" PRIu64 " expected=%016" PRIx64 " got=%016" PRIx64
		       " at=%" PRIu64 " as=%s\n",
		       w->page, w->expected, w->got, w->at, w->as);
	}
	printf("{\"pages\":%" PRIu64 ",\"touched\":%" PRIu64 ",\"verified\":%" PRIu64
	       ",\"wrong\":%" PRIu64 ",\"removed\":%" PRIu64
	       ",\"seconds\":%.3f,\"faults_seconds\":%.3f}\n",
	       s->v->npages, s->totals.touched, s->verified, wrong, atomic_load(&s->v->removed),
	       (double)(now_us() - s->started_us) / 1e6,
	       (double)(s->totals.fault_us + s->seat.fault_us) / 1e6);
	return wrong ? EXIT_WRONG : EXIT_RIGHT;
}

static int fail(const struct err *err)
{
	fflush(stdout);
	fprintf(stderr, "standin: %s\n", err->msg);
	return err->code == ERR_INVALID ? EXIT_USAGE : EXIT_SETUP;
}

static int skip(const char *reason)
{
	printf("SKIP: %s\n", reason);
	return EXIT_SKIP;
}

/* Whoever is to say the line may take his time. */
static bool wait_unwatched(const struct standin *s)
{
	bool line;

	watchdog_set(s->v, 0);
	line = wait_line();
	watchdog_set(s->v, s->a.timeout_s + s->a.balloon_s);
	return line;
}

static int touch_only(struct standin *s, struct err *err)
{
	if (walk_list(&s->seat, s->a.only, &s->totals.touched, err))
		return -1;
	if (!s->a.linger_ms)
		return 0;
	poll(NULL, 0, (int)s->a.linger_ms);
	return walk_list(&s->seat, s->a.only, &s->totals.touched, err);
}

/* The connection is made; from here on the server must deliver. */
static int serve(struct standin *s)
{
	struct err err;
	bool all = true;
	int rc = 0;

	if (s->a.no_touch && s->a.resident_s)
		rc = wait_resident(s, &all, &err);
	else if (s->a.kvm)
		rc = guest_all(s, &err);
	else if (s->a.only)
		rc = touch_only(s, &err);
	else if (!s->a.no_touch)
		rc = touch_all(s, &err);
	if (rc)
		return fail(&err);
	if (all && (s->a.only ? wait_unwatched(s) : !s->a.no_touch || s->a.resident_s))
		verify(s);
	rc = report(s);
	watchdog_set(s->v, 0);
	if (s->a.hold && hold(&err))
		return fail(&err);
	return all || rc ? rc : EXIT_HUNG;
}

static int misbehave(struct standin *s)
{
	const struct hostile *h = hostile_find(s->a.hostile);
	enum hostile_end end;
	struct err err;

	/* It is its own deadline that counts here. */
	watchdog_set(s->v, s->a.timeout_s + GRACE_S);
	if (hostile_run(h, s->v, s->a.socket, now_us() + s->a.timeout_s * 1000000, &end, &err))
		return fail(&err);
	if (end == HOSTILE_SERVED) {
		verify(s);
		return report(s);
	}
	puts(end == HOSTILE_CLOSED ? "closed" : "open");
	return EXIT_RIGHT;
}

static void hold_half(void)
{
	puts("half");
	wait_line();
}

static int go_on(struct standin *s)
{
	if (s->a.hold_before)
		wait_unwatched(s);
	else
		watchdog_set(s->v, s->a.timeout_s + s->a.balloon_s);
	s->started_us = now_us();
	return serve(s);
}

static void *go_on_alone(void *s)
{
	int rc = go_on(s);

	fflush(stdout);
	_exit(rc);
}

/* From now on the kernel shows this process without memory and without descriptors. */
static int leave_main(struct standin *s)
{
	pthread_t id;

	if (pthread_create(&id, NULL, go_on_alone, s))
		return EXIT_SETUP;
	pthread_exit(NULL);
}

static int behave(struct standin *s)
{
	const struct vmm_link link = {
		.style = (enum handshake_style)s->a.style,
		.extra_fds = (unsigned)s->a.extra_fds,
		.split_send = s->a.split_send,
		.between = s->a.split_hold ? hold_half : NULL,
		.drop = s->a.drop,
		.no_keep = s->a.no_keep,
		.helper = (enum vmm_helper)s->a.helper,
	};
	struct err err;

	if (vmm_connect(s->v, s->a.socket, &link, &err))
		return fail(&err);
	puts("connected");
	return s->a.main_ends ? leave_main(s) : go_on(s);
}

/* Else it needs no more huge pages than somebody wants it to have. */
static bool touches_all(const struct args *a)
{
	return !a->only && (!a->no_touch || a->resident_s);
}

static const struct vmm *bus_vmm;

/* Firecracker, too, ends at the first page that is poisoned. */
static void on_bus_error(int sig, siginfo_t *info, void *context)
{
	const uint8_t *addr = info->si_addr;
	const struct vmm *v = bus_vmm;
	bool ours = v && addr >= v->image && addr < v->image + v->size;
	const char *text = ours ? "the image shrank\n" : "poisoned\n";

	(void)sig;
	(void)context;
	(void)!write(STDOUT_FILENO, text, strlen(text));
	_exit(ours ? EXIT_SETUP : EXIT_POISONED);
}

static void catch_bus_error(const struct vmm *v)
{
	struct sigaction sa = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};

	bus_vmm = v;
	sigaction(SIGBUS, &sa, NULL);
}

static int create(struct standin *s, struct err *err)
{
	uint64_t split[REGIONS_MAX];
	struct vmm_opts o = {
		.image = s->a.image,
		.size = s->a.size,
		.page_bytes = s->a.page_bytes,
		.split = split,
		.reverse = s->a.reverse,
		.features = event_features[s->a.events],
		.seed = s->a.seed,
	};

	o.features |= s->a.unmap ? UF_FEATURE_UNMAP : 0;
	o.features |= s->a.remap ? UF_FEATURE_REMAP : 0;
	o.features |= s->a.fork ? UF_FEATURE_FORK : 0;
	o.unregistered = s->a.hostile && hostile_unregistered(hostile_find(s->a.hostile));
	if (parse_split(s->a.split, split, &o.nsplit, err))
		return -1;
	return vmm_create(&o, &s->v, err);
}

int main(int argc, char **argv)
{
	/* It outlives the main thread. */
	static struct standin s = {
		.a = {.page_bytes = PAGE_4K, .threads = 1, .passes = 1, .timeout_s = 60},
	};
	struct err err;
	int rc;

	(void)argc;
	s.started_us = now_us();
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (parse_args(&s.a, argv + 1, &err))
		return fail(&err);
	if (s.a.help) {
		usage(stdout);
		return EXIT_RIGHT;
	}
	if (s.a.kvm && !kvm_available(&err))
		return skip(err.msg);
	if (s.a.pid_ns && apart_enter(&err))
		return skip(err.msg);
	if (create(&s, &err) || watchdog_start(EXIT_HUNG, &err))
		return fail(&err);
	if (s.a.page_bytes == PAGE_2M && !s.a.scarce && touches_all(&s.a) &&
	    vmm_huge_free() < s.v->size) {
		vmm_destroy(s.v);
		return skip("too few free 2 MiB pages: see vm.nr_hugepages");
	}
	catch_bus_error(s.v);
	watchdog_set(s.v, s.a.timeout_s);
	walker_init(&s.seat, s.v, "main", s.a.seed);
	rc = s.a.hostile ? misbehave(&s) : behave(&s);
	watchdog_set(NULL, 0);
	walker_fini(&s.seat);
	vmm_destroy(s.v);
	if (s.a.ends_slowly && hold(&err))
		return fail(&err);
	return rc;
}
