/*
 * orphankit - what the tests of orphan.c share: a worker that comes back to a supervisor whose store
 * does not know its restore, with all that it says as the reconnect socket hands it in
 */
#ifndef UFFDD_TESTS_ORPHANKIT_H
#define UFFDD_TESTS_ORPHANKIT_H

#include <sys/mman.h>
#include <sys/socket.h>

#include "daemon/conversation.h"
#include "daemon/orphan.h"
#include "tests/support/fds.h"
#include "tests/support/guestkit.h"
#include "tests/support/workerside.h"

#define CALLER 4711
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define RATE ((uint64_t)5 << 20)
#define PEERS 2

static struct restorekit k; /* its restore is the one that the former supervisor had */
static struct workerside w;
static struct guestkit guest;
static struct worker *worker; /* of the orphan: without an owner */

/* What the worker says, and what the kernel says of it. */
static struct chan_reattach reattach;
static struct chan_proof proof;
static struct sock_peer who;
static int listen_fd, fds[CHAN_FDS_MAX];
static struct reconnect_guest said = {&reattach, &proof, &who, NULL, &listen_fd, fds};

static struct restore *r; /* the orphan */
static struct err err;

static inline int open_map(int flags)
{
	char path[CONF_PATH_MAX + 1];
	int fd;

	host_path(&k.host, "maps", "r", path);
	fd = open(path, flags | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static inline int memfd_of(const char *text, size_t len, int seals)
{
	int fd = memfd_create("request", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static inline int request_of(const char *text)
{
	return memfd_of(text, strlen(text), SEALS);
}

static inline void set_request(int fd)
{
	close_fd(&fds[1]);
	fds[1] = fd;
}

static inline int listening(const char *path)
{
	int fd = -1;

	unlink(path);
	ck_assert_msg(sock_listen(path, SOCK_STREAM, sock_mode(0600), &fd, &err) == 0, "%s",
		      err.msg);
	return fd;
}

/* No VMM has come yet. */
static inline void make_map(void)
{
	cleanup_fd int fd = open_map(O_RDWR);
	struct pagemap map;

	ck_assert_msg(pagemap_create(fd, GUESTKIT_BYTES, &map, &err) == 0, "%s", err.msg);
	pagemap_close(&map);
}

static struct table others; /* restores that have rows */

static inline void begin_with(const char *members)
{
	restorekit_open(&k, members);
	workerside_open(&w, &k, &conversation_worker_hooks);
	worker = steal_ptr(&k.r->worker);
	worker_own(worker, NULL, NULL);
	said.worker = worker;
	guestkit_start(&guest);
	snprintf(k.host.boot_id, sizeof(k.host.boot_id), "of the test");
	snprintf(reattach.key, sizeof(reattach.key), "r");
	reattach.npeers = PEERS;
	proof = (struct chan_proof){.size_bytes = GUESTKIT_BYTES - 1,
				    .key = {.kind = WSET_FILES, .number = 77},
				    .prefetch = PREFETCH_NONE,
				    .prefetch_held = 1,
				    .rate_bytes_per_s = RATE,
				    .max_resident_bytes = 2 * RATE,
				    .id = "said"};
	who = (struct sock_peer){.pid = w.pid, .uid = CALLER, .gid = CALLER + 1};
	memset(fds, -1, sizeof(fds));
	fds[1] = request_of(k.r->rec.spec);
	listen_fd = -1;
	/* The store's file is open from then on. */
	ck_assert_str_eq(restorekit_events(&k), "");
	r = NULL;
}

static inline void begin(void)
{
	begin_with("\"prefetch\":{\"mode\":\"all\"}");
}

static inline void end(void)
{
	chan_close_fds(fds);
	close_fd(&listen_fd);
	if (r)
		restore_free(r);
	else
		worker_leave(worker);
	kill(w.pid, SIGKILL);
	waitpid(w.pid, NULL, 0);
	pool_free(k.host.pool);
	close_fd(&w.chan);
	guestkit_end(&guest);
	restorekit_close(&k);
}

static inline bool adopt(void)
{
	r = orphan_new(&k.host, &others, &said, &err);
	return r != NULL;
}

static inline void must_adopt(void)
{
	ck_assert_msg(adopt(), "%s", err.msg);
}

/* A worker that waits for its VMM. */
static inline void be_waiting(void)
{
	make_map();
	fds[0] = open_map(O_RDWR);
	listen_fd = listening(k.r->spec.socket_path);
}

/* A worker that serves the guest, as @pid; with its pidfd, or without. */
static inline void be_serving(pid_t pid, bool with_pidfd)
{
	struct pagemap map;

	guestkit_map(&guest, &k, pid, &map);
	pagemap_close(&map);
	fds[0] = open_map(O_RDWR);
	if (with_pidfd)
		fds[2] = guestkit_dup(guest.pidfd);
}

static inline const char *path_in(const char *name)
{
	static char path[2][CONF_PATH_MAX + 16];
	static int turn;

	turn ^= 1;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", k.dir, name);
	return path[turn];
}

#endif
