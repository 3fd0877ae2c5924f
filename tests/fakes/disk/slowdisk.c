#include "tests/fakes/disk/slowdisk.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "tests/support/harness.h"

#define FILE_NODE 2
#define VALID_S 3600 /* the kernel need not ask again */
#define REQUEST_MAX ((size_t)256 << 10)
#define READ_MAX ((size_t)128 << 10)
#define HELD_MAX 16

struct request {
	struct fuse_in_header head;
	union {
		struct fuse_read_in read;
		struct fuse_init_in init;
		char name[256];
	};
};

struct server {
	int fuse, control, image;
	struct stat st;    /* of the image */
	uint64_t off, len; /* held; len 0: nothing any more */
	bool mute, opens;
	struct request held[HELD_MAX];
	size_t nheld;
};

/* ---- the file system's side ---- */

static void reply(struct server *s, uint64_t unique, int error, const void *data, size_t len)
{
	struct fuse_out_header out = {.unique = unique,
				      .error = -error,
				      .len = (uint32_t)(sizeof(out) + len)};
	struct iovec iov[] = {{&out, sizeof(out)}, {(void *)(uintptr_t)data, len}};

	/* Who asked may have been killed. */
	if (writev(s->fuse, iov, len ? 2 : 1) < 0 && errno != ENOENT)
		_exit(1);
}

static struct fuse_attr attr_of(const struct server *s, uint64_t node)
{
	bool file = node == FILE_NODE;

	return (struct fuse_attr){
		.ino = node,
		.size = file ? (uint64_t)s->st.st_size : 0,
		.mtime = (uint64_t)s->st.st_mtim.tv_sec,
		.mode = file ? S_IFREG | 0644 : S_IFDIR | 0755,
		.nlink = 1,
		.blksize = PAGE_4K,
	};
}

static void on_init(struct server *s, const struct request *r)
{
	const struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_write = PAGE_4K,
		.max_background = HELD_MAX,
	};

	reply(s, r->head.unique, 0, &out, sizeof(out));
}

static void on_lookup(struct server *s, const struct request *r)
{
	const struct fuse_entry_out out = {
		.nodeid = FILE_NODE,
		.entry_valid = VALID_S,
		.attr_valid = VALID_S,
		.attr = attr_of(s, FILE_NODE),
	};

	if (strcmp(r->name, SLOWDISK_FILE) == 0)
		reply(s, r->head.unique, 0, &out, sizeof(out));
	else
		reply(s, r->head.unique, ENOENT, NULL, 0);
}

static void on_getattr(struct server *s, const struct request *r)
{
	const struct fuse_attr_out out = {.attr_valid = VALID_S,
					  .attr = attr_of(s, r->head.nodeid)};

	reply(s, r->head.unique, 0, &out, sizeof(out));
}

static void on_open(struct server *s, const struct request *r)
{
	const struct fuse_open_out out = {.open_flags = FOPEN_KEEP_CACHE};

	reply(s, r->head.unique, 0, &out, sizeof(out));
}

static void on_read(struct server *s, const struct request *r)
{
	static char data[READ_MAX];
	ssize_t n = pread(s->image, data, min_u64(r->read.size, READ_MAX), (off_t)r->read.offset);

	reply(s, r->head.unique, n < 0 ? EIO : 0, data, n < 0 ? 0 : (size_t)n);
}

static void on_end(struct server *s, const struct request *r)
{
	(void)s;
	(void)r;
	_exit(0);
}

static void on_nothing(struct server *s, const struct request *r)
{
	reply(s, r->head.unique, 0, NULL, 0);
}

static void on_silence(struct server *s, const struct request *r)
{
	(void)s;
	(void)r;
}

/* clang-format off */
static const struct {
	uint32_t opcode;
	void (*handle)(struct server *s, const struct request *r);
} opcodes[] = {
	{FUSE_INIT, on_init},       {FUSE_LOOKUP, on_lookup},     {FUSE_GETATTR, on_getattr},
	{FUSE_OPEN, on_open},       {FUSE_READ, on_read},         {FUSE_RELEASE, on_nothing},
	{FUSE_FLUSH, on_nothing},   {FUSE_FORGET, on_silence},    {FUSE_BATCH_FORGET, on_silence},
	{FUSE_INTERRUPT, on_silence}, {FUSE_DESTROY, on_end},
};
/* clang-format on */

static bool is_held(const struct server *s, const struct request *r)
{
	switch (r->head.opcode) {
	case FUSE_LOOKUP:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
	case FUSE_DESTROY:
		return false;
	case FUSE_OPEN:
		return s->mute && !s->opens;
	case FUSE_READ:
		return s->mute ||
		       (r->read.offset < s->off + s->len && s->off < r->read.offset + r->read.size);
	default:
		return s->mute;
	}
}

static void hold(struct server *s, const struct request *r)
{
	if (s->nheld == HELD_MAX)
		_exit(1);
	s->held[s->nheld++] = *r;
	if (write(s->control, "r", 1) != 1)
		_exit(1);
}

static void handle(struct server *s, const struct request *r)
{
	for (size_t i = 0; i < ARRAY_LEN(opcodes); i++)
		if (opcodes[i].opcode == r->head.opcode) {
			opcodes[i].handle(s, r);
			return;
		}
	reply(s, r->head.unique, ENOSYS, NULL, 0);
}

static void answer(struct server *s)
{
	static union {
		char room[REQUEST_MAX];
		struct request r;
	} in;
	ssize_t n = read(s->fuse, in.room, sizeof(in.room));

	if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
		return;
	if (n <= 0)
		_exit(0);
	if (is_held(s, &in.r))
		hold(s, &in.r);
	else
		handle(s, &in.r);
}

/* 'g': go on; 'm', 'o': mute, and mute but for opens, which is confirmed. */
static void obey(struct server *s)
{
	char c;

	if (read(s->control, &c, 1) != 1)
		_exit(0);
	s->mute = c != 'g';
	s->opens = c == 'o';
	if (!s->mute) {
		s->len = 0;
		for (size_t i = 0; i < s->nheld; i++)
			handle(s, &s->held[i]);
		s->nheld = 0;
	} else if (write(s->control, &c, 1) != 1) {
		_exit(1);
	}
}

static _Noreturn void serve(struct server *s)
{
	struct pollfd p[] = {{.fd = s->fuse, .events = POLLIN},
			     {.fd = s->control, .events = POLLIN}};

	for (;;) {
		poll(p, ARRAY_LEN(p), -1);
		if (p[1].revents)
			obey(s);
		if (p[0].revents)
			answer(s);
	}
}

/* ---- the test's side ---- */

bool slowdisk_mount(struct slowdisk *d, const char *dir, const char *image, uint64_t off,
		    uint64_t len)
{
	struct server s = {.off = off, .len = len, .image = open(image, O_RDONLY | O_CLOEXEC)};
	cleanup_fd int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[128];
	int pair[2];

	ck_assert_int_eq(fstat(s.image, &s.st), 0);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fuse,
		 (unsigned)geteuid(), (unsigned)getegid());
	if (fuse < 0 || mount("slowdisk", dir, "fuse", MS_NOSUID | MS_NODEV, options)) {
		close(s.image);
		return false;
	}
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	d->control = pair[0];
	d->pid = fork();
	ck_assert_int_ge(d->pid, 0);
	if (d->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		s.fuse = fuse;
		s.control = pair[1];
		serve(&s);
	}
	close(pair[1]);
	close(s.image);
	return true;
}

void slowdisk_await(struct slowdisk *d)
{
	struct pollfd p = {.fd = d->control, .events = POLLIN};
	bool read_from = poll(&p, 1, harness_scale_ms(HARNESS_MS)) == 1;
	char c;

	ck_assert_msg(read_from && read(d->control, &c, 1) == 1, "nobody asks the disk");
}

void slowdisk_mute(struct slowdisk *d, bool opens)
{
	const char *word = opens ? "o" : "m";
	char c = 0;

	ck_assert_int_eq(write(d->control, word, 1), 1);
	while (c != *word)
		ck_assert_int_eq(read(d->control, &c, 1), 1);
}

void slowdisk_go(struct slowdisk *d)
{
	ck_assert_int_eq(write(d->control, "g", 1), 1);
}

void slowdisk_end(struct slowdisk *d)
{
	kill(d->pid, SIGKILL);
	waitpid(d->pid, NULL, 0);
	close_fd(&d->control);
}
