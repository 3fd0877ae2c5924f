#include "tests/bench/bench_server.h"

#include <limits.h>
#include <poll.h>
#include <string.h>

#include "tests/bench/bench_floor.h"

#define AWAIT_MS 60000

static int open_restore(struct bench_server *s, struct err *err)
{
	char snapshot[PATH_MAX + 32], target[64];
	cleanup_json struct json_object *o = NULL;
	cleanup_free char *body = NULL;

	snprintf(s->id, sizeof(s->id), "r%u", s->run->restores++);
	snprintf(target, sizeof(target), "/v1/restores/%s", s->id);
	snprintf(snapshot, sizeof(snapshot), "{\"memory\":[\"%s\"]}", s->image ? s->image : "");
	if (asprintf(&body, "{\"snapshot\":%s,\"on_failure\":\"hold\",%s}",
		     s->snapshot ? s->snapshot : snapshot, s->members) < 0)
		abort();
	if (rig_call(&s->run->rig, "PUT", target, body, &o, err)) {
		s->id[0] = '\0';
		return -1;
	}
	snprintf(s->socket, sizeof(s->socket), "%s", rig_text(o, "mem_backend.backend_path"));
	return 0;
}

int bench_server_open(struct bench_server *s, struct err *err)
{
	if (s->kind == BENCH_UFFDD)
		return open_restore(s, err);
	snprintf(s->socket, sizeof(s->socket), "%.90s/floor", s->run->rig.dir);
	return bench_floor_start(s->image, s->socket, s->kind == BENCH_FLOOR_BULK, &s->pid, err);
}

static int await_state(const struct bench_server *s, const char *state, struct err *err)
{
	cleanup_json struct json_object *o = NULL;
	char target[96];
	bool reached;

	snprintf(target, sizeof(target), "/v1/restores/%s?for=%s&wait=%ds", s->id, state,
		 AWAIT_MS / 1000);
	if (rig_call(&s->run->rig, "GET", target, NULL, &o, err))
		return -1;
	reached = strcmp(rig_text(o, "state"), state) == 0 ||
		  (strcmp(state, "complete") == 0 &&
		   json_object_get_boolean(rig_member(o, "complete")));
	return reached ? 0
		       : err_set(err, ERR_TIMEOUT, "restore %s is %s, not %s: %s", s->id,
				 rig_text(o, "state"), state, rig_text(o, "reason"));
}

int bench_server_await(const struct bench_server *s, int vmm, struct err *err)
{
	struct pollfd p = {.fd = vmm, .events = POLLIN};
	char byte;

	if (s->kind == BENCH_UFFDD)
		return await_state(s, "complete", err);
	if (poll(&p, 1, AWAIT_MS) != 1 || read(vmm, &byte, 1) != 1)
		return err_set(err, ERR_TIMEOUT, "the floor has not copied everything");
	return 0;
}

int bench_server_close(struct bench_server *s, struct err *err)
{
	int rc = 0;

	if (s->id[0])
		rc = await_state(s, "ended", err);
	if (s->pid > 0)
		bench_floor_end(s->pid);
	s->id[0] = '\0';
	s->pid = 0;
	return rc;
}
