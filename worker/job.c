#include "worker/job.h"

#include <poll.h>
#include <string.h>

#include "worker/load.h"
#include "worker/handshake_wait.h"
#include "worker/orders.h"
#include "worker/refusal.h"
#include "worker/report.h"
#include "worker/serve.h"

/* Waits without a limit. False: the supervisor is gone, or sent another message. */
static bool await_assignment(struct job *j)
{
	struct pollfd p = {.fd = j->link.chan, .events = POLLIN};

	while (j->phase == JOB_IDLE) {
		switch (orders_receive(j)) {
		case ORDERS_DONE:
			break;
		case ORDERS_IGNORED:
			return false;
		case ORDERS_NOTHING:
			if (supervisor_link_away(&j->link))
				return false;
			poll(&p, 1, -1);
		}
	}
	return true;
}

static bool load_or_fail(struct job *j)
{
	struct err err;

	if (load(j, &err) == 0)
		return true;
	job_unlink_socket(j);
	close_fd(&j->listen_fd);
	/* A guest that can neither be taken over nor poisoned must not hang unseen. */
	report_failed(j, &err, j->uffd >= 0 && j->spec.on_failure != FAILURE_HOLD, NULL);
	return false;
}

/* From now on the worker reconnects when it loses its supervisor. */
static void get_ready(struct job *j)
{
	memcpy(j->link.reconnect_path, j->assign.reconnect_path, sizeof(j->link.reconnect_path));
	report_ready(j);
}

static void wait_and_serve(struct job *j)
{
	struct peer vmm;
	struct regions regions;
	enum handshake_end end;
	struct err err;

	end = handshake_wait(j, &vmm, &regions, &err);
	if (end == HANDSHAKE_STOPPED)
		return;
	if (end == HANDSHAKE_NOBODY) {
		report_failed(j, &err, false, NULL);
		return;
	}
	if (end == HANDSHAKE_BAD_VMM || serve_vmm(j, &vmm, &regions, &err))
		refusal_outlive(j, &vmm, &err);
	peer_fini(&vmm);
}

static void take_over(struct job *j)
{
	struct err err;

	if (serve_on(j, &err))
		report_failed(j, &err, j->spec.on_failure != FAILURE_HOLD, NULL);
}

void job_run(int chan, int holder)
{
	struct job j;

	job_init(&j, chan, holder);
	report_hello(&j);
	if (await_assignment(&j) && load_or_fail(&j)) {
		get_ready(&j);
		if (j.assign.kind == CHAN_ASSIGN_WAIT)
			wait_and_serve(&j);
		else
			take_over(&j);
	}
	job_fini(&j);
}
