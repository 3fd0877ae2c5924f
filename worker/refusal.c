#include "worker/refusal.h"

#include <poll.h>

#include "common/life.h"
#include "worker/orders.h"
#include "worker/report.h"

/* True: the process that connected for the VMM has ended. */
static bool doze(const struct job *j, const struct life *life)
{
	int vmm = j->refusal->vmm->pidfd;
	struct pollfd p[] = {
		{.fd = life->since_us ? -1 : vmm, .events = POLLIN},
		{.fd = supervisor_link_fd(&j->link), .events = POLLIN},
	};
	uint64_t now = now_us();
	uint64_t wait = min_u64(supervisor_link_wait_us(&j->link, now), life_wait_us(life, now));

	poll(p, ARRAY_LEN(p), wait == UINT64_MAX ? -1 : (int)(wait / 1000 + 1));
	return p[0].revents;
}

static void outlive(struct job *j, int uffd)
{
	struct life life = {0};

	/* Without a pidfd no end of a process can be waited for: ask from the beginning. */
	if (j->refusal->vmm->pidfd < 0)
		life_begin(&life, now_us());
	while (!j->stop) {
		if (doze(j, &life))
			life_begin(&life, now_us());
		if (life_ask(&life, uffd, now_us()) == LIFE_GONE)
			return;
		report_turn(j, now_us());
		orders_read(j);
	}
}

void refusal_outlive(struct job *j, struct peer *vmm, struct err *err)
{
	struct refusal r = {.vmm = vmm, .kill = j->spec.on_failure == FAILURE_KILL};

	err_wrap(err, "the VMM (pid %d, uid %u)", (int)vmm->who.pid, (unsigned)vmm->who.uid);
	r.err = *err;
	j->refusal = &r;
	j->phase = JOB_REFUSED;
	report_failed(j, err, r.kill, vmm);
	outlive(j, vmm->hs.fds[0]);
	j->refusal = NULL;
}
