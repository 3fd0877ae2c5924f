/*
 * restorekit - what the tests of a restore's rooms share: a host with a real store in a directory
 * of its own, and one restore without a worker
 */
#ifndef UFFDD_TESTS_RESTOREKIT_H
#define UFFDD_TESTS_RESTOREKIT_H

#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/js.h"
#include "daemon/admission.h"
#include "daemon/restore.h"
#include "daemon/timer.h"
#include "tests/support/harness.h"
#include "tests/support/runner.h"

struct restorekit {
	char *dir; /* owned */
	struct store *store;
	struct host host;
	struct restore *r; /* owned; NULL once it could not be created */
	/* How often the host was told. */
	unsigned changed, ended, found, refused;
};

static inline const struct restore_record *restorekit_record(void *arg, const char *key)
{
	struct restorekit *k = arg;

	return k->r && strcmp(key, k->r->rec.key) == 0 ? &k->r->rec : NULL;
}

static inline void restorekit_written(void *arg)
{
	(void)arg;
}

static inline void restorekit_changed(void *arg, struct restore *r)
{
	struct restorekit *k = arg;

	(void)r;
	k->changed++;
}

static inline void restorekit_ended(void *arg, struct restore *r)
{
	struct restorekit *k = arg;

	(void)r;
	k->ended++;
}

static inline void restorekit_found(void *arg, struct restore *r)
{
	struct restorekit *k = arg;

	(void)r;
	k->found++;
}

static inline void restorekit_create_failed(void *arg, struct restore *r)
{
	struct restorekit *k = arg;

	k->refused++;
	if (k->r == r)
		k->r = NULL;
	restore_free(r);
}

static inline void restorekit_left(void *arg, const struct restore *r, struct budgets *ret)
{
	static const struct table none;

	(void)arg;
	admission_left(r->host, &none, r->rec.tenant, ret);
}

static inline bool restorekit_room(void *arg)
{
	(void)arg;
	return true;
}

static const struct journal_hooks restorekit_journal = {restorekit_record, restorekit_written};
static const struct host_hooks restorekit_host = {restorekit_changed,       restorekit_ended,
						  restorekit_create_failed, restorekit_found,
						  restorekit_left,          restorekit_room};

/* What a caller asks for, resolved: the snapshot in the kit's directory, which need not be there. */
static inline struct spec restorekit_spec(const struct restorekit *k, const char *members)
{
	cleanup_json struct json_object *body = NULL;
	cleanup_free char *text = NULL;
	char path[CONF_PATH_MAX + 1];
	struct err err = {.msg = ""};
	struct spec spec;

	ck_assert_int_gt(asprintf(&text, "{\"snapshot\":{\"dir\":\"%s/snapshot\"}%s%s}", k->dir,
				  *members ? "," : "", members),
			 0);
	body = js_parse(text, strlen(text), false, &err);
	ck_assert_msg(body && spec_parse(body, &spec, &err) == 0, "%s", err.msg);
	spec_resolve(&spec, "t", geteuid(), getegid());
	if (!spec.socket_path[0]) {
		host_path(&k->host, "uffd", "r", path);
		ck_assert_uint_lt(strlen(path), sizeof(spec.socket_path));
		memcpy(spec.socket_path, path, strlen(path) + 1);
	}
	return spec;
}

/* A restore as a create leaves it, with its files; @members of the request, or "". */
static inline void restorekit_make(struct restorekit *k, const char *members)
{
	const struct sock_peer caller = {.uid = geteuid(), .gid = getegid()};
	char path[CONF_PATH_MAX + 1];

	k->r = xcalloc(1, sizeof(*k->r));
	restore_init(k->r, &k->host);
	k->r->spec = restorekit_spec(k, members);
	restore_begin(k->r, "r", "r", &caller);
	k->r->hold.own_socket = true;
	close(open(k->r->spec.socket_path, O_CREAT | O_CLOEXEC, 0600));
	host_path(&k->host, "maps", "r", path);
	close(open(path, O_CREAT | O_CLOEXEC, 0600));
}

static inline void restorekit_open(struct restorekit *k, const char *members)
{
	static const char *const places[] = {"uffd", "maps", "files"};
	char path[CONF_PATH_MAX + 16];
	struct err err = {.msg = ""};

	*k = (struct restorekit){.dir = harness_tmpdir()};
	conf_defaults(&k->host.conf);
	snprintf(k->host.conf.run_dir, sizeof(k->host.conf.run_dir), "%s", k->dir);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		host_path(&k->host, places[i], "", path);
		ck_assert_int_eq(mkdir(path, 0700), 0);
	}
	snprintf(path, sizeof(path), "%s/uffdd.db", k->dir);
	ck_assert_msg(store_open(path, &k->store, &err) == 0, "%s", err.msg);
	k->host.base = timer_base_new();
	k->host.store = k->store;
	k->host.journal = journal_new(k->host.base, k->store, &restorekit_journal, k);
	k->host.leases = lease_scheduler_new(k->host.base, &k->host.conf, &restore_lease_hooks);
	snprintf(k->host.boot_id, sizeof(k->host.boot_id), "this boot");
	k->host.hooks = &restorekit_host;
	k->host.arg = k;
	restorekit_make(k, members);
}

static inline void restorekit_close(struct restorekit *k)
{
	if (k->r)
		restore_free(k->r);
	lease_scheduler_free(k->host.leases);
	journal_free(k->host.journal);
	store_close(k->store);
	event_base_free(k->host.base);
	harness_rmtree(k->dir);
	free(k->dir);
}

static inline bool restorekit_exists(const struct restorekit *k, const char *what)
{
	char path[CONF_PATH_MAX + 1];

	host_path(&k->host, what, "r", path);
	return access(path, F_OK) == 0;
}

static inline int restorekit_last(void *arg, const struct store_event *e, struct err *err)
{
	char *text = arg;

	(void)err;
	snprintf(text, 1024, "%s", e->data ? e->data : "{}");
	return 0;
}

/* The data of the last event. Static storage. */
static inline const char *restorekit_data(const struct restorekit *k)
{
	static char text[1024];
	struct err err = {.msg = ""};

	text[0] = '\0';
	ck_assert_int_eq(store_events(k->store, NULL, 100, restorekit_last, text, &err), 0);
	return text;
}

static inline int restorekit_add(void *arg, const struct store_event *e, struct err *err)
{
	char *text = arg;
	size_t len = strlen(text);

	(void)err;
	snprintf(text + len, 256 - len, "%s ", e->type);
	return 0;
}

/* The types of all events so far, each with a space behind it. Static storage. */
static inline const char *restorekit_events(const struct restorekit *k)
{
	static char text[256];
	struct err err = {.msg = ""};

	text[0] = '\0';
	ck_assert_int_eq(store_events(k->store, NULL, 100, restorekit_add, text, &err), 0);
	return text;
}

#endif
