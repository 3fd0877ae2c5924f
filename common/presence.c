#include "common/presence.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "common/pagemap_scan.h"

/* Before Linux 6.7: one word per page. */
#define WORD_PRESENT ((uint64_t)1 << 63)
#define WORD_SWAPPED ((uint64_t)1 << 62)
#define WORDS_MAX 512

#define SCAN_MAX 256 /* runs that one call of the kernel returns */

/* The kernel hides physical addresses from a pagemap that is opened without CAP_SYS_ADMIN. */
static int open_without_rights(const char *path)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2], fewer[2];
	int fd, why;

	if (syscall(SYS_capget, &head, caps))
		return -1;
	fewer[0] = caps[0];
	fewer[1] = caps[1];
	fewer[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
	if (syscall(SYS_capset, &head, fewer))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	why = errno;
	syscall(SYS_capset, &head, caps);
	errno = why;
	return fd;
}

int presence_open(pid_t pid, int *ret_fd, struct err *err)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open_without_rights(path);
	if (fd < 0 && (errno == EPERM || errno == EACCES))
		return err_set(err, ERR_DENIED,
			       "the VMM (pid %d) may not be looked into: uffdd "
			       "needs CAP_SYS_PTRACE for that",
			       (int)pid);
	if (fd < 0)
		return err_sys(err, "open %s", path);
	*ret_fd = fd;
	return 0;
}

void presence_use(struct presence *p, int fd)
{
	if (p->pagemap >= 0)
		close(p->pagemap);
	*p = (struct presence){.pagemap = fd};
}

void presence_fini(struct presence *p)
{
	presence_use(p, -1);
}

/* Adds a run, or joins it to the last run. False: no room. */
static bool add_run(struct presence_run *runs, size_t max, size_t *n, struct presence_run run)
{
	struct presence_run *last = *n ? &runs[*n - 1] : NULL;

	if (last && last->start + last->len == run.start && last->swapped == run.swapped) {
		last->len += run.len;
		return true;
	}
	if (*n == max)
		return false;
	runs[(*n)++] = run;
	return true;
}

/* -1 with ENOTTY: this kernel has no PAGEMAP_SCAN. */
static int scan(const struct presence *p, uint64_t start, uint64_t end, struct presence_run *runs,
		size_t max, uint64_t *ret_next)
{
	struct page_region found[SCAN_MAX];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)found,
		.vec_len = min_u64(max, SCAN_MAX),
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT,
	};
	size_t n = 0;
	int got;

	do
		got = ioctl(p->pagemap, PAGEMAP_SCAN, &arg);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -1;
	for (int i = 0; i < got; i++)
		add_run(runs, max, &n,
			(struct presence_run){
				.start = found[i].start,
				.len = found[i].end - found[i].start,
				.swapped = !(found[i].categories & PAGE_IS_PRESENT),
			});
	*ret_next = arg.walk_end;
	return (int)n;
}

static int read_words(const struct presence *p, uint64_t start, uint64_t end,
		      struct presence_run *runs, size_t max, uint64_t *ret_next)
{
	uint64_t words[WORDS_MAX];
	size_t n = 0;

	while (start < end) {
		size_t want = min_u64((end - start) / PAGE_4K, WORDS_MAX);

		if (pread(p->pagemap, words, want * sizeof(words[0]),
			  (off_t)(start / PAGE_4K * sizeof(words[0]))) !=
		    (ssize_t)(want * sizeof(words[0])))
			return -1;
		for (size_t i = 0; i < want; i++, start += PAGE_4K) {
			struct presence_run run = {start, PAGE_4K, words[i] & WORD_SWAPPED};

			if (!(words[i] & (WORD_PRESENT | WORD_SWAPPED)))
				continue;
			*ret_next = start;
			if (!add_run(runs, max, &n, run))
				return (int)n;
		}
	}
	*ret_next = end;
	return (int)n;
}

int presence_runs(const struct presence *p, uint64_t start, uint64_t end, struct presence_run *runs,
		  size_t max, uint64_t *ret_next)
{
	int n;

	if (p->pagemap < 0)
		return -1;
	n = scan(p, start, end, runs, max, ret_next);
	if (n < 0 && errno == ENOTTY)
		n = read_words(p, start, end, runs, max, ret_next);
	return n;
}

/* Looks into the page tables of the pagemap's process, verified or not. */
static enum presence_answer look(const struct presence *p, uint64_t addr, uint64_t page_bytes)
{
	struct presence_run run;
	uint64_t next;
	int n = presence_runs(p, addr, addr + page_bytes, &run, 1, &next);

	if (n < 0)
		return PRESENCE_UNKNOWN;
	if (n == 0)
		return PRESENCE_NO;
	return run.swapped ? PRESENCE_UNKNOWN : PRESENCE_YES;
}

void presence_verify(struct presence *p, uint64_t addr, uint64_t page_bytes)
{
	p->verified = p->verified || look(p, addr, page_bytes) == PRESENCE_YES;
}

enum presence_answer presence_ask(const struct presence *p, int uffd, uint64_t addr,
				  uint64_t page_bytes)
{
	enum presence_answer answer = p->verified ? look(p, addr, page_bytes) : PRESENCE_UNKNOWN;

	if (answer != PRESENCE_NO)
		return answer;
	switch (uffd_continue(uffd, addr, page_bytes)) {
	case UF_DONE:
	case UF_EXISTS:
		return PRESENCE_YES;
	case UF_AGAIN:
	case UF_GONE:
		return PRESENCE_UNKNOWN;
	default:
		return PRESENCE_NO;
	}
}
