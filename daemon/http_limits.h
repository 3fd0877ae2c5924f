/*
 * http_limits - the bounds of everything that a client of the HTTP server chooses
 */
#ifndef UFFDD_HTTP_LIMITS_H
#define UFFDD_HTTP_LIMITS_H

#include <stddef.h>

/* Limits of the whole server; those "per_uid" are of one user. */
struct http_limits {
	size_t header_bytes, body_bytes;
	size_t connections, connections_per_uid;
	/* Long polls and streams together. Beyond held, held_per_uid more for the privileged. */
	size_t held, held_per_uid;
	size_t queue_bytes; /* written to a stream and not yet read by the client */
	/* Answers that the user's clients have not read, beyond which larger ones are refused. */
	size_t unsent_bytes_per_uid;
	unsigned idle_ms; /* without a byte in either direction; not while held */
	/* For a request: from accept, or its first byte, to its last byte. */
	unsigned header_deadline_ms;
	unsigned stall_ms; /* without the client reading its output */
};

/* The default limits. */
struct http_limits http_limits_default(void);

#endif
