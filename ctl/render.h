/*
 * render - the daemon's objects for people, or as they are
 *
 * Tables are for people and may change; JSON is the contract. Whatever the
 * daemon says may hold bytes that strangers chose, so nothing printed here can
 * carry a control character to a terminal. Objects are borrowed; members that
 * are missing or null are left out, or "-" in a column.
 */
#ifndef UFFDD_RENDER_H
#define UFFDD_RENDER_H

#include <json-c/json.h>

#include "common/base.h"

/* Is @fd a terminal that understands escape sequences? */
bool render_terminal(int fd);

/* Text with its control characters shown as \xNN. */
void render_text(FILE *out, const char *text);
/* One line of JSON, escaped for terminals. */
void render_json(FILE *out, struct json_object *o);
/* The same within a line. */
void render_json_part(FILE *out, struct json_object *o);
/* "512 MiB"; writes at most @len bytes. */
void render_size(uint64_t bytes, char *ret, size_t len);

/* A table with a head, one row per restore. @items: array. */
void render_list(FILE *out, struct json_object *items, bool colour);
/* Everything about one. */
void render_show(FILE *out, struct json_object *restore, bool colour);
/* "ID STATE", and its flags and reason: what happened to one. */
void render_line(FILE *out, struct json_object *restore, bool colour);
/* "0.1.0 (api v1, kernel 6.1, …)" */
void render_version(FILE *out, struct json_object *server);
void render_event(FILE *out, struct json_object *event, bool colour);

#endif
