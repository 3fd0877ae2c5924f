#include "tests/support/apikit.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "common/js.h"
#include "daemon/caller.h"
#include "daemon/conf.h"
#include "daemon/store.h"
#include "daemon/timer.h"

#define RESTORES "/v1/restores"

static void parse(const struct apikit *k, const char *id, const char *tenant, uid_t uid,
		  struct spec *ret)
{
	struct err err = {.msg = ""};
	cleanup_json struct json_object *body = js_parse(APIKIT_BODY, strlen(APIKIT_BODY), false,
							 &err);

	ck_assert_msg(body && spec_parse(body, ret, &err) == 0, "%s", err.msg);
	spec_resolve(ret, tenant, uid, uid);
	snprintf(ret->socket_path, sizeof(ret->socket_path), "%s/uffd/%s", k->conf.run_dir, id);
}

/* As it stands in the store when it was stopped before a VMM came. */
static void write_ended(const struct apikit *k, struct store *store, const char *id,
			const char *tenant, uid_t uid)
{
	struct sock_peer peer = {.uid = uid, .gid = uid};
	struct store_event event = {.time_ms = wall_ms(),
				    .type = "created",
				    .tenant = tenant,
				    .restore = id};
	struct restore_record rec = {.released = true};
	struct spec spec = {0};
	struct err err = {.msg = ""};
	uint64_t seq;

	parse(k, id, tenant, uid, &spec);
	snprintf(rec.key, sizeof(rec.key), "%s", id);
	record_begin(&rec, id, &spec, &peer, wall_ms());
	record_move(&rec, STATE_ENDED, "stopped", wall_ms());
	ck_assert_msg(store_write(store, &rec, &event, &seq, &err) == 0, "%s", err.msg);
	record_fini(&rec);
	spec_fini(&spec);
}

void apikit_prepare(struct apikit *k, const char *dir)
{
	char path[CONF_PATH_MAX + 16];
	struct store *store = NULL;
	struct err err = {.msg = ""};

	memset(k, 0, sizeof(*k));
	conf_defaults(&k->conf);
	snprintf(k->conf.run_dir, sizeof(k->conf.run_dir), "%s/run", dir);
	snprintf(k->conf.state_dir, sizeof(k->conf.state_dir), "%s/state", dir);
	snprintf(k->conf.worker, sizeof(k->conf.worker), "%s/worker/uffdd-worker", TEST_BUILD);
	k->conf.pool_workers = 0;
	k->conf.socket_mode = 0666;
	k->conf.each_user_is_tenant = true;
	/* Other users have to reach the socket. */
	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(mkdir(k->conf.state_dir, 0700), 0);
	snprintf(path, sizeof(path), "%s/uffdd.db", k->conf.state_dir);
	ck_assert_msg(store_open(path, &store, &err) == 0, "%s", err.msg);
	write_ended(k, store, "mine", APIKIT_TENANT, APIKIT_OWNER);
	write_ended(k, store, "roots", CALLER_DEFAULT_TENANT, 0);
	store_close(store);
}

int apikit_try(struct apikit *k, struct err *err)
{
	struct api_parts parts = {.conf = &k->conf};

	signal(SIGPIPE, SIG_IGN);
	parts.base = k->base = timer_base_new();
	ck_assert_msg(supervisor_new(k->base, &k->conf, &k->sup, err) == 0, "%s", err->msg);
	parts.sup = k->sup;
	parts.store = k->sup->host.store;
	return api_new(&parts, &k->api, err);
}

void apikit_start(struct apikit *k)
{
	struct err err = {.msg = ""};

	ck_assert_msg(apikit_try(k, &err) == 0, "%s", err.msg);
	memset(&srv, 0, sizeof(srv));
	srv.base = k->base;
	srv.addr.sun_family = AF_UNIX;
	srv.addr_len = sizeof(srv.addr);
	snprintf(srv.addr.sun_path, sizeof(srv.addr.sun_path), "%s/control.sock", k->conf.run_dir);
}

void apikit_start_tenants(struct apikit *k, const char *dir)
{
	static const char tenants[] = "{\"observers\":{\"uids\":[4244]},\"tenants\":{"
				      "\"" APIKIT_TENANT "\":{\"uids\":[4242]},"
				      "\"other\":{\"gids\":[4243]}}}";

	harness_rmtree(dir);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	apikit_prepare(k, dir);
	k->conf.each_user_is_tenant = false;
	snprintf(k->conf.tenants_file, sizeof(k->conf.tenants_file), "%s/tenants.json", dir);
	scene_write(k->conf.tenants_file, tenants, strlen(tenants));
	apikit_start(k);
}

void apikit_stop(struct apikit *k)
{
	api_free(k->api);
	supervisor_free(k->sup);
	event_base_free(k->base);
}

/* ---- fixtures ---- */

struct apikit apikit;
static char *dir; /* owned */

void apikit_make_dir(void)
{
	dir = harness_tmpdir();
}

void apikit_remove_dir(void)
{
	harness_rmtree(dir);
	free(dir);
}

void apikit_begin(void)
{
	harness_rmtree(dir);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	apikit_prepare(&apikit, dir);
	apikit_start(&apikit);
}

void apikit_end(void)
{
	apikit_stop(&apikit);
}

/* ---- asking ---- */

/* The kernel notes the effective user when a socket is connected. */
int apikit_dial(uid_t uid)
{
	int fd;

	if (uid == geteuid())
		return client_dial();
	ck_assert_int_eq(setegid(uid), 0);
	ck_assert_int_eq(seteuid(uid), 0);
	fd = client_dial();
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setegid(0), 0);
	prctl(PR_SET_DUMPABLE, 1); /* what seteuid took, and LeakSanitizer needs */
	return fd;
}

struct reply *apikit_ask(uid_t uid, const char *method, const char *target, const char *body)
{
	char text[1024];
	struct reply *r;
	int fd = apikit_dial(uid);

	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s", method,
		 target, body ? strlen(body) : 0, body ? body : "");
	client_say(fd, text);
	r = client_hear(fd);
	close(fd);
	return r;
}

static struct json_object *parse_reply(const struct reply *r, int status, const char *what)
{
	struct json_object *o;
	struct err err;

	ck_assert_msg(r->status == status, "%s: %s", what, r->text);
	ck_assert_msg(strstr(r->text, "\r\nContent-Type: application/json\r\n"), "%s", r->text);
	o = js_parse(r->body, strlen(r->body), false, &err);
	ck_assert_ptr_nonnull(o);
	return o;
}

struct json_object *apikit_object(int status, const char *method, const char *suffix,
				  const char *body)
{
	cleanup_free char *target = scene_format(RESTORES "%s", suffix);

	return parse_reply(apikit_ask(geteuid(), method, target, body), status, suffix);
}

void apikit_check_problem(const struct reply *r, enum err_code code, const char *detail)
{
	cleanup_free char *name = scene_format("\"code\":\"%s\"", err_name(code));

	ck_assert_msg(r->status == err_http(code) && strstr(r->body, name) &&
			      strstr(r->body, detail),
		      "not \"%s\": %s", detail, r->text);
	ck_assert_ptr_nonnull(strstr(r->text, "\r\nContent-Type: application/problem+json\r\n"));
}

void apikit_refused(const char *method, const char *suffix, const char *body, enum err_code code,
		    const char *detail)
{
	cleanup_free char *target = scene_format(RESTORES "%s", suffix);

	apikit_check_problem(apikit_ask(geteuid(), method, target, body), code, detail);
}

/* All that was said before an answered request has been read. */
int apikit_hold(const char *method, const char *suffix)
{
	cleanup_free char *text = scene_format("%s " RESTORES "%s HTTP/1.1\r\n\r\n", method,
					       suffix);
	int fd = apikit_dial(geteuid());

	client_say(fd, text);
	ck_assert_int_eq(apikit_ask(geteuid(), "GET", "/healthz", NULL)->status, 200);
	ck_assert_msg(recv(fd, &(char){0}, 1, MSG_DONTWAIT | MSG_PEEK) == -1, "%s: not held", text);
	return fd;
}

struct json_object *apikit_hear(int fd)
{
	struct json_object *o = parse_reply(client_hear(fd), 200, "what was held");

	close(fd);
	return o;
}

void apikit_check_text(struct json_object *o, const char *path, const char *want)
{
	ck_assert_msg(strcmp(scene_text(o, path), want) == 0, "%s is not \"%s\": %s", path, want,
		      json_object_to_json_string(o));
}

struct restore *apikit_create(const struct apikit *k, const char *id, const char *more)
{
	cleanup_free char *body = scene_body(SCENE_SNAPSHOT, more);
	cleanup_free char *suffix = scene_format("/%s", id);

	json_object_put(apikit_object(201, "PUT", suffix, body));
	ck_assert_ptr_nonnull(supervisor_find(k->sup, id, NULL));
	return supervisor_find(k->sup, id, NULL);
}

struct restore *apikit_serve(const struct apikit *k, struct scene_vmm *vmm, const char *id,
			     const char *more, const char *args)
{
	struct restore *r = apikit_create(k, id, more);

	scene_vmm_start_at(vmm, r->rec.socket_path, APIKIT_IMAGE, args);
	WAIT_FOR(r->rec.state == STATE_SERVING);
	return r;
}

void apikit_finish(struct restore *r, struct scene_vmm *vmm)
{
	cleanup_free char *suffix = scene_format("/%s?kill=true", r->rec.id);

	json_object_put(apikit_object(200, "DELETE", suffix, NULL));
	ck_assert(restore_released(r));
	if (!vmm)
		return;
	ck_assert_int_eq(scene_vmm_end(vmm), 128 + SIGKILL);
	close_fd(&vmm->out);
}
