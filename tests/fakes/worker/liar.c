/*
 * uffdd-worker-liar - a worker that somebody has taken over
 *
 * It stands between the supervisor and a real worker, and passes on what they say. After
 * a certain message it says something of its own. What, and when, is in the file
 * LIAR_DIR/ID, which the first worker of a restore takes away, or ID.always, which it leaves:
 *
 *   AFTER WORD COUNT [WORD COUNT]...     CONNECTED NOTE 1
 *
 * AFTER and WORD are types of the channel (chan_type_name(), all members zero), or a word
 * of the table below. After ASSIGN means: before the real worker has said anything. After REATTACH:
 * it comes back by itself to the next supervisor. After the-end: once its VMM has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/chan.h"
#include "common/proc.h"
#include "common/sock.h"
#include "common/uffd.h"
#include "tests/support/vmmside.h"

#define LIES_MAX 8
#define UNKNOWN 200
#define COME_BACK_S 60

struct lie {
	char word[32];
	unsigned count;
};

static struct {
	struct chan_assign assign; /* the restore's */
	int listen_fd;             /* and its socket */
	char after[32];
	struct lie lies[LIES_MAX];
	size_t n;
} script;

static void die(const char *why)
{
	fprintf(stderr, "the liar cannot %s: %s\n", why, strerror(errno));
	_exit(1);
}

/* ---- words of more than zeros ---- */

static void forked(struct chan_msg *msg, int *fds)
{
	(void)fds;
	memcpy(msg->note.type, "forked", 7);
}

static void failed(struct chan_msg *msg, int *fds)
{
	(void)fds;
	memcpy(msg->failed.msg, "so it says", 11);
}

/* LIAR_VICTIM is the process that would be killed. */
static uint32_t victim(void)
{
	const char *text = getenv("LIAR_VICTIM");

	return text ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

static void fill_connected(struct chan_msg *msg, pid_t pidfd_of, int *fds)
{
	struct err err;

	msg->connected.pid = victim();
	msg->connected.uid = script.assign.uid;
	msg->connected.nregions = 1;
	msg->connected.page_bytes = msg->connected.memory_bytes = PAGE_4K;
	if (uffd_open(0, &fds[0], &err) || proc_pidfd(pidfd_of, &fds[1], &err))
		die("make a VMM up");
}

static void connected(struct chan_msg *msg, int *fds)
{
	fill_connected(msg, (pid_t)victim(), fds);
}

/* The process behind the pidfd is another one, and has ended. */
static void connected_dead(struct chan_msg *msg, int *fds)
{
	pid_t pid = fork();

	if (pid == 0)
		pause();
	fill_connected(msg, pid, fds);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void failed_victim(struct chan_msg *msg, int *fds)
{
	struct err err;

	failed(msg, fds);
	msg->failed.kill = 1;
	msg->failed.vmm_pid = victim();
	msg->failed.vmm_uid = script.assign.uid;
	if (proc_pidfd((pid_t)victim(), &fds[0], &err))
		die("name a victim");
}

/* Who will hand over one connection. */
static void back(struct chan_msg *msg, int *fds)
{
	fds[0] = script.listen_fd;
	memcpy(msg->reattach.key, script.assign.key, sizeof(msg->reattach.key));
	msg->reattach.npeers = 1;
}

/* A connection to somebody else, as if it had come to us: LIAR_PEER listens. */
static void peer(struct chan_msg *msg, int *fds)
{
	const char *path = getenv("LIAR_PEER");
	struct err err;

	(void)msg;
	if (!path || sock_connect(path, SOCK_STREAM, &fds[0], &err))
		die("connect to somebody else");
}

/* LIAR_FILE is of a file system that does not answer. */
static void with_file(struct chan_msg *msg, int *fds)
{
	const char *path = getenv("LIAR_FILE");

	(void)msg;
	for (int i = 0; i < 2; i++) {
		close_fd(&fds[i]);
		fds[i] = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
		if (fds[i] < 0)
			die("open the file");
	}
}

static void connected_file(struct chan_msg *msg, int *fds)
{
	connected(msg, fds);
	with_file(msg, fds);
}

static void failed_file(struct chan_msg *msg, int *fds)
{
	failed_victim(msg, fds);
	with_file(msg, fds);
}

static const struct {
	const char *name;
	enum chan_type type;
	void (*fill)(struct chan_msg *msg, int *fds);
} words[] = {
	{"NOTE-forked", CHAN_NOTE, forked},
	{"FAILED-why", CHAN_FAILED, failed},
	{"FAILED-victim", CHAN_FAILED, failed_victim},
	{"CONNECTED-victim", CHAN_CONNECTED, connected},
	{"CONNECTED-dead", CHAN_CONNECTED, connected_dead},
	{"REATTACH-announced", CHAN_REATTACH, back},
	{"PEER-of-another", CHAN_PEER, peer},
	{"READY-file", CHAN_READY, with_file},
	{"PEER-file", CHAN_PEER, with_file},
	{"CONNECTED-file", CHAN_CONNECTED, connected_file},
	{"FAILED-file", CHAN_FAILED, failed_file},
	{"WSET_MADE-file", CHAN_WSET_MADE, with_file},
};

/* What chan_send() does not send. */
static const struct {
	const char *name;
	uint32_t type, version;
	size_t len;
} raws[] = {
	{"unknown-type", UNKNOWN, CHAN_VERSION, 16},
	{"wrong-length", CHAN_NOTE, CHAN_VERSION, 16},
	{"of-the-future", UNKNOWN, CHAN_VERSION + 1, 16},
};

/* ---- saying it ---- */

static void wait_for(int sock, short events)
{
	struct pollfd p = {.fd = sock, .events = events};

	poll(&p, 1, -1);
}

/* Waits for room; false: nobody is there any more. */
static bool send_all(int sock, enum chan_type type, struct chan_msg *msg, const int *fds)
{
	struct err err;
	size_t n = 0;

	while (n < CHAN_FDS_MAX && fds[n] >= 0)
		n++;
	while (chan_send(sock, type, msg, fds, n, &err)) {
		if (errno != EAGAIN)
			return false;
		wait_for(sock, POLLOUT);
	}
	return true;
}

static void send_raw(size_t i)
{
	struct chan_msg msg = {.type = raws[i].type, .version = raws[i].version};

	send(CHAN_FD, &msg, raws[i].len, MSG_NOSIGNAL);
}

static enum chan_type type_of(const char *word)
{
	enum chan_type type = CHAN_NONE + 1;

	while (type < CHAN_TYPE_COUNT && strcmp(chan_type_name(type), word) != 0)
		type++;
	return type;
}

static void say(const char *word)
{
	enum chan_type type = type_of(word);
	struct chan_msg msg = {0};
	int fds[CHAN_FDS_MAX];

	memset(fds, -1, sizeof(fds));
	for (size_t i = 0; i < ARRAY_LEN(raws); i++)
		if (strcmp(raws[i].name, word) == 0) {
			send_raw(i);
			return;
		}
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(words[i].name, word) == 0) {
			type = words[i].type;
			words[i].fill(&msg, fds);
		}
	if (type == CHAN_TYPE_COUNT)
		die(word);
	send_all(CHAN_FD, type, &msg, fds);
}

/* Which of these comes first is open. */
static bool is_end(enum chan_type type)
{
	return type == CHAN_STOP || type == CHAN_GONE || type == CHAN_RELEASED;
}

static void lie_after(enum chan_type type)
{
	if (strcmp(script.after, chan_type_name(type)) != 0 &&
	    !(is_end(type) && strcmp(script.after, "the-end") == 0))
		return;
	for (size_t i = 0; i < script.n; i++)
		for (unsigned k = 0; k < script.lies[i].count; k++)
			say(script.lies[i].word);
	script.n = 0;
}

/* ---- what to say ---- */

static void read_script(const struct chan_assign *assign)
{
	cleanup_free char *path = NULL;
	cleanup_file FILE *f = NULL;
	cleanup_free char *kept = NULL;
	const char *dir = getenv("LIAR_DIR");
	struct lie *l = script.lies;

	script.assign = *assign;
	if (!dir || asprintf(&path, "%s/%s", dir, assign->id) < 0 ||
	    asprintf(&kept, "%s.always", path) < 0)
		die("name its script");
	if (!(f = fopen(path, "re")) && !(f = fopen(kept, "re")))
		return;
	unlink(path);
	if (fscanf(f, "%31s", script.after) != 1)
		die(path);
	while (script.n < LIES_MAX && fscanf(f, "%31s %u", l->word, &l->count) == 2)
		l++, script.n++;
}

/* ---- the real one ---- */

/*
 * Lets the real one die with the liar: a signal on the parent's death does not survive that the
 * real one becomes another user. Until it is dead its channel stays open, so that it notices
 * nothing and does nothing of its own.
 */
static void guard(pid_t liar, pid_t worker)
{
	struct pollfd p[] = {{.events = POLLIN}, {.events = POLLIN}};
	struct err err;
	pid_t pid;

	if (proc_pidfd(liar, &p[0].fd, &err) || proc_pidfd(worker, &p[1].fd, &err))
		die("watch them both");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid) {
		close_fd(&p[0].fd);
		close_fd(&p[1].fd);
		return;
	}
	close(CHAN_FD);
	poll(p, ARRAY_LEN(p), -1);
	proc_kill(p[1].fd, &err);
	poll(p + 1, 1, -1);
	_exit(0);
}

/* @ends: of its channel; the second one is the worker's, and closed here. */
static void start_worker(int ends[2])
{
	pid_t pid = fork();
	char *const argv[] = {(char *)CHAN_WORKER, NULL};

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		if (dup2(ends[1], CHAN_FD) >= 0)
			execv(TEST_BUILD "/worker/uffdd-worker", argv);
		_exit(127);
	}
	close_fd(&ends[1]);
	guard(getpid(), pid);
}

/* One message from one to the other; false: one of them is gone. */
static bool pass_on(int from, int to)
{
	int fds[CHAN_FDS_MAX];
	struct chan_msg msg;
	struct err err;
	enum chan_step step = chan_recv(from, &msg, fds, &err);
	bool sent = true;

	if (step != CHAN_GOT)
		return step == CHAN_AGAIN;
	if (msg.type == CHAN_ASSIGN) {
		read_script(&msg.assign);
		if (msg.assign.kind == CHAN_ASSIGN_WAIT)
			script.listen_fd = fcntl(fds[2], F_DUPFD_CLOEXEC, 0);
		lie_after(CHAN_ASSIGN);
	}
	/* What the real one said last is passed on although it cannot hear any more. */
	if (to >= 0)
		sent = send_all(to, msg.type, &msg, fds) || to != CHAN_FD;
	for (size_t i = 0; i < CHAN_FDS_MAX; i++)
		close_fd(&fds[i]);
	if (msg.type != CHAN_ASSIGN)
		lie_after(msg.type);
	return sent;
}

/* Until it is ended. The socket that it finds may still be the dead one's. */
static void come_back(void)
{
	const size_t n = script.n;
	struct err err;
	int fd;

	alarm(COME_BACK_S);
	while (strcmp(script.after, chan_type_name(CHAN_REATTACH)) == 0) {
		if (sock_connect(script.assign.reconnect_path, SOCK_SEQPACKET, &fd, &err)) {
			poll(NULL, 0, 20);
			continue;
		}
		dup2(fd, CHAN_FD);
		close(fd);
		script.n = n;
		lie_after(CHAN_REATTACH);
		while (pass_on(CHAN_FD, -1))
			wait_for(CHAN_FD, POLLIN);
	}
}

int main(int argc, char **argv)
{
	struct pollfd p[] = {{.fd = CHAN_FD, .events = POLLIN}, {.events = POLLIN}};
	struct err err;
	int inner[2];

	/* Without a zygote the program is executed for each worker. */
	if (argc < 1 || strcmp(argv[0], CHAN_WORKER) != 0)
		return 1;
	if (chan_pair(inner, &err))
		die("make a channel");
	start_worker(inner);
	p[1].fd = inner[0];
	do
		poll(p, ARRAY_LEN(p), -1);
	while ((!p[0].revents || pass_on(CHAN_FD, inner[0])) &&
	       (!p[1].revents || pass_on(inner[0], CHAN_FD)));
	come_back();
	return 0;
}
