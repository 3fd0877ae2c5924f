/* soak_kill - who dies, when, and how: workers, supervisors and VMMs; and a neighbour takes huge pages */
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>

#include "tests/soak/soak.h"

#define PAUSE_MAX_MS 120  /* between two kills */
#define STOPPED_MAX_MS 40 /* between SIGSTOP and SIGKILL */
#define AWAY_MAX_MS 400   /* between the end of a supervisor and the next */
#define STARTING_MAX_MS 60
#define BOTH_MAX 3
#define POOL_LEFT_MAX 5       /* by a neighbour */
#define POOL_HELD_MAX_MS 3000 /* and for so long */

struct killer {
	struct soak *soak;
	uint64_t rng;
	void *held; /* huge pages of a neighbour; NULL: none */
	size_t held_bytes;
	uint64_t held_until_us;
};

static void pause_ms(struct killer *k, uint64_t max)
{
	poll(NULL, 0, (int)soak_random(&k->rng, max + 1));
}

static bool kill_worker(struct killer *k, bool stop_first)
{
	pid_t pids[RIG_WORKERS_MAX];
	size_t n = rig_workers(&k->soak->d, pids);
	pid_t pid;

	if (!n)
		return false;
	pid = pids[soak_random(&k->rng, n)];
	soak_note(k->soak, "kill worker %d%s", (int)pid, stop_first ? " (stopped first)" : "");
	if (stop_first) {
		kill(pid, SIGSTOP);
		pause_ms(k, STOPPED_MAX_MS);
	}
	kill(pid, SIGKILL);
	return true;
}

static void kill_workers(struct killer *k)
{
	if (kill_worker(k, false))
		soak_count(k->soak, SOAK_KILLED_WORKERS, 1);
}

static void stop_and_kill_worker(struct killer *k)
{
	if (kill_worker(k, true))
		soak_count(k->soak, SOAK_KILLED_WORKERS, 1);
}

/* It may be over by now, or not yet have begun. */
static void replace_worker(struct killer *k)
{
	struct soak *s = k->soak;
	struct soak_slot *slot = &s->slots[soak_random(&k->rng, s->nslots)];
	char target[PROTO_ID_MAX + 64];
	struct err err;

	pthread_mutex_lock(&s->lock);
	snprintf(target, sizeof(target), "/v1/restores/%s/restart-worker", slot->id);
	pthread_mutex_unlock(&s->lock);
	soak_note(s, "replace the worker of %s", target);
	if (rig_call(&s->d, "POST", target, NULL, NULL, &err) == 0)
		soak_count(s, SOAK_KILLED_WORKERS, 1);
	else if (err.code != ERR_NOTFOUND && err.code != ERR_STATE)
		soak_problem(s, "%s: %s", target, err.msg);
}

static void end_supervisor(struct killer *k, int sig, int expected)
{
	struct soak *s = k->soak;
	int code;

	soak_note(s, "end supervisor %d with signal %d", (int)s->d.pid, sig);
	code = rig_end(&s->d, sig);
	if (code != expected)
		soak_problem(s, "the supervisor answered signal %d with %d, not %d", sig, code,
			     expected);
}

static void launch_supervisor(struct killer *k)
{
	struct err err;

	if (rig_launch(&k->soak->d, &err))
		soak_problem(k->soak, "%s", err.msg);
	soak_note(k->soak, "supervisor %d begins", (int)k->soak->d.pid);
}

/* Taking up what is there is a dangerous moment, too: for it, and for the workers. */
static void start_supervisor(struct killer *k)
{
	struct soak *s = k->soak;
	struct err err;

	launch_supervisor(k);
	if (soak_random(&k->rng, 4) == 0) {
		pause_ms(k, STARTING_MAX_MS);
		end_supervisor(k, SIGKILL, 128 + SIGKILL);
		soak_count(s, SOAK_KILLED_SUPERVISORS, 1);
		launch_supervisor(k);
	}
	if (soak_random(&k->rng, 4) == 0) {
		pause_ms(k, STARTING_MAX_MS);
		kill_workers(k);
	}
	if (rig_await(&s->d, &err))
		soak_problem(s, "%s", err.msg);
	soak_note(s, "supervisor %d", (int)s->d.pid);
}

static void kill_supervisor(struct killer *k)
{
	if (soak_random(&k->rng, 4) == 0) {
		kill(k->soak->d.pid, SIGSTOP);
		pause_ms(k, STOPPED_MAX_MS);
	}
	end_supervisor(k, SIGKILL, 128 + SIGKILL);
	soak_count(k->soak, SOAK_KILLED_SUPERVISORS, 1);
	pause_ms(k, AWAY_MAX_MS);
	start_supervisor(k);
}

static void restart_supervisor(struct killer *k)
{
	end_supervisor(k, SIGTERM, 0);
	soak_count(k->soak, SOAK_KILLED_SUPERVISORS, 1);
	start_supervisor(k);
}

static void kill_both(struct killer *k)
{
	uint64_t n = 1 + soak_random(&k->rng, BOTH_MAX);
	bool worker_first = soak_random(&k->rng, 2) == 0;

	if (worker_first) {
		kill_worker(k, false);
		/* The supervisor is in the middle of a takeover, or has not noticed. */
		pause_ms(k, 4);
	}
	end_supervisor(k, SIGKILL, 128 + SIGKILL);
	for (uint64_t i = worker_first; i < n; i++) {
		kill_worker(k, false);
		pause_ms(k, 4);
	}
	soak_count(k->soak, SOAK_KILLED_BOTH, 1);
	pause_ms(k, AWAY_MAX_MS);
	start_supervisor(k);
}

static void kill_vmm(struct killer *k)
{
	struct soak *s = k->soak;
	struct soak_slot *slot = &s->slots[soak_random(&k->rng, s->nslots)];

	pthread_mutex_lock(&s->lock);
	if (slot->vmm && !slot->killed) {
		slot->killed = true;
		soak_note(s, "kill VMM %d of %s", (int)slot->vmm, slot->id);
		kill(slot->vmm, SIGKILL);
		soak_count(s, SOAK_KILLED_VMMS, 1);
	}
	pthread_mutex_unlock(&s->lock);
}

/* A neighbour takes huge pages, so that guests run short of them. */
static void take_huge_pages(struct killer *k)
{
	if (k->held || !k->soak->has_pool)
		return;
	k->held = hugepool_take_but(soak_random(&k->rng, POOL_LEFT_MAX + 1), &k->held_bytes);
	k->held_until_us = now_us() + soak_random(&k->rng, POOL_HELD_MAX_MS) * 1000;
	if (k->held)
		soak_note(k->soak, "a neighbour takes %zu huge pages", k->held_bytes / PAGE_2M);
}

static void give_back_huge_pages(struct killer *k)
{
	if (k->held)
		munmap(k->held, k->held_bytes);
	k->held = NULL;
}

/* clang-format off */
static const struct {
	unsigned share; /* of 100 */
	void (*act)(struct killer *k);
} ways[] = {
	{36, kill_workers}, {12, stop_and_kill_worker}, {10, replace_worker}, {10, kill_supervisor},
	{4, restart_supervisor}, {12, kill_both}, {6, kill_vmm}, {10, take_huge_pages},
};
/* clang-format on */

static void kill_something(struct killer *k)
{
	uint64_t r = soak_random(&k->rng, 100);

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		if (r < ways[i].share) {
			ways[i].act(k);
			return;
		}
		r -= ways[i].share;
	}
}

/* A supervisor that ends without us is a crash. */
static void check_supervisor(struct killer *k)
{
	int status;

	if (rig_died(&k->soak->d, &status))
		soak_problem(k->soak, "the supervisor ended by itself (wait status %#x)", status);
	if (!k->soak->d.pid)
		start_supervisor(k);
}

void soak_kill(struct soak *s, uint64_t seed)
{
	struct killer k = {.soak = s, .rng = seed};

	while (now_us() < s->until_us) {
		pause_ms(&k, PAUSE_MAX_MS);
		if (now_us() >= k.held_until_us)
			give_back_huge_pages(&k);
		check_supervisor(&k);
		kill_something(&k);
		soak_reap(s);
	}
	give_back_huge_pages(&k);
	check_supervisor(&k);
}
