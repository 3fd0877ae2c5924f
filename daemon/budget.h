/*
 * budget - what each tenant may have of this host
 *
 * One list of names, the same in the configuration, at the API and in errors. What a tenant has is
 * counted from what is there (usage.h), so nothing is reserved that could leak. Pure.
 */
#ifndef UFFDD_BUDGET_H
#define UFFDD_BUDGET_H

#include "daemon/conf.h"
#include "common/js.h"

/* X(constant, name, member of struct conf with the default, most that can be asked for) */
/* clang-format off */
#define BUDGETS(X)                                                                             \
	X(BUDGET_RESTORES,     "restores",       max_restores_per_tenant,   65536)             \
	X(BUDGET_WORKERS,      "workers",        workers_per_tenant,        131072)            \
	X(BUDGET_GUEST_BYTES,  "guest_bytes",    guest_bytes_per_tenant,    (uint64_t)1 << 60) \
	X(BUDGET_MAP_BYTES,    "page_map_bytes", page_map_bytes_per_tenant, (uint64_t)1 << 40) \
	X(BUDGET_ENTRIES,      "header_entries", header_entries_per_tenant, (uint64_t)1 << 40) \
	X(BUDGET_FILES,        "files",          files_per_tenant,          (uint64_t)1 << 32) \
	X(BUDGET_RECORDS,      "records",        records_per_tenant,        1000000)           \
	X(BUDGET_RECORD_BYTES, "record_bytes",   record_bytes_per_tenant,   (uint64_t)1 << 40) \
	X(BUDGET_EVENTS,       "events",         events_per_tenant,         10000000)          \
	X(BUDGET_COMMANDS,     "commands_per_s", commands_per_s_per_tenant, 1000000)           \
	X(BUDGET_CGROUP_MEMORY, "cgroup_memory_bytes", cgroup_memory_bytes_per_tenant,         \
	  (uint64_t)1 << 50)                                                                   \
	X(BUDGET_CGROUP_PIDS,  "cgroup_pids",    cgroup_pids_per_tenant,    4194304)
/* clang-format on */

#define BUDGET_CONSTANT(constant, name, member, max) constant,
enum budget { BUDGETS(BUDGET_CONSTANT) BUDGET_COUNT };
#undef BUDGET_CONSTANT

#define BUDGET_DEFAULT UINT64_MAX /* as the host's configuration says */

struct budgets {
	uint64_t of[BUDGET_COUNT]; /* a bound, inclusive, or BUDGET_DEFAULT */
};

const char *budget_name(enum budget budget);
/* Is it a number of things that there are (usage.h)? Else it is only looked at now and then. */
bool budget_is_counted(enum budget budget);
/* Does the kernel hold the tenant to it, by a cgroup (tenant_cgroup.h)? There 0 is no limit. */
bool budget_is_of_cgroup(enum budget budget);
/* All of them BUDGET_DEFAULT. */
void budget_init(struct budgets *ret);
/* The bound that holds for a tenant with @b. */
uint64_t budget_of(const struct budgets *b, enum budget budget, const struct conf *conf);

/*
 * budget_parse - reads the members of the object @at; a budget without a member stays as it is
 *
 * Returns 0, or -1 with ERR_INVALID naming the member; then *ret may be half changed.
 */
int budget_parse(struct js_at at, struct budgets *ret, struct err *err);
/* An object with those that are not BUDGET_DEFAULT; owned by the caller. */
struct json_object *budget_json(const struct budgets *b);

#endif
