/*
 * servekit - what the tests of the loop's rooms share: a job that serves a guest whose
 * threads touch its memory. Kernel, files and channel are real; the test calls the rooms.
 *
 *   struct served v;
 *   served_prepare(&v, 0); … v.s.job.spec … served_begin(&v);
 *   … served_end(&v);
 *
 * The guest is this process (threads of touch.h), or with served_prepare_apart() one of its
 * own, which can be killed and whose end by a signal can be seen.
 */
#ifndef UFFDD_TESTS_SERVEKIT_H
#define UFFDD_TESTS_SERVEKIT_H

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/fakes/disk/slowdisk.h"
#include "tests/fakes/vmm/touch.h"
#include "tests/support/jobkit.h"
#include "tests/support/openkit.h"
#include "worker/loop.h"
#include "worker/messages.h"

#define PAGES (JOBKIT_BYTES / PAGE_4K)
#define HOLE 5 /* the page that the snapshot says is zero; page n is full of 'a' + n */

struct served {
	struct scene s;
	struct touch_mem m;
	int layer; /* the snapshot's file, in memory */
	pid_t vmm; /* a process of its own; 0: this one */
	int ask;   /* of that: pages to be read, a byte each, … */
	int got;   /* … and what was in them */
};

/* ---- the guest ---- */

static inline void read_whole(int fd, void *to, size_t bytes)
{
	for (size_t n = 0; n < bytes;) {
		ssize_t got = read(fd, (char *)to + n, bytes - n);

		ck_assert_int_gt(got, 0);
		n += (size_t)got;
	}
}

static inline void live_apart(const struct touch_mem *m, int ask, int got)
{
	unsigned char page;

	/* A poisoned page ends this process, also where a sanitizer would tell of it. */
	signal(SIGBUS, SIG_DFL);
	while (read(ask, &page, 1) == 1) {
		char value = *(volatile char *)(m->mem + page * PAGE_4K);

		if (write(got, &value, 1) != 1)
			_exit(1);
	}
	_exit(0);
}

/* Its memory, at the addresses that it has there; nobody here may touch it. */
static inline void start_apart(struct served *v, unsigned features, int *ret_pidfd)
{
	int said[2], ask[2], got[2];
	struct err err;

	ck_assert_int_eq(pipe2(said, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(ask, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(got, O_CLOEXEC), 0);
	v->vmm = fork();
	if (v->vmm == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ask[1]);
		touch_open(&v->m, features, PAGES);
		if (write(said[1], &v->m, sizeof(v->m)) < 0)
			_exit(1);
		live_apart(&v->m, ask[0], got[1]);
	}
	close(said[1]);
	close(ask[0]);
	close(got[1]);
	v->ask = ask[1];
	v->got = got[0];
	read_whole(said[0], &v->m, sizeof(v->m));
	close(said[0]);
	ck_assert_msg(proc_pidfd(v->vmm, ret_pidfd, &err) == 0, "%s", err.msg);
	v->m.uffd = (int)syscall(SYS_pidfd_getfd, *ret_pidfd, v->m.uffd, 0);
	ck_assert_int_ge(v->m.uffd, 0);
}

static inline void ask_apart(const struct served *v, unsigned char page)
{
	ck_assert_int_eq(write(v->ask, &page, 1), 1);
}

static inline char hear_apart(const struct served *v)
{
	char value;

	ck_assert_msg(touch_readable(v->got, HARNESS_MS), "the guest is still blocked");
	ck_assert_int_eq(read(v->got, &value, 1), 1);
	return value;
}

static inline bool apart_has_ended(void *arg)
{
	return proc_ended(((struct served *)arg)->s.vmm);
}

static inline void check_apart(const struct served *v, unsigned char page)
{
	char value;

	ask_apart(v, page);
	value = hear_apart(v);
	ck_assert_msg(value == (page == HOLE ? 0 : 'a' + page), "page %d: %#x", page, value);
}

/* The signal that it ended by. */
static inline int await_apart(struct served *v)
{
	int status;

	ck_assert_msg(harness_wait(apart_has_ended, v, HARNESS_MS), "the VMM lives on");
	ck_assert_int_eq(waitpid(v->vmm, &status, 0), v->vmm);
	v->vmm = 0;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static inline void kill_apart(struct served *v)
{
	ck_assert_int_eq(kill(v->vmm, SIGKILL), 0);
	ck_assert_int_eq(await_apart(v), SIGKILL);
}

/* ---- what it is served from ---- */

/* A memory image, and diffs of it. */
static inline struct source *load_files(const char *const *paths, size_t n)
{
	struct spec_layer files[4] = {0};
	struct spec spec = {.source = SOURCE_MEMORY, .layers = files, .nlayers = n};
	struct source *src;
	struct err err;

	for (size_t i = 0; i < n; i++)
		files[i].path = (char *)(uintptr_t)paths[i];
	ck_assert_msg(source_open(&spec, &src, &err) == 0, "%s", err.msg);
	return src;
}

static inline void write_layer(int fd)
{
	char page[PAGE_4K];

	ck_assert_int_eq(ftruncate(fd, JOBKIT_BYTES), 0);
	for (int i = 0; i < (int)PAGES; i++) {
		memset(page, 'a' + i, sizeof(page));
		if (i != HOLE)
			ck_assert_int_eq(pwrite(fd, page, PAGE_4K, i * (off_t)PAGE_4K), PAGE_4K);
	}
}

static inline char *below(const char *dir, const char *name)
{
	char *path;

	ck_assert_int_gt(asprintf(&path, "%s/%s", dir, name), 0);
	return path;
}

/* The same snapshot in @dir, on a disk that answers for page 3 when it is told to; owned. */
static inline char *slow_file(const char *dir, struct slowdisk *disk, off_t bytes)
{
	cleanup_free char *mount = below(dir, "disk"), *image = below(dir, "image");
	int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	write_layer(fd);
	ck_assert_int_eq(ftruncate(fd, bytes), 0);
	close(fd);
	mkdir(mount, 0755);
	if (!access("/dev/fuse", R_OK | W_OK) && harness_private_mounts() &&
	    slowdisk_mount(disk, mount, image, 3 * PAGE_4K, PAGE_4K))
		return below(mount, SLOWDISK_FILE);
	fputs("# no FUSE file system may be mounted here: skipped\n", stderr);
	return NULL;
}

/* The layer is another one now: what was copied before is right, what is copied now is not. */
static inline void change_layer(const struct served *v)
{
	const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};

	ck_assert_int_eq(futimens(v->layer, times), 0);
}

/* ---- the job ---- */

static inline void prepare_job(struct served *v)
{
	char path[64];
	const char *const paths[] = {path};

	scene_open(&v->s);
	v->layer = memfd_create("layer", MFD_CLOEXEC);
	write_layer(v->layer);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", v->layer);
	source_free(v->s.job.src);
	v->s.job.src = load_files(paths, 1);
}

static inline void served_prepare(struct served *v, unsigned features)
{
	*v = (struct served){.ask = -1, .got = -1};
	prepare_job(v);
	touch_open(&v->m, features, PAGES);
}

/* The guest first, so that it has no end of the job's channel. */
static inline void served_prepare_apart(struct served *v, unsigned features)
{
	int pidfd;

	*v = (struct served){.ask = -1, .got = -1};
	start_apart(v, features, &pidfd);
	prepare_job(v);
	close_fd(&v->s.vmm);
	v->s.vmm = pidfd;
}

/* One page of @bytes, and nothing that it is served from yet. */
static inline void served_prepare_page(struct served *v, uint64_t bytes, int flags)
{
	struct err err;

	served_prepare(v, 0);
	touch_close(&v->m);
	v->m.len = bytes;
	v->m.src = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* Twice as much, so that there is a whole one in it. */
	v->m.mem = mmap(NULL, flags ? bytes : 2 * bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
	ck_assert_ptr_ne(v->m.mem, MAP_FAILED);
	v->m.base = align_up((uintptr_t)v->m.mem, bytes);
	v->m.mem += v->m.base - (uintptr_t)v->m.mem;
	ck_assert_msg(uffd_open(0, &v->m.uffd, &err) == 0, "%s", err.msg);
	ck_assert_msg(uffd_register(v->m.uffd, v->m.base, bytes, &err) == 0, "%s", err.msg);
	v->s.regions = (struct regions){.page_bytes = bytes, .n = 1};
	v->s.regions.v[0] = (struct region){v->m.base, bytes, 0};
	pagemap_close(&v->s.job.map);
	close_fd(&v->s.job.map_fd);
	v->s.job.map_fd = memfd_create("map", MFD_CLOEXEC);
	ck_assert_int_eq(pagemap_create(v->s.job.map_fd, bytes, &v->s.job.map, &err), 0);
}

/* Regions that a test has set stay. */
static inline void served_begin(struct served *v)
{
	struct scene *s = &v->s;
	struct err err;

	s->uffd = fcntl(v->m.uffd, F_DUPFD_CLOEXEC, 0);
	if (!s->regions.n) {
		s->regions = (struct regions){.page_bytes = PAGE_4K, .n = 1};
		s->regions.v[0] = (struct region){v->m.base, v->m.len, 0};
	}
	pagemap_connect(&s->job.map, &s->regions, 1, 2, 3);
	ck_assert_msg(guest_init(&s->guest, s->uffd, &s->job.map, s->job.src, &err) == 0, "%s",
		      err.msg);
	ck_assert_msg(loop_init(&s->loop, &s->job, &s->guest, s->vmm, &err) == 0, "%s", err.msg);
	working_set_begin(&s->job.working_set, &s->loop.prefetch, s->regions.page_bytes, false,
			  now_us());
	s->job.loop = &s->loop;
	s->job.phase = JOB_SERVING;
}

/* Both of the above, as a spec of zeros wants it. */
static inline void served_open(struct served *v, unsigned features)
{
	served_prepare(v, features);
	served_begin(v);
}

static inline void served_open_apart(struct served *v, unsigned features)
{
	served_prepare_apart(v, features);
	served_begin(v);
}

static inline void served_end(struct served *v)
{
	if (v->vmm)
		kill_apart(v);
	scene_close(&v->s);
	close_fd(&v->m.uffd);
	if (v->ask < 0)
		touch_close(&v->m);
	close_fd(&v->ask);
	close_fd(&v->got);
	close_fd(&v->layer);
}

/* ---- what it looks like ---- */

static inline const struct pagemap_stats *stats(const struct served *v)
{
	return v->s.guest.map.stats;
}

static inline bool inbox_is_empty(const struct served *v)
{
	return v->s.guest.map.inbox->raw[0][0] == 0;
}

/* Threads that wait for these pages, and the loop knows it. */
static inline void fault_on(struct served *v, struct touch *t, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		t[i].m = &v->m;
		t[i].body = touch_load;
		touch_start(&t[i]);
	}
	touch_await_faults(v->m.uffd, (int)n);
	messages_read(&v->s.loop);
}

static inline void check_waits(const struct touch *t)
{
	ck_assert_msg(!touch_readable(t->done, 0), "page %zu: its thread does not wait", t->page);
}

#define ck_page(v, page, want)                                                     \
	do {                                                                       \
		enum page_state is_ = pagemap_get(&(v)->s.guest.map, page);        \
		ck_assert_msg(is_ == (want), "page %d is %s, not %s", (int)(page), \
			      page_state_names[is_], page_state_names[want]);      \
	} while (0)

static inline const char *said_name(enum chan_type type)
{
	return type == CHAN_NONE ? "nothing" : chan_type_name(type);
}

static inline const char *said_text(const struct chan_msg *msg)
{
	if (msg->type == CHAN_FAILED)
		return msg->failed.msg;
	return msg->type == CHAN_NOTE ? msg->note.msg : "";
}

/* What the supervisor says that has no body. */
static inline void tell(struct served *v, enum chan_type type)
{
	struct chan_msg msg = {0};

	say(&v->s, type, &msg, NULL, 0);
}

/* What the supervisor hears next. */
static inline void must_hear(int sup, enum chan_type want, struct chan_msg *ret)
{
	enum chan_type type;
	size_t nfds;

	*ret = (struct chan_msg){0};
	ck_assert_msg(want == CHAN_NONE || touch_readable(sup, HARNESS_MS), "no %s",
		      said_name(want));
	type = hear(sup, ret, &nfds);
	ck_assert_msg(type == want, "%s, not %s: %s", said_name(type), said_name(want),
		      said_text(ret));
}

static inline void must_hear_nothing(int sup)
{
	struct chan_msg msg;

	must_hear(sup, CHAN_NONE, &msg);
}

/* The supervisor hears it once, and the loop knows. */
static inline void check_failed(struct served *v, const char *why)
{
	struct chan_msg msg;

	must_hear(v->s.sup, CHAN_FAILED, &msg);
	ck_assert_msg(strstr(msg.failed.msg, why), "%s", msg.failed.msg);
	ck_assert(v->s.loop.failure.on);
	must_hear_nothing(v->s.sup);
}

/* The same, of a supervisor that grants every lease. */
static inline void must_hear_granting(struct served *v, enum chan_type want, struct chan_msg *ret)
{
	enum chan_type type;
	size_t nfds;

	for (;;) {
		ck_assert_msg(touch_readable(v->s.sup, HARNESS_MS), "no %s", said_name(want));
		type = hear(v->s.sup, ret, &nfds);
		if (type != CHAN_LEASE_ASK)
			break;
		say(&v->s, CHAN_LEASE_GRANT, ret, NULL, 0);
	}
	ck_assert_msg(type == want, "%s, not %s: %s", said_name(type), said_name(want),
		      said_text(ret));
}

/* ---- the loop, in a thread that owns the guest from then on ---- */

struct turning {
	struct loop *loop;
	enum loop_end end;
	int done; /* eventfd, owned between start and end */
	pthread_t id;
};

static inline void *turn(void *arg)
{
	struct turning *t = arg;

	t->end = loop_run(t->loop);
	if (eventfd_write(t->done, 1) < 0)
		abort();
	return NULL;
}

static inline void turning_start(struct turning *t, struct served *v)
{
	*t = (struct turning){.loop = &v->s.loop, .done = eventfd(0, EFD_CLOEXEC)};
	ck_assert_int_eq(pthread_create(&t->id, NULL, turn, t), 0);
}

static inline void turning_end(struct turning *t, enum loop_end want)
{
	ck_assert_msg(touch_readable(t->done, HARNESS_MS), "the loop goes on");
	pthread_join(t->id, NULL);
	close_fd(&t->done);
	ck_assert_msg(t->end == want, "%s", t->end == LOOP_GONE ? "gone" : "released");
}

#endif
