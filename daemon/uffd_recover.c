#include "daemon/uffd_recover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/syscall.h>

#include "common/foreign.h"
#include "common/handshake.h"
#include "common/proc.h"

/* So many pages of each region are checked for the uffd that they are registered with. */
#define SAMPLES 8
/* Bounds on our work: a VMM can have any number of userfaultfds and of mappings. */
#define UFFDS_MAX 256
#define LOOKS_MAX 16

/* The addresses to check. */
struct samples {
	int map_fd; /* borrowed: the page map that says where */
	const struct pagemap_view *view;
	unsigned looks; /* looks into the VMM's mappings that are left */
	size_t n;
	uint64_t addr[SAMPLES * REGIONS_MAX];
};

/*
 * Adds the page at snapshot offset @at, or a later one that the guest has not given back: where the
 * guest has unmapped a page, anything may be mapped by now. @any: without such a page, adds @at.
 */
static int add_sample(struct samples *s, const struct region *r, uint64_t at, bool any,
		      struct err *err)
{
	struct pagemap_run room[2];
	struct pagemap_runs runs = {.v = room, .max = ARRAY_LEN(room)};
	size_t i = 0;

	if (pagemap_runs(s->map_fd, s->view, at, &runs, err))
		return -1;
	while (i < runs.n && runs.v[i].state == PAGE_REMOVED)
		i++;
	if (i < runs.n && runs.v[i].offset < r->offset + r->size)
		s->addr[s->n++] = r->base + (runs.v[i].offset - r->offset);
	else if (any)
		s->addr[s->n++] = r->base + (at - r->offset);
	return 0;
}

static int add_region(struct samples *s, const struct region *r, bool any, struct err *err)
{
	uint64_t page = s->view->regions.page_bytes;
	uint64_t step = max_u64(align_down(r->size / SAMPLES, page), page);
	uint64_t end = min_u64(r->size, SAMPLES * step);

	for (uint64_t at = 0; at < end; at += step)
		if (add_sample(s, r, r->offset + at, any, err))
			return -1;
	return 0;
}

static int choose_samples(struct samples *s, int map_fd, const struct pagemap_view *view,
			  struct err *err)
{
	s->map_fd = map_fd;
	s->view = view;
	s->n = 0;
	s->looks = LOOKS_MAX;
	for (uint32_t i = 0; i < view->regions.n; i++) {
		const struct region *r = &view->regions.v[i];
		size_t before = s->n;

		if (add_region(s, r, false, err) || (s->n == before && add_region(s, r, true, err)))
			return -1;
	}
	return 0;
}

struct mapping {
	uint64_t start, end;
};

/* The mapping at @addr; all zero: none. */
static struct mapping mapping_at(pid_t pid, uint64_t addr)
{
	cleanup_free char *line = NULL;
	cleanup_file FILE *f = NULL;
	struct mapping m;
	char path[64];
	size_t room = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	while (f && getline(&line, &room, f) > 0)
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &m.start, &m.end) == 2 &&
		    addr >= m.start && addr < m.end)
			return m;
	return (struct mapping){0};
}

/*
 * For UF_UNSURE, when the userfaultfd itself cannot tell. Registering a page that is registered
 * already changes nothing. Registering another page cuts that page out of its mapping, which shows
 * in /proc/PID/maps; that is undone at once. (A mapping of one page cannot be cut and counts as
 * registered: as far as the page map knows, the guest has not given it back.)
 */
static enum uf_claim claim_by_mapping(int uffd, pid_t pid, uint64_t addr, uint64_t page_bytes)
{
	struct mapping before = mapping_at(pid, addr), after;
	struct err err;

	if (!before.end)
		return UF_NOBODYS;
	if (uffd_register(uffd, addr, page_bytes, &err))
		return err.sys == EBUSY ? UF_OTHERS : UF_NOBODYS;
	after = mapping_at(pid, addr);
	if (after.start == before.start && after.end == before.end)
		return UF_OURS;
	uffd_unregister(uffd, addr, page_bytes);
	return UF_NOBODYS;
}

/*
 * At least one page is registered with @uffd, and none with another. @pid: 0 if UF_UNSURE counts as
 * registered.
 */
static bool has_samples(int uffd, pid_t pid, struct samples *s, uint64_t page_bytes)
{
	bool ours = false;

	for (size_t i = 0; i < s->n; i++) {
		enum uf_claim claim = uffd_claim(uffd, s->addr[i], page_bytes);

		if (claim == UF_UNSURE && pid) {
			if (ours || !s->looks)
				continue;
			s->looks--;
			claim = claim_by_mapping(uffd, pid, s->addr[i], page_bytes);
		}
		if (claim == UF_OTHERS)
			return false;
		ours = ours || claim == UF_OURS || claim == UF_UNSURE;
	}
	return ours;
}

static bool is_ours(int uffd, pid_t pid, struct samples *s, const struct regions *r)
{
	struct err err;

	return has_samples(uffd, pid, s, r->page_bytes) &&
	       uffd_check(uffd, r->v[0].base, r->v[0].size, &err) == 0;
}

static int denied(pid_t pid, struct err *err)
{
	if (errno == EPERM || errno == EACCES)
		return err_set(err, ERR_DENIED,
			       "the VMM (pid %d) may not be looked into: uffdd "
			       "needs CAP_SYS_PTRACE for that",
			       (int)pid);
	/* The process's entry in /proc is gone. */
	if (errno == ENOENT)
		errno = ESRCH;
	return err_sys(err, "look into the VMM (pid %d)", (int)pid);
}

/* Duplicates of the userfaultfds that a process holds, one after the other. */
struct uffds {
	DIR *dir;
	int pidfd; /* borrowed */
	int tried;
	bool refused;
};

static int uffds_open(struct uffds *h, int pidfd, pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	*h = (struct uffds){.dir = opendir(path), .pidfd = pidfd};
	return h->dir ? 0 : -1;
}

/* The next duplicate, owned by the caller; -1: no more, or it may not be had. */
static int uffds_next(struct uffds *h)
{
	struct dirent *e;

	while (h->tried < UFFDS_MAX && (e = readdir(h->dir))) {
		int fd;

		if (!foreign_names_uffd(dirfd(h->dir), e->d_name))
			continue;
		h->tried++;
		fd = (int)syscall(SYS_pidfd_getfd, h->pidfd, (int)strtol(e->d_name, NULL, 10), 0);
		/* The process may have put another file there meanwhile. */
		if (fd >= 0 && foreign_is(fd, FOREIGN_UFFD))
			return fd;
		if (fd >= 0) {
			foreign_close(&fd);
			continue;
		}
		/* EBADF: closed meanwhile. ESRCH: the process has ended, and all are closed. */
		h->refused = h->refused || (errno != EBADF && errno != ESRCH);
	}
	return -1;
}

/* ---- is the memory in this process? ---- */

static bool overlaps(const struct regions *r, uint64_t start, uint64_t end)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (start < r->v[i].base + r->v[i].size && end > r->v[i].base)
			return true;
	return false;
}

enum owns { OWNS, OWNS_NOT, OWNS_UNSEEN };

/*
 * Has process @pid mapped any of the regions? @registered: and are they registered, too? A forked
 * child has the same mappings, but not registered. To tell that (smaps), the kernel walks through
 * all pages of a mapping, some 50 ms for each GiB that is there.
 */
static enum owns owns_regions(pid_t pid, const struct regions *r, bool registered)
{
	cleanup_free char *line = NULL;
	cleanup_file FILE *f = NULL;
	enum owns owns = OWNS_UNSEEN;
	bool inside = false;
	uint64_t start, end;
	char path[64];
	size_t room = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, registered ? "smaps" : "maps");
	f = fopen(path, "re");
	while (f && owns != OWNS && getline(&line, &room, f) > 0) {
		bool flags = strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " um");

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
			inside = overlaps(r, start, end);
		owns = inside && (flags || !registered) ? OWNS : OWNS_NOT;
	}
	return owns;
}

/* ---- the uffd of a known VMM ---- */

int uffd_recover_uffd(int vmm, pid_t pid, int map_fd, const struct pagemap_view *view,
		      int *ret_uffd, struct err *err)
{
	struct samples samples;
	struct uffds h;
	int fd;

	if (choose_samples(&samples, map_fd, view, err))
		return -1;
	if (uffds_open(&h, vmm, pid))
		return denied(pid, err);
	while ((fd = uffds_next(&h)) >= 0 && !is_ours(fd, pid, &samples, &view->regions))
		foreign_close(&fd);
	closedir(h.dir);
	if (fd < 0 && h.refused) {
		errno = EPERM;
		return denied(pid, err);
	}
	/* A VMM with none of its regions has no guest that could wait for us: the VMM is ending. */
	if (fd < 0 && owns_regions(pid, &view->regions, false) != OWNS) {
		errno = ESRCH;
		return err_sys(err, "the VMM (pid %d) has no memory any more", (int)pid);
	}
	if (fd < 0)
		return err_set(err, ERR_SYSTEM,
			       "the VMM (pid %d) holds no userfaultfd with its "
			       "regions",
			       (int)pid);
	*ret_uffd = fd;
	return 0;
}

/* ---- the process that has the memory ---- */

bool uffd_recover_is_other(pid_t pid, const struct regions *r)
{
	return owns_regions(pid, r, false) == OWNS_NOT;
}

static bool is_same_file(int a, int b)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b) == 0;
}

bool uffd_recover_holds(int pidfd, pid_t pid, int uffd)
{
	struct uffds h;
	bool same = false;
	int fd;

	if (pid == getpid() || uffds_open(&h, pidfd, pid))
		return false;
	while (!same && (fd = uffds_next(&h)) >= 0) {
		same = is_same_file(fd, uffd);
		foreign_close(&fd);
	}
	closedir(h.dir);
	return same;
}

/* The pidfd of @pid if that process is the owner; else -1. */
static int open_owner(pid_t pid, int uffd, const struct regions *r)
{
	cleanup_fd int pidfd = -1;
	struct err err;

	if (pid <= 0 || proc_pidfd(pid, &pidfd, &err))
		return -1;
	/* The process has not ended meanwhile: so everything above was about one process. */
	if (!uffd_recover_holds(pidfd, pid, uffd) || owns_regions(pid, r, true) != OWNS ||
	    proc_ended(pidfd))
		return -1;
	return steal_fd(&pidfd);
}

int uffd_recover_owner(int uffd, const struct regions *r, pid_t *ret_pid)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	int pidfd = -1;

	while (dir && pidfd < 0 && (e = readdir(dir))) {
		*ret_pid = (pid_t)strtol(e->d_name, NULL, 10);
		pidfd = open_owner(*ret_pid, uffd, r);
	}
	if (dir)
		closedir(dir);
	return pidfd;
}

enum uf_life uffd_recover_life(int pidfd, pid_t pid)
{
	enum uf_life life = UF_BUSY;
	struct uffds h;
	int fd;

	if (uffds_open(&h, pidfd, pid))
		return UF_BUSY;
	while (life != UF_LIVES && (fd = uffds_next(&h)) >= 0) {
		life = uffd_life(fd);
		foreign_close(&fd);
	}
	closedir(h.dir);
	return h.refused ? UF_BUSY : life;
}

/* The sender is known already. */
static int check_sent(int fd, int map_fd, const struct pagemap_view *view, struct err *err)
{
	struct samples samples;

	if (!foreign_is(fd, FOREIGN_UFFD))
		return err_set(err, ERR_PEER, "no userfaultfd lies in the VMM's message");
	if (choose_samples(&samples, map_fd, view, err))
		return -1;
	/* UF_UNSURE: its guest may be giving memory back. */
	if (!is_ours(fd, 0, &samples, &view->regions))
		return err_set(err, ERR_PEER,
			       "the userfaultfd of the VMM's message has not its "
			       "regions");
	return 0;
}

int uffd_recover_sent(int sock, int map_fd, const struct pagemap_view *view, int *ret_uffd,
		      struct err *err)
{
	int fd = handshake_first_fd(sock);
	int rc = check_sent(fd, map_fd, view, err);

	if (rc == 0)
		*ret_uffd = steal_fd(&fd);
	foreign_close(&fd);
	return rc;
}
