/* test_layer - a file that is opened once: which are taken, what is told of each, its identity */
#include "worker/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "tests/fakes/disk/slowdisk.h"
#include "tests/support/fds.h"
#include "tests/support/runner.h"
#include "tests/support/sourcekit.h"

#define SIZE (3 * PAGE_4K)
#define ANOTHER 65534 /* uid */

static struct path make_file(const char *dir, const char *name)
{
	struct path p = in(dir, name);
	char bytes[SIZE];

	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (char)('a' + i / PAGE_4K);
	write_file(p.text, bytes, SIZE);
	return p;
}

static struct layer must_open(const char *path)
{
	struct layer l;
	struct err err;

	ck_assert_msg(layer_open(AT_FDCWD, "", path, &l, &err) == 0, "%s", err.msg);
	return l;
}

#define ck_told(err, want_code, text)                                                    \
	do {                                                                             \
		ck_assert_msg((err).code == (want_code), "%s: %s", err_name((err).code), \
			      (err).msg);                                                \
		ck_assert_msg(strstr((err).msg, text) != NULL, "%s", (err).msg);         \
	} while (0)

/* ---- opening ---- */

START_TEST(test_opened)
{
	struct path dir = room(), file = make_file(dir.text, "memory");
	int dirfd = open(dir.text, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int before = fds_count(getpid());
	struct layer l;
	struct err err;
	char byte;

	ck_assert_msg(layer_open(dirfd, dir.text, "memory", &l, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(l.path, file.text);
	ck_assert_uint_eq(l.size_bytes, SIZE);
	ck_assert_ptr_null(l.map);
	ck_assert_int_eq(fcntl(l.fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(l.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_eq(pread(l.fd, &byte, 1, PAGE_4K), 1);
	ck_assert_int_eq(byte, 'b');
	layer_close(&l);
	layer_close(&l);
	ck_assert_int_eq(l.fd, -1);
	ck_assert_int_eq(fds_count(getpid()), before);
	close(dirfd);
}
END_TEST

/* A failed open names the file, and has its errno; nothing is left open. */
START_TEST(test_not_opened)
{
	struct path dir = room(), file = make_file(dir.text, "memory");
	struct path fifo = in(dir.text, "fifo"), below = in(file.text, "below");
	struct path absent = in(dir.text, "absent");
	const struct {
		const char *path;
		const char *text;
		int sys;
	} rows[] = {
		{absent.text,
		 "absent: No such file or directory: it must be a file that the "
		 "caller can read",
		 ENOENT},
		{below.text, "below: Not a directory", ENOTDIR},
		{fifo.text, "fifo is not a regular file: give the snapshot's own file", 0},
		{dir.text, "is not a regular file", 0},
	};
	struct layer l = {.size_bytes = 77};
	int before;

	ck_assert_int_eq(mkfifo(fifo.text, 0644), 0);
	before = fds_count(getpid());
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {.sys = 77};

		ck_assert_int_eq(layer_open(AT_FDCWD, "", rows[i].path, &l, &err), -1);
		ck_told(err, ERR_PATH, rows[i].text);
		ck_assert_int_eq(err.sys, rows[i].sys);
		ck_assert_uint_eq(l.size_bytes, 77);
	}
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* The worker's limit of descriptors is no fault of the path. */
START_TEST(test_no_descriptor)
{
	struct path dir = room(), file = make_file(dir.text, "memory");
	struct rlimit was = harness_limit_fds(0);
	struct layer l;
	struct err err;
	int rc = layer_open(AT_FDCWD, "", file.text, &l, &err);

	setrlimit(RLIMIT_NOFILE, &was);
	ck_assert_int_eq(rc, -1);
	ck_told(err, ERR_QUOTA, "memory: its worker has no descriptor left");
	ck_told(err, ERR_QUOTA, "LimitNOFILE=");
}
END_TEST

START_TEST(test_whose_fault)
{
	static const struct {
		int sys;
		enum err_code code;
	} rows[] = {{EACCES, ERR_PATH},   {ENOENT, ERR_PATH},  {ELOOP, ERR_PATH},
		    {ENXIO, ERR_PATH},    {EMFILE, ERR_QUOTA}, {ENFILE, ERR_SYSTEM},
		    {ENOMEM, ERR_SYSTEM}, {EIO, ERR_SYSTEM}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err;

		errno = 0;
		ck_assert_int_eq(layer_open_failed("/some/memory", rows[i].sys, &err), -1);
		ck_told(err, rows[i].code, "/some/memory: ");
		if (rows[i].code != ERR_QUOTA) {
			ck_told(err, rows[i].code, strerror(rows[i].sys));
			ck_assert_int_eq(err.sys, rows[i].sys);
		}
	}
}
END_TEST

/* A predecessor's descriptor is the layer's, or closed. */
START_TEST(test_taken)
{
	struct path dir = room(), file = make_file(dir.text, "memory");
	int before = fds_count(getpid());
	int fd = open(file.text, O_RDONLY | O_CLOEXEC);
	struct layer l;
	struct err err;

	ck_assert_int_eq(layer_take(fd, "/its/dir", "name", &l, &err), 0);
	ck_assert_int_eq(l.fd, fd);
	ck_assert_str_eq(l.path, "/its/dir/name");
	ck_assert_uint_eq(l.size_bytes, SIZE);
	layer_close(&l);
	fd = open(dir.text, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(layer_take(fd, "", "name", &l, &err), -1);
	ck_told(err, ERR_PATH, "name is not a regular file");
	fd = open(file.text, O_RDONLY | O_CLOEXEC);
	close(fd);
	ck_assert_int_eq(layer_take(fd, "", "name", &l, &err), -1);
	ck_told(err, ERR_SYSTEM, "name: Bad file descriptor");
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* What fstat() has said before counts, and is not asked again. */
START_TEST(test_taken_as_seen)
{
	struct path dir = room(), file = make_file(dir.text, "memory");
	int before = fds_count(getpid());
	struct stat st = {.st_mode = S_IFREG | 0644, .st_ino = 5, .st_size = 77};
	struct layer l;
	struct err err;
	int fd = open(file.text, O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(layer_take_seen(fd, &st, "/its/dir", "name", &l, &err), 0);
	ck_assert_int_eq(l.fd, fd);
	ck_assert_str_eq(l.path, "/its/dir/name");
	ck_assert_mem_eq(&l.id, &st, sizeof(st));
	ck_assert_uint_eq(l.size_bytes, 77);
	layer_close(&l);
	st.st_mode = S_IFDIR | 0755;
	fd = open(file.text, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(layer_take_seen(fd, &st, "", "name", &l, &err), -1);
	ck_told(err, ERR_PATH, "name is not a regular file");
	ck_assert_int_eq(fds_count(getpid()), before);
}
END_TEST

/* Of a long path its end is shown. */
START_TEST(test_shown)
{
	char path[300];

	memset(path, '/', sizeof(path));
	path[299] = '\0';
	memcpy(path + 299 - 160, "x", 1);
	ck_assert_str_eq(layer_shown("/short"), "/short");
	ck_assert_ptr_eq(layer_shown(path), path + 299 - 160);
	ck_assert_ptr_eq(layer_shown(path + 299 - 160), path + 299 - 160);
}
END_TEST

/* ---- mapping and reading ---- */

START_TEST(test_mapped)
{
	struct path dir = room(), file = make_file(dir.text, "memory");
	struct layer l = must_open(file.text);
	struct err err;

	ck_assert_int_eq(layer_map(&l, SIZE + 1, &err), -1);
	ck_told(err, ERR_SNAPSHOT,
		"memory has 12288 bytes, the snapshot needs 12289: it is "
		"truncated or another file, copy it again");
	ck_assert_int_eq(layer_map(&l, 0, &err), 0);
	ck_assert_ptr_null(l.map);
	/* No more than is needed. */
	ck_assert_int_eq(layer_map(&l, 2 * PAGE_4K, &err), 0);
	ck_assert_uint_eq(l.map_bytes, 2 * PAGE_4K);
	ck_assert_uint_eq(l.residency.bytes, 2 * PAGE_4K);
	ck_assert_int_eq(l.residency.fd, l.fd);
	ck_assert_int_eq(l.map[0], 'a');
	ck_assert_int_eq(l.map[2 * PAGE_4K - 1], 'b');
	layer_close(&l);
	ck_assert_ptr_null(l.map);
}
END_TEST

/* Is a flag set for the mapping at @addr, as /proc/self/smaps shows them? */
static bool has_flag(const void *addr, const char *flag)
{
	cleanup_file FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool inside = false;
	char line[512];

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= (uintptr_t)addr && (uintptr_t)addr < end;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			return strstr(line, flag) != NULL;
	}
	return false;
}

/* Guest bytes do not belong into a core dump. */
START_TEST(test_not_dumped)
{
	struct path dir = room(), file = make_file(dir.text, "memory");
	struct layer l = must_open(file.text);
	struct err err;

	ck_assert_int_eq(layer_map(&l, SIZE, &err), 0);
	ck_assert(has_flag(l.map, " dd"));
	ck_assert(!has_flag(file.text, " dd"));
	layer_close(&l);
}
END_TEST

START_TEST(test_read)
{
	struct path dir = room(), file = make_file(dir.text, "memory");
	struct layer l = must_open(file.text);
	char buf[2 * PAGE_4K];
	struct err err;

	ck_assert_int_eq(layer_read(&l, PAGE_4K, sizeof(buf), buf, &err), 0);
	ck_assert_int_eq(buf[0], 'b');
	ck_assert_int_eq(buf[sizeof(buf) - 1], 'c');
	ck_assert_int_eq(truncate(file.text, 2 * PAGE_4K + 5), 0);
	ck_assert_int_eq(layer_read(&l, PAGE_4K, sizeof(buf), buf, &err), -1);
	ck_told(err, ERR_SNAPSHOT,
		"memory ends at 8197, 12288 bytes are needed: it was "
		"truncated while in use");
	close_fd(&l.fd);
	ck_assert_int_eq(layer_read(&l, PAGE_4K, sizeof(buf), buf, &err), -1);
	ck_told(err, ERR_SYSTEM, "memory: reading at 4096: Bad file descriptor");
	layer_close(&l);
}
END_TEST

/* ---- identity ---- */

static const struct timespec then = {.tv_sec = 1000000, .tv_nsec = 5};

static void keep(const struct path *file)
{
	(void)file;
}

static void truncate_it(const struct path *file)
{
	ck_assert_int_eq(truncate(file->text, PAGE_4K), 0);
}

static void grow_it(const struct path *file)
{
	ck_assert_int_eq(truncate(file->text, SIZE + PAGE_4K), 0);
}

static void set_mtime(const struct path *file, struct timespec to)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, to};

	ck_assert_int_eq(utimensat(AT_FDCWD, file->text, times, 0), 0);
}

static void change_second(const struct path *file)
{
	set_mtime(file, (struct timespec){then.tv_sec + 1, then.tv_nsec});
}

static void change_nanosecond(const struct path *file)
{
	set_mtime(file, (struct timespec){then.tv_sec, then.tv_nsec + 1});
}

/* Who reads it, or says who may, has not changed it. */
static void change_others(const struct path *file)
{
	const struct timespec times[2] = {{.tv_sec = 5}, {.tv_nsec = UTIME_OMIT}};

	ck_assert_int_eq(utimensat(AT_FDCWD, file->text, times, 0), 0);
	ck_assert_int_eq(chmod(file->text, 0400), 0);
}

static void unlink_it(const struct path *file)
{
	ck_assert_int_eq(unlink(file->text), 0);
	write_file(file->text, "x", 1);
}

static const struct {
	void (*change)(const struct path *file);
	const char *says; /* NULL: unchanged */
} changes[] = {
	{keep, NULL},
	{change_others, NULL},
	{unlink_it, NULL},
	{truncate_it, "memory changed (size was 12288, is 4096): snapshot files must not change, "
		      "write new ones"},
	{grow_it, "memory changed (size was 12288, is 16384)"},
	{change_second, "memory changed (modification time was 1000000.000000005, is "
			"1000001.000000005): snapshot files must not change, write new ones"},
	{change_nanosecond, "was 1000000.000000005, is 1000000.000000006"},
};

START_TEST(test_changed)
{
	struct path dir = room(), file = make_file(dir.text, "memory");
	struct layer l;
	struct err err;

	set_mtime(&file, then);
	l = must_open(file.text);
	changes[_i].change(&file);
	if (changes[_i].says) {
		ck_assert_int_eq(layer_check(&l, &err), -1);
		ck_told(err, ERR_SNAPSHOT, changes[_i].says);
	} else {
		ck_assert_msg(layer_check(&l, &err) == 0, "%s", err.msg);
	}
	layer_close(&l);
}
END_TEST

/* Equal in size and time, but not the same. */
START_TEST(test_another_file)
{
	struct path dir = room(), file = make_file(dir.text, "memory");
	struct path twin = make_file(dir.text, "twin");
	struct layer l;
	struct err err;
	int fd;

	set_mtime(&file, then);
	set_mtime(&twin, then);
	l = must_open(file.text);
	fd = open(twin.text, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(dup2(fd, l.fd), l.fd);
	close(fd);
	ck_assert_int_eq(layer_check(&l, &err), -1);
	ck_told(err, ERR_SNAPSHOT,
		"memory was replaced by another file: snapshot files must not "
		"change, write new ones");
	close_fd(&l.fd);
	ck_assert_int_eq(layer_check(&l, &err), -1);
	ck_told(err, ERR_SYSTEM, "memory: Bad file descriptor");
	layer_close(&l);
}
END_TEST

/* As the user of a worker that is root's: it may read on, but not ask. */
static int look_as_another(const struct layer *l)
{
	char byte = 0;
	struct stat st;
	struct err err;

	if (setresuid(ANOTHER, ANOTHER, ANOTHER))
		return 1;
	if (fstat(l->fd, &st) == 0 || errno != EACCES)
		return 2;
	if (layer_read(l, 0, 1, &byte, &err) || byte != 'a')
		return 3;
	return layer_check(l, &err) ? 4 : 0;
}

/* Of a FUSE without allow_other only its user is told what a file is. */
START_TEST(test_nothing_is_told)
{
	struct path dir = room(), image = make_file(dir.text, "image"),
		    mount = in(dir.text, "disk"), file = in(mount.text, SLOWDISK_FILE);
	struct slowdisk disk;
	struct layer l;
	int status;
	pid_t pid;

	ck_assert_int_eq(mkdir(mount.text, 0755), 0);
	if (geteuid() || access("/dev/fuse", R_OK | W_OK) || !harness_private_mounts()) {
		fputs("# no FUSE file system may be mounted here: skipped\n", stderr);
		return;
	}
	ck_assert(slowdisk_mount(&disk, mount.text, image.text, 0, 0));
	l = must_open(file.text);
	pid = fork();
	if (pid == 0)
		_exit(look_as_another(&l));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "%#x", status);
	layer_close(&l);
	slowdisk_end(&disk);
	ck_assert_int_eq(umount2(mount.text, MNT_DETACH), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("layer");
	TCase *t = tcase_create("files");

	tcase_add_unchecked_fixture(t, setup, teardown);
	tcase_add_test(t, test_opened);
	tcase_add_test(t, test_not_opened);
	tcase_add_test(t, test_no_descriptor);
	tcase_add_test(t, test_whose_fault);
	tcase_add_test(t, test_taken);
	tcase_add_test(t, test_taken_as_seen);
	tcase_add_test(t, test_shown);
	tcase_add_test(t, test_mapped);
	tcase_add_test(t, test_not_dumped);
	tcase_add_test(t, test_read);
	tcase_add_loop_test(t, test_changed, 0, ARRAY_LEN(changes));
	tcase_add_test(t, test_another_file);
	tcase_add_test(t, test_nothing_is_told);
	suite_add_tcase(s, t);
	return s;
}
