#include "tests/support/show.h"

#include <string.h>

#include "tests/fakes/snapshot/snapgen.h"

#define SIZE ((uint64_t)4 << 20)
#define SEED 7
#define LAYER 1 /* of three: the one that is meddled with */

void show_create(struct show *show, const struct scene *scene, const char *id, const char *members)
{
	cleanup_free char *json = NULL;
	char build[UUID_STR_LEN];
	uuid_t uuid;

	snapgen_build(SEED, LAYER, uuid);
	uuid_unparse_lower(uuid, build);
	show->dir = scene_format("%s/%s", scene->d.dir, id);
	show->image = scene_format("%s/" SNAPGEN_IMAGE, show->dir);
	show->layer = scene_format("%s/memfile.%s", show->dir, build);
	scene_make_snapshot(show->dir, SIZE, SEED);
	show->s = (struct stage){.scene = scene};
	snprintf(show->s.id, sizeof(show->s.id), "%s", id);
	json = scene_format("{\"dir\":\"%s\"}", show->dir);
	stage_create(&show->s, json, members);
}

void show_fini(struct show *show)
{
	harness_rmtree(show->dir);
	free(show->dir);
	free(show->image);
	free(show->layer);
	stage_fini(&show->s);
}
