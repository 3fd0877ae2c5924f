/*
 * conversationkit - what the tests of a worker's words share: a restore with a worker, a process in
 * the place of its VMM, and who waits for its creation
 */
#ifndef UFFDD_TESTS_CONVERSATIONKIT_H
#define UFFDD_TESTS_CONVERSATIONKIT_H

#include "daemon/conversation.h"
#include "tests/support/workerside.h"

#define SIZE (10 * PAGE_4K - 1) /* of the snapshot */
#define SPAN (10 * PAGE_4K)

static struct restorekit k;
static struct workerside w;
static pid_t vmm; /* stays until it is killed */
static int pidfd; /* of the VMM */
/* What the creator of the restore was told. */
static unsigned answers;
static struct err answer;

static inline void note_answer(struct creator *c, struct restore *r, const struct err *why)
{
	(void)c;
	(void)r;
	answers++;
	answer = why ? *why : (struct err){.msg = "made"};
}

static struct creator creator = {.done = note_answer};

static inline void begin(const char *members, enum slot_state slot, enum restore_state state)
{
	struct err err = {.msg = ""};

	answers = 0;
	vmm = workerside_fork();
	restorekit_open(&k, members);
	workerside_open(&w, &k, &conversation_worker_hooks);
	ck_assert_msg(proc_pidfd(vmm, &pidfd, &err) == 0 &&
			      wset_store_open(k.dir, 1 << 20, 1 << 20, &k.host.wset_store, &err) ==
				      0,
		      "%s", err.msg);
	k.r->slot.state = slot;
	k.r->rec.state = state;
	k.r->rec.size_bytes = SIZE;
	TAILQ_INSERT_TAIL(&k.r->creators, &creator, link);
	creator.list = &k.r->creators;
}

static inline void end(void)
{
	wset_store_close(k.host.wset_store);
	close_fd(&pidfd);
	workerside_close(&w);
	restorekit_close(&k);
	kill(vmm, SIGKILL);
	waitpid(vmm, NULL, 0);
}

/* @lie: the end of what its event says; NULL: it was none. */
static inline void check_lie(const char *lie)
{
	ck_assert_msg(!k.r || !k.r->worker || k.r->worker->silenced == (lie != NULL), "%s: %s",
		      lie ? lie : "no lie", restorekit_data(&k));
	if (lie)
		ck_assert_msg(strstr(restorekit_data(&k), lie), "%s: %s", lie, restorekit_data(&k));
}

static inline void check_last(const char *events, const char *data)
{
	ck_assert_str_eq(restorekit_events(&k), events);
	ck_assert_msg(strstr(restorekit_data(&k), data), "%s: %s", data, restorekit_data(&k));
}

static inline int listening(void)
{
	char path[CONF_PATH_MAX + 1];
	struct err err = {.msg = ""};
	int fd;

	snprintf(path, sizeof(path), "%s/s", k.dir);
	unlink(path);
	ck_assert_msg(sock_listen(path, SOCK_STREAM, sock_mode(0600), &fd, &err) == 0, "%s",
		      err.msg);
	return fd;
}

/* The socket of the restore; @awaited connections are announced. */
static inline void open_acceptor(size_t awaited)
{
	int fd = listening();

	restore_listen(k.r, &fd, awaited);
	ck_assert_int_lt(fd, 0);
}

static inline void say(enum chan_type type)
{
	struct chan_msg msg = {0};

	workerside_say(&w, type, &msg, NULL, 0);
}

#endif
