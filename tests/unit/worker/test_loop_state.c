/* test_loop_state - what the loop of a guest begins with, what wakes it, and what is left of it */
#include "worker/loop_state.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

#include "tests/support/fds.h"
#include "tests/support/servekit.h"

#define RATE 123456
#define MARGIN ((uint64_t)5 << 20)
#define RESIDENT ((uint64_t)7 << 20)

static char *dir;

static void make_dir(void)
{
	dir = harness_tmpdir();
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

/* ---- what it begins with ---- */

/* The spec says what the loop begins with. */
START_TEST(test_spec)
{
	struct served v;
	struct loop *l = &v.s.loop;
	struct spec *spec = &v.s.job.spec;

	served_prepare(&v, 0);
	memset(l, 0x55, sizeof(*l));
	spec->when_complete = COMPLETE_RELEASE;
	spec->on_failure = FAILURE_HOLD;
	spec->prefetch = PREFETCH_ALL;
	spec->rate_bytes_per_s = RATE;
	spec->max_resident_bytes = RESIDENT;
	v.s.job.assign.prefetch_margin_bytes = MARGIN;
	served_begin(&v);
	ck_assert_ptr_eq(l->job, &v.s.job);
	ck_assert_ptr_eq(l->guest, &v.s.guest);
	ck_assert_int_eq(l->vmm, v.s.vmm);
	ck_assert_int_eq(l->when_complete, COMPLETE_RELEASE);
	ck_assert_int_eq(l->failure.policy, FAILURE_HOLD);
	ck_assert_int_eq(l->prefetch.mode, PREFETCH_ALL);
	ck_assert_uint_eq(l->prefetch.rate_bytes_per_s, RATE);
	ck_assert_ptr_eq(l->prefetch.readahead, l->readahead);
	ck_assert_uint_eq(l->prefetch.room.max_resident_bytes, RESIDENT);
	ck_assert_uint_eq(l->prefetch.room.margin_bytes, MARGIN);
	ck_assert(lease_idle(&l->lease));
	ck_assert_ptr_eq(l->lease.link, &v.s.job.link);
	/* Nothing has happened yet. */
	ck_assert(!l->said && !l->faults.n && !l->backoff_us && !l->survey.on && !l->window_over);
	ck_assert(!l->completed && !l->stopping && !l->alone_us && !l->gone);
	ck_assert(!l->told.limits && !l->told.short_us && !l->wakes.verify_due);
	served_end(&v);
}
END_TEST

/* Credit of the rate is earned from now on. */
START_TEST(test_credit)
{
	uint64_t before = now_us();
	struct served v;

	served_open(&v, 0);
	ck_assert_uint_ge(v.s.loop.prefetch.credited_us, before);
	ck_assert_uint_le(v.s.loop.prefetch.credited_us, now_us());
	served_end(&v);
}
END_TEST

/* Each flag of the predecessor is taken over by itself. */
/* clang-format off */
static const struct {
	bool held, paused, failed;
	bool prefetch_held; /* what follows from them */
} assigned[] = {
	{false, false, false, false},
	{true,  false, false, true},
	{false, true,  false, true},
	{true,  true,  false, true},
	{false, false, true,  false},
};
/* clang-format on */

START_TEST(test_assigned)
{
	struct served v;

	served_prepare(&v, 0);
	v.s.job.prefetch_held = assigned[_i].held;
	v.s.job.assign.paused = assigned[_i].paused;
	v.s.job.assign.failed = assigned[_i].failed;
	served_begin(&v);
	ck_assert_int_eq(v.s.loop.held, assigned[_i].held);
	ck_assert_int_eq(v.s.loop.paused, assigned[_i].paused);
	ck_assert_int_eq(v.s.loop.failure.on, assigned[_i].failed);
	ck_assert_int_eq(v.s.loop.prefetch.held, assigned[_i].prefetch_held);
	served_end(&v);
}
END_TEST

/* A limit of the predecessor is not shown before prefetch has met the limit again. */
START_TEST(test_limit)
{
	struct served v;

	served_prepare(&v, 0);
	v.s.job.map.head->prefetch_limit = LIMIT_POOL;
	served_begin(&v);
	ck_assert_uint_eq(v.s.guest.map.head->prefetch_limit, LIMIT_NONE);
	served_end(&v);
}
END_TEST

/* The peer of a guest that was taken over may have ended: then the uffd is asked at once. */
START_TEST(test_peer_has_ended)
{
	struct served v;

	served_prepare(&v, 0);
	close_fd(&v.s.vmm);
	served_begin(&v);
	ck_assert_int_eq(v.s.loop.vmm, -1);
	ck_assert_uint_gt(v.s.loop.life.since_us, 0);
	ck_assert_uint_eq(life_wait_us(&v.s.loop.life, now_us()), 0);
	served_end(&v);
}
END_TEST

START_TEST(test_peer_runs)
{
	struct served v;

	served_open(&v, 0);
	ck_assert_uint_eq(v.s.loop.life.since_us, 0);
	served_end(&v);
}
END_TEST

/* Huge pages of zeros cost memory: demand installs them, unless the caller wants otherwise. */
static const struct {
	uint64_t page_bytes;
	bool zero_pages, left;
} zeros[] = {
	{PAGE_2M, false, true},
	{PAGE_2M, true, false},
	{PAGE_4K, false, false},
};

START_TEST(test_zeros)
{
	struct served v;

	if (zeros[_i].page_bytes == PAGE_4K) {
		served_prepare(&v, 0);
	} else {
		served_prepare_page(&v, PAGE_2M, 0);
		source_free(v.s.job.src);
		v.s.job.src = source_none(PAGE_2M);
	}
	v.s.job.spec.zero_pages = zeros[_i].zero_pages;
	served_begin(&v);
	ck_assert_int_eq(v.s.guest.leaves_zeros, zeros[_i].left);
	ck_assert_uint_eq(v.s.guest.map.absent_zeros, zeros[_i].left);
	served_end(&v);
}
END_TEST

/* ---- what wakes it ---- */

static void fault(struct served *v)
{
	ask_apart(v, 3);
}

static void order(struct served *v)
{
	tell(v, CHAN_PAUSE);
}

static void warm(struct served *v)
{
	ck_assert(readahead_ask(v->s.loop.readahead, 0, PAGE_4K, READAHEAD_DEMAND));
}

static void fire(int timer)
{
	const struct itimerspec soon = {.it_value = {.tv_nsec = 1}};

	ck_assert_int_eq(timerfd_settime(timer, 0, &soon, NULL), 0);
}

static void fire_verify(struct served *v)
{
	fire(v->s.loop.wakes.verify);
}

static void fire_window(struct served *v)
{
	fire(v->s.loop.wakes.window);
}

static const struct {
	void (*make)(struct served *v);
	unsigned place;
} wakes[] = {
	{fault, WAKES_UFFD}, {kill_apart, WAKES_VMM},     {order, WAKES_LINK},
	{warm, WAKES_WARM},  {fire_verify, WAKES_VERIFY}, {fire_window, WAKES_WINDOW},
};

/* Each cause wakes its own place and no other; without a cause the loop sleeps. */
START_TEST(test_wake)
{
	struct served v;

	served_open_apart(&v, 0);
	ck_assert_uint_eq(wait_sleep(&v.s.loop.wakes.wait, 0), 0);
	wakes[_i].make(&v);
	ck_assert_uint_eq(wait_sleep(&v.s.loop.wakes.wait,
				     (uint64_t)harness_scale_ms(HARNESS_MS) * 1000),
			  1u << wakes[_i].place);
	served_end(&v);
}
END_TEST

/* The loop knows which channel of the link it waits for. */
START_TEST(test_epoch)
{
	struct served v;

	served_prepare(&v, 0);
	v.s.job.link.epoch = 5;
	served_begin(&v);
	ck_assert_uint_eq(v.s.loop.wakes.link_epoch, 5);
	served_end(&v);
}
END_TEST

/* ---- what it cannot have ---- */

static int try_init(struct served *v, int vmm, struct err *err)
{
	*err = (struct err){.code = ERR_COUNT};
	return loop_init(&v->s.loop, &v->s.job, &v->s.guest, vmm, err);
}

static void check_nothing_is_left(const struct err *err, int before)
{
	ck_assert_msg(err->code == ERR_SYSTEM && err->msg[0], "%s", err->msg);
	ck_assert_msg(fds_count(getpid()) == before, "%s: %d descriptors, not %d", err->msg,
		      fds_count(getpid()), before);
}

/* A guest that is served, without the loop that served_begin() has made. */
static void without_loop(struct served *v)
{
	served_open(v, 0);
	ck_assert(loop_fini(&v->s.loop));
	v->s.job.loop = NULL;
}

static void end_without_loop(struct served *v)
{
	guest_fini(&v->s.guest);
	served_end(v);
}

/* The loop gets all of its descriptors, or none. */
START_TEST(test_too_few_descriptors)
{
	struct served v;
	struct err err;
	int before, rc = -1, spare = 0;

	without_loop(&v);
	before = fds_count(getpid());
	for (; rc && spare < 8; spare++) {
		struct rlimit limit = harness_limit_fds(spare);

		rc = try_init(&v, v.s.vmm, &err);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (rc)
			check_nothing_is_left(&err, before);
		ck_assert_msg(!!strstr(err.msg, "cannot make a timer") == (spare < 2),
			      "%d to spare: %s", spare, err.msg);
	}
	ck_assert_int_eq(rc, 0);
	ck_assert_int_gt(spare, 2);
	ck_assert(loop_fini(&v.s.loop));
	end_without_loop(&v);
}
END_TEST

/* A descriptor that cannot be waited for fails the loop. */
START_TEST(test_wakes_that_fail)
{
	const int none = 900;
	struct served v;
	struct err err;
	int before, uffd;

	without_loop(&v);
	before = fds_count(getpid());
	ck_assert_int_eq(fcntl(none, F_GETFD), -1);
	ck_assert_int_eq(try_init(&v, none, &err), -1);
	check_nothing_is_left(&err, before);
	uffd = v.s.guest.uffd;
	v.s.guest.uffd = none;
	ck_assert_int_eq(try_init(&v, v.s.vmm, &err), -1);
	check_nothing_is_left(&err, before);
	v.s.guest.uffd = uffd;
	v.s.job.link.late = none;
	ck_assert_int_eq(try_init(&v, v.s.vmm, &err), -1);
	check_nothing_is_left(&err, before);
	v.s.job.link.late = -1;
	end_without_loop(&v);
}
END_TEST

/* ---- the end ---- */

/* The timers, the epoll set, readahead's, and the files of prefetch's room. */
START_TEST(test_fini)
{
	const struct chan_cgroups told = {.kind = CGROUP_POOL, .levels = 1};
	int fds[CHAN_FDS_MAX], before;
	struct served v;

	served_open(&v, 0);
	before = fds_count(getpid());
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		fds[i] = -1;
	fds[0] = memfd_create("free huge pages", MFD_CLOEXEC);
	room_receive(&v.s.loop.prefetch.room, &told, fds);
	ck_assert_int_eq(fds_count(getpid()), before + 1);
	ck_assert(loop_fini(&v.s.loop));
	ck_assert_int_eq(fds_count(getpid()), before - 4);
	v.s.job.loop = NULL;
	end_without_loop(&v);
}
END_TEST

static bool is_freed(void *arg)
{
	return readahead_free(((struct served *)arg)->s.loop.readahead);
}

/* A thread waits for the disk: what it reads from and into must stay. */
START_TEST(test_fini_while_reading)
{
	struct slowdisk disk;
	struct served v;
	cleanup_free char *file = slow_file(dir, &disk, JOBKIT_BYTES);

	if (!file)
		return;
	served_prepare(&v, 0);
	source_free(v.s.job.src);
	v.s.job.src = load_files((const char *[]){file}, 1);
	served_begin(&v);
	ck_assert(readahead_ask(v.s.loop.readahead, 3 * PAGE_4K, PAGE_4K, READAHEAD_DEMAND));
	slowdisk_await(&disk);
	ck_assert(!loop_fini(&v.s.loop));
	slowdisk_go(&disk);
	ck_assert(harness_wait(is_freed, &v, HARNESS_MS));
	v.s.loop.readahead = NULL;
	served_end(&v);
	slowdisk_end(&disk);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("loop state");
	TCase *t = tcase_create("begin");

	tcase_add_test(t, test_spec);
	tcase_add_test(t, test_credit);
	tcase_add_loop_test(t, test_assigned, 0, ARRAY_LEN(assigned));
	tcase_add_test(t, test_limit);
	tcase_add_test(t, test_peer_has_ended);
	tcase_add_test(t, test_peer_runs);
	tcase_add_loop_test(t, test_zeros, 0, ARRAY_LEN(zeros));
	tcase_add_test(t, test_too_few_descriptors);
	tcase_add_test(t, test_wakes_that_fail);
	suite_add_tcase(s, t);
	t = tcase_create("wakes");
	tcase_add_loop_test(t, test_wake, 0, ARRAY_LEN(wakes));
	tcase_add_test(t, test_epoch);
	suite_add_tcase(s, t);
	t = tcase_create("end");
	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, test_fini);
	tcase_add_test(t, test_fini_while_reading);
	suite_add_tcase(s, t);
	return s;
}
