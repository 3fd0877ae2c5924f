/*
 * supervisorkit - what the tests of supervisor.c share: a supervisor whose store, workers and loop
 * are real, in a directory of its own, and callers that wait for their creates
 *
 * Two restores that have ended are there from the beginning (apikit.h): "mine" and "roots".
 */
#ifndef UFFDD_TESTS_SUPERVISORKIT_H
#define UFFDD_TESTS_SUPERVISORKIT_H

#include "tests/support/apikit.h"
#include "tests/support/workerkit.h"

static struct apikit k;
/* Only its directory: the requests name the snapshot there. */
static struct restorekit at;

static inline void start(void)
{
	struct err err = {.msg = ""};

	ck_assert_msg(supervisor_new(k.base, &k.conf, &k.sup, &err) == 0, "%s", err.msg);
}

/* The workers of its restores live on, and look for the next supervisor. */
static inline void stop(void)
{
	supervisor_free(k.sup);
	k.sup = NULL;
}

/* The directories, and the rows of apikit.h, for a test that changes them before start(). */
static inline void prepare(void)
{
	at = (struct restorekit){.dir = harness_tmpdir()};
	apikit_prepare(&k, at.dir);
	at.host.base = k.base = timer_base_new();
	at.host.conf = k.conf;
}

static inline void open_store(struct store **ret)
{
	char path[CONF_PATH_MAX + 16];
	struct err err = {.msg = ""};

	snprintf(path, sizeof(path), "%s/uffdd.db", k.conf.state_dir);
	ck_assert_msg(store_open(path, ret, &err) == 0, "%s", err.msg);
}

/* The row of a restore of this boot that waits for its VMM, to be changed before put_row(). */
static inline void make_row(struct restore_record *rec, const char *id)
{
	const struct sock_peer caller = {.uid = geteuid(), .gid = getegid()};
	struct spec spec = restorekit_spec(&at, "");
	struct err err = {.msg = ""};

	*rec = (struct restore_record){.state = STATE_WAITING};
	snprintf(rec->key, sizeof(rec->key), "%s", id);
	record_begin(rec, id, &spec, &caller, 1);
	ck_assert_msg(run_dir_boot_id(rec->boot_id, &err) == 0, "%s", err.msg);
	spec_fini(&spec);
}

/* Into the store while no supervisor has it; @rec is freed. */
static inline void put_row(struct restore_record *rec)
{
	struct err err = {.msg = ""};
	struct store *store;

	open_store(&store);
	ck_assert_msg(store_write(store, rec, NULL, NULL, &err) == 0, "%s", err.msg);
	store_close(store);
	record_fini(rec);
}

static inline void put_ended(const char *id, int64_t ended_ms)
{
	struct restore_record rec;

	make_row(&rec, id);
	record_move(&rec, STATE_ENDED, "stopped", ended_ms);
	rec.released = true;
	put_row(&rec);
}

static inline void begin(void)
{
	prepare();
	start();
}

/*
 * A zygote that is slow on a busy host is killed, and may leave a worker that nobody knows: only
 * housekeeping reaps that one.
 */
static inline bool has_no_worker(void *arg)
{
	(void)arg;
	workerkit_turn(&at);
	if (k.sup)
		pool_tidy(k.sup->host.pool);
	return harness_count_workers(getpid()) == 0;
}

static inline void end(void)
{
	for (size_t i = 0; k.sup && i < k.sup->table.n; i++) {
		struct restore *r = k.sup->table.v[i];

		if (r->worker)
			worker_abandon(r->worker, "t");
		r->worker = NULL;
	}
	ck_assert_msg(harness_wait(has_no_worker, NULL, HARNESS_MS), "a worker lives");
	stop();
	event_base_free(k.base);
	harness_rmtree(at.dir);
	free(at.dir);
}

/* ---- callers ---- */

struct asker {
	struct creator c;
	unsigned told;
	unsigned turn; /* when, among all that were told; from 1 */
	struct restore *with;
	struct err why;
};

static inline void asker_done(struct creator *c, struct restore *restore, const struct err *why)
{
	struct asker *a = (struct asker *)((char *)c - offsetof(struct asker, c));
	static unsigned turns;

	a->turn = ++turns;
	ck_assert_ptr_null(c->list);
	ck_assert_int_eq(!restore, why != NULL);
	a->told++;
	a->with = restore;
	if (why)
		a->why = *why;
}

/* The snapshot of at.dir, and @members; a socket is in the run directory unless they name one. */
static inline struct spec make_request(const char *members)
{
	struct spec spec = restorekit_spec(&at, members);

	if (!strstr(members, "\"socket\""))
		spec.socket_path[0] = '\0';
	return spec;
}

/* @a: not waiting already. @spec: taken over, as supervisor_create() does. */
static inline int ask_with(struct asker *a, const char *id, struct spec *spec, uid_t uid,
			   struct err *err)
{
	const struct sock_peer caller = {.uid = uid, .gid = getegid()};
	int rc;

	*a = (struct asker){.c = {.done = asker_done}};
	rc = supervisor_create(k.sup, id, spec, &caller, &a->c, err);
	ck_assert_msg(!spec->path && !spec->layers && !spec->wset_path, "the request is not freed");
	return rc;
}

static inline void ask(struct asker *a, const char *id, const char *members)
{
	struct spec spec = make_request(members);
	struct err err = {.msg = ""};

	ck_assert_msg(ask_with(a, id, &spec, geteuid(), &err) == 0, "%s", err.msg);
}

#define OTHERS_MAX 8
static struct asker others[OTHERS_MAX];
static size_t nothers;

/* For a caller whose answer does not matter. */
static inline void ask_too(const char *id, const char *members)
{
	ck_assert_uint_lt(nothers, OTHERS_MAX);
	ask(&others[nothers++], id, members);
}

/* Nothing has begun, and nobody is told later. */
static inline void ask_in_vain(const char *id, const char *members, enum err_code code,
			       const char *text)
{
	struct spec spec = make_request(members);
	struct err err = {.msg = ""};
	size_t n = k.sup->table.n;
	struct asker a;

	ck_assert_msg(ask_with(&a, id, &spec, geteuid(), &err) == -1, "not refused: %s", text);
	ck_assert_msg(err.code == code && strstr(err.msg, text), "%s: %s", err_name(err.code),
		      err.msg);
	ck_assert(!a.told && !a.c.made && !a.c.list);
	ck_assert_uint_eq(k.sup->table.n, n);
}

static inline void turn(void)
{
	workerkit_turn(&at);
}

static inline bool asker_was_told(void *arg)
{
	const struct asker *a = arg;

	turn();
	return a->told > 0;
}

static inline void await_told(struct asker *a)
{
	ck_assert_msg(harness_wait(asker_was_told, a, HARNESS_MS), "nobody is told");
	ck_assert_uint_eq(a->told, 1);
}

/* A restore with a real worker, which waits for its VMM, however long the test takes. */
static inline struct restore *make_restore(const char *id)
{
	struct asker a;

	ask(&a, id, "\"connect_timeout\":\"1h\"");
	await_told(&a);
	ck_assert_msg(a.with, "%s", a.why.msg);
	return a.with;
}

/* ---- what is there ---- */

/* The ids of all that are listed, each with a space behind it. Static storage. */
static inline const char *listed(void)
{
	static char text[1024];
	size_t len = 0;

	text[0] = '\0';
	for (struct restore *r = NULL;
	     (r = supervisor_next(k.sup, r ? r->rec.id : "", r ? r->rec.tenant : ""));)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s ", r->rec.id);
	return text;
}

/* The same of those that have ended, in the supervisor's order. Static storage. */
static inline const char *ended(void)
{
	static char text[1024];
	struct restore *r;
	size_t len = 0;

	text[0] = '\0';
	TAILQ_FOREACH(r, &k.sup->retention.ended, ended_link)
	len += (size_t)snprintf(text + len, sizeof(text) - len, "%s ", r->rec.id);
	return text;
}

static inline int add_event(void *arg, const struct store_event *e, struct err *err)
{
	char *text = arg;
	size_t len = strlen(text);

	(void)err;
	snprintf(text + len, 1024 - len, "%s ", e->type);
	return 0;
}

/* The types of the events of @id, or of all (""), each with a space behind it. Static storage. */
static inline const char *events_of(const char *id)
{
	const struct store_filter filter = {.restore = id};
	static char text[1024];
	struct err err = {.msg = ""};

	text[0] = '\0';
	ck_assert_int_eq(store_events(k.sup->host.store, &filter, 100, add_event, text, &err), 0);
	return text;
}

static inline int add_row(void *arg, struct restore_record *rec, struct err *err)
{
	char *text = arg;
	size_t len = strlen(text);

	(void)err;
	snprintf(text + len, 1024 - len, "%s:%s ", rec->id, proto_state_name(rec->state));
	return 0;
}

/* "ID:STATE " of every row of the store. Static storage. */
static inline const char *rows(void)
{
	static char text[1024];
	struct err err = {.msg = ""};

	text[0] = '\0';
	ck_assert_int_eq(store_restores(k.sup->host.store, add_row, text, &err), 0);
	return text;
}

#endif
