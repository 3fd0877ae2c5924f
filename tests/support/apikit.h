/*
 * apikit - supervisor, store and API in this process, and clients of httpd.h that ask them
 *
 * There are two restores, both ended, so that nothing has to be served and no worker is
 * started: "mine" of the user APIKIT_OWNER, and "roots" of the tenant of admins. Each has
 * one event.
 */
#ifndef UFFDD_TESTS_APIKIT_H
#define UFFDD_TESTS_APIKIT_H

#include "daemon/api.h"
#include "daemon/supervisor.h"
#include "tests/fakes/http/httpd.h"
#include "tests/support/scene.h"

#define APIKIT_OWNER 4242
#define APIKIT_OTHER 4243
#define APIKIT_OBSERVER 4244
#define APIKIT_OUTSIDER 4245
#define APIKIT_TENANT "uid-4242"                            /* of the owner */
#define APIKIT_BODY "{\"snapshot\":{\"dir\":\"/nowhere\"}}" /* what both were made with */

struct apikit {
	struct conf conf;
	struct event_base *base;
	struct supervisor *sup;
	struct api *api;
};

/* @dir: empty, the caller's; apikit_start() makes run and state directory in it. */
void apikit_prepare(struct apikit *k, const char *dir);
/* What apikit_start() does; api_new() may fail. */
int apikit_try(struct apikit *k, struct err *err);
void apikit_start(struct apikit *k);
/*
 * The same in @dir, which is emptied: two tenants, the owner's and "other", and an observer; every
 * other user but root is an outsider.
 */
void apikit_start_tenants(struct apikit *k, const char *dir);
void apikit_stop(struct apikit *k);

/*
 * Fixtures of a test that has one supervisor, which is this one: unchecked, the directory; checked,
 * the supervisor and its API, with the two restores only.
 */
extern struct apikit apikit;
void apikit_make_dir(void);
void apikit_remove_dir(void);
void apikit_begin(void);
void apikit_end(void);

/* Connected with the credentials of that user, who is ourselves, or we are root. */
int apikit_dial(uid_t uid);
/* One request by that user, and its answer. Static storage. */
struct reply *apikit_ask(uid_t uid, const char *method, const char *target, const char *body);

/* ---- below /v1/restores, by ourselves; @suffix is what follows that ---- */

/* Must be answered with @status and an object, which is the caller's. */
struct json_object *apikit_object(int status, const char *method, const char *suffix,
				  const char *body);
/* Must be refused in the form of the API, with @detail in the text. */
void apikit_refused(const char *method, const char *suffix, const char *body, enum err_code code,
		    const char *detail);
void apikit_check_problem(const struct reply *r, enum err_code code, const char *detail);
/* Must be held. Returns the connection, for the next function. */
int apikit_hold(const char *method, const char *suffix);
/* The answer, 200, after which the connection is closed. The object is the caller's. */
struct json_object *apikit_hear(int fd);
/* A member by a dotted path; @want: "" for null. */
void apikit_check_text(struct json_object *o, const char *path, const char *want);

/* ---- restores of SCENE_SNAPSHOT with a real worker ---- */

#define APIKIT_IMAGE SCENE_SNAPSHOT "/" SCENE_IMAGE
#define APIKIT_BYTES ((uint64_t)1 << 20) /* of that */

/* @more: members of the request, or NULL. */
struct restore *apikit_create(const struct apikit *k, const char *id, const char *more);
/* The same, served; @args: of the stand-in VMM. */
struct restore *apikit_serve(const struct apikit *k, struct scene_vmm *vmm, const char *id,
			     const char *more, const char *args);
/*
 * Ends it, its VMM by SIGKILL, until only its record is left. @vmm: NULL: none lives any more.
 * For every restore that was created: workers outlive a supervisor.
 */
void apikit_finish(struct restore *r, struct scene_vmm *vmm);

#endif
