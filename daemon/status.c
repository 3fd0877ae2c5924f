#include "daemon/status.h"

#include "daemon/descriptors.h"

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
	return o;
}

static struct json_object *strays(struct strays *s)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < s->n; i++) {
		struct json_object *o = json_object_new_object();

		js_add_string(o, "restore", s->v[i].id);
		js_add_u64(o, "pid", (uint64_t)s->v[i].pid);
		js_add_u64(o, "uid", s->v[i].uid);
		js_add_string(o, "why", s->v[i].why);
		json_object_array_add(list, o);
	}
	return list;
}

void status_get(struct call *c)
{
	struct json_object *o;
	struct err err;

	if (!tenant_is_admin(&c->caller)) {
		err_set(&err, ERR_DENIED, "uid %ju may not see the daemon's status: root and the "
			"daemon's own user may", (uintmax_t)c->caller.uid);
		call_problem(c->req, &err);
		return;
	}
	strays_drop_ended(&c->sup->strays);
	o = json_object_new_object();
	json_object_object_add(o, "restores", restores(c->sup));
	json_object_object_add(o, "descriptors", descriptors(c->sup));
	js_add_u64(o, "strays_count", c->sup->strays.n);
	json_object_object_add(o, "strays", strays(&c->sup->strays));
	call_reply(c->req, 200, o);
}
