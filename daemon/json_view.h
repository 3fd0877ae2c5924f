/*
 * json_view - restores and events as the API shows them
 *
 * Each result is owned by the caller; it has copies of everything.
 */
#ifndef UFFDD_JSON_VIEW_H
#define UFFDD_JSON_VIEW_H

#include <json-c/json.h>

#include "daemon/restore.h"
#include "daemon/store.h"

/* The restore object. Reads the page map for its counters. */
struct json_object *json_view_restore(const struct restore *restore);
/* One event, as a line of the stream. */
struct json_object *json_view_event(const struct store_event *event);

#endif
