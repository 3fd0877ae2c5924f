#include "daemon/closer.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/queue.h>

#include "daemon/log.h"

/* Enough for close(), whatever it runs into. */
#define STACK_BYTES ((size_t)64 << 10)
/* By then a thread has entered close(), and the number is free. */
#define SETTLE_US 1000000

struct entry {
	int fd;
	STAILQ_ENTRY(entry) link;
};

STAILQ_HEAD(entries, entry);

struct thread {
	pthread_t id;
	int fd;         /* what it closes, and may hang; the number is free at once; -1: nothing */
	uint64_t at_us; /* since when */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct entries entries; /* owned; no thread has taken them yet */
	size_t waiting;         /* of entries, and in the threads' hands */
	struct thread threads[CLOSER_THREADS_MAX];
	size_t nthreads;
	bool stopping;
} closer = {.lock = PTHREAD_MUTEX_INITIALIZER,
	    .more = PTHREAD_COND_INITIALIZER,
	    .entries = STAILQ_HEAD_INITIALIZER(closer.entries)};

static void close_first(struct thread *self)
{
	struct entry *e = STAILQ_FIRST(&closer.entries);

	STAILQ_REMOVE_HEAD(&closer.entries, link);
	self->fd = e->fd;
	self->at_us = now_us();
	pthread_mutex_unlock(&closer.lock);
	close(e->fd);
	free(e);
	pthread_mutex_lock(&closer.lock);
	self->fd = -1;
	closer.waiting--;
}

static void *run(void *arg)
{
	struct thread *self = arg;

	pthread_mutex_lock(&closer.lock);
	while (!closer.stopping) {
		if (STAILQ_EMPTY(&closer.entries)) {
			pthread_cond_wait(&closer.more, &closer.lock);
			continue;
		}
		close_first(self);
	}
	pthread_mutex_unlock(&closer.lock);
	return NULL;
}

/* Signals are the main thread's. */
static bool start_thread(struct thread *t)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int rc;

	t->fd = -1;
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&t->id, &attr, run, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return rc == 0;
}

/* As many threads as descriptors, up to the maximum: any of them may hang. */
static void want_threads(void)
{
	static struct log_limit limit = LOG_LIMIT(1, 60 * 1000 * 1000);

	if (closer.waiting > closer.nthreads && closer.nthreads < CLOSER_THREADS_MAX)
		closer.nthreads += start_thread(&closer.threads[closer.nthreads]);
	if (closer.waiting > closer.nthreads && log_allow(&limit, now_us()))
		log_warning("descriptors of other processes cannot be closed yet", "waiting=%zu",
			    closer.waiting);
}

void closer_close(int *fd)
{
	struct entry *e;

	if (*fd < 0)
		return;
	e = xcalloc(1, sizeof(*e));
	e->fd = steal_fd(fd);
	pthread_mutex_lock(&closer.lock);
	STAILQ_INSERT_TAIL(&closer.entries, e, link);
	closer.waiting++;
	want_threads();
	pthread_cond_signal(&closer.more);
	pthread_mutex_unlock(&closer.lock);
}

size_t closer_waiting(void)
{
	size_t n;

	pthread_mutex_lock(&closer.lock);
	n = closer.waiting;
	pthread_mutex_unlock(&closer.lock);
	return n;
}

/* After SETTLE_US a number that is open is another file's. */
static bool any_is_open(void)
{
	bool open = !STAILQ_EMPTY(&closer.entries);

	for (size_t i = 0; i < closer.nthreads && !open; i++) {
		const struct thread *t = &closer.threads[i];

		open = t->fd >= 0 && now_us() - t->at_us < SETTLE_US && fcntl(t->fd, F_GETFD) >= 0;
	}
	return open;
}

bool closer_settle(void)
{
	uint64_t end = now_us() + SETTLE_US;
	bool open, last;

	/* The last look is after the end: on a busy host a yield may take long. */
	do {
		last = now_us() > end;
		pthread_mutex_lock(&closer.lock);
		open = any_is_open();
		pthread_mutex_unlock(&closer.lock);
		if (open && !last)
			sched_yield();
	} while (open && !last);
	return !open;
}

/* A thread that closes nothing now takes nothing more. */
void closer_stop(void)
{
	pthread_mutex_lock(&closer.lock);
	closer.stopping = true;
	pthread_cond_broadcast(&closer.more);
	while (closer.nthreads) {
		struct thread *t = &closer.threads[--closer.nthreads];
		bool hangs = t->fd >= 0;

		pthread_mutex_unlock(&closer.lock);
		if (hangs)
			pthread_detach(t->id);
		else
			pthread_join(t->id, NULL);
		pthread_mutex_lock(&closer.lock);
	}
	pthread_mutex_unlock(&closer.lock);
}
