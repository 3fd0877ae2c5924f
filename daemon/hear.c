#include "daemon/hear.h"

#include <string.h>

#include "common/js.h"
#include "common/log.h"
#include "common/proc.h"
#include "daemon/notify.h"
#include "daemon/recording.h"
#include "daemon/recover.h"

/* Whoever made it lie may have made it do other things. */
static void end_liar(struct live *l, uint32_t pid)
{
	struct err err;

	log_error("a worker names a VMM that it cannot have, and is ended", "id=%s worker=%u pid=%u",
		  l->rec.id, l->rec.worker_pid, pid);
	proc_kill(l->worker->pidfd, &err);
}

static int check_size(const struct live *l, uint64_t bytes, struct err *err)
{
	uint64_t max = l->host->conf.snapshot_bytes_max;

	if (bytes <= max)
		return 0;
	return err_set(err, ERR_SNAPSHOT, "the snapshot has %llu bytes of memory, at most %llu are "
		       "configured (snapshot_bytes_max)", (unsigned long long)bytes,
		       (unsigned long long)max);
}

static void on_ready(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct json_object *data;
	struct err err;

	live_loaded(l);
	recording_ready(l, &msg->ready.key);
	if (!l->creating) {
		recording_give(l);
		door_open(l, &fds[0], 0);
		recover_done(l);
		return;
	}
	if (check_size(l, msg->ready.size_bytes, &err)) {
		live_stillborn(l, &err);
		return;
	}
	l->rec.size_bytes = msg->ready.size_bytes;
	data = json_object_new_object();
	js_add_u64(data, "size_bytes", msg->ready.size_bytes);
	js_add_u64(data, "layers", msg->ready.layers);
	js_add_u64(data, "extents", msg->ready.extents);
	/* In the store before anybody hears of it. */
	if (journal_add_now(l->host->journal, &l->rec, "created", data, &err)) {
		live_stillborn(l, &err);
		return;
	}
	l->creating = false;
	/* Before anybody can start a VMM. */
	recording_give(l);
	door_open(l, &fds[0], 0);
	log_info("restore ready", "id=%s tenant=%s size=%llu worker=%u", l->rec.id, l->rec.tenant,
		 (unsigned long long)l->rec.size_bytes, l->rec.worker_pid);
	live_answer(l, NULL);
}

static void on_refused(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct json_object *data;

	(void)fds;
	door_drop(l, msg->refused.peer);
	if (!msg->refused.why[0])
		return;
	data = json_object_new_object();
	js_add_u64(data, "pid", msg->refused.pid);
	js_add_u64(data, "uid", msg->refused.uid);
	js_add_string(data, "detail", msg->refused.why);
	live_changed(l, "refused", data);
}

static void on_peer(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	door_keep(l, &fds[0]);
}

/* Also from a worker that came back: then only the descriptors may be news. */
static void on_connected(struct live *l, const struct chan_msg *msg, int *fds)
{
	if (fds[0] < 0 || fds[1] < 0)
		return;
	if (l->vmm < 0 && !live_may_be_vmm(l, fds[1], msg->connected.pid)) {
		end_liar(l, msg->connected.pid);
		return;
	}
	close_fd(&l->uffd);
	l->uffd = steal_fd(&fds[0]);
	notify_keep(l->rec.id, l->uffd);
	if (l->rec.state == STATE_WAITING)
		live_connected(l, &msg->connected,
			       proc_start_time((pid_t)msg->connected.pid));
	live_watch_vmm(l, &fds[1]);
}

static int *realloc_files(int *files, size_t n)
{
	int *grown = reallocarray(files, n, sizeof(*grown));

	if (!grown)
		abort();
	return grown;
}

static void on_files(struct live *l, const struct chan_msg *msg, int *fds)
{
	const struct chan_files *f = &msg->files;

	if (f->first == 0)
		live_drop_files(l);
	if (f->first != l->nfiles || f->count > CHAN_FDS_MAX ||
	    l->nfiles + f->count > SPEC_LAYERS_MAX + 1)
		return;
	l->files = realloc_files(l->files, l->nfiles + f->count);
	for (uint32_t i = 0; i < f->count; i++)
		l->files[l->nfiles++] = steal_fd(&fds[i]);
}

static void on_paused(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	if (l->rec.paused)
		return;
	l->rec.paused = true;
	l->rec.revision++;
	live_changed(l, "paused", NULL);
}

static void on_complete(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	if (l->rec.complete)
		return;
	l->rec.complete = true;
	l->rec.revision++;
	live_changed(l, "complete", NULL);
}

static void on_note(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct json_object *data = json_object_new_object();

	(void)fds;
	js_add_string(data, "detail", msg->note.msg);
	live_changed(l, msg->note.type, data);
}

/* One that has failed gets none any more, whatever its worker says. */
static void on_lease_ask(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)fds;
	if (l->rec.state == STATE_SERVING)
		lessor_ask(l->host->lessor, &l->claim, l->rec.tenant, msg->lease.ask);
}

static void on_lease_back(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	lessor_back(l->host->lessor, &l->claim);
}

static void on_gone(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	live_end(l, "vmm-exited");
}

static void on_released(struct live *l, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	live_end(l, "released");
}

/* Where it has failed already, that reason stays. */
static void no_successor(struct live *l, const struct err *why)
{
	struct json_object *data;

	l->hopeless = true;
	if (l->rec.state != STATE_FAILED)
		return;
	log_warning("no worker can take over", "id=%s why=%s", l->rec.id, why->msg);
	data = json_object_new_object();
	js_add_string(data, "detail", why->msg);
	live_changed(l, "no-worker", data);
}

static void on_failed(struct live *l, const struct chan_msg *msg, int *fds)
{
	struct err why = {
		.code = msg->failed.code < ERR_COUNT ? (enum err_code)msg->failed.code : ERR_SYSTEM,
		.sys = msg->failed.sys,
	};

	memcpy(why.msg, msg->failed.msg, sizeof(why.msg));
	if (l->creating) {
		live_stillborn(l, &why);
		return;
	}
	if (fds[0] >= 0 && l->vmm < 0 && !live_may_be_vmm(l, fds[0], msg->failed.vmm_pid)) {
		end_liar(l, msg->failed.vmm_pid);
		return;
	}
	if (msg->failed.vmm_pid && !l->rec.vmm_pid) {
		l->rec.vmm_pid = msg->failed.vmm_pid;
		l->rec.vmm_uid = msg->failed.vmm_uid;
		l->rec.vmm_start = proc_start_time((pid_t)msg->failed.vmm_pid);
	}
	live_watch_vmm(l, &fds[0]);
	if (!l->ready)
		no_successor(l, &why);
	live_fail(l, why.msg, msg->failed.kill);
}

static const struct {
	enum chan_type type;
	void (*handle)(struct live *l, const struct chan_msg *msg, int *fds);
} handlers[] = {
	{CHAN_READY, on_ready},       {CHAN_REFUSED, on_refused},   {CHAN_CONNECTED, on_connected},
	{CHAN_PAUSED, on_paused},     {CHAN_COMPLETE, on_complete}, {CHAN_NOTE, on_note},
	{CHAN_GONE, on_gone},         {CHAN_RELEASED, on_released}, {CHAN_FAILED, on_failed},
	{CHAN_FILES, on_files},       {CHAN_LEASE_ASK, on_lease_ask},
	{CHAN_LEASE_BACK, on_lease_back}, {CHAN_WSET_MADE, recording_made},
	{CHAN_PEER, on_peer},
};

void hear_message(void *arg, const struct chan_msg *msg, int *fds)
{
	struct live *l = arg;

	/* After release only its exit is of interest, and what it has learnt. */
	if (l->released && msg->type != CHAN_WSET_MADE)
		return;
	for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
		if (handlers[i].type == msg->type) {
			handlers[i].handle(l, msg, fds);
			return;
		}
}
