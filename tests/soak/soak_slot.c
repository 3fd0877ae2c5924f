/* soak_slot - one restore after another, each with a stand-in VMM that checks every page */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "tests/soak/soak.h"
#include "tests/fakes/vmm/vmm.h"

#define VMM_TIMEOUT_S 60
#define VMM_MS ((VMM_TIMEOUT_S + 20) * 1000)
#define CREATE_TRIES 50
#define CONNECT_TRIES 50
#define TEXT_MAX ((size_t)256 << 10)
#define ARGS_MAX 40
#define CAGED_PAGES 1024u /* that are touched, 4 MiB */
#define CAGED_MS_MAX 3000
/* The longest that the end of a VMM may take to show: a worker may be away for 10 s. */
#define ENDED_MS 40000
#define ENDED_PAUSE_MS 20

enum { EXIT_SETUP = 3, EXIT_HUNG = 4 };

/* One restore. */
struct turn {
	struct soak_slot *slot;
	const struct soak_snapshot *snapshot;
	char socket[PROTO_SUN_MAX + 1];
	char text[16][24]; /* what args points at */
	const char *args[ARGS_MAX];
	size_t nargs, ntext;
	int code;   /* of the stand-in: exit code, or 128 + signal; -1: hung beyond its deadline */
	char *said; /* owned: what it printed */
	bool huge;  /* on huge pages, of which there may be too few */
	bool caged; /* in a cgroup that is smaller than the guest */
	bool killed, lost, starved;
};

static uint64_t draw(struct turn *t, uint64_t below)
{
	return soak_random(&t->slot->rng, below);
}

static bool chance(struct turn *t, unsigned percent)
{
	return draw(t, 100) < percent;
}

/* --- requests about the restore --- */

static int ask(struct turn *t, const char *method, const char *suffix, const char *body,
	       struct json_object **ret, struct err *err)
{
	char target[PROTO_ID_MAX + 64];

	snprintf(target, sizeof(target), "/v1/restores/%s%s", t->slot->id, suffix);
	return rig_call(&t->slot->soak->d, method, target, body, ret, err);
}

static char *request_body(struct turn *t)
{
	/* One that starves must end; and one that was left alone would end at once (SIGBUS). */
	static const char *const failures[] = {"kill", "poison", "hold"};
	size_t nfailures = t->huge ? 2 : ARRAY_LEN(failures);
	static const char *const modes[] = {"none", "all", "all"};
	/* Slow enough to be in the middle of it when something dies; 0: as fast as can be. */
	static const unsigned rates[] = {0, 500000, 1000000, 4000000};
	char *body;
	int n = asprintf(&body,
			 "{\"snapshot\":%s,\"on_failure\":\"%s\",\"prefetch\":"
			 "{\"mode\":\"%s\",\"rate_bytes_per_s\":%u},\"when_complete\":\"%s\"}",
			 t->snapshot->body, failures[draw(t, nfailures)],
			 modes[draw(t, ARRAY_LEN(modes))], rates[draw(t, ARRAY_LEN(rates))],
			 chance(t, 20) && !t->huge ? "release" : "stay");

	if (n < 0)
		abort();
	return body;
}

/* Before a restore exists nothing is promised to it: the death of its worker refuses it. */
static bool is_excused(const struct err *err)
{
	return strstr(err->msg, "worker died") || strstr(err->msg, "channel");
}

static bool create(struct turn *t)
{
	struct soak *s = t->slot->soak;
	cleanup_free char *body = request_body(t);
	cleanup_json struct json_object *o = NULL;
	struct err err;

	for (int i = 0; i < CREATE_TRIES; i++) {
		if (ask(t, "PUT", "", body, &o, &err) == 0) {
			snprintf(t->socket, sizeof(t->socket), "%s",
				 rig_text(o, "mem_backend.backend_path"));
			soak_note(s, "%s created, worker %s: %s", t->slot->id,
				  rig_text(o, "worker.pid"), body);
			return true;
		}
		if (!is_excused(&err))
			break;
		soak_count(s, SOAK_RETRIED, 1);
	}
	soak_problem(s, "%s could not be created: %s", t->slot->id, err.msg);
	return false;
}

/* --- its VMM --- */

static void add_arg(struct turn *t, const char *arg)
{
	t->args[t->nargs++] = arg;
}

static void add_number(struct turn *t, const char *name, uint64_t value)
{
	char *text = t->text[t->ntext++];

	snprintf(text, sizeof(t->text[0]), "%llu", (unsigned long long)value);
	add_arg(t, name);
	add_arg(t, text);
}

/* As much as there is room for, and for as long as prefetch may want the rest. */
static void choose_part(struct turn *t)
{
	char *text = t->text[t->ntext++];
	uint64_t pages = t->snapshot->bytes / PAGE_4K;

	snprintf(text, sizeof(t->text[0]), "%llu+%u",
		 (unsigned long long)draw(t, pages - CAGED_PAGES), CAGED_PAGES);
	add_arg(t, "--only");
	add_arg(t, text);
	add_number(t, "--linger", draw(t, CAGED_MS_MAX));
	t->args[t->nargs] = NULL;
}

static void choose_args(struct turn *t)
{
	static const char *const orders[] = {"seq", "rev", "rand", "stride", "same"};
	static const char *const splits[] = {"rest", "4K,rest", "128K,256K,rest", "12K,rest,64K"};

	add_arg(t, TEST_BUILD "/tests/standin");
	add_arg(t, "--socket");
	add_arg(t, t->socket);
	add_arg(t, "--image");
	add_arg(t, t->snapshot->image);
	add_number(t, "--threads", 8);
	add_number(t, "--timeout", VMM_TIMEOUT_S);
	add_number(t, "--seed", draw(t, 1000000));
	if (t->caged) {
		choose_part(t);
		return;
	}
	add_number(t, "--write", draw(t, 4) * 10);
	add_number(t, "--remove", draw(t, 3) * 20);
	if (chance(t, 80))
		add_number(t, "--balloon", 1 + draw(t, 5));
	add_arg(t, "--order");
	add_arg(t, orders[draw(t, ARRAY_LEN(orders))]);
	add_arg(t, "--split");
	add_arg(t, t->huge ? "rest" : splits[draw(t, ARRAY_LEN(splits))]);
	if (t->huge) {
		add_arg(t, "--page-size");
		add_arg(t, "2M");
		add_arg(t, "--scarce");
	}
	if (chance(t, 30))
		add_arg(t, "--drop");
	if (chance(t, 30)) {
		add_arg(t, "--offset-order");
		add_arg(t, "rev");
	}
	/* A huge page that is copied on write takes one more from the pool, or kills its VMM. */
	if (chance(t, 10) && !t->huge)
		add_arg(t, "--fork");
	if (chance(t, 25))
		add_arg(t, "--unmap");
	t->args[t->nargs] = NULL;
}

static pid_t spawn(struct turn *t, int out)
{
	struct soak *s = t->slot->soak;
	pid_t pid;

	/* Nobody may see the child before it is known whose it is. */
	pthread_mutex_lock(&s->lock);
	if (t->caged && !soak_cage_enter())
		soak_problem(s, "%s: no VMM could be put into its cgroup", t->slot->id);
	pid = rig_spawn(t->args, out);
	if (t->caged)
		soak_cage_leave();
	t->slot->vmm = pid > 0 ? pid : 0;
	t->slot->killed = false;
	pthread_mutex_unlock(&s->lock);
	return pid;
}

/* Its exit code, however it ended; -1: it had to be killed. */
static int wait_vmm(struct turn *t, pid_t pid)
{
	cleanup_fd int pidfd = pidfd_open(pid, 0);
	struct soak *s = t->slot->soak;
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	bool ended = poll(&p, 1, VMM_MS) == 1;
	int status = 0;

	if (!ended)
		pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	pthread_mutex_lock(&s->lock);
	waitpid(pid, &status, 0);
	t->slot->vmm = 0;
	t->killed = t->slot->killed;
	pthread_mutex_unlock(&s->lock);
	if (!ended)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char *read_all(int fd)
{
	char *text = xcalloc(1, TEXT_MAX + 1);
	ssize_t n = pread(fd, text, TEXT_MAX, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void run_vmm(struct turn *t)
{
	/* While worker and supervisor are both dead, nobody listens: a VMM may be started again. */
	for (int i = 0; i < CONNECT_TRIES; i++) {
		cleanup_fd int out = memfd_create("out", MFD_CLOEXEC);
		pid_t pid = spawn(t, out);

		if (pid < 0) {
			soak_problem(t->slot->soak, "%s: no VMM could be started", t->slot->id);
			return;
		}
		soak_note(t->slot->soak, "%s VMM %d", t->slot->id, (int)pid);
		t->code = wait_vmm(t, pid);
		free(t->said);
		t->said = read_all(out);
		if (t->killed || t->code != EXIT_SETUP || strstr(t->said, "connected\n"))
			return;
		poll(NULL, 0, 100);
	}
}

/* --- what came of it --- */

static size_t count_words(const char *text, const char *words)
{
	size_t n = 0;

	for (; (text = strstr(text, words)); text++)
		n++;
	return n;
}

static void tell_state(struct turn *t)
{
	cleanup_json struct json_object *o = NULL;
	struct err err;

	if (ask(t, "GET", "", NULL, &o, &err))
		soak_problem(t->slot->soak, "%s: %s", t->slot->id, err.msg);
	else
		soak_note(t->slot->soak, "%s is now %s", t->slot->id,
			  json_object_to_json_string(o));
}

static void tell_vmm(struct turn *t, const char *what)
{
	char args[1024];
	size_t len = 0;

	for (size_t i = 1; i < t->nargs && len < sizeof(args); i++)
		len += (size_t)snprintf(args + len, sizeof(args) - len, " %s", t->args[i]);
	soak_problem(t->slot->soak, "%s: its VMM %s (code %d)\n  standin%s\n%s", t->slot->id, what,
		     t->code, args, t->said);
	tell_state(t);
}

static int look_for_death(const char *line, size_t len, void *arg, struct err *err)
{
	bool *alone = arg;

	(void)len;
	(void)err;
	*alone = *alone ||
		 (strstr(line, "\"worker-died\"") && strstr(line, "found dead after a restart"));
	return 0;
}

/* A worker of it was killed while no supervisor was there who knew what it had. */
static bool died_alone(struct turn *t)
{
	char target[PROTO_ID_MAX + 64];
	bool alone = false;
	struct err err;

	snprintf(target, sizeof(target), "/v1/events?restore=%s", t->slot->id);
	if (rig_lines(&t->slot->soak->d, target, look_for_death, &alone, &err))
		soak_problem(t->slot->soak, "%s: %s", target, err.msg);
	return alone;
}

/* It hangs, or was left without an answer, because nobody who lives ever knew of it. */
static bool is_lost(struct turn *t)
{
	cleanup_json struct json_object *o = NULL;
	struct err err;

	return t->code == EXIT_HUNG && ask(t, "GET", "", NULL, &o, &err) == 0 &&
	       !rig_member(o, "connected_at") &&
	       (strcmp(rig_text(o, "state"), "failed") == 0 ||
		strcmp(rig_text(o, "state"), "waiting") == 0) &&
	       died_alone(t);
}

/* There was no memory for longer than a guest may wait: its restore has failed, and says so. */
static bool is_starved(struct turn *t)
{
	cleanup_json struct json_object *o = NULL;
	struct err err;

	return t->huge && t->code > 128 && ask(t, "GET", "", NULL, &o, &err) == 0 &&
	       strcmp(rig_text(o, "state"), "failed") == 0 &&
	       strstr(rig_text(o, "reason"), "no memory for the VMM's pages");
}

static void check_vmm(struct turn *t)
{
	struct soak *s = t->slot->soak;
	const char *line = strrchr(t->said, '{');
	cleanup_json struct json_object *o = NULL;
	struct err err;
	uint64_t wrong;

	soak_count(s, SOAK_WRONG, count_words(t->said, "wrong page="));
	if (t->killed)
		return;
	t->lost = is_lost(t);
	if (t->lost) {
		soak_count(s, SOAK_LOST, 1);
		soak_note(s, "%s: the handshake was lost", t->slot->id);
		return;
	}
	t->starved = is_starved(t);
	if (t->starved) {
		soak_count(s, SOAK_STARVED, 1);
		return;
	}
	soak_count(s, SOAK_HUNG, count_words(t->said, "hung thread="));
	if (t->code != 0) {
		tell_vmm(t, t->code == EXIT_HUNG ? "hung" : "failed");
		return;
	}
	o = line ? js_parse(line, strcspn(line, "\n"), false, &err) : NULL;
	wrong = (uint64_t)json_object_get_int64(rig_member(o, "wrong"));
	if (!o || wrong)
		tell_vmm(t, o ? "read wrong bytes" : "did not report");
	soak_count(s, SOAK_PAGES,
		   (uint64_t)json_object_get_int64(rig_member(o, "touched")) +
			   (uint64_t)json_object_get_int64(rig_member(o, "verified")));
}

/* One that was killed before it had connected leaves a restore that waits. */
static struct json_object *await_end(struct turn *t)
{
	uint64_t deadline = now_us() + (uint64_t)ENDED_MS * 1000;
	struct json_object *o = NULL;
	struct err err;

	while (now_us() < deadline) {
		json_object_put(steal_ptr(&o));
		if (ask(t, "GET", t->killed ? "" : "?for=ended&wait=5s", NULL, &o, &err)) {
			soak_problem(t->slot->soak, "%s cannot be asked about: %s", t->slot->id,
				     err.msg);
			return NULL;
		}
		if (t->killed && strcmp(rig_text(o, "state"), "waiting") == 0)
			ask(t, "DELETE", "", NULL, NULL, &err);
		else if (t->killed)
			poll(NULL, 0, ENDED_PAUSE_MS);
		if (strcmp(rig_text(o, "state"), "ended") == 0 ||
		    strcmp(rig_text(o, "state"), "failed") == 0)
			break;
	}
	return o;
}

static void check_end(struct turn *t)
{
	struct soak *s = t->slot->soak;
	cleanup_json struct json_object *o = await_end(t);
	bool ended = strcmp(rig_text(o, "state"), "ended") == 0;

	soak_count(s, SOAK_TAKEOVERS,
		   (uint64_t)json_object_get_int64(rig_member(o, "worker.restarts")));
	soak_note(s, "%s is over: %s", t->slot->id, rig_text(o, "reason"));
	/* It hung already, when we killed it. */
	if (!ended && t->killed && !rig_member(o, "connected_at") && died_alone(t))
		soak_count(s, SOAK_LOST, 1);
	else if (!ended && !t->lost && !t->starved)
		soak_problem(s, "%s is %s after its VMM ended%s: %s", t->slot->id,
			     rig_text(o, "state"), t->killed ? " by our hand" : "",
			     rig_text(o, "reason"));
}

static void choose_snapshot(struct turn *t)
{
	struct soak *s = t->slot->soak;

	t->caged = s->has_cage && chance(t, 10);
	if (t->caged && atomic_fetch_add(&s->caged, 1) >= SOAK_CAGED_MAX) {
		atomic_fetch_sub(&s->caged, 1);
		t->caged = false;
	}
	/* The last one is for the cage. */
	t->snapshot = &s->snapshots[t->caged ? s->nsnapshots - 1 : draw(t, s->nsnapshots - 1)];
	t->huge = !t->caged && s->has_pool && t->snapshot->bytes % PAGE_2M == 0 && chance(t, 25);
}

static void one_restore(struct soak_slot *slot)
{
	struct soak *s = slot->soak;
	struct turn t = {.slot = slot};

	choose_snapshot(&t);
	pthread_mutex_lock(&s->lock);
	snprintf(slot->id, sizeof(slot->id), "s%u-%u", slot->index, slot->round++);
	pthread_mutex_unlock(&s->lock);
	if (create(&t)) {
		choose_args(&t);
		run_vmm(&t);
	}
	if (t.caged) {
		atomic_fetch_sub(&s->caged, 1);
		soak_count(s, SOAK_CAGED, 1);
	}
	if (t.said) {
		check_vmm(&t);
		check_end(&t);
		soak_count(s, SOAK_RESTORES, 1);
	}
	free(t.said);
}

void *soak_slot_run(void *arg)
{
	struct soak_slot *slot = arg;

	while (now_us() < slot->soak->until_us)
		one_restore(slot);
	return NULL;
}
