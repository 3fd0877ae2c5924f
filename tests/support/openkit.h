/*
 * openkit - a snapshot by the paths of a request: opened, then loaded, as a worker does
 */
#ifndef UFFDD_TESTS_OPENKIT_H
#define UFFDD_TESTS_OPENKIT_H

#include "worker/source.h"

static inline int source_open(const struct spec *spec, struct source **ret, struct err *err)
{
	static const struct roots anywhere;
	struct files files = {0};
	int rc = files_open(spec, &anywhere, &files, err);

	if (rc == 0)
		rc = source_load(spec, &files, 0, ret, err);
	files_fini(&files);
	return rc;
}

#endif
