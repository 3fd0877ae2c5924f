/*
 * progress - one line on a terminal that shows how far a restore is
 *
 * Drawn on stderr, in place. When stderr is no terminal nothing is ever written.
 */
#ifndef UFFDD_PROGRESS_H
#define UFFDD_PROGRESS_H

#include <json-c/json.h>

#include "common/base.h"

struct progress {
	bool on;
	uint64_t last_us, last_bytes; /* of the draw before */
	double rate;                  /* bytes/s, smoothed; < 0: not known yet */
};

/* @wanted: false keeps it off even on a terminal. */
void progress_start(struct progress *p, bool wanted);
/* @restore: the API's object, borrowed. */
void progress_draw(struct progress *p, struct json_object *restore, uint64_t at_us);
/* Leave the last picture on a line of its own. */
void progress_stop(struct progress *p);
/* For signal handlers: the same for whatever is drawn now. */
void progress_interrupted(void);

/*
 * progress_line - the picture for a terminal of @columns, at most @len - 1 bytes
 * @rate: bytes/s, < 0: leave out
 */
void progress_line(struct json_object *restore, double rate, size_t columns, char *ret, size_t len);

#endif
