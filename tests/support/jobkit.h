/*
 * jobkit - what the tests of a worker's rooms share: a job in any phase, without a
 * supervisor or a VMM. The guest is memory of our own that nobody touches, so nothing hangs.
 */
#ifndef UFFDD_TESTS_JOBKIT_H
#define UFFDD_TESTS_JOBKIT_H

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common/proc.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"
#include "tests/support/vmmside.h"
#include "worker/job_state.h"
#include "worker/peers.h"
#include "worker/loop_state.h"

#define JOBKIT_BYTES (8 * PAGE_4K)

static const char *const phase_names[JOB_PHASE_COUNT] = {
	[JOB_IDLE] = "idle",       [JOB_LOADING] = "loading", [JOB_WAITING] = "waiting",
	[JOB_SERVING] = "serving", [JOB_REFUSED] = "refused",
};

struct scene {
	struct job job;
	int sup;    /* the supervisor's end of the job's channel */
	int holder; /* the holder's end */
	int vmm;    /* pidfd; of ourselves */
	char *memory;
	int uffd; /* borrowed once a guest has it */
	struct regions regions;
	struct peers listener;
	struct peer peer;
	struct refusal refusal;
	struct guest guest;
	struct loop loop;
};

/* Memory that is registered, and what a VMM would say of it. */
static inline void give_memory(struct scene *s)
{
	struct err err;

	s->memory = mmap(NULL, JOBKIT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	ck_assert_ptr_ne(s->memory, MAP_FAILED);
	s->regions = (struct regions){.page_bytes = PAGE_4K, .n = 1};
	s->regions.v[0] = (struct region){(uintptr_t)s->memory, JOBKIT_BYTES, 0};
	ck_assert_msg(uffd_open(UF_FEATURE_REMOVE, &s->uffd, &err) == 0, "%s", err.msg);
	ck_assert_msg(uffd_register(s->uffd, s->regions.v[0].base, JOBKIT_BYTES, &err) == 0, "%s",
		      err.msg);
}

/* An idle job, with a page map and a snapshot of zeros that nobody has asked for. */
static inline void scene_open(struct scene *s)
{
	int chan[2], holder[2];
	struct err err;

	memset(s, 0, sizeof(*s));
	s->uffd = -1;
	ck_assert_int_eq(chan_pair(chan, &err), 0);
	ck_assert_int_eq(chan_pair(holder, &err), 0);
	s->sup = chan[0];
	s->holder = holder[0];
	ck_assert_msg(proc_pidfd(getpid(), &s->vmm, &err) == 0, "%s", err.msg);
	job_init(&s->job, chan[1], holder[1]);
	s->job.request = memfd_create("request", MFD_CLOEXEC);
	s->job.map_fd = memfd_create("map", MFD_CLOEXEC);
	ck_assert_msg(pagemap_create(s->job.map_fd, JOBKIT_BYTES, &s->job.map, &err) == 0, "%s",
		      err.msg);
	s->job.src = source_none(JOBKIT_BYTES);
	s->listener.fd = s->listener.edges = -1;
}

static inline void begin_serving(struct scene *s)
{
	struct err err;

	give_memory(s);
	pagemap_connect(&s->job.map, &s->regions, 1, 2, 3);
	ck_assert_int_eq(guest_init(&s->guest, s->uffd, &s->job.map, s->job.src, &err), 0);
	ck_assert_int_eq(loop_init(&s->loop, &s->job, &s->guest, s->vmm, &err), 0);
	s->job.loop = &s->loop;
}

static inline void begin_waiting(struct scene *s)
{
	struct err err;

	ck_assert_int_eq(peers_init(&s->listener, -1, getuid(), 0, &err), 0);
	s->job.peers = &s->listener;
}

static inline void begin_refused(struct scene *s)
{
	s->peer = (struct peer){.hs.sock = -1, .pidfd = s->vmm, .who = {.pid = 41, .uid = 42}};
	s->refusal = (struct refusal){.vmm = &s->peer, .kill = true};
	err_set(&s->refusal.err, ERR_PEER, "no good");
	s->job.refusal = &s->refusal;
}

static inline void scene_enter(struct scene *s, enum job_phase phase)
{
	static void (*const begin[JOB_PHASE_COUNT])(struct scene * s) = {
		[JOB_WAITING] = begin_waiting,
		[JOB_SERVING] = begin_serving,
		[JOB_REFUSED] = begin_refused,
	};

	s->job.phase = phase;
	if (begin[phase])
		begin[phase](s);
}

static inline void scene_close(struct scene *s)
{
	if (s->job.loop) {
		ck_assert(loop_fini(&s->loop));
		guest_fini(&s->guest);
	}
	if (s->job.peers)
		peers_fini(&s->listener);
	job_fini(&s->job);
	close_fd(&s->sup);
	close_fd(&s->holder);
	close_fd(&s->vmm);
	if (s->memory)
		munmap(s->memory, JOBKIT_BYTES);
}

/* What the supervisor says; fds stay the caller's. */
static inline void say(struct scene *s, enum chan_type type, struct chan_msg *msg, const int *fds,
		       size_t nfds)
{
	struct err err;

	ck_assert_msg(chan_send(s->sup, type, msg, fds, nfds, &err) == 0, "%s: %s",
		      chan_type_name(type), err.msg);
}

/* What the supervisor hears next, and with how many descriptors; CHAN_NONE: nothing. */
static inline enum chan_type hear(int sup, struct chan_msg *ret, size_t *ret_nfds)
{
	int fds[CHAN_FDS_MAX];
	struct err err;

	*ret_nfds = 0;
	if (chan_recv(sup, ret, fds, &err) != CHAN_GOT)
		return CHAN_NONE;
	for (size_t i = 0; i < CHAN_FDS_MAX; i++) {
		*ret_nfds += fds[i] >= 0;
		close_fd(&fds[i]);
	}
	return (enum chan_type)ret->type;
}

#endif
