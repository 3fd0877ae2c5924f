#include "worker/loop_state.h"

#include <string.h>
#include <sys/timerfd.h>

static int open_timer(int *ret_fd, struct err *err)
{
	*ret_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return *ret_fd < 0 ? err_sys(err, "cannot make a timer") : 0;
}

static int open_wakes(struct loop *l, struct err *err)
{
	struct loop_wakes *w = &l->wakes;

	*w = (struct loop_wakes){.wait.epoll = -1, .verify = -1, .window = -1};
	w->link_epoch = l->job->link.epoch;
	return open_timer(&w->verify, err) || open_timer(&w->window, err) ||
			       wait_open(&w->wait, err)
		       ? -1
		       : 0;
}

static int set_wakes(struct loop *l, struct err *err)
{
	struct wait *w = &l->wakes.wait;

	return wait_set(w, WAKES_UFFD, l->guest->uffd, err) ||
			       wait_set(w, WAKES_VMM, l->vmm, err) ||
			       wait_set(w, WAKES_LINK, supervisor_link_fd(&l->job->link), err) ||
			       wait_set(w, WAKES_WARM, readahead_fd(l->readahead), err) ||
			       wait_set(w, WAKES_VERIFY, l->wakes.verify, err) ||
			       wait_set(w, WAKES_WINDOW, l->wakes.window, err)
		       ? -1
		       : 0;
}

/* Held, paused or failed, as when the predecessor died. */
static void as_assigned(struct loop *l)
{
	const struct job *j = l->job;

	l->held = j->prefetch_held;
	l->paused = j->assign.paused;
	l->failure.on = j->assign.failed;
	l->prefetch.held = l->held || l->paused;
	l->prefetch.room.margin_bytes = j->assign.prefetch_margin_bytes;
}

int loop_init(struct loop *l, struct job *j, struct guest *guest, int vmm, struct err *err)
{
	const struct spec *spec = &j->spec;

	memset(l, 0, sizeof(*l));
	l->job = j;
	l->guest = guest;
	l->vmm = vmm;
	l->when_complete = spec->when_complete;
	l->failure.policy = spec->on_failure;
	if (open_wakes(l, err) || readahead_new(guest->src, &l->readahead, err) ||
	    set_wakes(l, err)) {
		loop_fini(l);
		return -1;
	}
	prefetch_init(&l->prefetch, l->readahead, spec->prefetch, spec->rate_bytes_per_s, now_us());
	room_bound(&l->prefetch.room, spec->max_resident_bytes);
	as_assigned(l);
	/* A limit of the predecessor must be found again. */
	guest->map.head->prefetch_limit = LIMIT_NONE;
	if (!spec->zero_pages && guest_is_huge(guest))
		guest_leave_zeros(guest);
	lease_init(&l->lease, &j->link);
	if (vmm < 0)
		life_begin(&l->life, now_us());
	return 0;
}

bool loop_fini(struct loop *l)
{
	wait_close(&l->wakes.wait);
	close_fd(&l->wakes.verify);
	close_fd(&l->wakes.window);
	prefetch_fini(&l->prefetch);
	return readahead_free(l->readahead);
}
