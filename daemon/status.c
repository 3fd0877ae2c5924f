#include "daemon/status.h"

#include <config.h>
#include <event2/event.h>
#include <sys/utsname.h>

#include "daemon/closer.h"
#include "daemon/descriptors.h"
#include "daemon/store.h"
#include "daemon/supervisor.h"

int status_healthz(struct api_request *c, struct err *err)
{
	struct json_object *o = json_object_new_object();

	(void)err;
	js_add_string(o, "status", "ok");
	api_reply(c->req, 200, o);
	return 0;
}

int status_readyz(struct api_request *c, struct err *err)
{
	struct json_object *o;

	if (supervisor_ready(c->sup, err))
		return -1;
	o = json_object_new_object();
	js_add_string(o, "status", "ready");
	api_reply(c->req, 200, o);
	return 0;
}

int status_version(struct api_request *c, struct err *err)
{
	struct json_object *o = json_object_new_object(), *api = json_object_new_array();
	struct utsname un;

	(void)err;
	uname(&un);
	js_add_string(o, "version", PACKAGE_VERSION);
	json_object_array_add(api, json_object_new_string("v1"));
	json_object_object_add(o, "api", api);
	js_add_string(o, "libevent", event_get_version());
	js_add_string(o, "sqlite", store_engine());
	js_add_string(o, "kernel", un.release);
	api_reply(c->req, 200, o);
	return 0;
}

static struct json_object *restores(struct supervisor *sup)
{
	struct json_object *o = json_object_new_object();
	uint64_t counts[STATE_COUNT] = {0};

	for (size_t i = 0; i < sup->table.n; i++)
		counts[sup->table.v[i]->rec.state]++;
	for (int s = 0; s < STATE_COUNT; s++)
		js_add_u64(o, proto_state_name((enum restore_state)s), counts[s]);
	return o;
}

static struct json_object *descriptors(const struct supervisor *sup)
{
	struct json_object *o = json_object_new_object();
	int64_t left = capacity_left(&sup->capacity);

	js_add_u64(o, "used", descriptors_used());
	js_add_u64(o, "limit", descriptors_limit());
	js_add_u64(o, "free", left > 0 ? (uint64_t)left : 0);
	js_add_u64(o, "per_restore", DESCRIPTORS_PER_RESTORE);
	js_add_u64(o, "waiting", capacity_waiting(&sup->capacity));
	js_add_u64(o, "closing", closer_waiting());
	return o;
}

static struct json_object *strays(struct strays *s)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < s->n; i++) {
		struct json_object *o = json_object_new_object();

		js_add_string(o, "key", s->v[i].key);
		js_add_u64(o, "pid", (uint64_t)s->v[i].pid);
		js_add_u64(o, "uid", s->v[i].uid);
		js_add_string(o, "why", s->v[i].why);
		json_object_array_add(list, o);
	}
	return list;
}

int status_get(struct api_request *c, struct err *err)
{
	struct json_object *o = json_object_new_object();

	(void)err;
	strays_drop_ended(&c->sup->strays);
	json_object_object_add(o, "restores", restores(c->sup));
	json_object_object_add(o, "descriptors", descriptors(c->sup));
	js_add_u64(o, "strays_count", c->sup->strays.n);
	json_object_object_add(o, "strays", strays(&c->sup->strays));
	api_reply(c->req, 200, o);
	return 0;
}
