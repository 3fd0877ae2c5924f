#include "daemon/journal.h"

#include <event2/event.h>
#include <string.h>
#include <sys/queue.h>

#include "common/js.h"
#include "daemon/log.h"
#include "daemon/timer.h"

struct entry {
	TAILQ_ENTRY(entry) link;
	char key[PROTO_ID_MAX + 1]; /* of the restore; "": none */
	char restore[PROTO_ID_MAX + 1], tenant[PROTO_ID_MAX + 1];
	char type[64];
	int64_t time_ms;
	struct json_object *data; /* owned, may be NULL */
	bool row_only;            /* no event, or none any more: only the restore's row */
};
TAILQ_HEAD(entry_list, entry);

struct journal {
	struct store *store;
	const struct journal_hooks *hooks;
	void *arg;
	struct event *retry;
	struct entry_list waiting;
	size_t nwaiting, nevents; /* of them with an event */
	uint64_t dropped;         /* events that are lost */
	uint64_t unwritable;      /* of dropped: the store can never take them */
	struct err err;           /* why changes wait */
};

static int write_entry(struct journal *j, const struct restore_record *rec, const struct entry *e,
		       struct err *err)
{
	struct store_event event = {
		.time_ms = e->time_ms,
		.type = e->type,
		.tenant = e->tenant,
		.restore = e->restore,
		.data = e->data ? json_object_to_json_string_ext(e->data, JSON_C_TO_STRING_PLAIN)
				: NULL,
	};
	uint64_t seq;

	return store_write(j->store, rec, e->row_only ? NULL : &event, &seq, err);
}

/* An event that can never be written is lost; the restore's row is then tried alone. */
static int write_or_lose(struct journal *j, const struct restore_record *rec, struct entry *e,
			 struct err *err)
{
	int rc = write_entry(j, rec, e, err);

	if (rc == 0 || err->code != ERR_INVALID)
		return rc;
	log_error("a change can never be written, and is lost", "id=%s what=%s why=%s", e->restore,
		  e->row_only ? "row" : e->type, err->msg);
	if (e->row_only)
		return 0;
	e->row_only = true;
	j->dropped++;
	j->unwritable++;
	return write_or_lose(j, rec, e, err);
}

static void entry_fill(struct entry *e, const struct restore_record *rec, const char *type,
		       struct json_object *data)
{
	memset(e, 0, sizeof(*e));
	if (rec) {
		memcpy(e->key, rec->key, sizeof(e->key));
		memcpy(e->restore, rec->id, sizeof(e->restore));
		memcpy(e->tenant, rec->tenant, sizeof(e->tenant));
	}
	e->row_only = !type;
	snprintf(e->type, sizeof(e->type), "%s", type ? type : "");
	e->time_ms = wall_ms();
	e->data = data;
}

static void drop(struct journal *j, struct entry *e)
{
	TAILQ_REMOVE(&j->waiting, e, link);
	j->nwaiting--;
	j->nevents -= !e->row_only;
	json_object_put(e->data);
	free(e);
}

static void lose_event(struct journal *j, struct entry *e)
{
	e->row_only = true;
	j->nevents--;
	j->dropped++;
	json_object_put(e->data);
	e->data = NULL;
}

/* Does another waiting change write the row of this one's restore? */
static bool has_twin(const struct journal *j, const struct entry *e)
{
	const struct entry *other;

	TAILQ_FOREACH(other, &j->waiting, link)
	if (other != e && strcmp(other->key, e->key) == 0)
		return true;
	return false;
}

/* A lost event is one less to read; a lost row would be a wrong restore after the next start. */
static void lose_oldest_event(struct journal *j)
{
	struct entry *e = TAILQ_FIRST(&j->waiting);

	while (e->row_only)
		e = TAILQ_NEXT(e, link);
	lose_event(j, e);
	if (!e->key[0] || has_twin(j, e))
		drop(j, e);
}

static void retry_later(struct journal *j)
{
	timer_add(j->retry, TIMER_S);
}

static int note_dropped(struct journal *j, struct err *err)
{
	struct entry e;
	int rc;

	if (!j->dropped)
		return 0;
	entry_fill(&e, NULL, "events-lost", json_object_new_object());
	js_add_u64(e.data, "count", j->dropped);
	js_add_u64(e.data, "unwritable", j->unwritable);
	rc = write_entry(j, NULL, &e, err);
	json_object_put(e.data);
	if (rc == 0)
		j->dropped = j->unwritable = 0;
	return rc;
}

/* Oldest first; stops at the first change that the store refuses for now. */
static int flush(struct journal *j, struct err *err)
{
	struct entry *e;

	if (note_dropped(j, err))
		return -1;
	while ((e = TAILQ_FIRST(&j->waiting))) {
		const struct restore_record *rec = NULL;
		bool was_lost = e->row_only;
		int rc;

		if (e->key[0])
			rec = j->hooks->record(j->arg, e->key);
		rc = write_or_lose(j, rec, e, err);
		j->nevents -= e->row_only && !was_lost;
		if (rc)
			return -1;
		drop(j, e);
	}
	return note_dropped(j, err);
}

static void wait_for_store(struct journal *j, const struct entry *e, const struct err *err)
{
	struct entry *copy = xcalloc(1, sizeof(*copy));

	*copy = *e;
	if (!j->nwaiting)
		log_error("the store refuses changes, they wait in memory", "why=%s", err->msg);
	TAILQ_INSERT_TAIL(&j->waiting, copy, link);
	j->nwaiting++;
	j->nevents += !copy->row_only;
	if (j->nevents > JOURNAL_WAITING_MAX)
		lose_oldest_event(j);
	j->err = *err;
	retry_later(j);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct journal *j = arg;

	(void)fd;
	(void)what;
	if (flush(j, &j->err)) {
		retry_later(j);
		return;
	}
	log_notice("the store takes changes again");
	j->hooks->written(j->arg);
}

struct journal *journal_new(struct event_base *base, struct store *store,
			    const struct journal_hooks *hooks, void *arg)
{
	struct journal *j = xcalloc(1, sizeof(*j));

	j->store = store;
	j->hooks = hooks;
	j->arg = arg;
	j->retry = evtimer_new(base, on_retry, j);
	TAILQ_INIT(&j->waiting);
	return j;
}

void journal_free(struct journal *j)
{
	struct err err;

	if (!j)
		return;
	if (flush(j, &err))
		log_error("changes are lost", "count=%zu why=%s", j->nwaiting, err.msg);
	while (!TAILQ_EMPTY(&j->waiting))
		drop(j, TAILQ_FIRST(&j->waiting));
	event_free(j->retry);
	free(j);
}

void journal_add(struct journal *j, const struct restore_record *rec, const char *type,
		 struct json_object *data)
{
	struct entry e;
	struct err err;

	entry_fill(&e, rec, type, data);
	if (j->nwaiting || write_or_lose(j, rec, &e, &err)) {
		wait_for_store(j, &e, j->nwaiting ? &j->err : &err);
		return;
	}
	json_object_put(e.data);
	if (note_dropped(j, &err))
		retry_later(j);
	j->hooks->written(j->arg);
}

int journal_add_now(struct journal *j, const struct restore_record *rec, const char *type,
		    struct json_object *data, struct err *err)
{
	struct entry e;
	int rc;

	entry_fill(&e, rec, type, data);
	rc = flush(j, err);
	if (rc == 0)
		rc = write_entry(j, rec, &e, err);
	json_object_put(e.data);
	if (rc)
		return err_wrap(err, "record the change");
	j->hooks->written(j->arg);
	return 0;
}

int journal_check(const struct journal *j, struct err *err)
{
	if (!j->nwaiting)
		return 0;
	*err = j->err;
	err->code = ERR_UNREADY;
	return err_wrap(err, "%zu changes wait for the store", j->nwaiting);
}
