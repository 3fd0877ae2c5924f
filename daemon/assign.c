#include "daemon/assign.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "common/io.h"
#include "common/presence.h"
#include "common/proc.h"
#include "daemon/holders.h"
#include "daemon/log.h"

/* No restore's id; whatever the moment, a supervisor that dies leaves a map, old or new. */
#define FRESH ".fresh"

static int make_map(struct restore *l, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = -1;
	char path[CONF_PATH_MAX + 1], fresh[CONF_PATH_MAX + 1];

	host_path(l->host, "maps", l->rec.id, path);
	host_path(l->host, "maps", FRESH, fresh);
	unlink(fresh);
	fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || rename(fresh, path))
		return err_sys(err, "create the page map %s", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/*
 * Our own directory, or a path of somebody who may do anything: bound here.
 * Any other path is the worker's to bind, with its caller's rights.
 */
static int make_socket(struct restore *l, struct err *err)
{
	char own[CONF_PATH_MAX + 1];
	bool root = geteuid() == 0;

	host_path(l->host, "uffd", l->rec.id, own);
	if (strcmp(own, l->spec.socket_path) != 0 && l->rec.caller_uid != geteuid())
		return 0;
	/* A worker that nobody knows any more may still listen there. */
	if (strcmp(own, l->spec.socket_path) == 0)
		unlink(own);
	if (sock_listen(l->spec.socket_path, SOCK_STREAM, l->spec.socket_mode,
			root ? l->spec.socket_uid : SOCK_KEEP_OWNER,
			root ? l->spec.socket_gid : SOCK_KEEP_OWNER, &l->hold.acceptor.fd, err))
		return -1;
	l->hold.own_socket = true;
	return 0;
}

static uint32_t read_groups(const char *text, uint32_t groups[CHAN_GROUPS_MAX])
{
	uint32_t n = 0;
	char *end;

	while (*text && n < CHAN_GROUPS_MAX) {
		groups[n++] = (uint32_t)strtoul(text, &end, 10);
		if (end == text)
			return n - 1;
		text = end;
	}
	return n;
}

static void fill_identity(const struct restore *l, struct chan_assign *a)
{
	memcpy(a->id, l->rec.id, sizeof(a->id));
	snprintf(a->home, sizeof(a->home), "%.94s/workers.sock", l->host->conf.run_dir);
	a->become = geteuid() == 0;
	a->uid = l->rec.caller_uid;
	a->gid = l->rec.caller_gid;
	a->ngroups = read_groups(l->rec.caller_groups, a->groups);
}

/* What is left of the time in which a VMM must come. */
static uint64_t connect_ms(const struct restore *l)
{
	int64_t left = l->rec.created_ms + (int64_t)l->spec.connect_timeout_ms - wall_ms();

	return left > 0 ? (uint64_t)left : 0;
}

static void fill_state(const struct restore *l, struct chan_assign *a)
{
	a->prefetch = l->rec.prefetch;
	a->prefetch_held = l->rec.prefetch_held;
	a->rate_bytes_per_s = l->rec.rate_bytes_per_s;
	a->paused = l->rec.paused;
	a->failed = l->rec.state == STATE_FAILED;
	a->unlink_socket = !l->hold.own_socket && l->hold.uffd < 0 && l->hold.acceptor.fd >= 0;
	a->connect_ms = connect_ms(l);
	a->record_ms = l->rec.recording ? l->host->conf.record_window_ms : 0;
	a->wset_bytes = min_u64(l->host->conf.working_set_bytes,
				l->host->conf.working_set_bytes_per_tenant);
	a->prefetch_margin_bytes = l->host->conf.prefetch_margin_bytes;
	a->max_resident_bytes = l->rec.max_resident_bytes;
}

int assign_choose(struct restore *l, struct err *err)
{
	if (pool_take(l->host->pool, l->host->worker_hooks, l, &l->worker, err))
		return -1;
	l->rec.worker_pid = (uint32_t)l->worker->pid;
	l->rec.worker_start = l->worker->start;
	return 0;
}

static int assign(struct restore *l, enum chan_assign_kind kind, int map, struct err *err)
{
	cleanup_fd int request = -1, holder = -1;
	struct chan_msg msg = {0};
	int fds[5], nfds = 2;

	if (io_sealed("request", l->rec.spec, strlen(l->rec.spec), &request, err) ||
	    (!l->worker && assign_choose(l, err)))
		return -1;
	fill_identity(l, &msg.assign);
	fill_state(l, &msg.assign);
	msg.assign.kind = kind;
	msg.assign.holder = holders_reach(l->host, l->rec.id, l->rec.caller_uid,
					  restore_is_creating(l), &holder);
	fds[0] = request;
	fds[1] = map;
	if (kind == CHAN_ASSIGN_SERVE) {
		fds[nfds++] = l->hold.uffd;
		if (l->hold.vmm >= 0)
			fds[nfds++] = l->hold.vmm;
	} else if (l->hold.acceptor.fd >= 0) {
		fds[nfds++] = l->hold.acceptor.fd;
	}
	if (holder >= 0)
		fds[nfds++] = holder;
	if (worker_send(l->worker, CHAN_ASSIGN, &msg, fds, (size_t)nfds, err))
		return -1;
	acceptor_hand_over(&l->hold.acceptor);
	return 0;
}

int assign_new(struct restore *l, struct err *err)
{
	cleanup_fd int map = -1;

	if (make_map(l, &map, err) || make_socket(l, err))
		return -1;
	return assign(l, CHAN_ASSIGN_WAIT, map, err);
}

int assign_successor(struct restore *l, struct err *err)
{
	cleanup_fd int map = -1;

	if (l->hold.uffd >= 0)
		return restore_open_map(l, &map, err) ||
		       assign(l, CHAN_ASSIGN_SERVE, map, err) ? -1 : 0;
	/* Nothing was installed yet: begin the page map anew. */
	if (make_map(l, &map, err) || (l->hold.acceptor.fd < 0 && make_socket(l, err)))
		return -1;
	return assign(l, CHAN_ASSIGN_WAIT, map, err);
}

void assign_presence(struct restore *l)
{
	cleanup_fd int pagemap = -1;
	struct chan_msg msg = {0};
	struct err err;

	if (!l->worker || l->hold.vmm < 0)
		return;
	if (presence_open((pid_t)l->rec.vmm_pid, &pagemap, &err)) {
		log_warning("page states of a restore cannot be exact", "id=%s why=%s", l->rec.id,
			    err.msg);
		return;
	}
	/* That number may be another process's by now. */
	if (proc_ended(l->hold.vmm))
		return;
	worker_send(l->worker, CHAN_PRESENCE, &msg, &pagemap, 1, &err);
}
