#include "tests/support/ownvmm.h"

#include <sys/socket.h>

#include "common/handshake.h"
#include "common/sock.h"
#include "tests/support/vmmside.h"

static char *make(const struct ownvmm *o, const char *name, uint64_t bytes)
{
	char *dir = scene_format("%s/%s", o->scene.d.dir, name);

	scene_make_snapshot(dir, bytes, 1);
	return dir;
}

void ownvmm_open(struct ownvmm *o, uint64_t small_bytes, uint64_t huge_bytes,
		 unsigned long huge_pages)
{
	scene_open(&o->scene);
	o->small = make(o, "small", small_bytes);
	o->huge = make(o, "huge", huge_bytes);
	if (!hugepool_open(&o->pool, huge_pages))
		fputs("# there are no huge pages to be had\n", stderr);
}

void ownvmm_close(struct ownvmm *o)
{
	hugepool_close(&o->pool);
	free(o->small);
	free(o->huge);
	stage_close(&o->scene);
}

const char *ownvmm_dir(const struct ownvmm *o, uint64_t page_bytes)
{
	return page_bytes == PAGE_4K ? o->small : o->huge;
}

void ownvmm_create(const struct ownvmm *o, struct stage *s, uint64_t page_bytes,
		   const char *members)
{
	cleanup_free char *snapshot = scene_format("{\"dir\":\"%s\"}", ownvmm_dir(o, page_bytes));

	s->scene = &o->scene;
	stage_create(s, snapshot, members);
}

int ownvmm_connect(struct stage *s, const struct regions *regions, int uffd)
{
	cleanup_free char *text = handshake_format(regions, HANDSHAKE_BOTH);
	struct err err = {.msg = ""};
	int sock = -1;

	ck_assert_msg(sock_connect(s->socket, SOCK_STREAM, &sock, &err) == 0 &&
			      handshake_send(sock, text, &uffd, 1, &err) == 0,
		      "%s", err.msg);
	json_object_put(stage_await(s, "serving"));
	return sock;
}

void ownvmm_stop(struct stage *s)
{
	stage_look_up_worker(s);
	stage_tell(s, "DELETE", "", NULL);
	json_object_put(stage_ended(s, "stopped"));
}
