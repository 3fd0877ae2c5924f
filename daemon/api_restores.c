#include "daemon/api_restores.h"

#include <string.h>

#include "daemon/restore_wset.h"
#include "daemon/recover.h"
#include "daemon/request.h"
#include "daemon/commands.h"
#include "daemon/supervisor.h"
#include "daemon/json_view.h"
#include "daemon/long_poll.h"

#define LIST_DEFAULT 100
#define LIST_MAX 1000
#define LIST_BYTES_MAX ((size_t)1 << 20) /* of requests that are shown: then the list is cut */
#define RUNS_DEFAULT 10000
#define RUNS_MAX 50000
#define WAIT_MAX_MS (300 * 1000)
#define GRACE_MAX_MS (300 * 1000)
/* How long a stop may take beyond its grace: meanwhile a worker that does not leave is killed. */
#define STOP_MS (RESTORE_LEAVE_MS + 2000)
#define PAUSE_MS 30000
#define RESTART_MS 30000

/* ---- list ---- */

struct filter {
	const char *only;         /* whose restores the caller may see; NULL = all */
	const char *tenant;       /* the one that was asked for; NULL = any */
	enum restore_state state; /* STATE_NONE = any */
	uint64_t limit;
	char after[PROTO_ID_MAX + 1], after_tenant[PROTO_ID_MAX + 1]; /* "": from the start */
};

/* "ID/TENANT" of the last restore of the page before. */
static bool read_token(const char *token, struct filter *f)
{
	size_t len = strcspn(token, "/");

	if (len > PROTO_ID_MAX || !token[len] || strlen(token + len + 1) > PROTO_ID_MAX)
		return false;
	memcpy(f->after, token, len);
	snprintf(f->after_tenant, sizeof(f->after_tenant), "%s", token + len + 1);
	return proto_id_valid(f->after) && proto_id_valid(f->after_tenant);
}

static int read_filter(struct api_request *c, struct filter *f, struct err *err)
{
	const char *state = http_query(c->req, "state");
	const char *token = http_query(c->req, "page_token");

	f->tenant = c->tenant;
	f->state = state ? proto_state_from(state) : STATE_NONE;
	f->limit = LIST_DEFAULT;
	if (state && f->state == STATE_NONE)
		return err_set(err, ERR_INVALID, "state: there is no state of that name");
	if (token && !read_token(token, f))
		return err_set(err, ERR_INVALID, "page_token: is not one of ours");
	return api_query_u64(c, "limit", 1, LIST_MAX, &f->limit, err);
}

static bool is_of(const struct restore *r, const char *tenant)
{
	return !tenant || strcmp(tenant, r->rec.tenant) == 0;
}

static bool listed(const struct filter *f, const struct restore *r)
{
	return is_of(r, f->only) && is_of(r, f->tenant) &&
	       (f->state == STATE_NONE || f->state == r->rec.state);
}

/* Returns the last one if there are more: one that is listed, not one between. Else NULL. */
static const struct restore *add_items(struct supervisor *sup, const struct filter *f,
				       struct json_object *items)
{
	struct restore *r = supervisor_next(sup, f->after, f->after_tenant);
	const struct restore *last = NULL;
	size_t bytes = 0;
	uint64_t n = 0;

	for (; r; r = supervisor_next(sup, r->rec.id, r->rec.tenant)) {
		if (!listed(f, r))
			continue;
		if (n++ == f->limit || bytes > LIST_BYTES_MAX)
			return last;
		bytes += request_bytes(r);
		json_object_array_add(items, json_view_restore(r));
		last = r;
	}
	return NULL;
}

int api_restores_list(struct api_request *c, const char *tenant, struct err *err)
{
	struct filter f = {.only = tenant};
	char token[2 * PROTO_ID_MAX + 2];
	struct json_object *o, *items;
	const struct restore *last;

	if (read_filter(c, &f, err))
		return -1;
	items = json_object_new_array();
	last = add_items(c->sup, &f, items);
	o = json_object_new_object();
	json_object_object_add(o, "items", items);
	if (last)
		snprintf(token, sizeof(token), "%s/%s", last->rec.id, last->rec.tenant);
	js_add_string(o, "next_page_token", last ? token : NULL);
	api_reply(c->req, 200, o);
	return 0;
}

/* ---- create ---- */

struct pending {
	struct creator creator;
	struct http_request *req;
	bool held, answered;
};

static void on_created(struct creator *creator, struct restore *restore, const struct err *why)
{
	struct pending *p = creator->arg;

	if (why)
		api_problem(p->req, why);
	else
		api_reply_restore(p->req, creator->made ? 201 : 200, restore);
	p->answered = true;
	if (p->held)
		free(p);
}

static void on_creator_gone(struct http_request *req, void *arg)
{
	struct pending *p = arg;

	(void)req;
	supervisor_forget_creator(&p->creator);
	free(p);
}

static int read_spec(struct api_request *c, const char *tenant, struct spec *ret, struct err *err)
{
	const struct sock_peer *peer = http_peer(c->req);

	memset(ret, 0, sizeof(*ret));
	if (spec_parse(c->body, ret, err)) {
		spec_fini(ret);
		return -1;
	}
	spec_resolve(ret, tenant, peer->uid, peer->gid);
	return 0;
}

/* on_created() answers: it has done so, or will if the request could be held. */
static int await_created(struct pending *p, const char *id, struct err *err)
{
	if (p->answered) {
		free(p);
		return 0;
	}
	if (http_hold(p->req, on_creator_gone, p)) {
		supervisor_forget_creator(&p->creator);
		free(p);
		return err_set(err, ERR_QUOTA,
			       "too many requests wait already; restore %s is "
			       "being created, ask for it",
			       id);
	}
	p->held = true;
	return 0;
}

static int create(struct api_request *c, const char *id, const char *tenant, struct err *err)
{
	struct pending *p;
	struct spec spec;

	if (read_spec(c, tenant, &spec, err))
		return -1;
	p = xcalloc(1, sizeof(*p));
	p->creator = (struct creator){.done = on_created, .arg = p};
	p->req = c->req;
	if (supervisor_create(c->sup, id, &spec, http_peer(c->req), &p->creator, err)) {
		free(p);
		return -1;
	}
	return await_created(p, id, err);
}

int api_restores_put(struct api_request *c, const char *tenant, struct err *err)
{
	return create(c, c->id, tenant, err);
}

int api_restores_post(struct api_request *c, const char *tenant, struct err *err)
{
	char id[RECORD_KEY_LEN + 1];

	record_make_key(id);
	return create(c, id, tenant, err);
}

/* ---- one restore ---- */

static int reply(struct api_request *c, const struct restore *r)
{
	api_reply_restore(c->req, 200, r);
	return 0;
}

static int answer_object(struct http_request *req, const struct restore *restore, bool late,
			 struct err *err)
{
	(void)late;
	(void)err;
	api_reply_restore(req, 200, restore);
	return 0;
}

static bool reached(const struct restore *r, int target)
{
	enum restore_state state = (enum restore_state)target;

	return r->rec.state == state || !record_can_reach(r->rec.state, state);
}

static bool complete_or_over(const struct restore *r, int target)
{
	(void)target;
	return r->rec.complete || !proto_state_live(r->rec.state);
}

static int read_goal(const char *target, struct wait_goal *ret, struct err *err)
{
	enum restore_state state = proto_state_from(target);

	ret->target = (int)state;
	ret->reached = reached;
	if (strcmp(target, "complete") == 0)
		ret->reached = complete_or_over;
	else if (state == STATE_NONE)
		return err_set(err, ERR_INVALID, "for: must be a state or \"complete\"");
	return 0;
}

int api_restores_get(struct api_request *c, struct restore *r, struct err *err)
{
	const char *target = http_query(c->req, "for");
	struct wait_goal goal = {.answer = answer_object};
	uint64_t ms = 0;

	if (api_query_ms(c, "wait", WAIT_MAX_MS, &ms, err))
		return -1;
	if (!target)
		return reply(c, r);
	if (read_goal(target, &goal, err))
		return -1;
	return long_poll_hold(c->polls, c->req, r, ms, &goal, err);
}

/* Or the stop was dropped: it had to be refused when its grace was over. */
static bool released_or_refused(const struct restore *r, int target)
{
	(void)target;
	return restore_released(r) || (!slot_is_released(&r->slot) && !r->rec.stop_reason[0]);
}

static int answer_stopped(struct http_request *req, const struct restore *restore, bool late,
			  struct err *err)
{
	if (!restore_released(restore))
		return err_set(err, ERR_STATE,
			       "restore %s: the VMM (pid %u) lives%s; end it "
			       "first, or stop with kill",
			       restore->rec.id, restore->rec.vmm_pid,
			       late ? "" : " and its guest still needs pages");
	api_reply_restore(req, 200, restore);
	return 0;
}

/* A stop is carried out whether or not there is a place to wait for its end. */
static void answer_stopping(struct http_request *req, const struct restore *restore)
{
	api_reply_restore(req, 202, restore);
}

int api_restores_delete(struct api_request *c, struct restore *r, struct err *err)
{
	static const struct wait_goal stopped = {released_or_refused, 0, answer_stopped,
						 answer_stopping};
	uint64_t grace = 0;
	bool kill = false;

	if (api_query_ms(c, "grace", GRACE_MAX_MS, &grace, err) ||
	    api_query_bool(c, "kill", &kill, err) || commands_stop(r, grace, kill, err))
		return -1;
	return long_poll_hold(c->polls, c->req, r, grace + STOP_MS, &stopped, err);
}

/* ---- prefetch, pause ---- */

static int read_prefetch(struct api_request *c, const struct restore *r, struct chan_prefetch *ret,
			 struct err *err)
{
	static const char *const keys[] = {"mode", "rate_bytes_per_s", "paused",
					   "max_resident_bytes", NULL};
	const struct js_at body = {c->body, ""};
	enum spec_prefetch mode = r->rec.prefetch;
	bool paused = r->rec.prefetch_held, have;
	const char *name = NULL;

	ret->rate_bytes_per_s = r->rec.rate_bytes_per_s;
	ret->max_resident_bytes = r->rec.max_resident_bytes;
	if (js_known(body, keys, err) || js_string(body, "mode", 32, &name, &have, err) ||
	    js_u64(body, "rate_bytes_per_s", INT64_MAX, &ret->rate_bytes_per_s, &have, err) ||
	    js_u64(body, "max_resident_bytes", INT64_MAX, &ret->max_resident_bytes, &have, err) ||
	    js_bool(body, "paused", &paused, &have, err))
		return -1;
	if (name && spec_prefetch_parse(name, &mode))
		return err_set(err, ERR_INVALID, "mode: must be none, working-set or all");
	ret->mode = mode;
	ret->paused = paused;
	return 0;
}

int api_restores_prefetch(struct api_request *c, struct restore *r, struct err *err)
{
	struct chan_prefetch p;

	if (read_prefetch(c, r, &p, err) || commands_prefetch(r, &p, err))
		return -1;
	return reply(c, r);
}

static bool paused_or_over(const struct restore *r, int target)
{
	(void)target;
	return r->rec.paused || r->rec.state != STATE_SERVING;
}

static int answer_paused(struct http_request *req, const struct restore *restore, bool late,
			 struct err *err)
{
	if (!restore->rec.paused)
		return err_set(err, late ? ERR_TIMEOUT : ERR_STATE,
			       "restore %s is %s and did not pause", restore->rec.id,
			       proto_state_name(restore->rec.state));
	api_reply_restore(req, 200, restore);
	return 0;
}

int api_restores_pause(struct api_request *c, struct restore *r, struct err *err)
{
	static const struct wait_goal paused = {paused_or_over, 0, answer_paused, NULL};

	if (commands_pause(r, err))
		return -1;
	return long_poll_hold(c->polls, c->req, r, PAUSE_MS, &paused, err);
}

int api_restores_resume(struct api_request *c, struct restore *r, struct err *err)
{
	return commands_resume(r, err) ? -1 : reply(c, r);
}

/* ---- another worker ---- */

static bool restarted_or_over(const struct restore *r, int target)
{
	return !proto_state_live(r->rec.state) ||
	       (r->slot.state == SLOT_READY && r->rec.worker_restarts != (uint32_t)target);
}

int api_restores_restart_worker(struct api_request *c, struct restore *r, struct err *err)
{
	struct wait_goal restarted = {restarted_or_over, (int)r->rec.worker_restarts, answer_object,
				      NULL};

	if (recover_replace(r, err))
		return -1;
	return long_poll_hold(c->polls, c->req, r, RESTART_MS, &restarted, err);
}

/* ---- pages ---- */

static struct json_object *run_json(const struct pagemap_run *run)
{
	struct json_object *o = json_object_new_object();

	js_add_u64(o, "offset", run->offset);
	js_add_u64(o, "length", run->len);
	js_add_string(o, "state", page_state_names[run->state]);
	return o;
}

/* Why page states are not exact while paused; NULL: they are, or need not be. */
static const char *inexact(const struct restore *r, const struct pagemap_view *v)
{
	static const char *const why[] = {
		[PAGEMAP_INEXACT] = "they are being compared with what the kernel says; ask again",
		[PAGEMAP_EXACT] = NULL,
		[PAGEMAP_UNASKED] = "the VMM may not be looked into: uffdd needs CAP_SYS_PTRACE",
		[PAGEMAP_FOREIGN] = "the process that connected is not the one whose memory it is",
	};

	if (!r->rec.paused)
		return NULL;
	if (!slot_is_ready(&r->slot))
		return "another worker is taking over";
	return why[v->head.exact < ARRAY_LEN(why) ? v->head.exact : PAGEMAP_INEXACT];
}

static struct json_object *pages_json(const struct restore *r, const struct pagemap_view *v,
				      const struct pagemap_runs *runs)
{
	struct json_object *o = json_object_new_object();
	struct json_object *array = json_object_new_array_ext((int)runs->n);

	js_add_u64(o, "page_bytes", r->rec.page_bytes);
	js_add_u64(o, "size_bytes", r->rec.size_bytes);
	js_add_bool(o, "exact", r->rec.paused && !inexact(r, v));
	js_add_string(o, "inexact", inexact(r, v));
	for (size_t i = 0; i < runs->n; i++)
		json_object_array_add(array, run_json(&runs->v[i]));
	json_object_object_add(o, "runs", array);
	if (runs->next == UINT64_MAX)
		json_object_object_add(o, "next_offset", NULL);
	else
		js_add_u64(o, "next_offset", runs->next);
	return o;
}

int api_restores_pages(struct api_request *c, struct restore *r, struct err *err)
{
	uint64_t offset = 0, max = RUNS_DEFAULT;
	cleanup_free struct pagemap_run *room = NULL;
	struct pagemap_runs runs;
	cleanup_fd int map = -1;
	struct pagemap_view view;

	if (api_query_u64(c, "offset", 0, INT64_MAX, &offset, err) ||
	    api_query_u64(c, "limit", 1, RUNS_MAX, &max, err))
		return -1;
	if (slot_is_released(&r->slot) || !r->rec.page_bytes)
		return err_set(err, ERR_STATE,
			       "restore %s is %s: there are page states while a "
			       "VMM is connected",
			       r->rec.id, proto_state_name(r->rec.state));
	room = xcalloc(max, sizeof(*room));
	runs = (struct pagemap_runs){.v = room, .max = max};
	if (restore_open_map(r, &map, err) || pagemap_view(map, &view, err) ||
	    pagemap_runs(map, &view, offset, &runs, err))
		return -1;
	api_reply(c->req, 200, pages_json(r, &view, &runs));
	return 0;
}

/* ---- working set ---- */

int api_restores_working_set(struct api_request *c, struct restore *r, struct err *err)
{
	cleanup_free void *bytes = NULL;
	size_t len = 0;

	if (restore_wset_read(r, &bytes, &len, err))
		return -1;
	http_reply(c->req, 200, "application/octet-stream", bytes, len);
	return 0;
}
