/*
 * progress - one line on a terminal that shows how far a restore is
 *
 * Drawn on stderr, in place. Nothing is written if stderr is no terminal.
 */
#ifndef UFFDD_PROGRESS_H
#define UFFDD_PROGRESS_H

#include <json-c/json.h>

#include "common/base.h"

struct progress {
	bool on;
	uint64_t last_us, last_bytes; /* of the last draw */
	double rate;                  /* bytes/s, smoothed; < 0: not yet known */
};

/* @wanted: false keeps the line off even on a terminal. */
void progress_start(struct progress *p, bool wanted);
/* @restore: the API's object, borrowed. @at_us: now_us(). */
void progress_draw(struct progress *p, struct json_object *restore, uint64_t at_us);
/* Ends the drawn line with a newline. */
void progress_stop(struct progress *p);
/* The same for signal handlers: ends the line that is drawn now, if any. */
void progress_interrupted(void);

/*
 * progress_line - the text for a terminal of @columns, at most @len - 1 bytes
 * @rate: bytes/s; < 0: leave the rate out
 */
void progress_line(struct json_object *restore, double rate, size_t columns, char *ret, size_t len);

#endif
