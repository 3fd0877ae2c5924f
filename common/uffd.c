#include "common/uffd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "common/uffd_requests.h"

/* Any possible address of a process. */
#define SOMEWHERE ((uint64_t)1 << 30)

/* clang-format off */
static const char *const outcome_names[] = {
	[UF_DONE] = "done",     [UF_PART] = "part",     [UF_AGAIN] = "again",
	[UF_EXISTS] = "exists", [UF_LEFT] = "left",     [UF_GONE] = "gone",
	[UF_SOURCE] = "source", [UF_NOMEM] = "no-mem",  [UF_FAIL] = "fail",
};
/* clang-format on */

static const struct {
	int sys;
	enum uf_outcome outcome;
} outcomes[] = {
	{EAGAIN, UF_AGAIN}, {EEXIST, UF_EXISTS}, {ENOENT, UF_LEFT},
	{ESRCH, UF_GONE},   {EFAULT, UF_SOURCE}, {ENOMEM, UF_NOMEM},
};

const char *uf_outcome_name(enum uf_outcome o)
{
	return outcome_names[o];
}

static int call(int uffd, unsigned long request, void *arg)
{
	int rc;

	do
		rc = ioctl(uffd, request, arg);
	while (rc < 0 && errno == EINTR);
	return rc;
}

/* The outcome of a call that returned @rc and left errno behind. */
static enum uf_outcome outcome_of(int rc)
{
	if (rc >= 0)
		return UF_DONE;
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
		if (outcomes[i].sys == errno)
			return outcomes[i].outcome;
	return UF_FAIL;
}

/*
 * @field is what the kernel wrote into the argument, preset to 0: untouched, a negative errno, or
 * the bytes done before something was in the way.
 */
static enum uf_outcome install_outcome(int rc, int64_t field, uint64_t len, uint64_t *ret_done)
{
	enum uf_outcome outcome = outcome_of(rc);

	*ret_done = 0;
	if (outcome == UF_DONE)
		*ret_done = len;
	if (outcome != UF_AGAIN || field <= 0)
		return outcome;
	*ret_done = (uint64_t)field;
	return UF_PART;
}

static enum uf_outcome copy(int uffd, struct uffdio_copy arg, uint64_t *ret_done)
{
	int rc = call(uffd, UFFDIO_COPY, &arg);

	return install_outcome(rc, arg.copy, arg.len, ret_done);
}

enum uf_outcome uffd_copy(int uffd, uint64_t dst, const void *src, uint64_t len, uint64_t *ret_done)
{
	return copy(uffd, (struct uffdio_copy){.dst = dst, .src = (uintptr_t)src, .len = len},
		    ret_done);
}

enum uf_outcome uffd_copy_protected(int uffd, uint64_t dst, const void *src, uint64_t len,
				    uint64_t *ret_done)
{
	return copy(uffd,
		    (struct uffdio_copy){.dst = dst,
					 .src = (uintptr_t)src,
					 .len = len,
					 .mode = UFFDIO_COPY_MODE_WP},
		    ret_done);
}

enum uf_outcome uffd_zero(int uffd, uint64_t dst, uint64_t len, uint64_t *ret_done)
{
	struct uffdio_zeropage arg = {.range = {.start = dst, .len = len}};
	int rc = call(uffd, UFFDIO_ZEROPAGE, &arg);

	return install_outcome(rc, arg.zeropage, len, ret_done);
}

enum uf_outcome uffd_poison(int uffd, uint64_t dst, uint64_t len, uint64_t *ret_done)
{
	struct uffdio_poison arg = {.range = {.start = dst, .len = len}};
	int rc = call(uffd, UFFDIO_POISON, &arg);

	return install_outcome(rc, arg.updated, len, ret_done);
}

enum uf_outcome uffd_continue(int uffd, uint64_t addr, uint64_t page_bytes)
{
	struct uffdio_continue arg = {.range = {.start = addr, .len = page_bytes}};

	return outcome_of(call(uffd, UFFDIO_CONTINUE, &arg));
}

enum uf_outcome uffd_wake(int uffd, uint64_t start, uint64_t len)
{
	struct uffdio_range arg = {.start = start, .len = len};

	return outcome_of(call(uffd, UFFDIO_WAKE, &arg));
}

enum uf_outcome uffd_unprotect(int uffd, uint64_t start, uint64_t len)
{
	struct uffdio_writeprotect arg = {.range = {.start = start, .len = len}};

	return outcome_of(call(uffd, UFFDIO_WRITEPROTECT, &arg));
}

enum uf_outcome uffd_unregister(int uffd, uint64_t start, uint64_t len)
{
	struct uffdio_range arg = {.start = start, .len = len};
	enum uf_outcome outcome = outcome_of(call(uffd, UFFDIO_UNREGISTER, &arg));

	/*
	 * Only this call says ENOMEM for an address space that has ended. Clearing write protection
	 * of the same range tells the two apart, and does no harm: the range is to be given up.
	 */
	if (outcome == UF_NOMEM && uffd_unprotect(uffd, start, len) == UF_GONE)
		return UF_GONE;
	return outcome;
}

static void set_cloexec(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags >= 0 && !(flags & FD_CLOEXEC))
		fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}

static struct uf_msg translate_fault(const struct uffd_msg *raw)
{
	uint64_t flags = raw->arg.pagefault.flags;
	struct uf_msg msg = {
		.event = UF_FAULT,
		.write = flags & UFFD_PAGEFAULT_FLAG_WRITE,
		.start = raw->arg.pagefault.address,
		.fd = -1,
	};

	if (flags & UFFD_PAGEFAULT_FLAG_WP)
		msg.event = UF_FAULT_WP;
	else if (flags & UFFD_PAGEFAULT_FLAG_MINOR)
		msg.event = UF_FAULT_MINOR;
	return msg;
}

static struct uf_msg translate(const struct uffd_msg *raw)
{
	struct uf_msg msg = {.event = UF_UNKNOWN, .fd = -1};

	switch (raw->event) {
	case UFFD_EVENT_PAGEFAULT:
		return translate_fault(raw);
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		msg.event = raw->event == UFFD_EVENT_REMOVE ? UF_REMOVE : UF_UNMAP;
		msg.start = raw->arg.remove.start;
		msg.end = raw->arg.remove.end;
		break;
	case UFFD_EVENT_REMAP:
		msg.event = UF_REMAP;
		msg.start = raw->arg.remap.from;
		msg.end = raw->arg.remap.from + raw->arg.remap.len;
		msg.to = raw->arg.remap.to;
		break;
	case UFFD_EVENT_FORK:
		msg.event = UF_FORK;
		msg.fd = (int)raw->arg.fork.ufd;
		/* The kernel copies the flags of the parent's descriptor, which others chose. */
		set_cloexec(msg.fd);
		break;
	}
	return msg;
}

static_assert(sizeof(struct uffd_msg) == sizeof(((struct uf_inbox *)NULL)->raw[0]), "kernel");

int uffd_read(int uffd, struct uf_inbox *box, struct uf_msg *msgs, size_t max, struct err *err)
{
	const struct uffd_msg *raw = (const struct uffd_msg *)box->raw;
	size_t count;
	ssize_t n;

	assert(max > 0);
	if (max > UF_READ_MAX)
		max = UF_READ_MAX;
	do
		n = read(uffd, box->raw, max * sizeof(raw[0]));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : err_sys(err, "reading the userfaultfd");
	count = (size_t)n / sizeof(raw[0]);
	for (size_t i = 0; i < count; i++)
		msgs[i] = translate(&raw[i]);
	return (int)count;
}

int uffd_left(const struct uf_inbox *box, struct uf_msg *msgs)
{
	const struct uffd_msg *raw = (const struct uffd_msg *)box->raw;
	int n = 0;

	while (n < UF_READ_MAX && raw[n].event) {
		struct uffd_msg copy = raw[n];

		if (copy.event == UFFD_EVENT_FORK)
			copy.arg.fork.ufd = (uint32_t)-1;
		msgs[n++] = translate(&copy);
	}
	return n;
}

/* Clears from the end, so that the rest is always the beginning of a batch. */
void uffd_clear(struct uf_inbox *box)
{
	size_t n = 0;

	while (n < UF_READ_MAX && ((struct uffd_msg *)box->raw)[n].event)
		n++;
	while (n--)
		__atomic_store_n(&box->raw[n][0], 0, __ATOMIC_RELEASE);
}

/*
 * Of all that can be sent as a descriptor, only kernel objects have no file type, not even FUSE
 * files.
 */
static bool is_anon_inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0;
}

int uffd_check(int uffd, uint64_t start, uint64_t len, struct err *err)
{
	struct uffdio_range range = {.start = start, .len = len};
	bool anon = is_anon_inode(uffd);
	int flags;

	if (anon && call(uffd, UFFDIO_WAKE, &range) < 0 && errno == EINVAL)
		return err_set(err, ERR_PEER,
			       "descriptor 0 of the handshake refuses 0x%" PRIx64 "+0x%" PRIx64
			       ": it is not a userfaultfd, or UFFDIO_API was not done on it, or "
			       "the range lies outside its address space",
			       start, len);
	if (!anon || call(uffd, UFFDIO_WAKE, &range) < 0)
		return err_set(err, ERR_PEER, "descriptor 0 of the handshake is not a userfaultfd");
	flags = fcntl(uffd, F_GETFL);
	if (flags < 0 || fcntl(uffd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(err, ERR_PEER,
			       "the userfaultfd of the handshake cannot be made non-blocking");
	return 0;
}

/*
 * A NULL source passes the kernel's registration check and then fails: a probe without side
 * effects.
 */
bool uffd_registered(int uffd, uint64_t addr, uint64_t page_bytes)
{
	uint64_t done;

	return uffd_copy(uffd, addr, NULL, page_bytes, &done) != UF_LEFT;
}

/* A copy first checks that the address space exists, then the destination and the source. */
enum uf_life uffd_life(int uffd)
{
	struct uffdio_range range = {.start = SOMEWHERE, .len = PAGE_4K};
	uint64_t done;

	if (!is_anon_inode(uffd) || call(uffd, UFFDIO_WAKE, &range) < 0)
		return UF_ENDED;
	switch (uffd_copy(uffd, SOMEWHERE, NULL, PAGE_4K, &done)) {
	case UF_GONE:
		return UF_ENDED;
	case UF_AGAIN:
		return UF_BUSY;
	default:
		return UF_LIVES;
	}
}

/* A copy works through any userfaultfd of the process, but registering does not. */
enum uf_claim uffd_claim(int uffd, uint64_t addr, uint64_t page_bytes)
{
	uint64_t done;
	enum uf_outcome o = uffd_copy(uffd, addr, NULL, page_bytes, &done);
	struct err err;

	if (o == UF_AGAIN)
		return UF_UNSURE;
	/* To register a page of no userfaultfd would claim it. */
	if (o != UF_SOURCE && o != UF_EXISTS && o != UF_NOMEM)
		return UF_NOBODYS;
	if (uffd_register(uffd, addr, page_bytes, &err) == 0)
		return UF_OURS;
	return err.sys == EBUSY ? UF_OTHERS : UF_NOBODYS;
}

enum uf_tracking uffd_tracks(int uffd, uint64_t addr, uint64_t page_bytes)
{
	uint64_t done;

	/* The kernel checks for write protection before it reads the source. */
	switch (uffd_copy_protected(uffd, addr, NULL, page_bytes, &done)) {
	case UF_SOURCE:
	case UF_EXISTS:
	case UF_NOMEM:
		return UF_TRACKS;
	case UF_FAIL:
		return UF_TRACKS_NOT;
	default:
		return UF_TRACKING_UNSURE;
	}
}

int uffd_register(int uffd, uint64_t start, uint64_t len, struct err *err)
{
	struct uffdio_register arg = {.range = {.start = start, .len = len},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};

	if (call(uffd, UFFDIO_REGISTER, &arg) < 0)
		return err_sys(err, "registering 0x%" PRIx64 "+0x%" PRIx64 " with the userfaultfd",
			       start, len);
	return 0;
}
