#include "daemon/limits.h"

#include "common/cgroup.h"
#include "common/proc.h"
#include "daemon/log.h"

/* A VMM is moved to another cgroup once, if at all. */
#define TELL_AGAIN_US ((uint64_t)1000 * 1000)
#define NO_PROCESS 0 /* a pid that no process has */

static int send_kind(struct restore *r, enum cgroup_kind kind, const struct cgroup_files *f,
		     bool anew, struct err *err)
{
	struct chan_msg msg = {0};

	msg.cgroups.kind = kind;
	msg.cgroups.levels = (uint32_t)f->levels;
	msg.cgroups.anew = anew;
	return worker_send(r->worker, CHAN_CGROUPS, &msg, f->fds, cgroup_nfds(kind, f), err);
}

/* Sends at least one message: "no cgroup limits it" must be said, too. */
static int send_all(struct restore *r, const struct cgroup_files files[CGROUP_KIND_COUNT],
		    struct err *err)
{
	bool anew = true;

	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
		bool last = kind == CGROUP_KIND_COUNT - 1;

		if (!files[kind].levels && !(anew && last))
			continue;
		if (send_kind(r, kind, &files[kind], anew, err))
			return -1;
		anew = false;
	}
	return 0;
}

static void close_all(struct cgroup_files files[CGROUP_KIND_COUNT])
{
	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++)
		cgroup_close(kind, &files[kind]);
}

/*
 * A VMM that still lives after its files were opened had its pid until then. A VMM that has ended
 * is in no cgroup, and its pid may be another process's by now.
 */
static int open_files(const struct restore *r, struct cgroup_files files[CGROUP_KIND_COUNT],
		      struct err *err)
{
	if (cgroup_open("", (pid_t)r->rec.vmm_pid, r->rec.page_bytes, files, err))
		return -1;
	if (r->hold.vmm >= 0 && !proc_ended(r->hold.vmm))
		return 0;
	close_all(files);
	return cgroup_open("", NO_PROCESS, r->rec.page_bytes, files, err);
}

int limits_send(struct restore *r)
{
	struct cgroup_files files[CGROUP_KIND_COUNT];
	uint64_t now = now_us();
	struct err err;
	int rc;

	if (r->limits_sent_us && now - r->limits_sent_us < TELL_AGAIN_US)
		return 0;
	rc = open_files(r, files, &err);
	if (rc == 0) {
		rc = send_all(r, files, &err);
		close_all(files);
	}
	if (rc)
		log_warning("a worker cannot be told its VMM's cgroups, and does not prefetch",
			    "id=%s tenant=%s why=%s", r->rec.id, r->rec.tenant, err.msg);
	else
		r->limits_sent_us = now;
	return rc;
}
