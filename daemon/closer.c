#include "daemon/closer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/queue.h>

#include "daemon/log.h"

/* Enough for close(), whatever it runs into. */
#define STACK_BYTES ((size_t)64 << 10)

struct entry {
	int fd;
	STAILQ_ENTRY(entry) link;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	STAILQ_HEAD(, entry) entries; /* owned; no thread has taken them yet */
	size_t waiting;               /* of entries, and in the threads' hands */
	size_t threads;
} closer = {.lock = PTHREAD_MUTEX_INITIALIZER,
	    .more = PTHREAD_COND_INITIALIZER,
	    .entries = STAILQ_HEAD_INITIALIZER(closer.entries)};

static void close_first(void)
{
	struct entry *e = STAILQ_FIRST(&closer.entries);

	STAILQ_REMOVE_HEAD(&closer.entries, link);
	pthread_mutex_unlock(&closer.lock);
	close(e->fd);
	free(e);
	pthread_mutex_lock(&closer.lock);
	closer.waiting--;
}

static void *run(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&closer.lock);
	for (;;) {
		while (STAILQ_EMPTY(&closer.entries))
			pthread_cond_wait(&closer.more, &closer.lock);
		close_first();
	}
	return NULL;
}

/* Signals are the main thread's. */
static bool start_thread(void)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int rc;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, &attr, run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return rc == 0;
}

/* As many threads as descriptors, up to the maximum: any of them may hang. */
static void want_threads(void)
{
	static struct log_limit limit = LOG_LIMIT(1, 60 * 1000 * 1000);

	if (closer.waiting > closer.threads && closer.threads < CLOSER_THREADS_MAX)
		closer.threads += start_thread();
	if (closer.waiting > closer.threads && log_allow(&limit, now_us()))
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
