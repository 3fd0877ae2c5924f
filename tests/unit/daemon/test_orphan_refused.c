/* test_orphan_refused - what a worker without a row says, and is not believed: nothing changes */
#include "daemon/orphan.h"

#include <sys/mount.h>

#include "tests/support/orphankit.h"

static void refuse(enum err_code code, const char *why)
{
	int before = fds_count(getpid()), listens = listen_fd, had[3] = {fds[0], fds[1], fds[2]};

	ck_assert_msg(!adopt(), "it is believed, though %s", why);
	ck_assert_msg(err.code == code && strstr(err.msg, why), "%d: \"%s\" is not in: %s",
		      (int)err.code, why, err.msg);
	/* The worker is the caller's, and so is all that it has sent. */
	ck_assert(!worker->hooks && !worker->arg && listen_fd == listens);
	ck_assert_mem_eq(had, fds, sizeof(had));
	ck_assert_int_eq(fds_count(getpid()), before);
	ck_assert(restorekit_exists(&k, "uffd") && restorekit_exists(&k, "maps"));
	ck_assert_str_eq(restorekit_events(&k), "");
	ck_assert_str_eq(workerside_told(&w), "");
	ck_assert(!workerside_has_ended(&w.pid));
}

/* ---- the VMM ---- */

/* A process that the worker's user may not kill; one that need not be the VMM, without its pidfd. */
START_TEST(test_vmm_is_not_believed)
{
	be_serving(_i < 2 ? guest.pid : guest.pid + 1, _i != 1);
	if (_i == 2)
		who.uid = geteuid();
	refuse(ERR_PEER, "need not be its VMM");
}
END_TEST

/* ---- the page map ---- */

static int no_map(void)
{
	return -1;
}

static int read_only(void)
{
	return open_map(O_RDONLY);
}

static int write_only(void)
{
	return open_map(O_WRONLY);
}

static int path_only(void)
{
	return open_map(O_PATH);
}

static int other_file(void)
{
	return open(path_in("uffdd.db"), O_RDWR | O_CLOEXEC);
}

/* Of the same size and bytes. */
static int copy(void)
{
	int fd = memfd_create("map", MFD_CLOEXEC);
	struct pagemap map;

	ck_assert_int_eq(pagemap_create(fd, GUESTKIT_BYTES, &map, &err), 0);
	pagemap_close(&map);
	return fd;
}

static int of_no_file(void)
{
	int fd = open_map(O_RDWR);

	unlink(path_in("maps/r"));
	close(open(path_in("maps/r"), O_CREAT | O_CLOEXEC, 0600));
	return fd;
}

static int through_a_link(void)
{
	ck_assert_int_eq(rename(path_in("maps/r"), path_in("elsewhere")), 0);
	ck_assert_int_eq(symlink(path_in("elsewhere"), path_in("maps/r")), 0);
	return open_map(O_RDWR);
}

/* In the place of the page map, where only a supervisor makes files. */
static int a_fifo(void)
{
	unlink(path_in("maps/r"));
	ck_assert_int_eq(mkfifo(path_in("maps/r"), 0600), 0);
	return open_map(O_RDWR);
}

static int (*const maps[])(void) = {no_map, read_only,  write_only,     path_only, other_file,
				    copy,   of_no_file, through_a_link, a_fifo};

START_TEST(test_map_is_refused)
{
	be_waiting();
	close_fd(&fds[0]);
	fds[0] = maps[_i]();
	refuse(ERR_PEER, "it does not have the page map with key r");
}
END_TEST

static ino_t inode_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

/* A file of the same number, on another disk: new disks number their files alike. */
START_TEST(test_map_of_another_disk)
{
	const char *there = path_in("there");
	int twin = -1;

	be_waiting();
	close_fd(&fds[0]);
	ck_assert_int_eq(mkdir(there, 0700), 0);
	if (!harness_private_mounts() || !harness_small_disk(there, "1m") ||
	    !harness_small_disk(path_in("maps"), "1m"))
		return;
	fds[0] = open(path_in("maps/r"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	for (int i = 0; i < 100 && (twin < 0 || inode_of(twin) != inode_of(fds[0])); i++) {
		char name[32];

		close_fd(&twin);
		snprintf(name, sizeof(name), "there/%d", i);
		twin = open(path_in(name), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
		ck_assert_int_ge(twin, 0);
	}
	ck_assert_uint_eq(inode_of(twin), inode_of(fds[0]));
	close_fd(&fds[0]);
	fds[0] = twin;
	refuse(ERR_PEER, "it does not have the page map with key r");
	close_fd(&fds[0]);
	ck_assert_int_eq(umount2(path_in("there"), MNT_DETACH), 0);
	ck_assert_int_eq(umount2(path_in("maps"), MNT_DETACH), 0);
}
END_TEST

/* That of another restore is no proof for this one. */
START_TEST(test_map_of_another)
{
	be_waiting();
	snprintf(reattach.key, sizeof(reattach.key), "another");
	refuse(ERR_PEER, "it does not have the page map with key another");
	close(open(path_in("maps/another"), O_CREAT | O_CLOEXEC, 0600));
	refuse(ERR_PEER, "it does not have the page map with key another");
}
END_TEST

/* Not finished, or no page map. */
START_TEST(test_map_is_damaged)
{
	be_waiting();
	ck_assert_int_eq(ftruncate(fds[0], _i ? 100 : 0), 0);
	refuse(_i ? ERR_SYSTEM : ERR_UNREADY, "page map");
}
END_TEST

/* ---- the request ---- */

static int no_request(void)
{
	return -1;
}

static int a_file(void)
{
	return open(path_in("uffdd.db"), O_RDONLY | O_CLOEXEC);
}

static int may_shrink(void)
{
	return memfd_of("{}", 2, F_SEAL_GROW | F_SEAL_WRITE);
}

static int may_grow(void)
{
	return memfd_of("{}", 2, F_SEAL_SHRINK | F_SEAL_WRITE);
}

static int may_change(void)
{
	return memfd_of("{}", 2, F_SEAL_SHRINK | F_SEAL_GROW);
}

static int empty(void)
{
	return memfd_of("", 0, SEALS);
}

static int no_json(void)
{
	return request_of("{");
}

static int no_spec(void)
{
	return request_of("{\"snapshot\":{\"dir\":\"/snapshot\"},\"a-test\":1}");
}

static int no_socket(void)
{
	return request_of("{\"snapshot\":{\"dir\":\"/snapshot\"}}");
}

static const struct {
	int (*make)(void);
	enum err_code code;
	const char *why;
} requests[] = {
	{no_request, ERR_PEER, "it has no sealed request"},
	{a_file, ERR_PEER, "it has no sealed request"},
	{may_shrink, ERR_PEER, "it has no sealed request"},
	{may_grow, ERR_PEER, "it has no sealed request"},
	{may_change, ERR_PEER, "it has no sealed request"},
	{empty, ERR_PEER, "its request has 0 bytes, at most"},
	{no_json, ERR_INVALID, "its request: "},
	{no_spec, ERR_INVALID, "a-test"},
	{no_socket, ERR_PEER, "its request names no socket"},
};

START_TEST(test_request_is_refused)
{
	be_waiting();
	set_request(requests[_i].make());
	refuse(requests[_i].code, requests[_i].why);
}
END_TEST

/* As long as the longest request may be with the roots behind it, and not longer. */
START_TEST(test_longest_request)
{
	size_t len, max = 2 * 1024 + ((size_t)64 << 10) + (size_t)32 * 4096;
	char *text;

	be_waiting();
	k.host.conf.http_body_bytes = 1024;
	text = xcalloc(1, max + 2);
	len = (size_t)snprintf(text, max, "%s", k.r->rec.spec);
	memset(text + len, ' ', max + 1 - len);
	/* What is behind a NUL is no part of the request. */
	text[max - 10] = '\0';
	set_request(memfd_of(text, max + (size_t)_i, SEALS));
	free(text);
	if (_i)
		refuse(ERR_PEER, "its request has 198657 bytes, at most 198656 are read");
	else
		must_adopt();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("orphan refused");
	TCase *tc = runner_case(suite, "refused", begin, end);

	tcase_add_loop_test(tc, test_vmm_is_not_believed, 0, 3);
	tcase_add_loop_test(tc, test_map_is_refused, 0, ARRAY_LEN(maps));
	tcase_add_test(tc, test_map_of_another_disk);
	tcase_add_test(tc, test_map_of_another);
	tcase_add_loop_test(tc, test_map_is_damaged, 0, 2);
	tcase_add_loop_test(tc, test_request_is_refused, 0, ARRAY_LEN(requests));
	tcase_add_loop_test(tc, test_longest_request, 0, 2);
	return suite;
}
