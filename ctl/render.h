/*
 * render - the daemon's objects for people, or as they are
 *
 * Tables are for people and may change; JSON is the contract. Objects are borrowed. Missing or null
 * members are left out, or "-" in a column.
 */
#ifndef UFFDD_RENDER_H
#define UFFDD_RENDER_H

#include <json-c/json.h>

#include "common/base.h"

/* "512 MiB"; writes at most @len bytes, with NUL. */
void render_size(uint64_t bytes, char *ret, size_t len);

/* Prints the id of a restore, the name of a tenant. */
void render_name(FILE *out, struct json_object *o, bool colour);

/* Prints a table with a head and one row per restore. @items: array. */
void render_list(FILE *out, struct json_object *items, bool colour);
/* Prints everything about one restore. */
void render_show(FILE *out, struct json_object *restore, bool colour);
/* Prints "ID STATE", and the restore's flags and reason. */
void render_line(FILE *out, struct json_object *restore, bool colour);
/* Prints a table with a head and one row per tenant. @items: array. */
void render_tenants(FILE *out, struct json_object *items, bool colour);
/* Prints everything about one tenant, with a line for each budget. */
void render_tenant(FILE *out, struct json_object *tenant, bool colour);
/* Prints "0.1.0 (api v1, kernel 6.1, …)". */
void render_version(FILE *out, struct json_object *server);
void render_event(FILE *out, struct json_object *event, bool colour);

#endif
