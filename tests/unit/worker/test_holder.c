/* holder: the process itself, and what a worker must not believe of it */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/proc.h"
#include "common/sock.h"
#include "tests/support/harness.h"
#include "tests/support/openkit.h"
#include "tests/support/runner.h"
#include "tests/fakes/snapshot/snapgen.h"
#include "worker/holder.h"

#define NAME "uffdd-holder"

static char *dir; /* of the test case */

static void make_dir(void)
{
	dir = harness_tmpdir();
}

static void remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

struct fixture {
	int chan;  /* the worker's */
	int pidfd; /* of the holder */
	char path[PROTO_SUN_MAX + 1];
	struct source *src;
};

/* The only child of ours that has that name. */
static pid_t find_holder(void)
{
	DIR *proc = opendir("/proc");
	pid_t found = 0;

	for (struct dirent *e; (e = readdir(proc));) {
		char path[64], name[32];
		cleanup_file FILE *f = NULL;
		int pid, parent;

		snprintf(path, sizeof(path), "/proc/%.16s/stat", e->d_name);
		f = isdigit((unsigned char)e->d_name[0]) ? fopen(path, "re") : NULL;
		if (f && fscanf(f, "%d (%31[^)]) %*c %d", &pid, name, &parent) == 3 &&
		    parent == getpid() && strcmp(name, NAME) == 0)
			found = pid;
	}
	closedir(proc);
	return found;
}

static bool is_found(void *arg)
{
	*(pid_t *)arg = find_holder();
	return *(pid_t *)arg != 0;
}

static void start(struct fixture *f, unsigned layers)
{
	struct snapgen_opts o = snapgen_defaults;
	struct spec spec = {.source = SOURCE_DIR};
	static int n; /* tests share the directory, and each is a process */
	char text[96];
	struct err err;
	pid_t pid;

	*f = (struct fixture){.chan = holder_start()};
	ck_assert_int_ge(f->chan, 0);
	ck_assert(harness_wait(is_found, &pid, 10000));
	ck_assert_msg(proc_pidfd(pid, &f->pidfd, &err) == 0, "%s", err.msg);
	snprintf(text, sizeof(text), "%s/%d-%d", dir, (int)getpid(), ++n);
	snprintf(f->path, sizeof(f->path), "%s/socket-%d-%d", dir, (int)getpid(), n);
	o.size_bytes = (uint64_t)2 << 20;
	o.nlayers = layers;
	o.image = false;
	ck_assert_msg(snapgen_write(&o, text, &err) == 0, "%s", err.msg);
	spec.path = text;
	ck_assert_msg(source_open(&spec, &f->src, &err) == 0, "%s", err.msg);
}

static void assign(struct fixture *f)
{
	struct chan_assign a = {.connect_ms = 60000};
	struct err err;
	int sock;

	ck_assert_msg(sock_bind(f->path, SOCK_SEQPACKET, sock_mode(0600), &sock, &err) == 0, "%s",
		      err.msg);
	holder_assign(f->chan, &a, sock);
	close(sock);
	ck_assert_int_ge(f->chan, 0);
}

static void give(struct fixture *f)
{
	holder_give(&f->chan, f->src);
	holder_settle(&f->chan);
	ck_assert_int_ge(f->chan, 0);
}

static void know(struct fixture *f)
{
	struct chan_msg msg = {0};
	struct err err;

	ck_assert_int_eq(chan_send(f->chan, CHAN_KNOWN, &msg, NULL, 0, &err), 0);
}

static bool has_ended(void *arg)
{
	return proc_ended(*(int *)arg);
}

static void ends(struct fixture *f, const char *when)
{
	ck_assert_msg(harness_wait(has_ended, &f->pidfd, 10000), "%s: it goes on", when);
	close_fd(&f->chan);
	close(f->pidfd);
	source_free(f->src);
	unlink(f->path);
}

/* Until the restore is known, it ends with its worker. */
START_TEST(not_without_its_worker)
{
	static const char *const stages[] = {"idle", "assigned", "all files"};

	for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
		struct fixture f;

		start(&f, 3 + (unsigned)i);
		if (i > 0)
			assign(&f);
		if (i > 1)
			give(&f);
		ck_assert_int_ge(f.chan, 0);
		close_fd(&f.chan);
		ends(&f, stages[i]);
	}
}
END_TEST

static void check_given(const struct fixture *f, const struct source_given *given)
{
	ck_assert_uint_eq(given->n, source_nfds(f->src));
	for (size_t i = 0; i < given->n; i++) {
		struct stat a, b;

		ck_assert_int_eq(fstat(given->fds[i], &a), 0);
		ck_assert_int_eq(fstat(source_fd(f->src, i), &b), 0);
		ck_assert(a.st_dev == b.st_dev && a.st_ino == b.st_ino);
		ck_assert_uint_eq(given->seen[i].st_ino, b.st_ino);
		ck_assert_int_eq(given->seen[i].st_size, b.st_size);
	}
}

/* One worker after the other gets all of them, in order; the last one says that it is over. */
START_TEST(files_for_each_worker)
{
	static const unsigned layers[] = {1, 30, 31, 32, 200};

	for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
		struct fixture f;

		start(&f, layers[i]);
		assign(&f);
		give(&f);
		know(&f);
		for (int worker = 0; worker < 3; worker++) {
			struct source_given given;
			struct err err;

			close_fd(&f.chan);
			ck_assert_msg(sock_connect(f.path, SOCK_SEQPACKET | SOCK_NONBLOCK, &f.chan,
						   &err) == 0,
				      "%s", err.msg);
			holder_take(&f.chan, &given);
			check_given(&f, &given);
			source_given_fini(&given);
		}
		holder_leave(&f.chan);
		ends(&f, "left");
	}
}
END_TEST

START_TEST(it_ends_with_the_vmm)
{
	struct fixture f;
	struct err err;
	int vmm;
	pid_t pid;

	start(&f, 3);
	assign(&f);
	give(&f);
	know(&f);
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	ck_assert_msg(proc_pidfd(pid, &vmm, &err) == 0, "%s", err.msg);
	holder_watch(f.chan, vmm);
	close_fd(&f.chan);
	poll(&(struct pollfd){.fd = f.pidfd, .events = POLLIN}, 1, 50);
	ck_assert(!proc_ended(f.pidfd));
	kill(pid, SIGKILL);
	close(vmm);
	ends(&f, "the VMM ended");
}
END_TEST

/* --- who is in somebody else's hands --- */

/* clang-format off */
static const struct chan_files lies[] = {
	{.first = 1, .count = 1, .total = 2}, {.first = 0, .count = 33, .total = 33},
	{.first = 0, .count = UINT32_MAX, .total = UINT32_MAX},
	{.first = 0, .count = 0, .total = 0}, {.first = 0, .count = 2, .total = 1},
	{.first = UINT32_MAX, .count = 1, .total = 1},
};
/* clang-format on */

/* A worker is not believed ... */
START_TEST(lies_of_a_worker)
{
	struct chan_msg msg = {.files = lies[_i]};
	struct fixture f;
	struct err err;

	start(&f, 3);
	assign(&f);
	ck_assert_int_eq(chan_send(f.chan, CHAN_FILES, &msg, NULL, 0, &err), 0);
	close_fd(&f.chan);
	ends(&f, "a lie");
}
END_TEST

/* ... and neither is a holder: then there are no files, and the paths are opened. */
START_TEST(lies_of_a_holder)
{
	struct chan_msg msg = {.files = lies[_i]};
	struct source_given given;
	int pair[2];
	struct err err;

	ck_assert_int_eq(chan_pair(pair, &err), 0);
	ck_assert_int_eq(chan_send(pair[0], CHAN_FILES, &msg, NULL, 0, &err), 0);
	close_fd(&pair[0]);
	holder_take(&pair[1], &given);
	ck_assert_uint_eq(given.n, 0);
	close_fd(&pair[1]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("holder");
	TCase *tc = tcase_create("holder");

	tcase_add_unchecked_fixture(tc, make_dir, remove_dir);
	tcase_add_test(tc, not_without_its_worker);
	tcase_add_test(tc, files_for_each_worker);
	tcase_add_test(tc, it_ends_with_the_vmm);
	tcase_add_loop_test(tc, lies_of_a_worker, 0, ARRAY_LEN(lies));
	tcase_add_loop_test(tc, lies_of_a_holder, 0, ARRAY_LEN(lies));
	suite_add_tcase(suite, tc);
	return suite;
}
