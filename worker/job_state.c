#include "worker/job_state.h"

#include <string.h>
#include <sys/resource.h>

#include "worker/holder.h"

static uint64_t fds_max(void)
{
	struct rlimit l;

	return getrlimit(RLIMIT_NOFILE, &l) ? 0 : l.rlim_cur;
}

void job_init(struct job *j, int chan, int holder)
{
	*j = (struct job){
		.request = -1,
		.map_fd = -1,
		.listen_fd = -1,
		.uffd = -1,
		.vmm = -1,
		.holder = holder,
		.holder_given = -1,
		.fds_max = fds_max(),
	};
	supervisor_link_init(&j->link, chan);
	working_set_init(&j->working_set, &j->link);
}

void job_fini(struct job *j)
{
	job_unlink_socket(j);
	close_fd(&j->listen_fd);
	close_fd(&j->uffd);
	close_fd(&j->vmm);
	pagemap_close(&j->map);
	close_fd(&j->map_fd);
	close_fd(&j->request);
	close_fd(&j->holder_given);
	holder_leave(&j->holder);
	working_set_fini(&j->working_set);
	source_free(j->src);
	spec_fini(&j->spec);
	roots_fini(&j->roots);
	supervisor_link_fini(&j->link);
}

/* The holder's descriptor is the last one, at whichever index. */
static int take_last(int fds[CHAN_FDS_MAX])
{
	size_t n = CHAN_FDS_MAX;

	while (n > 0 && fds[n - 1] < 0)
		n--;
	return n ? steal_fd(&fds[n - 1]) : -1;
}

void job_assign(struct job *j, const struct chan_assign *assign, int fds[CHAN_FDS_MAX])
{
	j->phase = JOB_LOADING;
	j->assign = *assign;
	if (assign->holder != CHAN_HOLDER_NONE)
		j->holder_given = take_last(fds);
	j->request = steal_fd(&fds[0]);
	j->map_fd = steal_fd(&fds[1]);
	if (assign->kind == CHAN_ASSIGN_WAIT) {
		j->listen_fd = steal_fd(&fds[2]);
	} else {
		j->uffd = steal_fd(&fds[2]);
		j->vmm = steal_fd(&fds[3]);
	}
}

void job_unlink_socket(struct job *j)
{
	if (j->assign.unlink_socket)
		unlink(j->spec.socket_path);
	j->assign.unlink_socket = false;
}
