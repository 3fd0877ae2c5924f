#include "daemon/orphan.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "common/io.h"
#include "common/js.h"
#include "common/proc.h"
#include "daemon/caller.h"
#include "daemon/log.h"
#include "daemon/restore_wset.h"
#include "daemon/vmm.h"

/* Indices of PROOF's descriptors. */
enum { PROOF_MAP, PROOF_REQUEST, PROOF_VMM };

/* By so much a canonical request may be longer than the request that was sent. */
#define SPELLED_OUT ((uint64_t)64 << 10)

/*
 * A worker's descriptor may be of any file, and stat() might ask a process that serves it. So only
 * what the kernel has cached is looked at.
 */
static int stat_cached(int fd, const char *path, int flags, struct stat *ret)
{
	struct statx x;

	if (statx(fd, path, flags | AT_STATX_DONT_SYNC, STATX_INO, &x))
		return -1;
	ret->st_ino = x.stx_ino;
	ret->st_dev = makedev(x.stx_dev_major, x.stx_dev_minor);
	return 0;
}

static bool same_file(int fd, const struct stat *st)
{
	struct stat own;

	return stat_cached(fd, "", AT_EMPTY_PATH, &own) == 0 && own.st_ino == st->st_ino &&
	       own.st_dev == st->st_dev;
}

/* ---- who may be a worker ---- */

/* A worker gets its page map with its assignment, before it opens anything. */
#define EARLY_FDS 64

/* Is it a file of the maps' file system, in a directory of that name? */
static bool is_map(const char *path, dev_t maps)
{
	char link[CONF_PATH_MAX + 64];
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	struct stat st;

	link[n > 0 ? n : 0] = '\0';
	return strstr(link, "/maps/") && stat_cached(AT_FDCWD, path, 0, &st) == 0 &&
	       st.st_dev == maps;
}

bool orphan_may_be(const struct host *host, const struct sock_peer *who)
{
	char path[CONF_PATH_MAX + 1];
	struct stat maps;

	if (geteuid() != 0)
		return who->uid == geteuid();
	host_path(host, "maps", "", path);
	if (stat(path, &maps))
		return false;
	for (int fd = 0; fd < EARLY_FDS; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)who->pid, fd);
		if (is_map(path, maps.st_dev))
			return true;
	}
	return false;
}

/* ---- is the proof true? ---- */

static int check_map(const struct host *host, const char *key, int fd, struct err *err)
{
	char path[CONF_PATH_MAX + 1];
	struct stat st;

	host_path(host, "maps", key, path);
	if (fd >= 0 && lstat(path, &st) == 0 && S_ISREG(st.st_mode) && same_file(fd, &st) &&
	    (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR)
		return 0;
	return err_set(err, ERR_PEER, "it does not have the page map with key %s", key);
}

/* The request is a memfd sealed against changes and cuts, as the supervisor makes it. */
static int read_request(const struct host *host, int fd, struct spec *ret, struct err *err)
{
	const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	cleanup_json struct json_object *body = NULL;
	uint64_t roots = (uint64_t)TENANT_ROOTS_MAX * (TENANT_ROOT_BYTES_MAX + 1);
	uint64_t max = 2 * host->conf.http_body_bytes + SPELLED_OUT + roots;
	cleanup_free char *text = NULL;
	struct stat st;
	int seals = fd < 0 ? -1 : fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & sealed) != sealed || fstat(fd, &st))
		return err_set(err, ERR_PEER, "it has no sealed request");
	if (st.st_size <= 0 || (uint64_t)st.st_size > max)
		return err_set(err, ERR_PEER, "its request has %lld bytes, at most %llu are read",
			       (long long)st.st_size, (unsigned long long)max);
	text = xcalloc(1, (size_t)st.st_size);
	if (io_read_at(fd, text, (size_t)st.st_size, 0) < (size_t)st.st_size)
		return err_set(err, ERR_PEER, "its request cannot be read");
	/* Roots follow behind a NUL. */
	body = js_parse(text, strnlen(text, (size_t)st.st_size), false, err);
	if (!body || spec_parse(body, ret, err))
		return err_wrap(err, "its request");
	return 0;
}

/*
 * The tenant is that of the worker's user, whatever the request says; a user who belongs to none
 * any more is one of its own, since its guest lives.
 */
static int resolve(struct restore *r, const struct sock_peer *who, struct err *err)
{
	struct sock_peer served = worker_user_caller(&r->host->user, who);
	struct caller caller;

	caller_resolve(&r->host->tenants, &served, &caller);
	if (!caller.tenant[0])
		caller_user_tenant(served.uid, caller.tenant);
	r->spec.tenant[0] = '\0';
	spec_resolve(&r->spec, caller.tenant, served.uid, served.gid);
	if (r->spec.socket_path[0])
		return 0;
	return err_set(err, ERR_PEER, "its request names no socket");
}

/* @pidfd: of the process that handed the uffd over; -1 is believed if that has ended. */
static bool is_plausible(const struct restore *r, int *pidfd, uint32_t pid)
{
	cleanup_fd int there = -1;
	struct err err;

	/* The uffd comes with CONNECTED. */
	return *pidfd >= 0 ? vmm_check(r, pidfd, pid, -1)
			   : proc_pidfd((pid_t)pid, &there, &err) != 0;
}

static int take_vmm(struct restore *r, const struct pagemap_view *view, int *pidfd, struct err *err)
{
	struct restore_record *rec = &r->rec;

	if (!is_plausible(r, pidfd, view->head.vmm_pid))
		return err_set(err, ERR_PEER, "process %u need not be its VMM", view->head.vmm_pid);
	rec->state = STATE_SERVING;
	restore_note_vmm(r, view->head.vmm_pid, view->head.vmm_uid, *pidfd);
	rec->page_bytes = view->regions.page_bytes;
	rec->memory_bytes = regions_bytes(&view->regions);
	if (*pidfd >= 0)
		vmm_watch(r, pidfd);
	return 0;
}

/*
 * The supervisor unlinks a socket in its own directory, and one of an admin, if the kernel says
 * that it is bound there. Once a VMM has come nobody listens any more, but the file may be left.
 */
static void take_socket(struct restore *r, int listen_fd)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(addr) - 1;
	char own[CONF_PATH_MAX + 1];

	if (listen_fd < 0) {
		host_path(r->host, "uffd", r->rec.key, own);
		unlink(own);
		return;
	}
	r->hold.own_socket = !holdings_place_socket(&r->hold, r->host, r->rec.key,
						    r->spec.socket_path) ||
			     (r->rec.caller_uid == geteuid() &&
			      getsockname(listen_fd, (struct sockaddr *)&addr, &len) == 0 &&
			      strcmp(addr.sun_path, r->spec.socket_path) == 0);
}

/*
 * As the worker says, if it says one that its tenant has not given to another restore meanwhile.
 * Else the key, which is nobody else's.
 */
static const char *id_of(const struct restore *r, const struct table *table,
			 const struct reconnect_guest *g)
{
	const char *id = g->proof->id;

	return proto_id_valid(id) && !table_find(table, id, r->spec.tenant) ? id : g->reattach->key;
}

static void fill(struct restore *r, const struct table *table, const struct reconnect_guest *g)
{
	const struct chan_proof *p = g->proof;
	struct sock_peer served = worker_user_caller(&r->host->user, g->who);
	struct restore_record *rec = &r->rec;

	restore_begin(r, g->reattach->key, id_of(r, table, g), &served);
	rec->worker_pid = (uint32_t)g->worker->pid;
	rec->worker_start = g->worker->start;
	rec->size_bytes = p->size_bytes;
	if (p->prefetch < PREFETCH_COUNT)
		rec->prefetch = (enum spec_prefetch)p->prefetch;
	rec->prefetch_held = p->prefetch_held;
	rec->rate_bytes_per_s = min_u64(p->rate_bytes_per_s, INT64_MAX);
	rec->max_resident_bytes = min_u64(p->max_resident_bytes, INT64_MAX);
}

static int believe(struct restore *r, const struct table *table, const struct reconnect_guest *g,
		   struct err *err)
{
	struct pagemap_view view;

	if (check_map(r->host, g->reattach->key, g->fds[PROOF_MAP], err) ||
	    pagemap_view(g->fds[PROOF_MAP], &view, err) ||
	    read_request(r->host, g->fds[PROOF_REQUEST], &r->spec, err) || resolve(r, g->who, err))
		return -1;
	fill(r, table, g);
	if (view.head.connected && take_vmm(r, &view, &g->fds[PROOF_VMM], err))
		return -1;
	take_socket(r, view.head.connected ? -1 : *g->listen_fd);
	return 0;
}

struct restore *orphan_new(struct host *host, const struct table *table,
			   const struct reconnect_guest *guest, struct err *err)
{
	struct restore *r = xcalloc(1, sizeof(*r));

	restore_init(r, host);
	if (believe(r, table, guest, err)) {
		restore_free(r);
		return NULL;
	}
	r->worker = guest->worker;
	worker_own(r->worker, host->worker_hooks, r);
	slot_event(&r->slot, SLOT_REATTACH);
	restore_wset_ready(r, &guest->proof->key);
	restore_listen(r, guest->listen_fd, guest->reattach->npeers);
	return r;
}

void orphan_publish(struct restore *r)
{
	static const char *const names[] = {"created_at", "connected_at", "worker.restarts",
					    "working_set", "stop"};
	struct json_object *data = json_object_new_object();
	struct json_object *unknown = json_object_new_array();

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		json_object_array_add(unknown, json_object_new_string(names[i]));
	json_object_object_add(data, "unknown", unknown);
	log_notice("a restore that no row knows was adopted", "id=%s tenant=%s worker=%u",
		   r->rec.id, r->rec.tenant, r->rec.worker_pid);
	restore_known(r);
	restore_changed(r, "adopted", data);
}
