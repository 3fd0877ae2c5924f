/*
 * fuzz_chan - any worker against a supervisor: what it says, passes on, and when it goes
 *
 * Input: scene, options, on_failure, then steps of a byte and what the step needs. A message is an
 * honest one of its type, and then changed. After each step the restore is checked.
 */
#include <errno.h>

#include "daemon/adopt.h"
#include "daemon/commands.h"
#include "daemon/phase.h"
#include "daemon/recover.h"
#include "tests/fuzz/chanscene.h"

#define STEPS_MAX 48
#define FDS_MAX 4
#define CHANGES_MAX 4
#define RAW_MAX 640

/* What must stay as it was. */
static struct {
	enum restore_state state;
	bool released, let_go;
	uint64_t revision;
} before;

bool fuzz_needs_root(void)
{
	return true;
}

/* ---- the restore's invariants ---- */

static void check_released(const struct restore *r)
{
	FUZZ_CHECK(r->hold.uffd < 0 && r->hold.vmm < 0 && r->hold.old_worker < 0);
	FUZZ_CHECK(r->hold.acceptor.fd < 0 && !r->hold.acceptor.n && !r->hold.grace);
}

static void check_restore(const struct restore *r)
{
	uid_t real, saved;
	pid_t pid;

	FUZZ_CHECK(record_can_reach(before.state, r->rec.state));
	FUZZ_CHECK(!before.released || r->rec.released);
	FUZZ_CHECK(!before.let_go || slot_is_released(&r->slot));
	FUZZ_CHECK(r->rec.revision >= before.revision);
	FUZZ_CHECK(r->rec.state != STATE_SERVING || r->hold.uffd >= 0);
	FUZZ_CHECK(r->rec.state != STATE_ENDED || r->rec.released);
	FUZZ_CHECK(r->hold.vmm < 0 || proc_behind(r->hold.vmm, &pid, &real, &saved) == 0);
	FUZZ_CHECK(r->hold.acceptor.n <= CHAN_PEERS_MAX);
	FUZZ_CHECK(!r->worker || !slot_is_released(&r->slot) || r->slot.state == SLOT_LEAVING);
	if (slot_is_released(&r->slot))
		check_released(r);
	before.state = r->rec.state;
	before.released = r->rec.released;
	before.let_go = slot_is_released(&r->slot);
	before.revision = r->rec.revision;
}

static void check(void)
{
	FUZZ_CHECK(answers <= 1);
	/* Only a create that failed leaves no restore, and it was answered. */
	FUZZ_CHECK(k.r || answers == 1);
	if (k.r)
		check_restore(k.r);
}

static int compare_row(void *arg, struct restore_record *rec, struct err *err)
{
	const struct restore_record *want = &k.r->rec;

	(void)err;
	if (strcmp(rec->id, want->id) != 0)
		return 0;
	++*(unsigned *)arg;
	FUZZ_CHECK(rec->state == want->state && rec->revision == want->revision);
	FUZZ_CHECK(rec->released == want->released && rec->vmm_pid == want->vmm_pid);
	FUZZ_CHECK(strcmp(rec->reason, want->reason) == 0);
	return 0;
}

/* The row is the restore's once the restore has been created. */
static void check_row(void)
{
	struct err err;
	unsigned rows = 0;

	if (!k.r || restore_is_creating(k.r))
		return;
	FUZZ_CHECK(journal_check(k.host.journal, &err) == 0);
	FUZZ_CHECK(store_restores(k.store, compare_row, &rows, &err) == 0 && rows == 1);
}

/* ---- what the worker hears ---- */

/* Shows the memory of one process: only ever of the VMM. */
static void check_presence(int fd)
{
	char path[64], link[64] = "", want[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	FUZZ_CHECK(fd >= 0 && readlink(path, link, sizeof(link) - 1) > 0);
	snprintf(want, sizeof(want), "/proc/%d/pagemap", (int)vmm.pid);
	if (strcmp(link, want) != 0)
		fuzz_fail(__FILE__, __LINE__, "a worker is given %s", link);
}

static void hear(void)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;
	struct err err;

	while (chan >= 0 && chan_recv(chan, &msg, fds, &err) == CHAN_GOT) {
		if (msg.type == CHAN_PRESENCE)
			check_presence(fds[0]);
		if (msg.type == CHAN_PEER)
			peer_cookie = sock_cookie(fds[0]);
		chan_close_fds(fds);
	}
}

/* ---- steps ---- */

static void turn(void)
{
	siginfo_t how;

	/* A successor ends at once; to wait for it makes inputs repeatable. */
	if (k.r && k.r->worker && k.r->worker->pid != worker.pid)
		waitid(P_PIDFD, (id_t)k.r->worker->pidfd, &how, WEXITED | WNOWAIT);
	if (worker.killed)
		waitid(P_PID, (id_t)worker.pid, &how, WEXITED | WNOWAIT);
	if (vmm.killed)
		waitid(P_PID, (id_t)vmm.pid, &how, WEXITED | WNOWAIT);
	event_base_loop(k.host.base, EVLOOP_NONBLOCK);
}

static uint32_t a_pid(uint8_t which)
{
	const uint32_t pids[] = {
		0, (uint32_t)vmm.pid, (uint32_t)worker.pid, (uint32_t)other.pid, (uint32_t)getpid(),
		1, UINT32_MAX,        (uint32_t)getppid()};

	return pids[which % ARRAY_LEN(pids)];
}

static void make_honest(enum chan_type type, struct chan_msg *msg)
{
	switch (type) {
	case CHAN_READY:
		msg->ready = (struct chan_ready){.size_bytes = SIZE, .span_bytes = SPAN};
		msg->ready.key.kind = WSET_BUILD;
		break;
	case CHAN_CONNECTED:
		msg->connected = (struct chan_connected){.pid = (uint32_t)vmm.pid,
							 .uid = TENANT_UID,
							 .page_bytes = PAGE_4K,
							 .memory_bytes = SPAN};
		break;
	case CHAN_REFUSED:
		msg->refused = (struct chan_refused){.peer = peer_cookie, .why = "why"};
		break;
	case CHAN_FAILED:
		msg->failed = (struct chan_failed){.vmm_uid = TENANT_UID, .msg = "so it says"};
		break;
	case CHAN_NOTE:
		snprintf(msg->note.type, sizeof(msg->note.type), "forked");
		break;
	default:
		break;
	}
}

/* One member gets a pid, a number, or a small number. */
static void change(struct chan_msg *msg, struct tape *t)
{
	size_t at = 4 * (tape_u16(t) % ((sizeof(*msg) - 8) / 4));
	uint8_t how = tape_u8(t);
	uint64_t value = how & 2 ? tape_u64(t) : tape_u8(t);
	uint32_t pid = a_pid(how >> 2);

	if (how & 1)
		memcpy((char *)msg + at, &pid, sizeof(pid));
	else
		memcpy((char *)msg + at, &value, sizeof(value));
}

static size_t choose_fds(struct tape *t, int fds[FDS_MAX])
{
	size_t n = tape_u8(t) % (FDS_MAX + 1), taken = 0;

	for (size_t i = 0; i < n; i++) {
		int fd = things[tape_u8(t) % THING_COUNT];

		if (fd >= 0)
			fds[taken++] = fd;
	}
	return taken;
}

static void step_say(struct tape *t)
{
	enum chan_type type = 1 + tape_u8(t) % (CHAN_TYPE_COUNT - 1);
	struct chan_msg msg = {0};
	int fds[FDS_MAX];
	struct err err;
	size_t n = choose_fds(t, fds), changes = tape_u8(t) % (CHANGES_MAX + 1);

	make_honest(type, &msg);
	while (changes--)
		change(&msg, t);
	if (chan >= 0)
		chan_send(chan, type, &msg, fds, n, &err);
}

static void step_raw(struct tape *t)
{
	uint8_t bytes[RAW_MAX];
	size_t len = tape_u16(t) % RAW_MAX;

	tape_copy(t, bytes, len);
	if (chan >= 0)
		send(chan, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void step_time(struct tape *t)
{
	later_ns += (uint64_t)tape_u16(t) * 1000000;
}

static void step_event(struct tape *t)
{
	eventfd_t value;

	if (tape_u8(t) & 1)
		eventfd_write(things[THING_EVENT], 1);
	else
		eventfd_read(things[THING_EVENT], &value);
}

static void step_peer(struct tape *t)
{
	char path[CONF_PATH_MAX + 1];
	struct err err;
	int fd;

	snprintf(path, sizeof(path), "%s/s", k.dir);
	if (nclients == CLIENTS_MAX || sock_connect(path, SOCK_STREAM | SOCK_NONBLOCK, &fd, &err))
		return;
	clients[nclients++] = fd;
	if (tape_u8(t) & 1)
		handshake_send(fd, "[]", &things[THING_UFFD], 1, &err);
}

static void step_end(struct tape *t)
{
	uint8_t which = tape_u8(t) % 3;

	if (which == 0)
		close_fd(&chan);
	else
		stayer_end(which == 1 ? &worker : &vmm);
}

static void step_back(struct tape *t)
{
	size_t npeers = tape_u8(t) % (CHAN_PEERS_MAX + 2);
	int ends[2], pidfd, fd = -1, fds[FDS_MAX];
	struct worker *w;
	struct err err;

	if (!k.r || restore_is_creating(k.r) || worker.killed || chan_pair(ends, &err))
		return;
	FUZZ_CHECK(proc_pidfd(worker.pid, &pidfd, &err) == 0);
	if (choose_fds(t, fds))
		fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
	w = pool_adopt(k.host.pool, worker.pid, pidfd, ends[0], "next");
	if (adopt_back(k.r, w, &fd, npeers)) {
		close_fd(&chan);
		chan = ends[1];
	} else {
		worker_leave(w);
		close(ends[1]);
	}
	close_fd(&fd);
}

/* What the restore's caller wants. */
static void step_order(struct tape *t)
{
	struct chan_prefetch want = {.mode = PREFETCH_ALL, .rate_bytes_per_s = 1};
	uint8_t which = tape_u8(t);
	struct err err;

	if (!k.r || restore_is_creating(k.r))
		return;
	if (which % 6 == 0)
		commands_stop(k.r, which & 64 ? which : 0, which & 128, &err);
	else if (which % 6 == 1)
		commands_prefetch(k.r, &want, &err);
	else if (which % 6 == 2)
		commands_pause(k.r, &err);
	else if (which % 6 == 3)
		commands_resume(k.r, &err);
	else if (which % 6 == 4)
		recover_replace(k.r, &err);
	else
		turn();
}

/* The page map as the worker writes it, and perhaps dies before it tells. */
static void step_map(struct tape *t)
{
	struct regions regions = {.page_bytes = tape_u8(t) & 1 ? PAGE_2M : PAGE_4K, .n = 1};
	char path[CONF_PATH_MAX + 1];
	cleanup_fd int fd = -1;
	struct pagemap map;
	struct err err;

	host_path(&k.host, "maps", "r", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 0) || pagemap_create(fd, SPAN, &map, &err))
		return;
	regions.v[0] = (struct region){(uint64_t)tape_u16(t) << 12, (uint64_t)tape_u8(t) << 12, 0};
	pagemap_connect(&map, &regions, a_pid(tape_u8(t)), TENANT_UID, TENANT_UID);
	map.head->releasing = tape_u8(t) & 1;
	map.head->complete = tape_u8(t) & 1;
	pagemap_close(&map);
}

/* Talking is most of it. */
static void (*const steps[])(struct tape *t) = {
	step_say, step_say,   step_say,  step_say,  step_raw,   step_time,
	step_end, step_event, step_peer, step_back, step_order, step_map,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static bool prepared;
	struct tape t = {data, len};
	uint8_t begin[3];
	int fds;

	if (!prepared)
		scene_prepare();
	prepared = true;
	stayer_start(&worker);
	stayer_start(&vmm);
	fds = fds_count(getpid());
	tape_copy(&t, begin, sizeof(begin));
	scene_begin(begin[0], begin[1], begin[2]);
	memset(&before, 0, sizeof(before));
	check();
	for (int i = 0; i < STEPS_MAX && t.left; i++) {
		uint8_t step = tape_u8(&t);

		steps[step % ARRAY_LEN(steps)](&t);
		/* Now and then more than one thing has happened before the supervisor looks. */
		if (!(step & 128))
			turn();
		check();
		hear();
	}
	turn();
	check();
	check_row();
	fds -= worker.killed + vmm.killed;
	scene_end();
	FUZZ_CHECK(fds_count(getpid()) == fds);
	return 0;
}
