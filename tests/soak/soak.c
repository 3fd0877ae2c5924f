/*
 * soak - the guest never notices a death: many restores, and something dies all the time
 *
 * SOAK_S: seconds of killing (60). SOAK_SLOTS: restores at once (12). SOAK_SEED: of
 * everything random, as an earlier run has printed it. SOAK_KEEP: keep the directory
 * even though all went well. One line at the end; 0 if nothing went wrong.
 */
#include "tests/soak/soak.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/support/fds.h"

#define SETTLE_MS 20000
#define POLL_MS 5
#define POOL_PAGES 12 /* huge pages: for three guests */

/* --- numbers and words --- */

void soak_count(struct soak *s, enum soak_count what, uint64_t n)
{
	atomic_fetch_add(&s->counts[what], n);
}

static uint64_t count_of(struct soak *s, enum soak_count what)
{
	return atomic_load(&s->counts[what]);
}

uint64_t soak_random(uint64_t *rng, uint64_t below)
{
	uint64_t v = *rng += 0x9e3779b97f4a7c15;

	v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9;
	v = (v ^ (v >> 27)) * 0x94d049bb133111eb;
	return (v ^ (v >> 31)) % below;
}

__attribute__((format(printf, 2, 0))) static void say(FILE *f, const char *fmt, va_list ap)
{
	int64_t now = wall_ms();
	time_t seconds = (time_t)(now / 1000);
	struct tm tm;
	char at[16];

	gmtime_r(&seconds, &tm);
	strftime(at, sizeof(at), "%H:%M:%S", &tm);
	flockfile(f);
	fprintf(f, "%s.%03d ", at, (int)(now % 1000));
	vfprintf(f, fmt, ap);
	fputc('\n', f);
	funlockfile(f);
}

static FILE *notes;

void soak_note(struct soak *s, const char *fmt, ...)
{
	va_list ap;

	(void)s;
	if (!notes)
		return;
	va_start(ap, fmt);
	say(notes, fmt, ap);
	va_end(ap);
}

void soak_problem(struct soak *s, const char *fmt, ...)
{
	va_list ap;

	soak_count(s, SOAK_PROBLEMS, 1);
	va_start(ap, fmt);
	say(stderr, fmt, ap);
	va_end(ap);
	if (!notes)
		return;
	va_start(ap, fmt);
	say(notes, fmt, ap);
	va_end(ap);
}

/* --- children --- */

static bool is_known(const struct soak *s, pid_t pid)
{
	for (size_t i = 0; i < s->nslots; i++)
		if (s->slots[i].vmm == pid)
			return true;
	return pid == s->d.pid;
}

size_t soak_reap(struct soak *s)
{
	DIR *dir = opendir("/proc");
	size_t alive = 0;

	pthread_mutex_lock(&s->lock);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10), parent;
		char state;

		if (!isdigit((unsigned char)e->d_name[0]) ||
		    !rig_process(e->d_name, &state, &parent) || parent != getpid() ||
		    is_known(s, pid))
			continue;
		if (waitpid(pid, NULL, WNOHANG) != pid)
			alive++;
	}
	pthread_mutex_unlock(&s->lock);
	if (dir)
		closedir(dir);
	return alive;
}

/* --- the end --- */

static bool settle(bool (*cond)(struct soak *s), struct soak *s)
{
	uint64_t deadline = now_us() + SETTLE_MS * 1000;

	while (!cond(s)) {
		if (now_us() >= deadline)
			return false;
		poll(NULL, 0, POLL_MS);
	}
	return true;
}

static void leftover(struct soak *s, const char *what, const char *which)
{
	soak_count(s, SOAK_LEFTOVERS, 1);
	soak_problem(s, "left over: %s%s%s", what, *which ? " " : "", which);
}

static size_t live_rows(struct soak *s)
{
	static const char *const states[] = {"waiting", "serving", "recovering"};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		cleanup_json struct json_object *o = NULL;
		char target[64];
		struct err err;

		snprintf(target, sizeof(target), "/v1/restores?state=%s", states[i]);
		if (rig_call(&s->d, "GET", target, NULL, &o, &err))
			soak_problem(s, "%s: %s", target, err.msg);
		n += json_object_array_length(rig_member(o, "items"));
	}
	return n;
}

static bool no_live_rows(struct soak *s)
{
	return live_rows(s) == 0;
}

static bool only_the_pool(struct soak *s)
{
	pid_t pids[RIG_WORKERS_MAX];

	return soak_reap(s) == 0 && rig_workers(&s->d, pids) == RIG_POOL;
}

static int fds_at_rest;

static bool fds_as_before(struct soak *s)
{
	return fds_count(s->d.pid) <= fds_at_rest;
}

static bool nobody_left(struct soak *s)
{
	pid_t pids[RIG_WORKERS_MAX];

	return soak_reap(s) == 0 && rig_workers(&s->d, pids) == 0;
}

static void check_files(struct soak *s, const char *what)
{
	char path[sizeof(s->d.run) + 8];
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", s->d.run, what);
	dir = opendir(path);
	for (struct dirent *e; dir && (e = readdir(dir));)
		if (e->d_name[0] != '.')
			leftover(s, path, e->d_name);
	if (dir)
		closedir(dir);
}

static void check_log(struct soak *s)
{
	static const char *const complaints[] = {"Sanitizer", "runtime error", "Assertion",
						 "assertion"};

	for (size_t i = 0; i < ARRAY_LEN(complaints); i++)
		if (rig_logged(&s->d, complaints[i]))
			soak_problem(s, "the daemon's log has \"%s\"", complaints[i]);
}

static void check_leftovers(struct soak *s)
{
	if (!settle(no_live_rows, s))
		leftover(s, "live restores", "");
	if (!settle(only_the_pool, s))
		leftover(s, "worker processes, or an idle one is missing", "");
	if (!settle(fds_as_before, s))
		leftover(s, "descriptors of the daemon", "");
	check_files(s, "uffd");
	check_files(s, "maps");
	if (rig_end(&s->d, SIGTERM) != 0)
		soak_problem(s, "the supervisor did not end well");
	if (!settle(nobody_left, s))
		leftover(s, "processes after the end of the supervisor", "");
	check_log(s);
}

/* --- the course of things --- */

static uint64_t setting(const char *name, uint64_t otherwise, uint64_t max)
{
	const char *text = getenv(name);
	uint64_t value = text && *text ? strtoull(text, NULL, 10) : otherwise;

	return value < 1 ? 1 : value > max ? max : value;
}

static int prepare(struct soak *s, struct err *err)
{
	char path[sizeof(s->d.dir) + 8];

	if (rig_prepare(&s->d, err))
		return -1;
	snprintf(path, sizeof(path), "%s/kills", s->d.dir);
	notes = fopen(path, "we");
	if (!notes)
		return err_sys(err, "cannot write %s", path);
	setvbuf(notes, NULL, _IOLBF, 0);
	if (soak_snapshots_make(s, err) || rig_start(&s->d, err))
		return -1;
	if (!settle(only_the_pool, s))
		return err_set(err, ERR_SYSTEM, "the daemon has not its idle workers");
	fds_at_rest = fds_count(s->d.pid);
	return 0;
}

static void run(struct soak *s, uint64_t seed, uint64_t seconds)
{
	s->until_us = now_us() + seconds * 1000000;
	for (size_t i = 0; i < s->nslots; i++) {
		struct soak_slot *slot = &s->slots[i];

		*slot = (struct soak_slot){.soak = s, .index = (unsigned)i, .rng = seed + i + 1};
		snprintf(slot->id, sizeof(slot->id), "none");
		if (pthread_create(&slot->thread, NULL, soak_slot_run, slot))
			abort();
	}
	soak_kill(s, seed);
	for (size_t i = 0; i < s->nslots; i++)
		pthread_join(s->slots[i].thread, NULL);
	check_leftovers(s);
}

static void tell(struct soak *s, uint64_t seconds)
{
	printf("soak: %" PRIu64 " s, %" PRIu64 " restores, kills: %" PRIu64 " workers %" PRIu64
	       " supervisors %" PRIu64 " both %" PRIu64 " VMMs, %" PRIu64 " takeovers, %" PRIu64
	       " pages verified, %" PRIu64 " wrong bytes, %" PRIu64 " hung threads, %" PRIu64
	       " leftovers, %" PRIu64 " lost handshakes, %" PRIu64 " in a small cgroup, %" PRIu64
	       " starved of huge pages, %" PRIu64 " creations repeated, %" PRIu64 " problems\n",
	       seconds, count_of(s, SOAK_RESTORES), count_of(s, SOAK_KILLED_WORKERS),
	       count_of(s, SOAK_KILLED_SUPERVISORS), count_of(s, SOAK_KILLED_BOTH),
	       count_of(s, SOAK_KILLED_VMMS), count_of(s, SOAK_TAKEOVERS), count_of(s, SOAK_PAGES),
	       count_of(s, SOAK_WRONG), count_of(s, SOAK_HUNG), count_of(s, SOAK_LEFTOVERS),
	       count_of(s, SOAK_LOST), count_of(s, SOAK_CAGED), count_of(s, SOAK_STARVED),
	       count_of(s, SOAK_RETRIED), count_of(s, SOAK_PROBLEMS));
}

int main(void)
{
	static struct soak s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	uint64_t seconds = setting("SOAK_S", 60, 7 * 86400);
	uint64_t seed = setting("SOAK_SEED", (uint64_t)wall_ms(), UINT64_MAX);
	struct err err;
	bool good;

	s.has_pool = hugepool_open(&s.pool, POOL_PAGES);
	s.has_cage = soak_cage_open();
	s.nslots = setting("SOAK_SLOTS", 12, SOAK_SLOTS_MAX);
	printf("SOAK_SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	if (prepare(&s, &err))
		soak_problem(&s, "%s", err.msg);
	else
		run(&s, seed, seconds);
	rig_end(&s.d, SIGKILL);
	soak_cage_close(&s);
	tell(&s, seconds);
	good = count_of(&s, SOAK_PROBLEMS) == 0;
	if (good && !getenv("SOAK_KEEP"))
		rig_remove(&s.d);
	else
		fprintf(stderr, "%s: log, kills and the store are kept\n", s.d.dir);
	hugepool_close(&s.pool);
	soak_snapshots_free(&s);
	if (notes)
		fclose(notes);
	return good ? 0 : 1;
}
