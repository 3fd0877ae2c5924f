#include "worker/residency.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ 22
#endif

#define ENOUGH_FIRST 4
#define ENOUGH_MAX 2048
#define PIECE_BYTES 16384 /* kept small: it is on the stack */

static const long without_disk[] = {TMPFS_MAGIC, RAMFS_MAGIC, HUGETLBFS_MAGIC};

static bool is_in_memory(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(without_disk); i++)
		if (fs.f_type == without_disk[i])
			return true;
	return false;
}

int residency_init(struct residency *h, int fd, uid_t uid, const uint8_t *map, uint64_t bytes)
{
	*h = (struct residency){
		.fd = fd,
		.map = map,
		.bytes = bytes,
		.in_memory = is_in_memory(fd),
		.nowait = true,
		.told = uid == geteuid(),
	};
	if (h->in_memory)
		return 0;
	h->chunks = calloc(align_up(bytes, RESIDENCY_CHUNK) / RESIDENCY_CHUNK, sizeof(*h->chunks));
	return h->chunks ? 0 : -1;
}

void residency_fini(struct residency *h)
{
	free(h->chunks);
	*h = (struct residency){.fd = -1};
}

static uint32_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint32_t)ts.tv_sec;
}

/* Are all pages of the range in memory, by mincore()? */
static bool resident(const struct residency *h, uint64_t off, uint64_t len)
{
	unsigned char pages[RESIDENCY_CHUNK / PAGE_4K];
	uint64_t end = min_u64(off + len, h->bytes);

	for (; off < end; off += RESIDENCY_CHUNK) {
		uint64_t n = min_u64(RESIDENCY_CHUNK, end - off);

		if (mincore((void *)(uintptr_t)(h->map + off), n, pages))
			return false;
		for (uint64_t i = 0; i < align_up(n, PAGE_4K) / PAGE_4K; i++)
			if (!(pages[i] & 1))
				return false;
	}
	return true;
}

/* Maps at once what copying would otherwise map page by page; reads nothing from the disk. */
static void map_in(const struct residency *h, uint64_t off)
{
	madvise((void *)(uintptr_t)(h->map + off), min_u64(RESIDENCY_CHUNK, h->bytes - off),
		MADV_POPULATE_READ);
}

/* mincore() costs as much as some ten reads: call it seldom, and ever more seldom in vain. */
static void count_hit(struct residency *h, uint64_t off)
{
	struct residency_chunk *c = &h->chunks[off / RESIDENCY_CHUNK];

	if (!h->told || ++c->hits < (c->enough ? c->enough : ENOUGH_FIRST))
		return;
	c->hits = 0;
	if (resident(h, align_down(off, RESIDENCY_CHUNK), RESIDENCY_CHUNK)) {
		map_in(h, align_down(off, RESIDENCY_CHUNK));
		c->warm_until_s = now_s() + RESIDENCY_BELIEVED_S;
		c->enough = 0;
	} else {
		c->enough = (uint16_t)min_u64((c->enough ? c->enough : ENOUGH_FIRST) * 4u,
					      ENOUGH_MAX);
	}
}

static bool believed(const struct residency *h, uint64_t off)
{
	uint32_t until = h->chunks[off / RESIDENCY_CHUNK].warm_until_s;

	return until && now_s() < until;
}

static enum residency_answer try_read(struct residency *h, uint64_t off, uint64_t len, void *buf)
{
	struct iovec iov = {buf, len};
	ssize_t n = preadv2(h->fd, &iov, 1, (off_t)off, RWF_NOWAIT);

	if (n == (ssize_t)len) {
		count_hit(h, off);
		return RESIDENCY_READ;
	}
	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		h->nowait = false;
	h->chunks[off / RESIDENCY_CHUNK].hits = 0;
	return RESIDENCY_COLD;
}

enum residency_answer residency_look(struct residency *h, uint64_t off, uint64_t len, void *buf)
{
	if (h->in_memory)
		return RESIDENCY_WARM;
	if (len > RESIDENCY_READ_MAX)
		return h->told && resident(h, off, len) ? RESIDENCY_WARM : RESIDENCY_COLD;
	if (believed(h, off))
		return RESIDENCY_WARM;
	return h->nowait ? try_read(h, off, len, buf) : RESIDENCY_COLD;
}

void residency_announce(const struct residency *h, uint64_t off, uint64_t len)
{
	posix_fadvise(h->fd, (off_t)off, (off_t)len, POSIX_FADV_WILLNEED);
}

void residency_read(const struct residency *h, uint64_t off, uint64_t len)
{
	char piece[PIECE_BYTES];

	for (uint64_t end = off + len; off < end;) {
		ssize_t n = pread(h->fd, piece, min_u64(end - off, sizeof(piece)), (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		off += (uint64_t)n;
	}
}

void residency_fill(const struct residency *h, uint64_t off, uint64_t len)
{
	/* Kernels before 5.14 have no MADV_POPULATE_READ. */
	if (madvise((void *)(uintptr_t)(h->map + off), len, MADV_POPULATE_READ) && errno == EINVAL)
		residency_read(h, off, len);
}

/* clang-format off */
static const struct call needs[] = {
	CALL(preadv2), CALL(mincore), CALL(fadvise64), CALL(pread64), CALL(lseek),
};
/* clang-format on */
const struct calls residency_calls = CALLS(needs);
