/* watchdog - a thread with a deadline */
#include "tests/fakes/vmm/watchdog.h"

#include <signal.h>

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t deadline_us; /* 0: off */
	struct vmm *v;
	int exit_code;
} watchdog = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *watchdog_main(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&watchdog.lock);
	for (;;) {
		uint64_t at = watchdog.deadline_us;
		struct timespec ts = {.tv_sec = (time_t)(at / 1000000),
				      .tv_nsec = (long)(at % 1000000) * 1000};

		if (!at) {
			pthread_cond_wait(&watchdog.changed, &watchdog.lock);
		} else if (now_us() < at) {
			pthread_cond_timedwait(&watchdog.changed, &watchdog.lock, &ts);
		} else {
			puts("hung");
			if (watchdog.v)
				vmm_print_busy(watchdog.v, stdout);
			fflush(stdout);
			_exit(watchdog.exit_code);
		}
	}
	return NULL;
}

void watchdog_set(struct vmm *v, uint64_t seconds)
{
	pthread_mutex_lock(&watchdog.lock);
	watchdog.v = v;
	watchdog.deadline_us = seconds ? now_us() + seconds * 1000000 : 0;
	pthread_cond_signal(&watchdog.changed);
	pthread_mutex_unlock(&watchdog.lock);
}

int watchdog_start(int exit_code, struct err *err)
{
	pthread_condattr_t attr;
	sigset_t term, before;
	pthread_t id;
	int rc;

	watchdog.exit_code = exit_code;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&watchdog.changed, &attr);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, &before);
	rc = pthread_create(&id, NULL, watchdog_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		return err_set(err, ERR_SYSTEM, "no thread for the watchdog");
	pthread_detach(id);
	return 0;
}
