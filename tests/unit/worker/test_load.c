/*
 * test_load - from an assignment to a snapshot that can be served, or to the reason why not
 *
 * Whoever loads is locked in for the rest of his life: so a child of the test does it, and
 * tells what came of it.
 */
#include "worker/load.h"

#include <config.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/harness.h"
#include "tests/support/runner.h"
#include "worker/syscalls.h"

#define BYTES (16 * PAGE_4K)

static char *dir; /* of the test case */

/* Unchecked: they run in the runner, so that a failed test leaves nothing behind. */
static void make_dir(void)
{
	dir = harness_tmpdir();
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

struct scene {
	struct job job;
	int sup;
	char memory[160]; /* path of the snapshot's only file */
	char socket[160];
	enum { NO_VMM, INCOMPLETE, COMPLETE } leaves; /* in the page map, for a successor */
};

struct outcome {
	int rc;
	struct err err;
	uint64_t span_bytes;
	bool named;    /* the page map says which snapshot it is of */
	uint64_t nfds; /* of the snapshot */
	bool listens, can_open;
	enum spec_prefetch prefetch;
};

static void write_memory(const struct scene *s, char byte)
{
	cleanup_fd int fd = open(s->memory, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char page[PAGE_4K];

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, BYTES), 0);
	memset(page, byte, sizeof(page));
	ck_assert_int_eq(pwrite(fd, page, sizeof(page), PAGE_4K), sizeof(page));
}

static int request(const char *text)
{
	int fd = memfd_create("request", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

/* As a supervisor would assign it: one file, and a socket that the worker binds. */
static void scene_open(struct scene *s)
{
	struct chan_assign assign = {.kind = CHAN_ASSIGN_WAIT, .prefetch = PREFETCH_WORKING_SET};
	int pair[2], fds[CHAN_FDS_MAX];
	static int n; /* tests share the directory, and each is a process */
	char text[512];
	struct err err;

	*s = (struct scene){.leaves = NO_VMM};
	ck_assert_int_eq(chan_pair(pair, &err), 0);
	s->sup = pair[0];
	job_init(&s->job, pair[1], -1);
	snprintf(s->memory, sizeof(s->memory), "%.80s/memory-%d-%d", dir, (int)getpid(), ++n);
	snprintf(s->socket, sizeof(s->socket), "%.80s/s-%d-%d", dir, (int)getpid(), n);
	write_memory(s, 1);
	snprintf(text, sizeof(text),
		 "{\"snapshot\":{\"memory\":[\"%s\"]},"
		 "\"socket\":{\"path\":\"%s\"}}",
		 s->memory, s->socket);
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		fds[i] = -1;
	fds[0] = request(text);
	fds[1] = memfd_create("map", MFD_CLOEXEC);
	job_assign(&s->job, &assign, fds);
}

static void scene_close(struct scene *s)
{
	job_fini(&s->job);
	close_fd(&s->sup);
}

static void leave(struct scene *s)
{
	struct regions regions = {.page_bytes = PAGE_4K, .n = 1, .v = {{0x10000, BYTES, 0}}};
	struct pagemap *map = &s->job.map;

	if (s->leaves == NO_VMM)
		return;
	pagemap_connect(map, &regions, 1, 2, 3);
	map->head->complete = s->leaves == COMPLETE;
}

static void fill(struct scene *s, struct outcome *o)
{
	struct job *j = &s->job;

	if (sandbox_begin(&syscalls_worker, &o->err))
		return;
	o->rc = load(j, &o->err);
	o->listens = j->listen_fd >= 0;
	o->prefetch = j->spec.prefetch;
	o->can_open = open(s->memory, O_RDONLY | O_CLOEXEC) >= 0;
	if (o->rc)
		return;
	o->span_bytes = source_span_bytes(j->src);
	o->nfds = source_nfds(j->src);
	o->named = !uuid_is_null(j->map.head->source_id);
	leave(s);
}

static struct outcome load_apart(struct scene *s)
{
	struct outcome o = {.rc = 1};
	int pipe_fds[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		fill(s, &o);
		_exit(write(pipe_fds[1], &o, sizeof(o)) == sizeof(o) ? 0 : 1);
	}
	close(pipe_fds[1]);
	ck_assert_int_eq(read(pipe_fds[0], &o, sizeof(o)), sizeof(o));
	close(pipe_fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	return o;
}

START_TEST(test_loads)
{
	struct outcome o;
	struct scene s;

	scene_open(&s);
	o = load_apart(&s);
	ck_assert_msg(o.rc == 0, "%s", o.err.msg);
	ck_assert_uint_eq(o.span_bytes, BYTES);
	ck_assert_uint_eq(o.nfds, 1);
	ck_assert(o.named);
	ck_assert(o.listens);
	/* Changed since the request was made. */
	ck_assert_int_eq(o.prefetch, PREFETCH_WORKING_SET);
#ifndef BUILD_SANITIZED
	ck_assert_msg(!o.can_open, "it is not locked in");
#endif
	ck_assert_int_eq(access(s.socket, F_OK), 0);
	scene_close(&s);
}
END_TEST

/* ---- what cannot be served ---- */

static void without_request(struct scene *s)
{
	close_fd(&s->job.request);
}

static void with_empty_request(struct scene *s)
{
	close_fd(&s->job.request);
	s->job.request = request("");
}

static void with_rubbish(struct scene *s)
{
	close_fd(&s->job.request);
	s->job.request = request("{\"snapshot\":1}");
}

static void without_guest(struct scene *s)
{
	s->job.assign.kind = CHAN_ASSIGN_SERVE;
}

static void without_file(struct scene *s)
{
	ck_assert_int_eq(unlink(s->memory), 0);
}

static void with_few_descriptors(struct scene *s)
{
	s->job.fds_max = JOB_OTHER_FDS;
}

static void where_something_is(struct scene *s)
{
	cleanup_fd int fd = open(s->socket, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
}

static const struct {
	void (*prepare)(struct scene *s);
	enum err_code code;
	const char *why;
} bad[] = {
	{without_request, ERR_SYSTEM, "without a request"},
	{with_empty_request, ERR_SYSTEM, "has 0 bytes"},
	{with_rubbish, ERR_INVALID, "snapshot"},
	{without_guest, ERR_SYSTEM, "without a guest"},
	{without_file, ERR_PATH, "memory-"},
	{with_few_descriptors, ERR_QUOTA, "1 are missing"},
	{where_something_is, ERR_COUNT, "/s-"},
};

START_TEST(test_bad)
{
	struct outcome o;
	struct scene s;

	scene_open(&s);
	bad[_i].prepare(&s);
	o = load_apart(&s);
	ck_assert_int_eq(o.rc, -1);
	ck_assert_msg(strstr(o.err.msg, bad[_i].why) != NULL, "%s", o.err.msg);
	if (bad[_i].code != ERR_COUNT)
		ck_assert_msg(o.err.code == bad[_i].code, "%d: %s", o.err.code, o.err.msg);
	scene_close(&s);
}
END_TEST

/* ---- a successor ---- */

/* The same job for another worker, with a page map that a predecessor has left. */
static void succeed(struct scene *s, bool complete)
{
	struct outcome o;

	s->leaves = complete ? COMPLETE : INCOMPLETE;
	o = load_apart(s);
	s->leaves = NO_VMM;
	ck_assert_msg(o.rc == 0, "%s", o.err.msg);
	s->job.assign.kind = CHAN_ASSIGN_SERVE;
	s->job.uffd = memfd_create("uffd", MFD_CLOEXEC);
}

START_TEST(test_successor)
{
	struct outcome o;
	struct scene s;

	scene_open(&s);
	succeed(&s, false);
	o = load_apart(&s);
	ck_assert_msg(o.rc == 0, "%s", o.err.msg);
	ck_assert_uint_eq(o.nfds, 1);
	ck_assert(!o.listens);
	scene_close(&s);
}
END_TEST

/* Where nothing is missing no file is needed, and none is looked at. */
START_TEST(test_successor_of_complete)
{
	struct outcome o;
	struct scene s;

	scene_open(&s);
	succeed(&s, true);
	without_file(&s);
	o = load_apart(&s);
	ck_assert_msg(o.rc == 0, "%s", o.err.msg);
	ck_assert_uint_eq(o.nfds, 0);
	ck_assert_uint_eq(o.span_bytes, BYTES);
	scene_close(&s);
}
END_TEST

static void replace_file(struct scene *s)
{
	without_file(s);
	write_memory(s, 2);
}

static const struct {
	void (*prepare)(struct scene *s);
	const char *why;
} lost[] = {
	{replace_file, "replaced or changed"},
	{without_file, "nobody has kept the snapshot's files open"},
};

START_TEST(test_successor_of_other_files)
{
	struct outcome o;
	struct scene s;

	scene_open(&s);
	succeed(&s, false);
	lost[_i].prepare(&s);
	o = load_apart(&s);
	ck_assert_int_eq(o.rc, -1);
	ck_assert_msg(strstr(o.err.msg, lost[_i].why) != NULL, "%s", o.err.msg);
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("load");
	TCase *t = tcase_create("assignment");

	tcase_add_unchecked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, test_loads);
	tcase_add_loop_test(t, test_bad, 0, ARRAY_LEN(bad));
	tcase_add_test(t, test_successor);
	tcase_add_test(t, test_successor_of_complete);
	tcase_add_loop_test(t, test_successor_of_other_files, 0, ARRAY_LEN(lost));
	suite_add_tcase(s, t);
	return s;
}
