/*
 * conf - the configuration of this daemon: one table of options
 *
 * Default < configuration file < command line. The file is one flat JSON object whose keys are the
 * names of the table; comments are allowed. The table also makes the help text and the manual.
 * struct conf is plain data: copy it freely. Names say the units: _ms, _us, _bytes.
 */
#ifndef UFFDD_CONF_H
#define UFFDD_CONF_H

#include "common/base.h"
#include "common/err.h"
#include "daemon/log.h"

#define CONF_DEFAULT_FILE SYSCONFDIR "/uffdd/uffdd.json"
#define CONF_FILE_BYTES_MAX ((size_t)256 << 10)
#define CONF_PATH_MAX 4095
/* What "<run_dir>/control.sock" leaves of a socket address. */
#define CONF_RUN_DIR_MAX 94
#define CONF_NAME_MAX 63

struct conf {
	char file[CONF_PATH_MAX + 1]; /* absolute */
	bool file_named;              /* by --config: the file must exist */

	/* Absolute, without a trailing slash. */
	char run_dir[CONF_RUN_DIR_MAX + 1];
	char state_dir[CONF_PATH_MAX + 1];
	char worker[CONF_PATH_MAX + 1];       /* program; "" = look for it */
	char tenants_file[CONF_PATH_MAX + 1]; /* "" = none; see tenants.h */
	bool each_user_is_tenant;
	char tenant_cgroup[CONF_PATH_MAX + 1]; /* "" = none; see tenant_cgroup.h */
	enum log_level log_level;

	uint32_t socket_mode;                 /* permission bits of the control socket */
	char socket_group[CONF_NAME_MAX + 1]; /* "" = the daemon's own */

	uint64_t pool_workers;
	uint64_t worker_uid, worker_gid; /* of workers of a root caller; 0: see worker_user.h */
	uint64_t prefetch_leases;        /* 0: half of the CPUs, at least one */
	uint64_t prefetch_slice_ms;
	uint64_t prefetch_bytes_per_s;  /* of all leases together; 0: no limit */
	uint64_t prefetch_margin_bytes; /* prefetch leaves this much memory to others */
	uint64_t worker_restarts, worker_restart_window_ms; /* more deaths in the window: failed */
	uint64_t max_restores;                              /* live ones */
	/* Defaults of budgets (budget.h). */
	uint64_t max_restores_per_tenant, workers_per_tenant, guest_bytes_per_tenant;
	uint64_t page_map_bytes_per_tenant, header_entries_per_tenant, files_per_tenant;
	uint64_t records_per_tenant, record_bytes_per_tenant, commands_per_s_per_tenant;
	uint64_t cgroup_memory_bytes_per_tenant, cgroup_pids_per_tenant; /* 0: no limit */
	uint64_t snapshot_bytes_max;
	uint64_t connect_timeout_max_ms;
	uint64_t ended_retention_ms;
	uint64_t record_window_ms; /* 0: nothing is recorded */
	uint64_t working_set_bytes, working_set_bytes_per_tenant;
	uint64_t event_retention_count, events_per_tenant, event_retention_age_ms;

	uint64_t http_header_bytes, http_body_bytes;
	uint64_t http_connections, http_connections_per_uid;
	uint64_t http_held, http_held_per_uid;
	uint64_t http_queue_bytes, http_unsent_bytes_per_uid;
	uint64_t http_idle_ms, http_header_deadline_ms, http_stall_ms;

	bool libevent_selftest;
};

enum conf_outcome { CONF_RUN, CONF_HELP, CONF_VERSION, CONF_CHECK };

/*
 * conf_parse_args - defaults, then the file, then the command line
 * @argv: may be permuted by getopt; relative paths in it are made absolute
 * @ret: changed on success only; untouched for CONF_HELP and CONF_VERSION, which read no file
 *
 * Returns 0, or -1 with ERR_INVALID that names the flag, or file and key; ERR_PATH, ERR_SYSTEM or
 * ERR_TOOBIG if the file cannot be read. May be called again.
 */
int conf_parse_args(int argc, char **argv, struct conf *ret, enum conf_outcome *ret_outcome,
		    struct err *err);

/* The defaults; no file is read. */
void conf_defaults(struct conf *ret);

/* --help: flags, and every key of the file with its default. */
void conf_print_help(FILE *out);

#endif
