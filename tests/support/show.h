/*
 * show - a stage with a snapshot of its own, beside the daemon's directories, which may be
 * meddled with
 */
#ifndef UFFDD_TESTS_SHOW_H
#define UFFDD_TESTS_SHOW_H

#include "tests/support/stage.h"

struct show {
	struct stage s;
	char *dir, *image, *layer; /* owned paths; one layer of three */
};

/* PUTs the restore. @members: as for stage_create(). */
void show_create(struct show *show, const struct scene *scene, const char *id, const char *members);
/* Removes the snapshot; the restore is not touched. */
void show_fini(struct show *show);

#endif
