/*
 * adoptkit - what the tests of adopt.c share: a row of a former run, its guest, and its worker, which
 * is a process that only stays; as root
 */
#ifndef UFFDD_TESTS_ADOPTKIT_H
#define UFFDD_TESTS_ADOPTKIT_H

#include "daemon/adopt.h"
#include "daemon/reconnect.h"
#include "tests/support/workerside.h"

#include "tests/support/recoverkit.h"

#define FOUND_DEAD "found dead after a restart"
#define BACK_S 30

static pid_t old; /* the worker of the former supervisor: no more than a process */
static bool has_room;
static struct event_base *aside; /* of the socket to come back to: its loop does not turn */

static inline bool room(void *arg)
{
	(void)arg;
	return has_room;
}

static inline bool expects(void *arg, const struct sock_peer *who)
{
	(void)arg;
	(void)who;
	return true;
}

static inline bool knows(void *arg, const char *id)
{
	(void)arg;
	return strcmp(id, "r") == 0;
}

static inline enum reconnect_answer on_back(void *arg, const struct reconnect_guest *g,
					    struct err *err)
{
	(void)arg;
	if (adopt_back(k.r, g->worker, g->listen_fd, g->reattach->npeers))
		return RECONNECT_TAKEN;
	err_set(err, ERR_CONFLICT, "a test");
	return RECONNECT_STRANGE;
}

static const struct reconnect_hooks reconnect_hooks = {expects, knows, on_back, room};
static struct host_hooks host_hooks;
static char *back_path; /* owned */

static inline void listen_for_workers(void)
{
	struct reconnect_parts parts = {.hooks = &reconnect_hooks};
	struct err err = {.msg = ""};

	aside = timer_base_new();
	parts.base = aside;
	parts.pool = k.host.pool;
	ck_assert_int_gt(asprintf(&back_path, "%s/workers.sock", k.dir), 0);
	ck_assert_msg(reconnect_open(back_path, &parts, &k.host.reconnect, &err) == 0, "%s",
		      err.msg);
}

/* A row that names the worker @old, of a restore that is served. */
static inline void begin_row(const char *members)
{
	begin_with(members);
	old = workerside_fork();
	has_room = true;
	host_hooks = *k.host.hooks;
	host_hooks.room = room;
	k.host.hooks = &host_hooks;
	listen_for_workers();
	guestkit_serve(&guest, &k);
	k.r->rec.vmm_start = proc_start_time(guest.pid);
	k.r->rec.worker_pid = (uint32_t)old;
	k.r->rec.worker_start = proc_start_time(old);
	k.r->hold.own_socket = false;
	fds = fds_count(getpid());
}

static inline void begin_plain(void)
{
	begin_row("");
}

static inline void end_row(void)
{
	/* The worker's end is not the restore's business any more. */
	timer_drop(&k.r->hold.back_by);
	if (old && waitpid(old, NULL, WNOHANG) == 0) {
		kill(old, SIGKILL);
		waitpid(old, NULL, 0);
	}
	reconnect_close(k.host.reconnect);
	event_base_free(aside);
	free(back_path);
	end();
}

/* No VMM has come: socket and page map are there, and nothing is in the map. */
static inline void be_waiting(void)
{
	char path[CONF_PATH_MAX + 1];

	host_path(&k.host, "maps", "r", path);
	ck_assert_int_eq(truncate(path, 0), 0);
	k.r->rec.state = STATE_WAITING;
	k.r->rec.vmm_pid = 0;
	k.r->rec.vmm_start = 0;
	k.r->rec.connected_ms = 0;
}

static inline void kill_old(void)
{
	kill(old, SIGKILL);
	ck_assert(workerside_was_killed(old));
}

static inline pid_t behind(int pidfd)
{
	uid_t real, saved;
	pid_t pid = -1;

	ck_assert_int_eq(proc_behind(pidfd, &pid, &real, &saved), 0);
	return pid;
}

static inline uint64_t left_s(void)
{
	struct timeval tv, now;

	ck_assert(event_pending(k.r->hold.back_by, EV_TIMEOUT, &tv));
	event_base_gettimeofday_cached(k.host.base, &now);
	evutil_timersub(&tv, &now, &tv);
	return (uint64_t)tv.tv_sec;
}

/* Neither the row nor a process has changed. */
static inline void check_awaited(enum restore_state state)
{
	ck_assert_int_eq(k.r->slot.state, SLOT_AWAITED);
	ck_assert_int_eq(k.r->rec.state, state);
	ck_assert_int_eq(behind(k.r->hold.old_worker), old);
	ck_assert_uint_le(left_s(), BACK_S);
	ck_assert(event_pending(k.r->hold.back_by, EV_READ, NULL));
	ck_assert(!k.r->worker && !workerside_has_ended(&old));
	ck_assert_str_eq(restorekit_events(&k), "");
}

static inline void check_succeeds_after(const char *events, enum restore_state state)
{
	ck_assert_int_eq(k.r->slot.state, SLOT_LOADING);
	ck_assert_int_eq(k.r->rec.state, state);
	/* The successor finds no snapshot, and may have ended by now. */
	ck_assert(k.r->rec.worker_pid && k.r->rec.worker_pid != (uint32_t)old);
	ck_assert_str_eq(restorekit_events(&k), events);
	ck_assert_ptr_nonnull(strstr(restorekit_data(&k), "\"detail\":\"" FOUND_DEAD "\""));
	ck_assert_uint_eq(k.r->rec.worker_restarts, 1);
}

static inline void check_succeeds_dead(enum restore_state state)
{
	check_succeeds_after("worker-died ", state);
}

#endif
