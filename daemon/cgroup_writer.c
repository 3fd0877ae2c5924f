#include "daemon/cgroup_writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/queue.h>

#include "common/io.h"
#include "daemon/log.h"

/* Enough for write() and a line of the log. */
#define STACK_BYTES ((size_t)128 << 10)

struct entry {
	int fd; /* owned */
	char text[CGROUP_WRITER_TEXT_MAX + 1];
	char *path; /* owned */
	TAILQ_ENTRY(entry) link;
};

static struct {
	pthread_mutex_t lock;
	TAILQ_HEAD(, entry) entries; /* owned; the thread has not taken them yet */
	bool running;
} writer = {.lock = PTHREAD_MUTEX_INITIALIZER, .entries = TAILQ_HEAD_INITIALIZER(writer.entries)};

static void write_entry(struct entry *e)
{
	if (io_write_all(e->fd, e->text, strlen(e->text)))
		log_error("a limit of a cgroup could not be changed", "file=%s to=%s why=%s",
			  e->path, e->text, strerror(errno));
	close(e->fd);
	free(e->path);
	free(e);
}

static void *run(void *arg)
{
	struct entry *e;

	(void)arg;
	pthread_mutex_lock(&writer.lock);
	while ((e = TAILQ_FIRST(&writer.entries))) {
		TAILQ_REMOVE(&writer.entries, e, link);
		pthread_mutex_unlock(&writer.lock);
		write_entry(e);
		pthread_mutex_lock(&writer.lock);
	}
	writer.running = false;
	pthread_mutex_unlock(&writer.lock);
	return NULL;
}

/* Signals are the main thread's. Nobody waits for the thread: it may be in the kernel for long. */
static bool start_thread(void)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t id;
	int rc;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&id, &attr, run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return rc == 0;
}

void cgroup_writer_write(int *fd, const char *text, const char *path)
{
	struct entry *e = xcalloc(1, sizeof(*e));

	e->fd = steal_fd(fd);
	snprintf(e->text, sizeof(e->text), "%s", text);
	e->path = strdup(path);
	if (!e->path)
		abort();
	pthread_mutex_lock(&writer.lock);
	TAILQ_INSERT_TAIL(&writer.entries, e, link);
	if (!writer.running && !(writer.running = start_thread()))
		log_error("a limit of a cgroup waits: no thread can be started", "file=%s to=%s",
			  path, text);
	pthread_mutex_unlock(&writer.lock);
}
