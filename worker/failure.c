#include "worker/failure.h"

#include "common/proc.h"
#include "worker/report.h"

/* A poisoned page leaves no thread hanging. */
void failure_poison_instead(struct loop *l)
{
	struct loop_failure *f = &l->failure;

	if (f->on && l->life.elsewhere && f->policy == FAILURE_KILL)
		f->policy = FAILURE_POISON;
}

void failure_begin(struct loop *l, const struct err *err)
{
	struct loop_failure *f = &l->failure;

	if (f->on)
		return;
	f->on = true;
	f->err = *err;
	report_failed(l->job, err, f->policy == FAILURE_KILL, NULL);
	/* No supervisor kills the VMM: the worker tries. */
	if (supervisor_link_away(&l->job->link) && f->policy == FAILURE_KILL && l->vmm >= 0) {
		struct err ignored;

		proc_kill(l->vmm, &ignored);
	}
	failure_poison_instead(l);
}

bool failure_answer(struct loop *l, uint64_t page)
{
	struct err err;

	if (l->failure.policy != FAILURE_POISON)
		return false;
	switch (guest_poison(l->guest, page, &err)) {
	case GUEST_DONE:
		return true;
	case GUEST_GONE:
		l->gone = true;
		return true;
	case GUEST_DEFER:
	case GUEST_COLD:
	case GUEST_SHORT:
		return false;
	case GUEST_FAIL:
		break;
	}
	/* The kernel has no UFFDIO_POISON: a guest must not hang unseen. */
	l->failure.policy = l->life.elsewhere ? FAILURE_HOLD : FAILURE_KILL;
	l->failure.on = false;
	failure_begin(l, &err);
	return false;
}
