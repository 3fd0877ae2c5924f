/*
 * recoverkit - for tests of recover.c: a restore whose worker is dead, its guest, and workers that
 * may take over; as root
 */
#ifndef UFFDD_TESTS_RECOVERKIT_H
#define UFFDD_TESTS_RECOVERKIT_H

#include "daemon/recover.h"
#include "daemon/vmm.h"
#include "tests/support/fds.h"
#include "tests/support/guestkit.h"
#include "tests/support/workerkit.h"

#define HOW "signal 9 (Killed)"

static struct restorekit k;
static struct guestkit guest;
static int fds; /* open, before anything is held for the restore */

static inline void begin_with(const char *members)
{
	restorekit_open(&k, members);
	workerkit_open(&k);
	guestkit_socket = k.r->spec.socket_path;
	guestkit_start(&guest);
	/* The store's file is open from then on. */
	ck_assert_str_eq(restorekit_events(&k), "");
	fds = fds_count(getpid());
}

static inline void begin(void)
{
	begin_with("");
}

static inline void end(void)
{
	guestkit_end(&guest);
	workerkit_close(&k);
	restorekit_close(&k);
}

static inline void hold_uffd(void)
{
	k.r->hold.uffd = guestkit_dup(guest.uffd);
}

static inline void hold_vmm(void)
{
	int pidfd = guestkit_dup(guest.pidfd);

	vmm_watch(k.r, &pidfd);
	ck_assert_int_eq(pidfd, -1);
}

/* Its worker has met the VMM, and has not told. */
static inline void meet_untold(void)
{
	struct pagemap map;

	guestkit_map(&guest, &k, guest.pid, &map);
	pagemap_close(&map);
	k.r->slot.state = SLOT_EMPTY;
}

/* What a worker wrote into the page map before it died: to a complete guest there is nothing to load. */
static inline void note_in_map(bool complete, bool releasing)
{
	char path[CONF_PATH_MAX + 1];
	struct err err = {.msg = ""};
	struct pagemap map;
	int fd;

	host_path(&k.host, "maps", "r", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_msg(pagemap_open(fd, &map, &err) == 0, "%s", err.msg);
	map.head->complete = complete;
	map.head->releasing = releasing;
	pagemap_close(&map);
	close(fd);
}

static inline bool is_over(void *arg)
{
	workerkit_turn(arg);
	return restore_released(k.r);
}

/* Nothing is held any more but the page map, for its last counters. */
static inline void check_over(enum restore_state state, const char *reason, const char *events)
{
	ck_assert_int_eq(k.r->rec.state, state);
	ck_assert_msg(strstr(k.r->rec.reason, reason), "%s", k.r->rec.reason);
	ck_assert_str_eq(restorekit_events(&k), events);
	ck_assert(restore_released(k.r) && k.r->rec.released && !k.r->worker);
	ck_assert_uint_eq(k.ended, 1);
	ck_assert(!restorekit_exists(&k, "maps") && !restorekit_exists(&k, "uffd"));
	ck_assert_int_eq(fds_count(getpid()), fds);
}

/* Another worker has been given the restore. */
static inline void check_succeeds(enum restore_state state, const char *events)
{
	ck_assert_int_eq(k.r->rec.state, state);
	ck_assert_int_eq(k.r->slot.state, SLOT_LOADING);
	ck_assert_ptr_nonnull(k.r->worker);
	ck_assert_uint_eq(k.r->rec.worker_pid, (uint32_t)k.r->worker->pid);
	ck_assert_uint_eq(k.r->rec.worker_restarts, 1);
	ck_assert_str_eq(restorekit_events(&k), events);
	ck_assert_ptr_nonnull(strstr(restorekit_data(&k), "\"detail\":\"" HOW "\""));
	ck_assert_ptr_nonnull(strstr(restorekit_data(&k), "\"restarts\":1"));
}

#endif
