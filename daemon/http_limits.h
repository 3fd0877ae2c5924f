/*
 * http_limits - the bounds of everything that a client of the HTTP server chooses
 */
#ifndef UFFDD_HTTP_LIMITS_H
#define UFFDD_HTTP_LIMITS_H

#include <stddef.h>

struct http_limits {
	size_t header_bytes, body_bytes;
	size_t connections, connections_per_uid;
	size_t held, held_per_uid;   /* long polls and streams together */
	size_t queue_bytes;          /* written to a stream and not yet taken by the client */
	unsigned idle_ms;            /* without a byte in either direction; not while held */
	unsigned header_deadline_ms; /* from accept, or a request's first byte, to its last one */
	unsigned stall_ms;           /* a client that takes nothing of what waits for it */
};

#endif
