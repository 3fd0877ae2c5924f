#include "worker/serve.h"

#include "worker/fault_injection.h"
#include "worker/holder.h"
#include "worker/loop.h"
#include "worker/messages.h"
#include "worker/report.h"

struct serving {
	struct guest guest;
	struct loop loop;
};

/* Takes @uffd over, also on failure. */
static int begin(struct job *j, struct serving *s, int uffd, int vmm, struct err *err)
{
	if (guest_init(&s->guest, uffd, &j->map, j->src, err))
		return -1;
	if (loop_init(&s->loop, j, &s->guest, vmm, err) == 0)
		return 0;
	guest_fini(&s->guest);
	return -1;
}

/* The guest needs no worker any more, so there is time. */
static void finish_recording(struct job *j, struct serving *s)
{
	if (s->loop.failure.on)
		working_set_drop(&j->working_set);
	else
		working_set_end(&j->working_set, &s->guest.map, now_us());
}

static void end(struct job *j, struct serving *s, enum loop_end how)
{
	/* Threads of a dead VMM wait for the last descriptor of the uffd to close. */
	close_fd(&s->guest.uffd);
	report_plain(j, how == LOOP_RELEASED ? CHAN_RELEASED : CHAN_GONE);
	finish_recording(j, s);
	j->link.reconnect_path[0] = '\0';
	j->loop = NULL;
	/* The guest first: it waits for its uffd, while a read of the disk may take its time. */
	guest_fini(&s->guest);
	if (!loop_fini(&s->loop))
		_exit(0);
}

/* Serves to the end. Takes @uffd over. @said: a new VMM's handshake; NULL: take a guest over. */
static int serve(struct job *j, int uffd, int vmm, struct handshake *said, struct err *err)
{
	struct serving *s = xcalloc(1, sizeof(*s));

	if (begin(j, s, uffd, vmm, err)) {
		free(s);
		return -1;
	}
	s->loop.said = said;
	working_set_begin(&j->working_set, &s->loop.prefetch, s->guest.page_bytes, said != NULL,
			  now_us());
	j->loop = &s->loop;
	j->phase = JOB_SERVING;
	if (!said)
		messages_take_over(&s->loop);
	end(j, s, loop_run(&s->loop));
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
	return err_set(err, ERR_PEER,
		       "the region at %#llx is not registered with the userfaultfd: "
		       "UFFDIO_REGISTER comes before the handshake",
		       (unsigned long long)r->base);
}

static int check_vmm(struct job *j, struct peer *vmm, struct regions *regions, struct err *err)
{
	if (regions_check(regions, source_span_bytes(j->src), err))
		return -1;
	for (uint32_t i = 0; i < regions->n; i++)
		if (check_region(vmm->hs.fds[0], &regions->v[i], regions->page_bytes, err))
			return -1;
	return 0;
}

/* Later VMMs send more descriptors than the uffd: they are not needed. */
static void drop_extra_fds(struct peer *vmm)
{
	for (size_t i = 1; i < vmm->hs.nfds; i++)
		close_fd(&vmm->hs.fds[i]);
}

int serve_vmm(struct job *j, struct peer *vmm, struct regions *regions, struct err *err)
{
	fault_point(FAULT_BEFORE_CONNECTED);
	if (check_vmm(j, vmm, regions, err))
		return -1;
	drop_extra_fds(vmm);
	fault_point(FAULT_BEFORE_RECORD);
	/* Before CONNECTED: there may be no supervisor, and the worker may die. */
	pagemap_connect(&j->map, regions, (uint32_t)vmm->who.pid, vmm->who.uid, vmm->who.gid);
	fault_point(FAULT_RECORDED);
	report_connected(j, &j->map, vmm->hs.fds[0], vmm->pidfd, &vmm->hs);
	holder_watch(j->holder, vmm->pidfd);
	fault_point(FAULT_CONNECTED);
	return serve(j, steal_fd(&vmm->hs.fds[0]), vmm->pidfd, &vmm->hs, err);
}

/* ---- a predecessor's guest ---- */

int serve_on(struct job *j, struct err *err)
{
	holder_watch(j->holder, j->vmm);
	return serve(j, steal_fd(&j->uffd), j->vmm, NULL, err);
}
