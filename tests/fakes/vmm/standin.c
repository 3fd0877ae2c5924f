/*
 * standin - the stand-in VMM as a program
 *
 * Exit: 0 everything touched was right, 1 wrong bytes, 2 usage, 3 could not be
 * set up, 4 hung, 77 skipped, 149 a page was poisoned (SIGBUS). Short lines on
 * stdout, the last one is JSON.
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include "tests/fakes/vmm/apart.h"
#include "tests/fakes/vmm/hostile.h"
#include "tests/fakes/vmm/kvm.h"
#include "tests/fakes/vmm/standin_change.h"
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

#define RESIDENT_POLL_MS 5
#define GRACE_S 5

struct standin {
	struct standin_args a;
	struct vmm *v;
	struct walker seat; /* of the main thread */
	struct walk_totals totals;
	uint64_t verified;
	uint64_t started_us;
};

/* --- touching --- */

static int touch_all(struct standin *s, struct err *err)
{
	struct walk_plan plan = {
		.threads = (unsigned)s->a.touch.threads,
		.passes = (unsigned)s->a.touch.passes,
		.write_pct = (unsigned)s->a.touch.write_pct,
		.order = (enum walk_order)s->a.touch.order,
		.seed = s->a.seed,
		.quick = s->a.touch.quick,
	};
	struct walk *walk;
	int rc;

	if (s->a.change.balloon_s)
		plan.until_us = now_us() + s->a.change.balloon_s * 1000000;
	if (walk_start(s->v, &plan, &walk, err))
		return -1;
	walk_wait(walk, (s->v->npages + 1) / 2);
	rc = standin_change(&s->seat, &s->a.change, s->a.seed, err);
	if (!rc && plan.until_us)
		rc = standin_inflate(&s->seat, walk, plan.until_us, err);
	walk_end(walk);
	watchdog_set(s->v, s->a.end.timeout_s);
	walk_join(walk, &s->totals);
	printf("touched %" PRIu64 "\n", s->totals.touched);
	return rc;
}

static int read_by_guest(struct standin *s, struct err *err)
{
	struct vmm *v = s->v;
	cleanup_free uint64_t *sums = xcalloc(v->npages, sizeof(*sums));
	cleanup_free uint8_t *want = xcalloc(1, v->page_bytes);

	if (kvm_read_all(v, (unsigned)s->a.touch.threads, (enum walk_order)s->a.touch.order, sums,
			 err))
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

	for (uint64_t i = 0; i < s->a.touch.passes && !rc; i++)
		rc = read_by_guest(s, err);
	if (!rc && (s->a.change.remove_pct || s->a.change.fork))
		rc = standin_change(&s->seat, &s->a.change, s->a.seed, err) ? -1
									    : read_by_guest(s, err);
	printf("touched %" PRIu64 "\n", s->totals.touched);
	return rc;
}

/* *ret_all: none were missing at the deadline. */
static int wait_resident(struct standin *s, bool *ret_all, struct err *err)
{
	uint64_t deadline = now_us() + s->a.touch.resident_s * 1000000;
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
	watchdog_set(s->v, s->a.end.timeout_s + s->a.change.balloon_s);
	return line;
}

static int touch_only(struct standin *s, struct err *err)
{
	if (walk_list(&s->seat, s->a.touch.only, &s->totals.touched, err))
		return -1;
	if (!s->a.touch.linger_ms)
		return 0;
	poll(NULL, 0, (int)s->a.touch.linger_ms);
	return walk_list(&s->seat, s->a.touch.only, &s->totals.touched, err);
}

/* As many pages for each line as there are left. */
static void touch_paced(struct standin *s)
{
	uint64_t left;

	for (uint64_t line = 0; wait_unwatched(s); line++) {
		left = s->v->npages - s->seat.touched;
		left = min_u64(left, s->a.touch.paced);
		printf("line %" PRIu64 " median_ns %" PRIu64 "\n", line,
		       left ? walk_paced(&s->seat, s->seat.touched, left, s->a.seed) : 0);
	}
	s->totals.touched = s->seat.touched;
}

/* The connection is made; from here on the server must deliver. */
static int serve(struct standin *s)
{
	struct err err;
	bool all = true;
	int rc = 0;

	if (s->a.touch.no_touch && s->a.touch.resident_s)
		rc = wait_resident(s, &all, &err);
	else if (s->a.touch.kvm)
		rc = guest_all(s, &err);
	else if (s->a.touch.only)
		rc = touch_only(s, &err);
	else if (s->a.touch.paced)
		touch_paced(s);
	else if (!s->a.touch.no_touch)
		rc = touch_all(s, &err);
	if (rc)
		return fail(&err);
	if (all &&
	    (s->a.touch.only ? wait_unwatched(s) : !s->a.touch.no_touch || s->a.touch.resident_s))
		verify(s);
	rc = report(s);
	watchdog_set(s->v, 0);
	if (s->a.end.hold && hold(&err))
		return fail(&err);
	return all || rc ? rc : EXIT_HUNG;
}

static int misbehave(struct standin *s)
{
	const struct hostile *h = hostile_find(s->a.hostile);
	enum hostile_end end;
	struct err err;

	/* It is its own deadline that counts here. */
	watchdog_set(s->v, s->a.end.timeout_s + GRACE_S);
	if (hostile_run(h, s->v, s->a.link.socket, now_us() + s->a.end.timeout_s * 1000000, &end,
			&err))
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
	if (s->a.touch.hold_before)
		wait_unwatched(s);
	else
		watchdog_set(s->v, s->a.end.timeout_s + s->a.change.balloon_s);
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
		.style = (enum handshake_style)s->a.link.style,
		.extra_fds = (unsigned)s->a.link.extra_fds,
		.split_send = s->a.link.split_send,
		.between = s->a.link.split_hold ? hold_half : NULL,
		.drop = s->a.link.drop,
		.no_keep = s->a.link.no_keep,
		.helper = (enum vmm_helper)s->a.link.helper,
	};
	struct err err;

	if (vmm_connect(s->v, s->a.link.socket, &link, &err))
		return fail(&err);
	puts("connected");
	return s->a.end.main_ends ? leave_main(s) : go_on(s);
}

/* Else it needs no more huge pages than somebody wants it to have. */
static bool touches_all(const struct standin_args *a)
{
	return !a->touch.only && (!a->touch.no_touch || a->touch.resident_s);
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

/* The host may give a userfaultfd to root only: it is there already, as a jailer hands it over. */
static int become_user(const struct standin *s, struct err *err)
{
	uid_t uid = (uid_t)s->a.link.uid;

	if (!uid)
		return 0;
	/* A change of the user ends both of the others. */
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid) ||
	    prctl(PR_SET_DUMPABLE, 1) || prctl(PR_SET_PDEATHSIG, SIGKILL))
		return err_sys(err, "becoming user %u", uid);
	return 0;
}

static int create(struct standin *s, struct err *err)
{
	uint64_t split[REGIONS_MAX];
	struct vmm_opts o = {
		.image = s->a.memory.image,
		.size = s->a.memory.size,
		.page_bytes = s->a.memory.page_bytes,
		.split = split,
		.reverse = s->a.memory.reverse,
		.features = standin_features(&s->a),
		.seed = s->a.seed,
	};

	o.unregistered = s->a.hostile && hostile_unregistered(hostile_find(s->a.hostile));
	if (standin_split(s->a.memory.split, split, &o.nsplit, err))
		return -1;
	return vmm_create(&o, &s->v, err);
}

int main(int argc, char **argv)
{
	/* It outlives the main thread. */
	static struct standin s = {
		.a = {.memory.page_bytes = PAGE_4K,
		      .touch = {.threads = 1, .passes = 1},
		      .end.timeout_s = 60},
	};
	struct err err;
	int rc;

	(void)argc;
	s.started_us = now_us();
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (standin_parse(&s.a, argv + 1, &err))
		return fail(&err);
	if (s.a.help) {
		standin_usage(stdout);
		return EXIT_RIGHT;
	}
	if (s.a.touch.kvm && !kvm_available(&err))
		return skip(err.msg);
	if (s.a.link.pid_ns && apart_enter(&err))
		return skip(err.msg);
	if (create(&s, &err) || become_user(&s, &err) || watchdog_start(EXIT_HUNG, &err))
		return fail(&err);
	if (s.a.memory.page_bytes == PAGE_2M && !s.a.memory.scarce && touches_all(&s.a) &&
	    vmm_huge_free() < s.v->size) {
		vmm_destroy(s.v);
		return skip("too few free 2 MiB pages: see vm.nr_hugepages");
	}
	catch_bus_error(s.v);
	watchdog_set(s.v, s.a.end.timeout_s);
	walker_init(&s.seat, s.v, "main", s.a.seed);
	rc = s.a.hostile ? misbehave(&s) : behave(&s);
	watchdog_set(NULL, 0);
	walker_fini(&s.seat);
	vmm_destroy(s.v);
	if (s.a.end.ends_slowly && hold(&err))
		return fail(&err);
	return rc;
}
