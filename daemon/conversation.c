#include "daemon/conversation.h"

#include <string.h>

#include "common/foreign.h"
#include "common/js.h"
#include "common/proc.h"
#include "daemon/adopt.h"
#include "daemon/assign.h"
#include "daemon/creation.h"
#include "daemon/limits.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/phase.h"
#include "daemon/restore_wset.h"
#include "daemon/recover.h"
#include "daemon/vmm.h"

/* Before any guest was served the message may be honest: the files may have been replaced. */
static const char *hear_other_size(struct restore *r, uint64_t bytes)
{
	char reason[RESTORE_REASON_MAX];

	if (r->rec.state != STATE_WAITING)
		return "of a snapshot of another size";
	snprintf(reason, sizeof(reason),
		 "the snapshot had %llu bytes of memory and has %llu now: "
		 "its files were replaced or changed",
		 (unsigned long long)r->rec.size_bytes, (unsigned long long)bytes);
	restore_fail(r, reason);
	return NULL;
}

static const char *on_ready(struct restore *r, const struct chan_msg *msg, int *fds)
{
	const struct chan_ready *ready = &msg->ready;

	if (!ready->size_bytes || ready->layers > SPEC_LAYERS_MAX + 1)
		return "of an impossible snapshot";
	if (r->rec.state == STATE_WAITING && r->hold.acceptor.fd < 0 && !acceptor_listens(fds[0]))
		return "without a socket";
	/* For a complete guest the worker knows the size only in whole pages. */
	if (!restore_is_creating(r) &&
	    align_up(ready->size_bytes, PAGE_4K) != align_up(r->rec.size_bytes, PAGE_4K))
		return hear_other_size(r, ready->size_bytes);
	restore_wset_ready(r, &ready->key);
	if (restore_is_creating(r)) {
		creation_done(r, ready, &fds[0]);
		return NULL;
	}
	slot_event(&r->slot, SLOT_LOADED);
	restore_known(r);
	restore_wset_give(r);
	restore_listen(r, &fds[0], 0);
	recover_done(r);
	return NULL;
}

/* Counts one more event of @kind. False: no more are published, for the other restores' sake. */
static bool may_publish(struct restore *r, uint64_t *count, const char *kind)
{
	if (++*count <= CHAN_TOLD_MAX)
		return true;
	if (*count == CHAN_TOLD_MAX + 1)
		log_warning("further ones of a restore are not told", "id=%s tenant=%s what=%s",
			    r->rec.id, r->rec.tenant, kind);
	return false;
}

static const char *on_refused(struct restore *r, const struct chan_msg *msg, int *fds)
{
	struct json_object *data;

	(void)fds;
	acceptor_drop(&r->hold.acceptor, msg->refused.peer);
	if (!msg->refused.why[0] || !may_publish(r, &r->refused_events, "refused"))
		return NULL;
	data = json_object_new_object();
	js_add_u64(data, "pid", msg->refused.pid);
	js_add_u64(data, "uid", msg->refused.uid);
	js_add_string(data, "detail", msg->refused.why);
	restore_changed(r, "refused", data);
	return NULL;
}

static const char *on_peer(struct restore *r, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	if (fds[0] < 0 || !r->hold.acceptor.awaited)
		return "that it has not announced";
	acceptor_keep(&r->hold.acceptor, &fds[0], r->hold.own_socket ? r->rec.socket_path : NULL);
	return NULL;
}

/*
 * @pidfd: of the process that handed the userfaultfd over. Without it (-1), or when that process
 * has ended, nobody can be killed by mistake. It may be closed: see vmm_check().
 */
static const char *check_vmm(const struct restore *r, int *pidfd, uint32_t pid, uint32_t uid,
			     int uffd)
{
	if (uid != r->spec.peer_uid)
		return "of a VMM of the wrong user";
	if (r->spec.peer_pid && pid != r->spec.peer_pid)
		return "of a VMM that is the wrong process";
	if (*pidfd < 0 || proc_ended(*pidfd))
		return NULL;
	if (r->rec.vmm_pid && pid != r->rec.vmm_pid)
		return "of another VMM";
	if (r->hold.vmm < 0 && !vmm_check(r, pidfd, pid, uffd))
		return "of a process that cannot be its VMM";
	return NULL;
}

/* The VMM's memory may change with every mremap, down to none. */
static const char *check_memory(const struct restore *r, const struct chan_connected *c)
{
	uint64_t span = align_up(r->rec.size_bytes, PAGE_4K);

	if ((c->page_bytes != PAGE_4K && c->page_bytes != PAGE_2M) ||
	    (r->rec.page_bytes && c->page_bytes != r->rec.page_bytes))
		return "with an impossible page size";
	if (c->nregions > REGIONS_MAX || c->memory_bytes > span ||
	    !is_aligned(c->memory_bytes, c->page_bytes))
		return "with impossible memory";
	return NULL;
}

/* A worker that came back sends CONNECTED again: then only the descriptors may be new. */
static const char *on_connected(struct restore *r, const struct chan_msg *msg, int *fds)
{
	const struct chan_connected *c = &msg->connected;
	const char *lie;

	if (r->rec.state != STATE_WAITING && !r->worker->replays)
		return "for the second time";
	if (fds[0] < 0 || !c->pid)
		return "without a VMM";
	if ((lie = check_vmm(r, &fds[1], c->pid, c->uid, fds[0])) || (lie = check_memory(r, c)))
		return lie;
	r->worker->replays = false;
	foreign_close(&r->hold.uffd);
	r->hold.uffd = steal_fd(&fds[0]);
	notify_keep(r->rec.key, r->hold.uffd);
	if (r->rec.state == STATE_WAITING)
		restore_connected(r, c, fds[1]);
	else if (r->rec.vmm_pid == c->pid && !r->rec.vmm_start)
		restore_note_vmm(r, c->pid, c->uid, fds[1]);
	vmm_watch(r, &fds[1]);
	assign_presence(r);
	/* On huge pages the worker also needs them to know whether the guest can be released. */
	if (r->rec.page_bytes > PAGE_4K)
		limits_send(r);
	return NULL;
}

/*
 * A worker of channel version 1 sends its files to the supervisor. They are not needed: the caller
 * closes them.
 */
static const char *on_files(struct restore *r, const struct chan_msg *msg, int *fds)
{
	(void)r;
	(void)fds;
	return msg->version > 1 ? "since its holder has them" : NULL;
}

/* PROOF is for a restore without a row; this one has a row. */
static const char *on_proof(struct restore *r, const struct chan_msg *msg, int *fds)
{
	(void)r;
	(void)msg;
	(void)fds;
	return NULL;
}

static const char *on_paused(struct restore *r, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	if (r->rec.paused)
		return NULL;
	r->rec.paused = true;
	r->rec.revision++;
	restore_changed(r, "paused", NULL);
	return NULL;
}

static const char *on_complete(struct restore *r, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	if (r->rec.complete)
		return NULL;
	r->rec.complete = true;
	r->rec.revision++;
	restore_changed(r, "complete", NULL);
	return NULL;
}

static const char *on_note(struct restore *r, const struct chan_msg *msg, int *fds)
{
	enum chan_note_kind kind = chan_note_kind(msg->note.type);
	struct json_object *data;

	(void)fds;
	if (kind == CHAN_NOTE_COUNT)
		/* A type of a newer release is optional. */
		return msg->version > CHAN_VERSION ? NULL : "of an unknown type";
	if (!may_publish(r, &r->note_events[kind], chan_note_types[kind]))
		return NULL;
	data = json_object_new_object();
	js_add_string(data, "detail", msg->note.msg);
	restore_changed(r, chan_note_types[kind], data);
	return NULL;
}

/*
 * A failed restore gets no lease, whatever its worker says. Nor does a worker before it has the
 * VMM's cgroups: the worker asks again.
 */
static const char *on_lease_ask(struct restore *r, const struct chan_msg *msg, int *fds)
{
	(void)fds;
	if (r->rec.state == STATE_SERVING && limits_send(r) == 0)
		lease_scheduler_ask(r->host->leases, &r->claim, r->rec.tenant,
				    tenants_prefetch_share(&r->host->tenants, r->rec.tenant),
				    msg->lease.ask);
	return NULL;
}

static const char *on_lease_back(struct restore *r, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	lease_scheduler_back(r->host->leases, &r->claim);
	return NULL;
}

/* UF_BUSY (a removal is under way): nothing is known, and a successor goes on after this worker. */
static const char *on_gone(struct restore *r, const struct chan_msg *msg, int *fds)
{
	enum uf_life life = r->hold.uffd >= 0 ? uffd_life(r->hold.uffd) : UF_ENDED;

	(void)msg;
	(void)fds;
	if (life == UF_LIVES)
		return "of a VMM that lives";
	if (life == UF_ENDED)
		restore_end(r, "vmm-exited");
	return NULL;
}

static const char *on_released(struct restore *r, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	(void)fds;
	restore_end(r, "released");
	return NULL;
}

/* A restore that had failed before keeps its reason. */
static void no_successor(struct restore *r, const struct err *why)
{
	struct json_object *data;

	slot_event(&r->slot, SLOT_LOAD_FAILED);
	if (r->rec.state != STATE_FAILED)
		return;
	log_warning("no worker can take over", "id=%s tenant=%s why=%s", r->rec.id, r->rec.tenant,
		    why->msg);
	data = json_object_new_object();
	js_add_string(data, "detail", why->msg);
	restore_changed(r, "no-worker", data);
}

/* The restore's own policy decides. The worker only knows whether a guest could not be poisoned. */
static bool must_kill(const struct restore *r, bool asked)
{
	return r->spec.on_failure == FAILURE_KILL ||
	       (r->spec.on_failure == FAILURE_POISON && asked);
}

static const char *check_failed(const struct restore *r, const struct chan_failed *f, int *pidfd)
{
	if (!f->msg[0])
		return "without a reason";
	/*
	 * A VMM that has ended has no pidfd, and a VMM out of sight (another PID namespace) has no
	 * pid.
	 */
	if (!f->vmm_pid && *pidfd < 0)
		return NULL;
	if (!slot_is_ready(&r->slot))
		return "with a VMM that nobody has let in";
	return check_vmm(r, pidfd, f->vmm_pid, f->vmm_uid, r->hold.uffd);
}

static const char *on_failed(struct restore *r, const struct chan_msg *msg, int *fds)
{
	const struct chan_failed *f = &msg->failed;
	const char *lie = check_failed(r, f, &fds[0]);
	struct err why = {
		.code = f->code < ERR_COUNT ? (enum err_code)f->code : ERR_SYSTEM,
		.sys = f->sys,
	};

	if (lie)
		return lie;
	memcpy(why.msg, f->msg, sizeof(why.msg));
	if (restore_is_creating(r)) {
		creation_failed(r, &why);
		return NULL;
	}
	if (f->vmm_pid && !r->rec.vmm_pid)
		restore_note_vmm(r, f->vmm_pid, f->vmm_uid, fds[0]);
	if (fds[0] >= 0)
		vmm_watch(r, &fds[0]);
	if (!slot_is_ready(&r->slot))
		no_successor(r, &why);
	if (restore_fail(r, why.msg) && must_kill(r, f->kill))
		vmm_end(r);
	return NULL;
}

static const char *on_wset_made(struct restore *r, const struct chan_msg *msg, int *fds)
{
	(void)msg;
	restore_wset_made(r, fds[0]);
	return NULL;
}

/* ---- which message is lawful when ---- */

#define IN(phase) (1u << (phase))
#define LOADING (IN(PHASE_CREATING) | IN(PHASE_SUCCEEDING))
#define GUEST (IN(PHASE_SERVING) | IN(PHASE_FAILED))
#define LOADED (IN(PHASE_WAITING) | GUEST)

/*
 * A handler returns NULL, and may have freed the restore. Or it has done nothing, and returns what
 * is wrong with the message.
 */
/* clang-format off */
static const struct word {
	enum chan_type type;
	const char *(*handle)(struct restore *r, const struct chan_msg *msg, int *fds);
	unsigned lawful; /* IN() bits; in PHASE_OVER any other message is ignored */
	uint64_t price;  /* see allowance.h */
	enum foreign_kind fds[2]; /* what its descriptors must be, if they are there */
} words[] = {
	{CHAN_READY,      on_ready,      LOADING,                   ALLOWANCE_DEAR,  {FOREIGN_UNIX_SOCKET}},
	{CHAN_FILES,      on_files,      LOADED,                    ALLOWANCE_CHEAP, {FOREIGN_ANY}},
	{CHAN_PROOF,      on_proof,      LOADED,                    ALLOWANCE_CHEAP, {FOREIGN_ANY}},
	{CHAN_PEER,       on_peer,       IN(PHASE_WAITING),         ALLOWANCE_CHEAP, {FOREIGN_UNIX_SOCKET}},
	{CHAN_REFUSED,    on_refused,    IN(PHASE_WAITING),         ALLOWANCE_DEAR,  {FOREIGN_ANY}},
	{CHAN_CONNECTED,  on_connected,  LOADED,                    ALLOWANCE_DEAR,  {FOREIGN_UFFD, FOREIGN_PIDFD}},
	{CHAN_LEASE_ASK,  on_lease_ask,  GUEST,                     ALLOWANCE_CHEAP, {FOREIGN_ANY}},
	{CHAN_LEASE_BACK, on_lease_back, GUEST,                     ALLOWANCE_CHEAP, {FOREIGN_ANY}},
	{CHAN_PAUSED,     on_paused,     GUEST,                     ALLOWANCE_DEAR,  {FOREIGN_ANY}},
	{CHAN_COMPLETE,   on_complete,   GUEST,                     ALLOWANCE_DEAR,  {FOREIGN_ANY}},
	{CHAN_NOTE,       on_note,       LOADED,                    ALLOWANCE_DEAR,  {FOREIGN_ANY}},
	{CHAN_WSET_MADE,  on_wset_made,  GUEST | IN(PHASE_OVER),    ALLOWANCE_DEAR,  {FOREIGN_MEMORY}},
	{CHAN_GONE,       on_gone,       GUEST,                     ALLOWANCE_DEAR,  {FOREIGN_ANY}},
	{CHAN_RELEASED,   on_released,   IN(PHASE_SERVING),         ALLOWANCE_DEAR,  {FOREIGN_ANY}},
	{CHAN_FAILED,     on_failed,     LOADING | LOADED,          ALLOWANCE_DEAR,  {FOREIGN_PIDFD}},
};
/* clang-format on */

static const struct word *find_word(enum chan_type type)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (words[i].type == type)
			return &words[i];
	return NULL;
}

/* Before any of them is used: see foreign.h. */
static bool has_lawful_fds(const struct word *w, const int *fds)
{
	for (size_t i = 0; i < ARRAY_LEN(w->fds); i++)
		if (fds[i] >= 0 && !foreign_is(fds[i], w->fds[i]))
			return false;
	return true;
}

/* Returns what is wrong with the message, or NULL; then the restore may have been freed. */
static const char *hear(struct restore *r, enum phase phase, const struct chan_msg *msg, int *fds)
{
	const struct word *w = find_word(msg->type);

	if (!allowance_pay(&r->worker->allowance, w ? w->price : ALLOWANCE_CHEAP, now_us()))
		return "and far too much in all";
	/* A message type of a newer release. */
	if (msg->type == CHAN_NONE)
		return NULL;
	if (!w)
		return "which is never for it to say";
	if (w->lawful & IN(phase))
		return has_lawful_fds(w, fds) ? w->handle(r, msg, fds)
					      : "with a descriptor of another kind";
	/* The worker may not know yet that the restore is over. */
	return phase == PHASE_OVER ? NULL : "which is not for it to say now";
}

/* A worker that lies may have been taken over: it is killed. */
static void end_liar(struct restore *r, const char *how)
{
	struct json_object *data = json_object_new_object();

	log_error("a worker lies, and is ended", "id=%s tenant=%s worker=%u how=%s", r->rec.id,
		  r->rec.tenant, r->rec.worker_pid, how);
	js_add_string(data, "detail", how);
	js_add_u64(data, "pid", r->rec.worker_pid);
	worker_silence(r->worker);
	restore_changed(r, "worker-lied", data);
}

/* While creating there is no restore yet that an event could belong to. */
static void end_liar_unborn(struct restore *r, const char *how)
{
	struct json_object *data = json_object_new_object();
	struct err err;

	err_set(&err, ERR_SYSTEM, "restore %s: its worker lies (%s)", r->rec.id, how);
	log_error("a worker lies, and is ended", "id=%s tenant=%s worker=%u how=%s", r->rec.id,
		  r->rec.tenant, r->rec.worker_pid, how);
	js_add_string(data, "detail", err.msg);
	js_add_u64(data, "pid", r->rec.worker_pid);
	restore_publish_failed_create(r, "worker-lied", data);
	creation_failed(r, &err);
}

static void on_lie(void *arg, const char *how)
{
	struct restore *r = arg;

	if (restore_is_creating(r))
		end_liar_unborn(r, how);
	else
		end_liar(r, how);
}

static void on_message(void *arg, const struct chan_msg *msg, int *fds)
{
	struct restore *r = arg;
	enum phase phase = phase_of(r);
	const char *wrong = hear(r, phase, msg, fds);
	char how[160];

	if (!wrong)
		return;
	snprintf(how, sizeof(how), "it says %s while %s, %s", chan_type_name(msg->type),
		 phase_name(phase), wrong);
	on_lie(r, how);
}

/* ---- the worker's exit ---- */

static void on_end(void *arg, const char *how)
{
	struct restore *r = arg;
	struct err err;

	r->worker = NULL;
	lease_scheduler_back(r->host->leases, &r->claim);
	r->limits_sent_us = 0;
	switch (slot_event(&r->slot, SLOT_EXITED)) {
	case SLOT_FAIL_CREATION:
		err_set(&err, ERR_SYSTEM, "the worker died (%s)", how);
		creation_failed(r, &err);
		break;
	case SLOT_FINISH:
		holdings_close_map(&r->hold);
		r->host->hooks->changed(r->host->arg, r);
		break;
	case SLOT_SUCCEED_UNCOUNTED:
		recover_worker(r, how, false);
		break;
	default:
		recover_worker(r, how, true);
		break;
	}
}

static bool on_cut(void *arg, int *pidfd)
{
	struct restore *r = arg;

	if (slot_event(&r->slot, SLOT_CUT) == SLOT_REFUSE)
		return false;
	adopt_cut(r, pidfd);
	return true;
}

const struct worker_hooks conversation_worker_hooks = {on_message, on_lie, on_end, on_cut};
