#include "common/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

/* memory.stat has some 60 lines, twice as many in version 1. */
#define TEXT_MAX 16384
/* Version 1 says "no limit" with the largest number that is a multiple of a page. */
#define UNLIMITED ((uint64_t)1 << 62)
#define POOL_DIR "/sys/kernel/mm/hugepages/hugepages-2048kB"

enum role {
	ROLE_NONE,
	ROLE_LIMIT,
	ROLE_USE,
	ROLE_FREE, /* what the limit leaves, where the kernel does not tell the use */
	ROLE_STAT, /* says how much of the use could be reclaimed */
};

/*
 * The margin is at most this part of a limit. Half of a small memory limit, because its VMM and its
 * neighbours live on it as well, and will demand. A sixteenth of huge pages: they are only guest
 * memory, and their limits are cut to measure.
 */
#define MEMORY_PARTS 2
#define HUGE_PARTS 16

/* clang-format off */
static const struct kind {
	const char *controller; /* as version 1 names it; NULL: version 2 */
	uint64_t page_bytes;    /* page size of the guests that this kind limits */
	uint64_t unit;          /* bytes per unit of the files */
	uint64_t margin_parts;
	struct {
		const char *name;
		enum role role;
	} files[CGROUP_FILES_MAX];
} kinds[CGROUP_KIND_COUNT] = {
	[CGROUP_MEMORY_V1] = {"memory", PAGE_4K, 1, MEMORY_PARTS, {
		{"memory.limit_in_bytes", ROLE_LIMIT}, {"memory.usage_in_bytes", ROLE_USE},
		{"memory.stat", ROLE_STAT}}},
	/* Above memory.high no process is killed, but all are slowed down. */
	[CGROUP_MEMORY_V2] = {NULL, PAGE_4K, 1, MEMORY_PARTS, {
		{"memory.max", ROLE_LIMIT}, {"memory.high", ROLE_LIMIT},
		{"memory.current", ROLE_USE}, {"memory.stat", ROLE_STAT}}},
	[CGROUP_HUGETLB_V1] = {"hugetlb", PAGE_2M, 1, HUGE_PARTS, {
		{"hugetlb.2MB.limit_in_bytes", ROLE_LIMIT},
		{"hugetlb.2MB.usage_in_bytes", ROLE_USE}}},
	[CGROUP_HUGETLB_V2] = {NULL, PAGE_2M, 1, HUGE_PARTS, {
		{"hugetlb.2MB.max", ROLE_LIMIT}, {"hugetlb.2MB.current", ROLE_USE}}},
	/*
	 * Reserved huge pages belong to others. Surplus ones are not counted: the kernel may refuse
	 * them.
	 */
	[CGROUP_POOL] = {NULL, PAGE_2M, PAGE_2M, HUGE_PARTS, {
		{"nr_hugepages", ROLE_LIMIT}, {"free_hugepages", ROLE_FREE},
		{"resv_hugepages", ROLE_USE}}},
};
/* clang-format on */

/* ---- what the files say ---- */

static ssize_t read_text(int fd, char *text, size_t size)
{
	ssize_t n;

	do
		n = pread(fd, text, size - 1, 0);
	while (n < 0 && errno == EINTR);
	text[n > 0 ? n : 0] = '\0';
	return n;
}

/* "max" means no limit. False: the cgroup no longer exists. */
static bool read_number(int fd, uint64_t unit, uint64_t *ret)
{
	char text[64];
	char *end;

	if (read_text(fd, text, sizeof(text)) <= 0)
		return false;
	*ret = strtoull(text, &end, 10);
	if (end == text)
		*ret = UINT64_MAX;
	else if (__builtin_mul_overflow(*ret, unit, ret))
		*ret = UINT64_MAX;
	return true;
}

/* The number behind @name at the beginning of a line; 0 if no line has @name. */
static uint64_t stat_value(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (; text; text = text_after(text, '\n'))
		if (strncmp(text, name, len) == 0 && text[len] == ' ')
			return strtoull(text + len, NULL, 10);
	return 0;
}

static uint64_t without(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/*
 * Clean file pages that were not read twice: reclaiming them costs nothing. Nothing else counts:
 * dirty pages need a disk first, active file pages would be read again at once, and all other
 * memory (tmpfs, too) needs swap.
 */
static uint64_t reclaimable(enum cgroup_kind kind, int fd)
{
	char text[TEXT_MAX];

	if (read_text(fd, text, sizeof(text)) <= 0)
		return 0;
	if (kind == CGROUP_MEMORY_V2)
		return without(stat_value(text, "inactive_file"),
			       stat_value(text, "file_dirty") + stat_value(text, "file_writeback"));
	return without(stat_value(text, "total_inactive_file"),
		       stat_value(text, "total_dirty") + stat_value(text, "total_writeback"));
}

struct level {
	uint64_t limit, use;
	int stat; /* -1: nothing of the use can be reclaimed */
};

/* False: this level has no limit. */
static bool read_level(const struct kind *k, const int *fds, struct level *ret)
{
	uint64_t n;

	*ret = (struct level){.limit = UINT64_MAX, .stat = -1};
	for (size_t i = 0; i < CGROUP_FILES_MAX && k->files[i].role != ROLE_NONE; i++) {
		enum role role = k->files[i].role;

		if (role == ROLE_STAT) {
			ret->stat = fds[i];
			continue;
		}
		/* The limits come first in the table: most levels have none. */
		if (role != ROLE_LIMIT && ret->limit >= UNLIMITED)
			return false;
		if (!read_number(fds[i], k->unit, &n))
			return false;
		if (role == ROLE_LIMIT)
			ret->limit = min_u64(ret->limit, n);
		else
			ret->use += role == ROLE_USE ? n : without(ret->limit, n);
	}
	return true;
}

static uint64_t level_room(enum cgroup_kind kind, const int *fds, uint64_t margin, uint64_t enough)
{
	struct level l;
	uint64_t room;

	if (!read_level(&kinds[kind], fds, &l))
		return UINT64_MAX;
	margin = min_u64(margin, l.limit / kinds[kind].margin_parts);
	room = without(l.limit, l.use + margin);
	/* Version 2 first sums memory.stat over all processors, so it is read only when needed. */
	if (room >= enough || l.stat < 0)
		return room;
	return without(l.limit + reclaimable(kind, l.stat), l.use + margin);
}

static size_t files_of_level(enum cgroup_kind kind)
{
	size_t n = 0;

	while (n < CGROUP_FILES_MAX && kinds[kind].files[n].role != ROLE_NONE)
		n++;
	return n;
}

uint64_t cgroup_room(enum cgroup_kind kind, const struct cgroup_files *f, uint64_t margin_bytes,
		     uint64_t enough)
{
	size_t step = files_of_level(kind);
	uint64_t room = UINT64_MAX;

	for (size_t i = 0; i < f->levels; i++)
		room = min_u64(room, level_room(kind, &f->fds[i * step], margin_bytes, enough));
	return room;
}

/* ---- where they are ---- */

size_t cgroup_nfds(enum cgroup_kind kind, const struct cgroup_files *f)
{
	return f->levels * files_of_level(kind);
}

void cgroup_close(enum cgroup_kind kind, struct cgroup_files *f)
{
	for (size_t i = 0; i < cgroup_nfds(kind, f); i++)
		close_fd(&f->fds[i]);
	f->levels = 0;
}

/* Is @word one of the comma-separated words of @list? */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (; list; list = text_after(list, ','))
		if (strncmp(list, word, len) == 0 && (list[len] == ',' || !list[len]))
			return true;
	return false;
}

/* The cgroup of a process in one hierarchy. */
struct place {
	const char *root, *controller; /* as the caller asked */
	char path[PATH_MAX];           /* in the hierarchy */
	char dir[3 * PATH_MAX];        /* in the file system */
	size_t top;                    /* length of the mount point in dir */
	bool accounted;                /* the memory controller is charged for huge pages, too */
};

/* Takes a line "ID:CONTROLLERS:PATH" of /proc/PID/cgroup if it is of the hierarchy. */
static bool take_path(char *line, struct place *p)
{
	char *controllers = strchr(line, ':');
	char *path = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!path)
		return false;
	*controllers++ = *path++ = '\0';
	if (p->controller ? !has_word(controllers, p->controller) : strcmp(line, "0") != 0)
		return false;
	snprintf(p->path, sizeof(p->path), "%s", path);
	/* A path outside of our cgroup namespace is not visible. */
	return !strstr(p->path, "/..");
}

/* mountinfo has blanks and the like as \040. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		bool coded = *from == '\\' && strspn(from + 1, "01234567") >= 3;

		*to = coded ? (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'))
			    : *from;
		from += coded ? 4 : 1;
	}
	*to = '\0';
}

/* Takes a line "ID PARENT DEV TOP MOUNT … - TYPE SOURCE OPTIONS" if it has the path. */
static bool take_mount(char *line, struct place *p)
{
	char top[PATH_MAX], mount[PATH_MAX], type[32], options[PATH_MAX];
	const char *tail = strstr(line, " - ");
	size_t len;

	if (!tail || sscanf(line, "%*s %*s %*s %4095s %4095s", top, mount) != 2 ||
	    sscanf(tail, " - %31s %*s %4095s", type, options) != 2)
		return false;
	if (p->controller ? strcmp(type, "cgroup") != 0 || !has_word(options, p->controller)
			  : strcmp(type, "cgroup2") != 0)
		return false;
	unescape(top);
	unescape(mount);
	len = strcmp(top, "/") == 0 ? 0 : strlen(top);
	if (strncmp(p->path, top, len) != 0 || (p->path[len] != '/' && p->path[len] != '\0'))
		return false;
	p->accounted = has_word(options, "memory_hugetlb_accounting");
	p->top = (size_t)snprintf(p->dir, sizeof(p->dir), "%s%s", p->root, mount);
	snprintf(p->dir + p->top, sizeof(p->dir) - p->top, "%s",
		 strcmp(p->path, "/") == 0 ? "" : p->path + len);
	return true;
}

/* May the file exist although it could not be opened? */
static bool is_short(void)
{
	return errno == EMFILE || errno == ENFILE || errno == ENOMEM;
}

/* Passes lines of a file to @take until it takes one. 1: taken, 0: none, -1: see cgroup_open() */
static int find_line(const char *path, bool (*take)(char *line, struct place *p), struct place *p,
		     struct err *err)
{
	cleanup_file FILE *f = fopen(path, "re");
	cleanup_free char *line = NULL;
	size_t size = 0;

	if (!f)
		return is_short() ? err_sys(err, "cannot open %s", path) : 0;
	while (getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (take(line, p))
			return 1;
	}
	return 0;
}

static int find_place(struct place *p, pid_t pid, struct err *err)
{
	char path[PATH_MAX];
	int found;

	snprintf(path, sizeof(path), "%s/proc/%d/cgroup", p->root, (int)pid);
	found = find_line(path, take_path, p, err);
	if (found <= 0)
		return found;
	snprintf(path, sizeof(path), "%s/proc/self/mountinfo", p->root);
	return find_line(path, take_mount, p, err);
}

/* Opens all files of the level, or none: a level without its files limits nothing. */
static int open_level(enum cgroup_kind kind, const char *dir, struct cgroup_files *ret,
		      struct err *err)
{
	int *fds = &ret->fds[cgroup_nfds(kind, ret)];
	size_t n = files_of_level(kind);

	for (size_t i = 0; i < n; i++) {
		char path[4 * PATH_MAX];
		int rc;

		snprintf(path, sizeof(path), "%s/%s", dir, kinds[kind].files[i].name);
		fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (fds[i] >= 0)
			continue;
		rc = is_short() ? err_sys(err, "cannot open %s", path) : 0;
		while (i-- > 0)
			close_fd(&fds[i]);
		return rc;
	}
	ret->levels++;
	return 0;
}

/* From the process's own cgroup up to the mount point of its hierarchy. */
static int open_levels(enum cgroup_kind kind, struct place *p, struct cgroup_files *ret,
		       struct err *err)
{
	while (ret->levels < CGROUP_LEVELS_MAX) {
		char *last;

		if (open_level(kind, p->dir, ret, err))
			return -1;
		last = strrchr(p->dir + p->top, '/');
		if (!last)
			break;
		*last = '\0';
	}
	return 0;
}

static int open_kind(enum cgroup_kind kind, struct place *p, uint64_t page_bytes, pid_t pid,
		     struct cgroup_files *ret, struct err *err)
{
	bool ours = page_bytes == kinds[kind].page_bytes;
	int found;

	/* Only the mount options tell whether memory of version 2 includes huge pages. */
	if (!ours && kind != CGROUP_MEMORY_V2)
		return 0;
	if (kind == CGROUP_POOL) {
		snprintf(p->dir, sizeof(p->dir), "%s" POOL_DIR, p->root);
		return open_level(kind, p->dir, ret, err);
	}
	p->controller = kinds[kind].controller;
	found = find_place(p, pid, err);
	if (found <= 0)
		return found;
	return ours || p->accounted ? open_levels(kind, p, ret, err) : 0;
}

int cgroup_open(const char *root, pid_t pid, uint64_t page_bytes,
		struct cgroup_files ret[CGROUP_KIND_COUNT], struct err *err)
{
	memset(ret, 0, CGROUP_KIND_COUNT * sizeof(*ret));
	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
		struct place p = {.root = root};

		if (open_kind(kind, &p, page_bytes, pid, &ret[kind], err) == 0)
			continue;
		for (int i = 0; i <= kind; i++)
			cgroup_close(i, &ret[i]);
		return -1;
	}
	return 0;
}
