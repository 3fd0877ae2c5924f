#include "worker/failure.h"

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
	/* A worker may not kill. Without a supervisor, poisoned pages end a VMM that needs them. */
	if (supervisor_link_away(&l->job->link) && f->policy == FAILURE_KILL)
		f->policy = FAILURE_POISON;
	failure_poison_instead(l);
}

/* The kernel has no UFFDIO_POISON: a guest must not hang unseen. */
static void give_up_poison(struct loop *l, const struct err *err)
{
	enum spec_failure policy = l->life.elsewhere ? FAILURE_HOLD : FAILURE_KILL;

	l->failure.policy = policy;
	l->failure.on = false;
	failure_begin(l, err);
	/* Also without a supervisor, who is told when there is one again. */
	l->failure.policy = policy;
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
	give_up_poison(l, &err);
	return false;
}
