#include "daemon/supervisor.h"

#include <event2/event.h>
#include <string.h>

#include "common/js.h"
#include "common/proc.h"
#include "daemon/admission.h"
#include "daemon/adopt.h"
#include "daemon/caller.h"
#include "daemon/creation.h"
#include "daemon/descriptors.h"
#include "daemon/former_workers.h"
#include "daemon/orphan.h"
#include "daemon/conversation.h"
#include "daemon/reconnect.h"
#include "daemon/request.h"
#include "daemon/log.h"
#include "daemon/placement.h"
#include "daemon/run_dir.h"
#include "daemon/tenant_cgroup.h"
#include "daemon/commands.h"
#include "daemon/tenant_store.h"
#include "daemon/timer.h"
#include "daemon/vmm.h"

#define HOUSEKEEPING_S 10

/* ---- table ---- */

struct restore *supervisor_next(struct supervisor *sup, const char *id, const char *tenant)
{
	struct restore *r = table_next(&sup->table, id, tenant);

	while (r && restore_is_creating(r))
		r = table_next(&sup->table, r->rec.id, r->rec.tenant);
	return r;
}

struct restore *supervisor_find(struct supervisor *sup, const char *id, const char *tenant)
{
	struct restore *r = tenant ? table_find(&sup->table, id, tenant)
				   : supervisor_next(sup, id, "");

	return r && !restore_is_creating(r) && strcmp(r->rec.id, id) == 0 ? r : NULL;
}

/* ---- changes ---- */

static const struct restore_record *on_record(void *arg, const char *key)
{
	const struct supervisor *sup = arg;
	struct restore *r = table_of_key(&sup->table, key);

	return r && !restore_is_creating(r) ? &r->rec : NULL;
}

static void on_written(void *arg)
{
	struct supervisor *sup = arg;

	sup->observer->events(sup->observer_arg);
}

static const struct journal_hooks journal_hooks = {on_record, on_written};

static void on_changed(void *arg, struct restore *restore)
{
	struct supervisor *sup = arg;

	sup->observer->changed(sup->observer_arg, restore);
}

static void on_ended(void *arg, struct restore *restore)
{
	struct supervisor *sup = arg;

	retention_keep(&sup->retention, restore);
}

static void remove_restore(struct supervisor *sup, struct restore *restore)
{
	retention_drop(&sup->retention, restore);
	table_remove(&sup->table, restore);
	restore_free(restore);
}

static void on_create_failed(void *arg, struct restore *restore)
{
	remove_restore(arg, restore);
}

/* A stop may be pending that found no process to kill. */
static void on_found(void *arg, struct restore *restore)
{
	(void)arg;
	commands_resume_stop(restore);
}

static bool has_room(void *arg)
{
	const struct supervisor *sup = arg;

	return capacity_any(&sup->capacity);
}

static void on_left(void *arg, const struct restore *restore, struct budgets *ret)
{
	struct supervisor *sup = arg;

	admission_left(&sup->host, &sup->table, restore->rec.tenant, ret);
}

static const struct host_hooks host_hooks = {on_changed, on_ended, on_create_failed,
					     on_found,   on_left,  has_room};

/* If the process that connected outlives the VMM, its pidfd tells nothing: so ask the uffd. */
static void end_those_ended(struct supervisor *sup)
{
	for (size_t i = 0; i < sup->table.n; i++)
		if (sup->table.v[i]->hold.uffd >= 0 && vmm_has_ended(sup->table.v[i]))
			restore_end(sup->table.v[i], "vmm-exited");
}

static void on_housekeeping(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *sup = arg;
	int64_t now = wall_ms();
	struct err err;

	(void)fd;
	(void)what;
	end_those_ended(sup);
	retention_expire(&sup->retention, now);
	retention_thin(&sup->retention);
	strays_drop_ended(&sup->strays);
	pool_tidy(sup->host.pool);
	placement_tidy(&sup->host);
	if (event_retention_run(&sup->events, sup->host.store, &sup->host.tenants, &sup->host.conf,
				now, &err))
		log_warning("old events could not be dropped", "why=%s", err.msg);
}

/* ---- create ---- */

static void wait_for(struct restore *r, struct creator *c)
{
	TAILQ_INSERT_TAIL(&r->creators, c, link);
	c->list = &r->creators;
}

/* The same request gets the same answer; a different request under this id is refused. */
static int join(struct restore *r, struct spec *spec, struct creator *c, struct err *err)
{
	cleanup_json struct json_object *asked = spec_json(spec);
	struct request request;
	bool same;

	if (request_open(r, &request, err))
		return -1;
	same = strcmp(json_object_to_json_string_ext(asked, JSON_C_TO_STRING_PLAIN),
		      request.text) == 0;
	request_close(&request);
	if (!same)
		return err_set(err, ERR_CONFLICT,
			       "restore %s exists with a different request: "
			       "choose another id",
			       r->rec.id);
	if (restore_is_creating(r))
		wait_for(r, c);
	else
		c->done(c, r, NULL);
	return 0;
}

static int begin(struct supervisor *sup, const struct creation *new, struct creator *c,
		 struct err *err)
{
	struct restore *r;

	if (admission_quota(&sup->host, &sup->table, new->spec->tenant, err) ||
	    capacity_check(&sup->capacity, err) || sweep_check(&sup->sweep, err) ||
	    creation_begin(&sup->host, new, &r, err))
		return -1;
	table_insert(&sup->table, r);
	c->made = true;
	wait_for(r, c);
	return 0;
}

static int create(struct supervisor *sup, const struct creation *new, struct creator *c,
		  struct err *err)
{
	struct restore *r;

	retention_make_room(&sup->retention, new->spec->tenant);
	r = table_find(&sup->table, new->id, new->spec->tenant);
	if (admission_request(&sup->host, r ? r->rec.key : new->key, new->spec, new->caller, err))
		return -1;
	return r ? join(r, new->spec, c, err) : begin(sup, new, c, err);
}

int supervisor_create(struct supervisor *sup, const char *id, struct spec *spec,
		      const struct sock_peer *peer, struct creator *c, struct err *err)
{
	char key[RECORD_KEY_LEN + 1];
	const struct creation new = {key, id, spec, peer};
	int rc;

	record_make_key(key);
	rc = create(sup, &new, c, err);
	spec_fini(spec);
	return rc;
}

void supervisor_forget_creator(struct creator *c)
{
	if (c->list)
		TAILQ_REMOVE(c->list, c, link);
	c->list = NULL;
}

int supervisor_ready(struct supervisor *sup, struct err *err)
{
	return admission_ready(&sup->host, &sup->table, &sup->capacity, err);
}

/* ---- start and stop ---- */

/* A row of a former run. */
static int on_row(void *arg, struct restore_record *rec, struct err *err)
{
	struct supervisor *sup = arg;
	struct restore *r = xcalloc(1, sizeof(*r));
	cleanup_json struct json_object *body = NULL;

	restore_init(r, &sup->host);
	r->slot.state = SLOT_DEFERRED;
	r->rec = *rec;
	rec->spec = NULL;
	body = js_parse(r->rec.spec, strlen(r->rec.spec), false, err);
	if (!body || spec_parse(body, &r->spec, err)) {
		err_wrap(err, "the store's row of restore %s", r->rec.id);
		restore_free(r);
		return -1;
	}
	table_insert(&sup->table, r);
	return 0;
}

/* In order of their end: rows that are over join the ended ones, others are taken up. */
static int by_end(const void *a, const void *b)
{
	const struct restore *const *x = a, *const *y = b;
	int64_t d = (*x)->rec.ended_ms - (*y)->rec.ended_ms;

	return d < 0 ? -1 : d > 0;
}

static void take_up(struct supervisor *sup, struct restore *r)
{
	if (restore_stands(r))
		capacity_take_up(&sup->capacity, r);
	else
		on_ended(sup, r);
}

static void take_up_rows(struct supervisor *sup)
{
	cleanup_free struct restore **order = xcalloc(sup->table.n + 1, sizeof(*order));
	size_t n = sup->table.n;

	for (size_t i = 0; i < n; i++) {
		order[i] = sup->table.v[i];
		if (!restore_stands(order[i]))
			restore_over(order[i]);
	}
	qsort(order, n, sizeof(*order), by_end);
	for (size_t i = 0; i < n; i++)
		take_up(sup, order[i]);
}

/*
 * To look through a stranger's descriptors takes longer than anything else that can be had by
 * connecting. A worker beyond that comes again. Root's are not counted: all of them are one user, and
 * after a lost store all of them come.
 */
static bool may_look(struct supervisor *sup, const struct sock_peer *who)
{
	char user[PROTO_ID_MAX + 1];
	uint64_t wait_us;

	if (who->uid == 0 || worker_user_is(&sup->host.user, who->uid))
		return true;
	caller_user_tenant(who->uid, user);
	return pace_take(&sup->looks, user, SUPERVISOR_LOOKS_PER_S, now_us(), &wait_us);
}

static bool expects(void *arg, const struct sock_peer *who)
{
	struct supervisor *sup = arg;

	return table_of_worker(&sup->table, who->pid, proc_start_time(who->pid)) ||
	       (may_look(sup, who) && orphan_may_be(&sup->host, who));
}

static bool knows(void *arg, const char *key)
{
	const struct supervisor *sup = arg;

	return table_of_key(&sup->table, key) != NULL;
}

static enum reconnect_answer adopt(struct supervisor *sup, const struct reconnect_guest *g,
				   struct err *err)
{
	struct restore *r;

	if (!g->proof) {
		err_set(err, ERR_NOTFOUND,
			"no restore with key %s is in the store, and a worker of its "
			"release (channel version %u) does not say enough to be adopted",
			g->reattach->key, g->reattach->chan_version);
		return RECONNECT_STRANGE;
	}
	if (capacity_left(&sup->capacity) < DESCRIPTORS_PER_RESTORE)
		return RECONNECT_LATER;
	r = orphan_new(&sup->host, &sup->table, g, err);
	if (!r)
		return RECONNECT_STRANGE;
	table_insert(&sup->table, r);
	orphan_publish(r);
	return RECONNECT_TAKEN;
}

static enum reconnect_answer take_back(struct supervisor *sup, const struct reconnect_guest *g,
				       struct err *err)
{
	struct restore *r = table_of_key(&sup->table, g->reattach->key);

	if (!r)
		return adopt(sup, g, err);
	if (r->slot.state == SLOT_DEFERRED && !capacity_make(&sup->capacity, r))
		return RECONNECT_LATER;
	if (!restore_is_creating(r) && adopt_back(r, g->worker, g->listen_fd, g->reattach->npeers))
		return RECONNECT_TAKEN;
	err_set(err, ERR_CONFLICT, "it is not the worker of restore %s", r->rec.id);
	return RECONNECT_STRANGE;
}

static enum reconnect_answer on_back(void *arg, const struct reconnect_guest *g, struct err *err)
{
	struct supervisor *sup = arg;
	enum reconnect_answer answer = take_back(sup, g, err);

	if (answer == RECONNECT_STRANGE)
		strays_note(&sup->strays, g->reattach->key, g->who, err->msg);
	if (answer != RECONNECT_TAKEN)
		return answer;
	strays_forget(&sup->strays, g->who->pid);
	pool_forget_former(sup->host.pool, g->who->pid);
	placement_again(table_of_key(&sup->table, g->reattach->key));
	return answer;
}

static const struct reconnect_hooks reconnect_hooks = {expects, knows, on_back, has_room};

static void nobody_changed(void *arg, struct restore *restore)
{
	(void)arg;
	(void)restore;
}

static void nobody_events(void *arg)
{
	(void)arg;
}

static const struct observer nobody = {nobody_changed, nobody_events};

void supervisor_observe(struct supervisor *sup, const struct observer *observer, void *arg)
{
	sup->observer = observer ? observer : &nobody;
	sup->observer_arg = arg;
}

static int open_reconnect(struct supervisor *sup, struct err *err)
{
	const struct reconnect_parts parts = {sup->host.base, sup->host.pool, &reconnect_hooks,
					      sup};
	char path[CONF_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/workers.sock", sup->host.conf.run_dir);
	return reconnect_open(path, &parts, &sup->host.reconnect, err);
}

static int open_all(struct supervisor *sup, struct err *err)
{
	char path[CONF_PATH_MAX + 16];

	if (worker_user_find(&sup->host.conf, &sup->host.user, err) ||
	    run_dir_boot_id(sup->host.boot_id, err) ||
	    run_dir_open(&sup->host.conf, &sup->run_fd, err))
		return -1;
	snprintf(path, sizeof(path), "%s/uffdd.db", sup->host.conf.state_dir);
	if (tenants_load(&sup->host.conf, &sup->host.tenants, err) ||
	    store_open(path, &sup->host.store, err) ||
	    tenant_store_load(sup->host.store, &sup->host.tenants, err) ||
	    placement_open(&sup->host, err))
		return -1;
	retention_init(&sup->retention, &sup->host, &sup->table);
	sup->host.leases = lease_scheduler_new(sup->host.base, &sup->host.conf,
					       &restore_lease_hooks);
	if (wset_store_open(sup->host.conf.state_dir, sup->host.conf.working_set_bytes,
			    sup->host.conf.working_set_bytes_per_tenant, &sup->host.wset_store,
			    err))
		return -1;
	sup->host.journal = journal_new(sup->host.base, sup->host.store, &journal_hooks, sup);
	if (store_restores(sup->host.store, on_row, sup, err) || sweep_start(&sup->sweep, err) ||
	    pool_new(sup->host.base, sup->host.conf.worker, sup->host.conf.pool_workers,
		     &sup->host.pool, err) ||
	    open_reconnect(sup, err))
		return -1;
	former_workers_find(&sup->host, &sup->table);
	take_up_rows(sup);
	return 0;
}

int supervisor_new(struct event_base *base, const struct conf *conf, struct supervisor **ret,
		   struct err *err)
{
	struct supervisor *sup = xcalloc(1, sizeof(*sup));

	sup->host.base = base;
	sup->host.conf = *conf;
	sup->host.worker_hooks = &conversation_worker_hooks;
	sup->host.hooks = &host_hooks;
	sup->host.arg = sup;
	sup->capacity = (struct capacity){.host = &sup->host, .table = &sup->table};
	sup->sweep = (struct sweep){.host = &sup->host, .table = &sup->table};
	sup->run_fd = -1;
	supervisor_observe(sup, NULL, NULL);
	if (open_all(sup, err)) {
		supervisor_free(sup);
		return -1;
	}
	sup->housekeeping = event_new(base, -1, EV_PERSIST, on_housekeeping, sup);
	timer_add(sup->housekeeping, HOUSEKEEPING_S * TIMER_S);
	*ret = sup;
	return 0;
}

void supervisor_free(struct supervisor *sup)
{
	if (!sup)
		return;
	/* What waits for the store is written from the rows. */
	journal_free(steal_ptr(&sup->host.journal));
	while (sup->table.n)
		remove_restore(sup, sup->table.v[sup->table.n - 1]);
	table_fini(&sup->table);
	timer_drop(&sup->housekeeping);
	capacity_fini(&sup->capacity);
	sweep_stop(&sup->sweep);
	strays_fini(&sup->strays);
	pace_fini(&sup->looks);
	reconnect_close(sup->host.reconnect);
	lease_scheduler_free(sup->host.leases);
	pool_free(sup->host.pool);
	wset_store_close(sup->host.wset_store);
	store_close(sup->host.store);
	tenant_cgroup_close(sup->host.cgroup);
	tenants_fini(&sup->host.tenants);
	close_fd(&sup->run_fd);
	free(sup);
}
