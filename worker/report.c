#include "worker/report.h"

#include <config.h>
#include <string.h>

#include "worker/fault_injection.h"
#include "worker/holder.h"

void report_hello(struct job *j)
{
	struct chan_msg msg = {0};

	msg.hello.pid = (uint32_t)getpid();
	msg.hello.chan_version = CHAN_VERSION;
	snprintf(msg.hello.release, sizeof(msg.hello.release), "%s", PACKAGE_VERSION);
	supervisor_link_send(&j->link, CHAN_HELLO, &msg, NULL, 0);
}

void report_ready(struct job *j)
{
	struct chan_msg msg = {0};

	msg.ready.size_bytes = source_size_bytes(j->src);
	msg.ready.span_bytes = source_span_bytes(j->src);
	msg.ready.layers = source_layers(j->src);
	msg.ready.extents = source_extents(j->src);
	msg.ready.key = j->working_set.key;
	supervisor_link_send(&j->link, CHAN_READY, &msg, &j->listen_fd, j->listen_fd >= 0);
	working_set_send_notes(&j->working_set);
}

void report_failed(struct job *j, const struct err *why, bool kill, const struct peer *vmm)
{
	struct chan_msg msg = {0};

	msg.failed.code = why->code;
	msg.failed.sys = why->sys;
	msg.failed.kill = kill;
	snprintf(msg.failed.msg, sizeof(msg.failed.msg), "%s", why->msg);
	if (vmm) {
		msg.failed.vmm_pid = (uint32_t)vmm->who.pid;
		msg.failed.vmm_uid = vmm->who.uid;
	}
	supervisor_link_send(&j->link, CHAN_FAILED, &msg, vmm ? &vmm->pidfd : NULL,
			     vmm && vmm->pidfd >= 0);
}

void report_refused(struct job *j, const struct peer *p, const char *why)
{
	struct chan_msg msg = {0};
	/* Any number of strangers may connect; only the first refusals tell why. */
	bool told = ++j->map.stats->refused_peers <= CHAN_TOLD_MAX;

	msg.refused.peer = p->cookie;
	msg.refused.pid = (uint32_t)p->who.pid;
	msg.refused.uid = p->who.uid;
	snprintf(msg.refused.why, sizeof(msg.refused.why), "%s", told ? why : "");
	supervisor_link_send(&j->link, CHAN_REFUSED, &msg, NULL, 0);
}

void report_connected(struct job *j, const struct pagemap *map, int uffd, int vmm,
		      struct handshake *said)
{
	const int fds[] = {uffd, vmm};
	struct chan_msg msg = {0};

	msg.connected.pid = map->head->vmm_pid;
	msg.connected.uid = map->head->vmm_uid;
	msg.connected.gid = map->head->vmm_gid;
	msg.connected.nregions = map->regions->n;
	msg.connected.page_bytes = map->regions->page_bytes;
	msg.connected.memory_bytes = regions_bytes(map->regions);
	supervisor_link_send(&j->link, CHAN_CONNECTED, &msg, fds, vmm >= 0 ? 2 : 1);
	/* CONNECTED is sent, so consume: the queued message would keep the uffd open too long. */
	if (said && !supervisor_link_away(&j->link))
		handshake_consume(said);
}

void report_plain(struct job *j, enum chan_type type)
{
	struct chan_msg msg = {0};

	supervisor_link_send(&j->link, type, &msg, NULL, 0);
}

void report_prefetch(struct loop *l)
{
	enum pagemap_limit limit = l->prefetch.room.limit;

	l->guest->map.head->prefetch_done = l->prefetch.done;
	l->guest->map.head->prefetch_limit = limit;
	if (limit == LIMIT_NONE || l->told.limits & 1u << limit ||
	    supervisor_link_away(&l->job->link))
		return;
	l->told.limits |= 1u << limit;
	supervisor_link_note(&l->job->link, CHAN_NOTE_PREFETCH_LIMITED, pagemap_limit_texts[limit]);
}

/* ---- to a new supervisor ---- */

static void send_proof(struct job *j)
{
	/* The VMM's pidfd only once the page map knows the VMM. */
	const int fds[] = {j->map_fd, j->request, j->loop ? j->loop->vmm : -1};
	struct chan_msg msg = {0};

	msg.proof.size_bytes = source_size_bytes(j->src);
	msg.proof.key = j->working_set.key;
	msg.proof.prefetch = j->spec.prefetch;
	msg.proof.prefetch_held = j->prefetch_held;
	msg.proof.rate_bytes_per_s = j->spec.rate_bytes_per_s;
	msg.proof.max_resident_bytes = j->spec.max_resident_bytes;
	memcpy(msg.proof.id, j->assign.id, sizeof(msg.proof.id));
	supervisor_link_send(&j->link, CHAN_PROOF, &msg, fds, fds[2] >= 0 ? 3 : 2);
}

/* Peers that the last supervisor passed on, and peers accepted since. */
static size_t peers(const struct job *j, int ret_socks[CHAN_PEERS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; j->peers && i < CHAN_PEERS_MAX; i++)
		if (j->peers->peers[i].hs.sock >= 0)
			ret_socks[n++] = j->peers->peers[i].hs.sock;
	return n;
}

static void send_reattach(struct job *j)
{
	int fd = j->peers ? j->peers->fd : -1, socks[CHAN_PEERS_MAX];
	struct chan_msg msg = {0};

	memcpy(msg.reattach.key, j->assign.key, sizeof(msg.reattach.key));
	msg.reattach.pid = (uint32_t)getpid();
	msg.reattach.chan_version = CHAN_VERSION;
	msg.reattach.npeers = (uint32_t)peers(j, socks);
	/* Nothing must be left of a create that was not finished. */
	msg.reattach.proof = j->known;
	snprintf(msg.reattach.release, sizeof(msg.reattach.release), "%s", PACKAGE_VERSION);
	supervisor_link_send(&j->link, CHAN_REATTACH, &msg, &fd, fd >= 0);
	if (j->known)
		send_proof(j);
}

static void send_peers(struct job *j)
{
	int socks[CHAN_PEERS_MAX];
	size_t n = peers(j, socks);

	for (size_t i = 0; i < n; i++) {
		struct chan_msg msg = {0};

		supervisor_link_send(&j->link, CHAN_PEER, &msg, &socks[i], 1);
	}
}

/* If CONNECTED could not be sent to the supervisor, perhaps it could not be sent to the holder. */
static void watch_again(struct job *j)
{
	holder_watch(j->holder, j->loop->vmm);
}

/* Updates the spec before the proof is made of it. */
static void note_prefetch(struct job *j)
{
	const struct prefetch *p = &j->loop->prefetch;

	j->spec.prefetch = p->mode;
	j->spec.rate_bytes_per_s = p->rate_bytes_per_s;
	j->spec.max_resident_bytes = p->room.max_resident_bytes;
	j->prefetch_held = j->loop->held;
}

static void send_connected(struct job *j)
{
	const struct loop *l = j->loop;

	report_connected(j, &l->guest->map, l->guest->uffd, l->vmm, l->said);
}

static void send_state(struct job *j)
{
	struct loop *l = j->loop;

	lease_anew(&l->lease);
	if (l->paused && !l->survey.on)
		report_plain(j, CHAN_PAUSED);
	if (l->completed)
		report_plain(j, CHAN_COMPLETE);
	if (l->failure.on)
		report_failed(j, &l->failure.err, l->failure.policy == FAILURE_KILL, NULL);
}

static void send_working_set(struct job *j)
{
	working_set_replay(&j->working_set);
	fault_point(FAULT_BACK);
}

static void send_refusal(struct job *j)
{
	const struct refusal *r = j->refusal;

	report_failed(j, &r->err, r->kill, r->vmm);
}

#define IN(phase) (1u << JOB_##phase)

/* Sent in this order. */
/* clang-format off */
static const struct {
	unsigned phases;
	void (*send)(struct job *j);
} resent[] = {
	{IN(SERVING),                             note_prefetch},
	{IN(SERVING),                             watch_again},
	{IN(WAITING) | IN(SERVING) | IN(REFUSED), send_reattach},
	{IN(WAITING),                             send_peers},
	{IN(SERVING),                             send_connected},
	{IN(SERVING),                             send_state},
	{IN(SERVING),                             send_working_set},
	{IN(REFUSED),                             send_refusal},
};
/* clang-format on */

void report_turn(struct job *j, uint64_t now)
{
	if (!supervisor_link_turn(&j->link, now))
		return;
	for (size_t i = 0; i < ARRAY_LEN(resent); i++)
		if (resent[i].phases & 1u << j->phase)
			resent[i].send(j);
}
