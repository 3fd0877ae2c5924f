#include "daemon/assign.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "common/io.h"
#include "common/presence.h"
#include "common/proc.h"
#include "daemon/holders.h"
#include "daemon/log.h"
#include "daemon/placement.h"

/* Not a key. The rename is atomic, so a supervisor that dies leaves an old map or a new one. */
#define FRESH ".fresh"

static int make_map(struct restore *r, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = -1;
	char path[CONF_PATH_MAX + 1], fresh[CONF_PATH_MAX + 1];

	host_path(r->host, "maps", r->rec.key, path);
	host_path(r->host, "maps", FRESH, fresh);
	unlink(fresh);
	fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || rename(fresh, path))
		return err_sys(err, "create the page map %s", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/*
 * Binds a path in our own directory, or a path of a caller with our rights. Any other path is bound
 * by the worker, with its caller's rights.
 */
static int make_socket(struct restore *r, struct err *err)
{
	struct sock_rights rights = sock_mode(r->spec.socket_mode);
	bool foreign = holdings_place_socket(&r->hold, r->host, r->rec.key, r->spec.socket_path);

	if (foreign && r->rec.caller_uid != geteuid())
		return 0;
	/* A worker without a row may still listen there. */
	if (!foreign) {
		unlink(r->spec.socket_path);
		/* A socket that is bound, but cannot be opened up, is removed, too. */
		r->hold.own_socket = true;
	}
	if (geteuid() == 0) {
		rights.uid = r->spec.socket_uid;
		rights.gid = r->spec.socket_gid;
	}
	if (sock_listen(r->spec.socket_path, SOCK_STREAM, rights, &r->hold.acceptor.fd, err))
		return -1;
	r->hold.own_socket = true;
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

static void fill_identity(const struct restore *r, struct chan_assign *a)
{
	memcpy(a->key, r->rec.key, sizeof(a->key));
	memcpy(a->id, r->rec.id, sizeof(a->id));
	snprintf(a->reconnect_path, sizeof(a->reconnect_path), "%.94s/workers.sock",
		 r->host->conf.run_dir);
	a->become = geteuid() == 0;
	a->uid = r->rec.caller_uid;
	a->gid = r->rec.caller_gid;
	a->ngroups = read_groups(r->rec.caller_groups, a->groups);
	if (worker_user_serves(&r->host->user, r->rec.caller_uid)) {
		a->serve.uid = r->host->user.uid;
		a->serve.gid = r->host->user.gid;
	}
}

/* What is left of connect_timeout. */
static uint64_t connect_ms(const struct restore *r)
{
	int64_t left = r->rec.created_ms + (int64_t)r->spec.connect_timeout_ms - wall_ms();

	return left > 0 ? (uint64_t)left : 0;
}

static void fill_state(const struct restore *r, struct chan_assign *a)
{
	a->prefetch = r->rec.prefetch;
	a->prefetch_held = r->rec.prefetch_held;
	a->rate_bytes_per_s = r->rec.rate_bytes_per_s;
	a->paused = r->rec.paused;
	a->failed = r->rec.state == STATE_FAILED;
	a->unlink_socket = !r->hold.own_socket && r->hold.uffd < 0 && r->hold.acceptor.fd >= 0;
	a->connect_ms = connect_ms(r);
	a->record_ms = r->rec.recording ? r->host->conf.record_window_ms : 0;
	a->wset_bytes = min_u64(r->host->conf.working_set_bytes,
				r->host->conf.working_set_bytes_per_tenant);
	a->prefetch_margin_bytes = r->host->conf.prefetch_margin_bytes;
	a->max_resident_bytes = r->rec.max_resident_bytes;
}

/* So that what costs too much is not even made. READY is checked, too (creation.c). */
static void fill_bounds(const struct restore *r, struct chan_assign *a)
{
	struct budgets left;

	r->host->hooks->left(r->host->arg, r, &left);
	a->bounds.map_bytes = left.of[BUDGET_MAP_BYTES];
	a->bounds.entries = left.of[BUDGET_ENTRIES];
	a->bounds.files = left.of[BUDGET_FILES];
}

int assign_choose(struct restore *r, struct err *err)
{
	if (pool_take(r->host->pool, r->host->worker_hooks, r, &r->worker, err))
		return -1;
	r->rec.worker_pid = (uint32_t)r->worker->pid;
	r->rec.worker_start = r->worker->start;
	return 0;
}

/* The request as it is stored, and behind its NUL the roots of its tenant as they are now. */
static int make_request(const struct restore *r, int *ret_fd, struct err *err)
{
	const struct tenant *t = tenants_find(&r->host->tenants, r->rec.tenant);
	cleanup_free char *text = NULL;
	cleanup_file FILE *f = NULL;
	size_t len = 0;

	f = open_memstream(&text, &len);
	if (!f)
		return err_sys(err, "write the request");
	fputs(r->rec.spec, f);
	for (size_t i = 0; t && i < t->nroots; i++) {
		if (i == 0)
			fputc('\0', f);
		fwrite(t->roots[i], 1, strlen(t->roots[i]) + 1, f);
	}
	if (fflush(f))
		return err_sys(err, "write the request");
	return io_sealed("request", text, len, ret_fd, err);
}

static int assign(struct restore *r, enum chan_assign_kind kind, int map, struct err *err)
{
	cleanup_fd int request = -1, holder = -1;
	struct chan_msg msg = {0};
	int fds[5], nfds = 2;

	if (make_request(r, &request, err) || (!r->worker && assign_choose(r, err)) ||
	    placement_begin(r, err))
		return -1;
	fill_identity(r, &msg.assign);
	fill_state(r, &msg.assign);
	if (restore_is_creating(r))
		fill_bounds(r, &msg.assign);
	msg.assign.kind = kind;
	msg.assign.holder = holders_reach(r->host, r->rec.key,
					  msg.assign.serve.uid ? msg.assign.serve.uid
							       : r->rec.caller_uid,
					  restore_is_creating(r), &holder);
	fds[0] = request;
	fds[1] = map;
	if (kind == CHAN_ASSIGN_SERVE) {
		fds[nfds++] = r->hold.uffd;
		if (r->hold.vmm >= 0)
			fds[nfds++] = r->hold.vmm;
	} else if (r->hold.acceptor.fd >= 0) {
		fds[nfds++] = r->hold.acceptor.fd;
	}
	if (holder >= 0)
		fds[nfds++] = holder;
	if (worker_send(r->worker, CHAN_ASSIGN, &msg, fds, (size_t)nfds, err))
		return -1;
	acceptor_hand_over(&r->hold.acceptor);
	return 0;
}

int assign_new(struct restore *r, struct err *err)
{
	cleanup_fd int map = -1;

	if (make_map(r, &map, err) || make_socket(r, err))
		return -1;
	return assign(r, CHAN_ASSIGN_WAIT, map, err);
}

int assign_successor(struct restore *r, struct err *err)
{
	cleanup_fd int map = -1;

	if (r->hold.uffd >= 0)
		return restore_open_map(r, &map, err) || assign(r, CHAN_ASSIGN_SERVE, map, err) ? -1
												: 0;
	/* Nothing was installed yet: begin the page map anew. */
	if (make_map(r, &map, err) || (r->hold.acceptor.fd < 0 && make_socket(r, err)))
		return -1;
	return assign(r, CHAN_ASSIGN_WAIT, map, err);
}

void assign_presence(struct restore *r)
{
	cleanup_fd int pagemap = -1;
	struct chan_msg msg = {0};
	struct err err;

	if (!r->worker || r->hold.vmm < 0)
		return;
	if (presence_open((pid_t)r->rec.vmm_pid, &pagemap, &err)) {
		log_warning("page states of a restore cannot be exact", "id=%s tenant=%s why=%s",
			    r->rec.id, r->rec.tenant, err.msg);
		return;
	}
	/* The pid may be another process's by now. */
	if (proc_ended(r->hold.vmm))
		return;
	worker_send(r->worker, CHAN_PRESENCE, &msg, &pagemap, 1, &err);
}
