#include "worker/serve.h"

#include <poll.h>
#include <string.h>

#include "common/life.h"
#include "worker/fault.h"
#include "worker/loop.h"
#include "worker/messages.h"
#include "worker/orders.h"

struct serving {
	struct job *job;
	struct guest guest;
	struct loop loop;
	int vmm; /* borrowed pidfd of the peer; -1: ended before */
	struct handshake *said; /* borrowed: its message, unread until somebody was told; NULL: none */
};

static void say_connected(struct job *j, const struct pagemap *map, int uffd, int vmm,
			  struct handshake *said)
{
	const int fds[] = {uffd, vmm};
	struct chan_msg msg = {0};

	msg.connected.pid = map->head->vmm_pid;
	msg.connected.uid = map->head->vmm_uid;
	msg.connected.gid = map->head->vmm_gid;
	msg.connected.nregions = map->regions->n;
	msg.connected.page_bytes = map->regions->page_bytes;
	msg.connected.memory_bytes = regions_bytes(map->regions);
	link_send(&j->link, CHAN_CONNECTED, &msg, fds, vmm >= 0 ? 2 : 1);
	/* Now it is known, and its message must not keep the uffd open beyond its end. */
	if (said && j->link.chan >= 0)
		handshake_consume(said);
}

static void on_back(void *arg)
{
	struct serving *s = arg;
	struct spec *spec = &s->job->spec;

	spec->prefetch = s->loop.prefetch.mode;
	spec->rate_bytes_per_s = s->loop.prefetch.rate_bytes_per_s;
	spec->max_resident_bytes = s->loop.prefetch.room.max_resident_bytes;
	s->job->prefetch_held = s->loop.held;
	/* What kept us from telling one may have kept us from telling the other. */
	holder_watch(s->job->holder, s->vmm);
	job_say_back(s->job, -1, 0, s->vmm);
	say_connected(s->job, &s->guest.map, s->guest.uffd, s->vmm, s->said);
	orders_replay(&s->loop);
	habit_replay(&s->job->habit);
	fault_point(FAULT_BACK);
}

/* The guest needs nobody any more, so there is time. */
static void finish_recording(struct serving *s)
{
	if (s->loop.failed)
		habit_drop(&s->job->habit);
	else
		habit_end(&s->job->habit, &s->guest.map, now_us());
}

/* Serves to the end. @uffd is taken over. @said: what a new VMM said; NULL: to take over. */
static int serve(struct job *j, int uffd, int vmm, struct handshake *said, struct err *err)
{
	struct serving *s = xcalloc(1, sizeof(*s));
	struct chan_msg msg = {0};
	enum loop_end end;

	s->job = j;
	s->vmm = vmm;
	s->said = said;
	if (guest_init(&s->guest, uffd, &j->map, j->src, err)) {
		free(s);
		return -1;
	}
	if (loop_init(&s->loop, &s->guest, &j->link, &j->habit, vmm, &j->spec, err)) {
		guest_fini(&s->guest);
		free(s);
		return -1;
	}
	habit_begin(&j->habit, &s->loop.prefetch, s->guest.page_bytes, said != NULL, now_us());
	s->loop.held = j->prefetch_held;
	s->loop.paused = j->assign.paused;
	s->loop.failed = j->assign.failed;
	s->loop.prefetch.held = s->loop.held || s->loop.paused;
	s->loop.prefetch.room.margin_bytes = j->assign.prefetch_margin_bytes;
	j->link.replay = on_back;
	j->link.arg = s;
	if (!said)
		messages_take_over(&s->loop);
	end = loop_run(&s->loop);
	/* A dead VMM's threads wait for the last descriptor to close. */
	close_fd(&s->guest.uffd);
	link_send(&j->link, end == LOOP_RELEASED ? CHAN_RELEASED : CHAN_GONE, &msg, NULL, 0);
	finish_recording(s);
	j->link.home[0] = '\0';
	/* The uffd first: a dead guest waits for that, while a read may take its time. */
	guest_fini(&s->guest);
	if (!loop_fini(&s->loop))
		_exit(0);
	free(s);
	return 0;
}

/* ---- a new VMM ---- */

static int check_region(int uffd, const struct region *r, uint64_t page_bytes, struct err *err)
{
	if (uffd_check(uffd, r->base, r->size, err))
		return -1;
	if (uffd_registered(uffd, r->base, page_bytes) &&
	    uffd_registered(uffd, r->base + r->size - page_bytes, page_bytes))
		return 0;
	return err_set(err, ERR_PEER, "the region at %#llx is not registered with the userfaultfd: "
		       "UFFDIO_REGISTER comes before the handshake", (unsigned long long)r->base);
}

static int check_vmm(struct job *j, struct listener_peer *vmm, struct regions *regions,
		     struct err *err)
{
	if (regions_check(regions, source_span_bytes(j->src), err))
		return -1;
	for (uint32_t i = 0; i < regions->n; i++)
		if (check_region(vmm->hs.fds[0], &regions->v[i], regions->page_bytes, err))
			return -1;
	return 0;
}

/* Later VMMs send more descriptors than the uffd: they are of no use here. */
static void drop_extra_fds(struct listener_peer *vmm)
{
	for (size_t i = 1; i < vmm->hs.nfds; i++)
		close_fd(&vmm->hs.fds[i]);
}

void serve_vmm(struct job *j, struct listener_peer *vmm, struct regions *regions)
{
	struct err err;

	fault_point(FAULT_BEFORE_CONNECTED);
	if (check_vmm(j, vmm, regions, &err)) {
		serve_refuse(j, vmm, &err);
		return;
	}
	drop_extra_fds(vmm);
	fault_point(FAULT_BEFORE_RECORD);
	/* Before anybody hears of it: there may be nobody to tell, and then we may die. */
	pagemap_connect(&j->map, regions, (uint32_t)vmm->who.pid, vmm->who.uid, vmm->who.gid);
	fault_point(FAULT_RECORDED);
	say_connected(j, &j->map, vmm->hs.fds[0], vmm->pidfd, &vmm->hs);
	holder_watch(j->holder, vmm->pidfd);
	fault_point(FAULT_CONNECTED);
	if (serve(j, steal_fd(&vmm->hs.fds[0]), vmm->pidfd, &vmm->hs, &err))
		serve_refuse(j, vmm, &err);
}

/* ---- one whose message is wrong: its guest can never run ---- */

struct refusal {
	struct job *job;
	struct listener_peer *vmm;
	struct err err;
	bool kill;
};

static void on_back_refused(void *arg)
{
	struct refusal *r = arg;

	job_say_back(r->job, -1, 0, -1);
	job_say_failed(r->job, &r->err, r->kill, r->vmm);
}

/*
 * Its descriptors are not closed before it has ended, and not only who connected for it:
 * were ours the last ones, its missing pages would turn into zeros.
 */
static void outlive_vmm(struct refusal *r)
{
	struct link *link = &r->job->link;
	struct life life = {0};

	for (;;) {
		struct pollfd p[] = {
			{.fd = life.since_us ? -1 : r->vmm->pidfd, .events = POLLIN},
			{.fd = link_fd(link), .events = POLLIN},
		};
		uint64_t now = now_us();
		uint64_t wait = min_u64(link_wait_us(link, now), life_wait_us(&life, now));
		int fds[CHAN_FDS_MAX];
		struct chan_msg msg;

		poll(p, ARRAY_LEN(p), wait == UINT64_MAX ? -1 : (int)(wait / 1000 + 1));
		if (p[0].revents || r->vmm->pidfd < 0)
			life_begin(&life, now_us());
		if (life_ask(&life, r->vmm->hs.fds[0], now_us()) == LIFE_GONE)
			return;
		link_turn(link, now_us());
		while (link_recv(link, &msg, fds) == CHAN_GOT) {
			for (size_t i = 0; i < CHAN_FDS_MAX; i++)
				close_fd(&fds[i]);
			if (msg.type == CHAN_STOP)
				return;
		}
	}
}

void serve_refuse(struct job *j, struct listener_peer *vmm, struct err *err)
{
	struct refusal r = {.job = j, .vmm = vmm, .kill = j->spec.on_failure == FAILURE_KILL};

	err_wrap(err, "the VMM (pid %d, uid %u)", (int)vmm->who.pid, (unsigned)vmm->who.uid);
	r.err = *err;
	j->link.replay = on_back_refused;
	j->link.arg = &r;
	job_say_failed(j, err, r.kill, vmm);
	outlive_vmm(&r);
}

/* ---- a predecessor's ---- */

void serve_on(struct job *j)
{
	struct err err;

	holder_watch(j->holder, j->vmm);
	if (serve(j, steal_fd(&j->uffd), j->vmm, NULL, &err))
		job_say_failed(j, &err, j->spec.on_failure != FAILURE_HOLD, NULL);
}
