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

#define APIKIT_OWNER 4242
#define APIKIT_OTHER 4243
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
void apikit_stop(struct apikit *k);

/* Connected with the credentials of that user, who is ourselves, or we are root. */
int apikit_dial(uid_t uid);
/* One request by that user, and its answer. Static storage. */
struct reply *apikit_ask(uid_t uid, const char *method, const char *target, const char *body);

#endif
