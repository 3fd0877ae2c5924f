#include "tests/bench/bench_place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "tests/fakes/snapshot/snapgen.h"

#define READ_BYTES ((size_t)1 << 20)
#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
#define MORE_BYTES (256 * MIB)
#define READAHEAD_TRIES 5
#define COLD_TRIES 100
#define COLD_WAIT_MS 20
#define HUGE_2M (21 << 26) /* log2 of the size, at MAP_HUGE_SHIFT */

static int sync_file(const char *path, struct err *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 || fsync(fd) ? err_sys(err, "%s", path) : 0;
}

int bench_place_data(const struct bench_run *r, uint64_t bytes, char ret_path[PATH_MAX],
		     struct err *err)
{
	const struct snapgen_opts opts = {.kind = SNAPGEN_MEMORY,
					  .size_bytes = bytes,
					  .nlayers = 1,
					  .run_pages = 64,
					  .seed = 1};
	char dir[PATH_MAX - 32];

	snprintf(dir, sizeof(dir), "%s/data-%llu", r->dir, (unsigned long long)bytes);
	snprintf(ret_path, PATH_MAX, "%s/" SNAPGEN_BASE, dir);
	if (access(ret_path, F_OK) == 0)
		return 0;
	return snapgen_write(&opts, dir, err) || sync_file(ret_path, err) ? -1 : 0;
}

int bench_place_zeros(const struct bench_run *r, uint64_t bytes, char ret_path[PATH_MAX],
		      struct err *err)
{
	cleanup_fd int fd = -1;

	snprintf(ret_path, PATH_MAX, "%s/zeros-%llu", r->dir, (unsigned long long)bytes);
	fd = open(ret_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	return fd < 0 || ftruncate(fd, (off_t)bytes) ? err_sys(err, "%s", ret_path) : 0;
}

int bench_place_layers(const struct bench_run *r, uint64_t bytes, char ret_image[PATH_MAX],
		       char ret_snapshot[PATH_MAX], struct err *err)
{
	const struct snapgen_opts opts = {.kind = SNAPGEN_LAYERS,
					  .size_bytes = bytes,
					  .nlayers = 3,
					  .run_pages = 64,
					  .seed = 1,
					  .image = true};
	char dir[PATH_MAX - 64];

	snprintf(dir, sizeof(dir), "%s/layers-%llu", r->dir, (unsigned long long)bytes);
	snprintf(ret_image, PATH_MAX, "%s/" SNAPGEN_IMAGE, dir);
	snprintf(ret_snapshot, PATH_MAX, "{\"dir\":\"%s\"}", dir);
	if (access(ret_image, F_OK) == 0)
		return 0;
	return snapgen_write(&opts, dir, err) || sync_file(ret_image, err) ? -1 : 0;
}

/* --- many extents --- */

#define EXTENTS_SEED 1
#define GROUPS (BENCH_EXTENTS / BENCH_STRIDE)

/* Where a page lies in the layer. Of many extents, no two neighbours continue each other. */
static uint32_t store_of(bool many, uint32_t page)
{
	/* An odd factor makes it a permutation, of a power of two. */
	return many ? page / BENCH_STRIDE * 40503 % GROUPS * BENCH_STRIDE : page;
}

void bench_place_extents_page(bool many, uint32_t page, void *buf)
{
	snapgen_page(EXTENTS_SEED, 0, store_of(many, page), buf);
}

/* One page of data at the start of each group: as large as memory, and quickly made. */
static int write_layer(const char *path, struct err *err)
{
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	uint8_t buf[PAGE_4K];

	if (fd < 0 || ftruncate(fd, (off_t)(BENCH_EXTENTS * PAGE_4K)))
		return err_sys(err, "%s", path);
	for (uint32_t page = 0; page < BENCH_EXTENTS; page += BENCH_STRIDE) {
		snapgen_page(EXTENTS_SEED, 0, page, buf);
		if (pwrite(fd, buf, sizeof(buf), (off_t)(page * PAGE_4K)) != sizeof(buf))
			return err_sys(err, "%s", path);
	}
	return 0;
}

static int write_header(const char *path, bool many, struct err *err)
{
	struct header h = {.version = 1,
			   .block_bytes = PAGE_4K,
			   .size_bytes = BENCH_EXTENTS * PAGE_4K};
	uint32_t run = many ? 1 : BENCH_EXTENTS;
	uint8_t meta[SNAPGEN_META_BYTES], bytes[SNAPGEN_ENTRY_BYTES];
	cleanup_file FILE *f = fopen(path, "we");

	if (!f)
		return err_sys(err, "%s", path);
	snapgen_build(EXTENTS_SEED, 0, h.build);
	snapgen_build(EXTENTS_SEED, 0, h.base);
	snapgen_put_meta(meta, &h);
	fwrite(meta, sizeof(meta), 1, f);
	for (uint32_t page = 0; page < BENCH_EXTENTS; page += run) {
		struct snapgen_entry e = {.offset = page * PAGE_4K,
					  .length = run * PAGE_4K,
					  .store = store_of(many, page) * PAGE_4K};

		uuid_copy(e.build, h.build);
		snapgen_put_entry(bytes, &e);
		fwrite(bytes, sizeof(bytes), 1, f);
	}
	return fflush(f) ? err_sys(err, "%s", path) : 0;
}

int bench_place_extents(const struct bench_run *r, bool many, char ret_snapshot[PATH_MAX],
			struct err *err)
{
	char layer[PATH_MAX / 2 + 16], header[PATH_MAX / 2 + 16], build[UUID_STR_LEN];
	uuid_t id;

	snprintf(layer, sizeof(layer), "%s/extents", r->dir);
	snprintf(header, sizeof(header), "%s/extents-%s", r->dir, many ? "many" : "one");
	snapgen_build(EXTENTS_SEED, 0, id);
	uuid_unparse_lower(id, build);
	snprintf(ret_snapshot, PATH_MAX, "{\"header\":\"%.1900s\",\"layers\":{\"%s\":\"%.1900s\"}}",
		 header, build, layer);
	if (access(layer, F_OK) != 0 && write_layer(layer, err))
		return -1;
	return write_header(header, many, err);
}

/* --- the page cache --- */

int bench_place_warm(const char *path, struct err *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *buf = malloc(READ_BYTES);
	ssize_t n = -1;

	if (!buf)
		return err_set(err, ERR_SYSTEM, "no memory to read with");
	while (fd >= 0 && (n = read(fd, buf, READ_BYTES)) > 0)
		;
	return n < 0 ? err_sys(err, "%s", path) : 0;
}

/* A view of it does not bring its pages in, as long as nobody touches it. */
static int count_cached(int fd, size_t bytes, size_t *ret, struct err *err)
{
	size_t n = (bytes + PAGE_4K - 1) / PAGE_4K;
	cleanup_free unsigned char *there = malloc(n);
	void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	int rc = -1;

	*ret = 0;
	if (map != MAP_FAILED && there) {
		rc = mincore(map, bytes, there);
		for (size_t i = 0; rc == 0 && i < n; i++)
			*ret += there[i] & 1;
	}
	if (rc)
		err_sys(err, "cannot tell what is in the page cache");
	if (map != MAP_FAILED)
		munmap(map, bytes);
	return rc;
}

int bench_place_cold(const char *path, struct err *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t cached = 1;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return err_sys(err, "%s", path);
	/* Who had it mapped may still be about to end. */
	for (int i = 0; i < COLD_TRIES && cached; i++) {
		if (i > 0)
			poll(NULL, 0, COLD_WAIT_MS);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		if (count_cached(fd, (size_t)st.st_size, &cached, err))
			return -1;
	}
	if (cached)
		return err_set(err, ERR_SYSTEM, "%s: %zu pages stay in the page cache", path,
			       cached);
	return 0;
}

bool bench_place_on_disk(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC;
}

static int touch_and_free(uint64_t bytes, uint64_t page_bytes, struct err *err)
{
	int huge = page_bytes == PAGE_2M ? MAP_HUGETLB | HUGE_2M : 0;
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | huge,
			  -1, 0);

	if (p == MAP_FAILED)
		return err_sys(err, "cannot map %llu bytes", (unsigned long long)bytes);
	for (uint64_t off = 0; off < bytes; off += page_bytes)
		*(volatile uint8_t *)(p + off) = 1;
	munmap(p, bytes);
	return 0;
}

/* The first time may have brought the memory in; once it gets no faster, it is there. */
int bench_place_memory(uint64_t bytes, uint64_t page_bytes, struct err *err)
{
	uint64_t before = UINT64_MAX;

	if (page_bytes == PAGE_4K)
		bytes += min_u64(bytes, MORE_BYTES);
	for (int i = 0; i < READAHEAD_TRIES; i++) {
		uint64_t start = bench_now_ns(), ns;

		if (touch_and_free(bytes, page_bytes, err))
			return -1;
		ns = bench_now_ns() - start;
		if (ns > before - before / 3)
			break;
		before = ns;
	}
	return 0;
}

uint64_t bench_place_pool(void)
{
	cleanup_file FILE *f = fopen(POOL, "re");
	uint64_t pages = 0;

	return f && fscanf(f, "%" SCNu64, &pages) == 1 ? pages : 0;
}

void bench_place_set_pool(uint64_t pages)
{
	cleanup_file FILE *f = fopen(POOL, "we");

	if (f)
		fprintf(f, "%" PRIu64 "\n", pages);
}
