#include "worker/load.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/sock.h"
#include "worker/fault_injection.h"
#include "worker/holder.h"
#include "worker/identity.h"
#include "worker/syscalls.h"

#define SPEC_TEXT_MAX ((size_t)32 << 20)

/* ---- the assignment ---- */

/* The canonical request, as the supervisor wrote it, and behind its NUL the tenant's roots. */
static int parse_request(const char *text, size_t size, struct job *j, struct err *err)
{
	size_t len = strnlen(text, size);
	cleanup_json struct json_object *body = js_parse(text, len, false, err);

	if (!body || (len < size && roots_take(&j->roots, text + len + 1, size - len - 1, err)))
		return -1;
	return spec_parse(body, &j->spec, err);
}

static int read_spec(struct job *j, struct err *err)
{
	struct stat st;
	void *text;
	int rc;

	if (j->request < 0 || fstat(j->request, &st))
		return err_set(err, ERR_SYSTEM, "the assignment came without a request");
	if (st.st_size <= 0 || (uint64_t)st.st_size > SPEC_TEXT_MAX)
		return err_set(err, ERR_SYSTEM, "the assignment's request has %lld bytes",
			       (long long)st.st_size);
	text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, j->request, 0);
	if (text == MAP_FAILED)
		return err_sys(err, "map the assignment's request");
	rc = parse_request(text, (size_t)st.st_size, j, err);
	munmap(text, (size_t)st.st_size);
	return rc;
}

/* Settings that may have changed since the restore was created. */
static void apply_changes(struct job *j)
{
	const struct chan_assign *a = &j->assign;

	if (a->prefetch < PREFETCH_COUNT)
		j->spec.prefetch = (enum spec_prefetch)a->prefetch;
	j->spec.rate_bytes_per_s = a->rate_bytes_per_s;
	j->spec.max_resident_bytes = a->max_resident_bytes;
	j->prefetch_held = a->prefetch_held;
}

/* A socket in the supervisor's directory, or at an admin's path, is bound by the supervisor. */
static int open_listener(struct job *j, struct err *err)
{
	const struct spec *s = &j->spec;
	const struct sock_rights rights = {s->socket_mode, s->socket_uid, s->socket_gid};

	if (j->assign.kind != CHAN_ASSIGN_WAIT || j->listen_fd >= 0)
		return 0;
	if (sock_listen(s->socket_path, SOCK_STREAM, rights, &j->listen_fd, err))
		return -1;
	j->assign.unlink_socket = true;
	return 0;
}

static void take_holder(struct job *j)
{
	if (j->holder_given < 0) {
		holder_leave(&j->holder);
	} else if (j->assign.holder == CHAN_HOLDER_NEW) {
		holder_assign(j->holder, &j->assign, j->holder_given);
		close_fd(&j->holder_given);
	} else {
		holder_leave(&j->holder);
		j->holder = steal_fd(&j->holder_given);
	}
}

static int read_request(struct job *j, struct err *err)
{
	if (j->assign.kind != CHAN_ASSIGN_WAIT && j->uffd < 0)
		return err_set(err, ERR_SYSTEM, "the assignment came without a guest");
	return read_spec(j, err);
}

/* ---- the files ---- */

/* A holder is a tenant's process and may send anything: these need not be the snapshot's files. */
static void take_given(struct job *j, const struct pagemap_head *head, struct files *files)
{
	struct source_given *given = &files->given;

	if (j->assign.holder != CHAN_HOLDER_THERE)
		return;
	holder_take(&j->holder, given);
	if (head && given->n && !identity_given(given->seen, given->n, head))
		source_given_fini(given);
}

/*
 * Opens all that loading will read: afterwards nothing can be opened any more. A successor of a
 * complete guest needs no file.
 */
static int open_files(struct job *j, struct files *files, struct err *err)
{
	struct pagemap_view view = {0};
	bool anew = j->assign.kind == CHAN_ASSIGN_WAIT;

	working_set_open(&j->working_set, &j->roots, j->spec.wset_path);
	if (!anew && pagemap_view(j->map_fd, &view, err))
		return -1;
	if (view.head.complete)
		return 0;
	take_given(j, anew ? NULL : &view.head, files);
	return files->given.n ? 0 : files_open(&j->spec, &j->roots, files, err);
}

/* ---- the snapshot ---- */

static int load_source(struct job *j, struct files *files, struct err *err)
{
	if (source_load(&j->spec, files, j->assign.bounds.entries, &j->src, err) == 0)
		return 0;
	if (j->map.head)
		err_wrap(err, "nobody has kept the snapshot's files open for another worker, and "
			      "they cannot be opened again (leave them there until a restore is "
			      "complete, or has ended)");
	return -1;
}

/* Checked before the guest depends on it. */
static int check_descriptors(const struct job *j, struct err *err)
{
	uint64_t need = source_nfds(j->src) + JOB_OTHER_FDS;

	if (j->fds_max >= need)
		return 0;
	return err_set(err, ERR_QUOTA,
		       "a worker for a snapshot of %zu files needs %llu "
		       "descriptors and may have %llu, %llu are missing: raise the daemon's hard "
		       "limit of open files (LimitNOFILE=, ulimit -Hn)",
		       source_nfds(j->src), (unsigned long long)need,
		       (unsigned long long)j->fds_max, (unsigned long long)(need - j->fds_max));
}

static int check_bound(uint64_t value, uint64_t max, const char *budget, struct err *err)
{
	if (!max || value <= max)
		return 0;
	return err_set(err, ERR_QUOTA,
		       "the restore takes %llu %s, and %llu are left of the tenant's budget",
		       (unsigned long long)value, budget, (unsigned long long)max);
}

/* Before it is made: the supervisor checks again what the restore takes. */
static int check_bounds(const struct job *j, struct err *err)
{
	uint64_t map_bytes = pagemap_file_bytes(source_span_bytes(j->src));

	return check_bound(source_layers(j->src), j->assign.bounds.files, "files", err) ||
			       check_bound(map_bytes, j->assign.bounds.map_bytes, "page_map_bytes",
					   err)
		       ? -1
		       : 0;
}

static int load_new(struct job *j, struct files *files, struct err *err)
{
	if (load_source(j, files, err) || check_descriptors(j, err) || check_bounds(j, err) ||
	    pagemap_create(j->map_fd, source_span_bytes(j->src), &j->map, err))
		return -1;
	identity_write(j->src, j->map.head);
	return 0;
}

/* To continue a predecessor's page map the snapshot must be the same, or not needed any more. */
static int load_again(struct job *j, struct files *files, struct err *err)
{
	if (pagemap_open(j->map_fd, &j->map, err))
		return -1;
	/* Before READY: since the predecessor's death no process corrects page states. */
	j->map.head->exact = PAGEMAP_INEXACT;
	/* Pages that are still absent then read zero. */
	if (j->map.head->complete) {
		j->src = source_none(j->map.head->span_bytes);
		holder_leave(&j->holder);
		return 0;
	}
	if (load_source(j, files, err))
		return -1;
	if (!identity_same(j->src, j->map.head))
		return err_set(err, ERR_SNAPSHOT,
			       "the snapshot is not the one that was served "
			       "before the worker died: its files were replaced or changed");
	return 0;
}

static int load_snapshot(struct job *j, struct files *files, struct err *err)
{
	int rc = j->assign.kind == CHAN_ASSIGN_WAIT ? load_new(j, files, err)
						    : load_again(j, files, err);

	if (rc == 0 && j->assign.holder == CHAN_HOLDER_NEW)
		holder_give(&j->holder, j->src);
	return rc;
}

/* No fault of a working set keeps the snapshot from being served. */
static void load_working_set(struct job *j)
{
	j->working_set.key = identity_wset_key(j->src);
	j->working_set.span_bytes = source_span_bytes(j->src);
	j->working_set.window_us = j->spec.record ? j->assign.record_ms * 1000 : 0;
	j->working_set.file_bytes = j->assign.wset_bytes;
	working_set_read(&j->working_set);
}

/* The last component of a path is @ret's end: its directory, or "." or "/". */
static const char *directory_of(const char *path, char ret[PROTO_SUN_MAX + 1])
{
	char *slash;

	snprintf(ret, PROTO_SUN_MAX + 1, "%s", path);
	slash = strrchr(ret, '/');
	if (slash)
		slash[slash == ret] = '\0';
	return ret;
}

/*
 * The page map, as large as the tenant's budget lets it be, and the recorded working set. A successor
 * makes its page map as large as the first worker's was.
 */
static uint64_t largest_file(const struct job *j)
{
	uint64_t map_bytes = j->assign.bounds.map_bytes;

	return map_bytes ? max_u64(map_bytes, j->assign.wset_bytes) : 0;
}

/* From here on the worker parses what a tenant has written. */
static int close_sandbox(const struct job *j, struct err *err)
{
	char dir[PROTO_SUN_MAX + 1];
	const struct sandbox_rest rest = {
		.leave = j->assign.serve.uid != 0,
		.uid = j->assign.serve.uid,
		.gid = j->assign.serve.gid,
		.removable = j->assign.unlink_socket ? directory_of(j->spec.socket_path, dir)
						     : NULL,
		.file_bytes = largest_file(j),
	};

	return sandbox_close(&syscalls_worker, &rest, err);
}

/* The only file that is still made is the recorded working set. */
static int finish_sandbox(const struct job *j, struct err *err)
{
	return sandbox_finish(&syscalls_worker, j->spec.record ? j->assign.wset_bytes : 0, err);
}

static int load_files(struct job *j, struct files *files, struct err *err)
{
	if (open_files(j, files, err) || close_sandbox(j, err) || load_snapshot(j, files, err))
		return -1;
	load_working_set(j);
	return finish_sandbox(j, err);
}

int load(struct job *j, struct err *err)
{
	const struct chan_assign *a = &j->assign;
	struct files files = {0};
	int rc;

	fault_arm(a->id);
	fault_point(FAULT_LOADING);
	take_holder(j);
	if (read_request(j, err))
		return -1;
	apply_changes(j);
	if (a->become && sandbox_become(a->uid, a->gid, a->groups, a->ngroups, err))
		return -1;
	if (open_listener(j, err))
		return -1;
	rc = load_files(j, &files, err);
	files_fini(&files);
	if (rc == 0 && a->holder == CHAN_HOLDER_NEW)
		holder_settle(&j->holder);
	return rc;
}
