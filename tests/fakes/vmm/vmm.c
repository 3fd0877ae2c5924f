/* vmm - memory, userfaultfd and handshake of the stand-in */
#include "tests/fakes/vmm/vmm.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "tests/fakes/vmm/pages.h"

#define GAP_PAGES_MAX 16
#define EXTRA_FDS_MAX (HANDSHAKE_FDS_MAX - 1)
#define PAGEMAP_PRESENT ((uint64_t)1 << 63)
#define PAGEMAP_BATCH 512
#define HUGE_2M (21 << 26) /* log2 of the size, at MAP_HUGE_SHIFT */

uint64_t vmm_mix(uint64_t v)
{
	v += 0x9e3779b97f4a7c15;
	v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9;
	v = (v ^ (v >> 27)) * 0x94d049bb133111eb;
	return v ^ (v >> 31);
}

static void *map_anon(uint64_t bytes, int prot)
{
	void *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A view of the image as long as guest memory: zeros follow where the file ends. */
static int map_image(struct vmm *v, const struct vmm_opts *o, struct err *err)
{
	cleanup_fd int fd = -1;
	struct stat st = {0};

	if (o->image) {
		fd = open(o->image, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			return err_sys(err, "opening the image %s", o->image);
		if (!S_ISREG(st.st_mode) || st.st_size == 0)
			return err_set(err, ERR_INVALID, "the image %s is not a file with contents",
				       o->image);
	}
	v->size = o->size;
	if (!v->size)
		v->size = align_up((uint64_t)st.st_size, v->page_bytes);
	if (!v->size || v->size > VMM_SIZE_MAX || !is_aligned(v->size, v->page_bytes))
		return err_set(err, ERR_INVALID,
			       "guest memory of %" PRIu64 " bytes: not 1 to 2^40 in whole pages",
			       v->size);
	v->npages = v->size / v->page_bytes;
	v->image = map_anon(v->size, PROT_READ);
	if (!v->image)
		return err_sys(err, "mapping a view of the image");
	if (o->image && mmap(v->image, min_u64(v->size, (uint64_t)st.st_size), PROT_READ,
			     MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return err_sys(err, "mapping the image %s", o->image);
	return 0;
}

/* Sizes and offsets of the regions; addresses come later. */
static int cut_regions(struct vmm *v, const struct vmm_opts *o, struct err *err)
{
	static const uint64_t whole[] = {0};
	const uint64_t *split = o->nsplit ? o->split : whole;
	size_t n = o->nsplit ? o->nsplit : 1;
	uint64_t sum = 0, offset = 0;
	size_t rests = 0;

	if (n > REGIONS_MAX)
		return err_set(err, ERR_INVALID, "%zu regions: at most %d", n, REGIONS_MAX);
	for (size_t i = 0; i < n; i++) {
		rests += split[i] == 0;
		if (!is_aligned(split[i], v->page_bytes) || split[i] > v->size - sum)
			return err_set(err, ERR_INVALID,
				       "region %zu of %" PRIu64
				       " bytes: not whole pages, or beyond guest memory",
				       i, split[i]);
		sum += split[i];
	}
	if (rests > 1 || (rests == 0) != (sum == v->size))
		return err_set(err, ERR_INVALID,
			       "the regions do not make up %" PRIu64
			       " bytes: one of them may be \"rest\"",
			       v->size);
	v->regions.page_bytes = v->page_bytes;
	v->regions.n = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		v->regions.v[i].size = split[i] ? split[i] : v->size - sum;
		v->regions.v[i].offset = offset;
		offset += v->regions.v[i].size;
	}
	return 0;
}

static int map_region(const struct vmm *v, struct region *r, uint64_t base, struct err *err)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	if (v->page_bytes == PAGE_2M)
		flags |= MAP_HUGETLB | HUGE_2M;
	if (mmap((void *)base, r->size, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
		return err_sys(err, "mapping %" PRIu64 " bytes of guest memory", r->size);
	r->base = base;
	return 0;
}

/*
 * One reservation keeps the regions in order; what is left over between them is
 * given back, so that the rest of the process may come to lie there, as in a VMM.
 */
static int place_regions(struct vmm *v, bool reverse, struct err *err)
{
	uint64_t n = v->regions.n;
	uint64_t len = v->size + (n + 1) * GAP_PAGES_MAX * v->page_bytes + v->page_bytes;
	uint8_t *reserve = map_anon(len, PROT_NONE);
	uint64_t at = (uint64_t)reserve;
	uint64_t end = at + len;

	if (!reserve)
		return err_sys(err, "reserving %" PRIu64 " bytes of addresses", len);
	for (uint64_t i = 0; i < n; i++) {
		struct region *r = &v->regions.v[reverse ? n - 1 - i : i];
		uint64_t gap = 1 + vmm_mix(v->seed + i) % GAP_PAGES_MAX;
		uint64_t base = align_up(at, v->page_bytes) + (gap - 1) * v->page_bytes;

		if (i > 0 && base == at)
			base += v->page_bytes;
		if (map_region(v, r, base, err))
			return -1;
		if (base > at)
			munmap((void *)at, base - at);
		at = base + r->size;
	}
	munmap((void *)at, end - at);
	return 0;
}

static int fill_pages(struct vmm *v, struct err *err)
{
	uint64_t page = 0;

	v->pages = calloc(v->npages, sizeof(*v->pages));
	if (!v->pages)
		return err_set(err, ERR_SYSTEM, "no memory for a table of %" PRIu64 " pages",
			       v->npages);
	for (uint32_t i = 0; i < v->regions.n; i++) {
		const struct region *r = &v->regions.v[i];

		for (uint64_t off = 0; off < r->size; off += v->page_bytes)
			v->pages[page++].addr = (uint8_t *)r->base + off;
	}
	return 0;
}

int vmm_create(const struct vmm_opts *o, struct vmm **ret, struct err *err)
{
	struct vmm *v = xcalloc(1, sizeof(*v));

	v->page_bytes = o->page_bytes ? o->page_bytes : PAGE_4K;
	v->features = o->features;
	v->seed = o->seed;
	v->uffd = v->sock = -1;
	pthread_mutex_init(&v->lock, NULL);
	if (map_image(v, o, err) || cut_regions(v, o, err) || place_regions(v, o->reverse, err) ||
	    fill_pages(v, err) || uffd_open(o->features, &v->uffd, err))
		goto fail;
	for (uint32_t i = 0; i < v->regions.n && !o->unregistered; i++)
		if (uffd_register(v->uffd, v->regions.v[i].base, v->regions.v[i].size, err))
			goto fail;
	*ret = v;
	return 0;
fail:
	vmm_destroy(v);
	return -1;
}

static void unmap_all(struct vmm *v)
{
	uint64_t n;

	for (uint64_t page = 0; page < v->npages; page += max_u64(n, 1)) {
		void *addr = v->pages[page].addr;

		n = pages_run(v, page);
		if (n > 0 && v->uffd >= 0)
			(void)uffd_unregister(v->uffd, (uint64_t)addr, n * v->page_bytes);
		if (n > 0)
			munmap(addr, n * v->page_bytes);
	}
}

void vmm_destroy(struct vmm *v)
{
	if (!v)
		return;
	/* Without our uffd, an unmap event nobody reads would hold us: leave it to exit. */
	if (v->pages && (v->uffd >= 0 || !(v->features & UF_FEATURE_UNMAP)))
		unmap_all(v);
	if (v->image)
		munmap(v->image, v->size);
	close_fd(&v->uffd);
	close_fd(&v->sock);
	pthread_mutex_destroy(&v->lock);
	free(v->pages);
	free(v);
}

static int send_split(int sock, const char *text, const int *fds, size_t nfds, struct err *err)
{
	for (; *text; text++, nfds = 0) {
		const char one[2] = {*text, '\0'};

		if (handshake_send(sock, one, fds, nfds, err))
			return -1;
	}
	return 0;
}

static int send_halves(int sock, const char *text, const int *fds, size_t nfds,
		       void (*between)(void), struct err *err)
{
	size_t half = strlen(text) / 2;
	cleanup_free char *first = strndup(text, half);

	if (handshake_send(sock, first, fds, nfds, err))
		return -1;
	between();
	return handshake_send(sock, text + half, NULL, 0, err);
}

static int send_hello(struct vmm *v, const struct vmm_link *link, struct err *err)
{
	cleanup_free char *text = handshake_format(&v->regions, link->style);
	int fds[HANDSHAKE_FDS_MAX] = {v->uffd};
	int (*send_text)(int, const char *, const int *, size_t, struct err *) = handshake_send;
	size_t nfds = 1;
	int rc = 0;

	if (link->extra_fds > EXTRA_FDS_MAX)
		return err_set(err, ERR_INVALID, "%u extra descriptors: at most %d",
			       link->extra_fds, EXTRA_FDS_MAX);
	if (link->split_send)
		send_text = send_split;
	while (!rc && nfds <= link->extra_fds) {
		fds[nfds] = memfd_create("extra", MFD_CLOEXEC);
		if (fds[nfds] < 0)
			rc = err_sys(err, "making descriptor %zu to send", nfds);
		else
			nfds++;
	}
	if (!rc && link->between)
		rc = send_halves(v->sock, text, fds, nfds, link->between, err);
	else if (!rc)
		rc = send_text(v->sock, text, fds, nfds, err);
	while (nfds > 1)
		close(fds[--nfds]);
	return rc;
}

static int speak(struct vmm *v, const char *path, const struct vmm_link *link, struct err *err)
{
	return sock_connect(path, SOCK_STREAM, &v->sock, err) || send_hello(v, link, err) ? -1 : 0;
}

static void help(struct vmm *v, const char *path, const struct vmm_link *link, int said)
	__attribute__((noreturn));
static void help(struct vmm *v, const char *path, const struct vmm_link *link, int said)
{
	struct err err;

	if (speak(v, path, link, &err)) {
		fprintf(stderr, "standin: %s\n", err.msg);
		_exit(1);
	}
	if (link->helper == VMM_HELPER_ENDS)
		_exit(0);
	/* As a program of its own, which has nothing of that memory. */
	for (uint32_t i = 0; i < v->regions.n; i++)
		munmap((void *)v->regions.v[i].base, v->regions.v[i].size);
	close(STDIN_FILENO);
	close(said);
	for (;;)
		pause();
}

/* Its end of the pipe closes when it has spoken, or could not. */
static int let_help(struct vmm *v, const char *path, const struct vmm_link *link, struct err *err)
{
	int said[2], status = 0;
	pid_t pid;
	char byte;

	if (pipe2(said, O_CLOEXEC))
		return err_sys(err, "making a pipe");
	pid = fork();
	if (pid == 0)
		help(v, path, link, said[1]);
	close(said[1]);
	if (pid > 0 && read(said[0], &byte, 1) == 0 && link->helper == VMM_HELPER_ENDS)
		waitpid(pid, &status, 0);
	close(said[0]);
	return pid < 0 || status ? err_set(err, ERR_SYSTEM, "the helper could not connect") : 0;
}

int vmm_connect(struct vmm *v, const char *path, const struct vmm_link *link, struct err *err)
{
	if (link->helper ? let_help(v, path, link, err) : speak(v, path, link, err))
		return -1;
	if (link->drop)
		close_fd(&v->sock);
	if (link->no_keep)
		close_fd(&v->uffd);
	return 0;
}

/* The kernel shows every 4 KiB part of a huge page; the first speaks for all. */
static int count_present(const struct vmm *v, int pagemap, uint64_t page, uint64_t n,
			 uint64_t *present)
{
	uint64_t entry[PAGEMAP_BATCH];
	uint64_t step = v->page_bytes / PAGE_4K;
	uint64_t first = (uint64_t)v->pages[page].addr / PAGE_4K;
	uint64_t batch = step == 1 ? PAGEMAP_BATCH : 1;

	for (uint64_t i = 0; i < n; i += batch) {
		uint64_t k = min_u64(batch, n - i);
		size_t want = k * sizeof(entry[0]);

		if (pread(pagemap, entry, want, (off_t)((first + i * step) * sizeof(entry[0]))) !=
		    (ssize_t)want)
			return -1;
		for (uint64_t j = 0; j < k; j++)
			*present += (entry[j] & PAGEMAP_PRESENT) != 0;
	}
	return 0;
}

int vmm_resident(struct vmm *v, uint64_t *ret_pages, struct err *err)
{
	cleanup_fd int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t present = 0;
	uint64_t n;

	if (fd < 0)
		return err_sys(err, "opening /proc/self/pagemap");
	for (uint64_t page = 0; page < v->npages; page += max_u64(n, 1)) {
		n = pages_run(v, page);
		if (n > 0 && count_present(v, fd, page, n, &present))
			return err_sys(err, "reading /proc/self/pagemap");
	}
	*ret_pages = present;
	return 0;
}

uint64_t vmm_huge_free(void)
{
	cleanup_file FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
				     "re");
	uint64_t pages = 0;

	if (!f || fscanf(f, "%" SCNu64, &pages) != 1)
		return 0;
	return pages * PAGE_2M;
}

void vmm_print_busy(struct vmm *v, FILE *f)
{
	pthread_mutex_lock(&v->lock);
	for (const struct walker *w = v->walkers; w; w = w->next) {
		uint64_t at = atomic_load(&w->at);

		if (at != WALKER_IDLE)
			fprintf(f, "hung thread=%s page=%" PRIu64 "\n", w->name, at);
	}
	pthread_mutex_unlock(&v->lock);
}
