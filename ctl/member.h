/*
 * member - values out of the API's objects, by dotted path
 *
 * A missing member, or one of another type, is no error: daemons of other versions send more or
 * fewer members. Every result is borrowed from the object, which may be NULL.
 */
#ifndef UFFDD_MEMBER_H
#define UFFDD_MEMBER_H

#include <json-c/json.h>

#include "common/base.h"

/* NULL if missing or null. */
struct json_object *member_at(struct json_object *o, const char *path);
/* NULL if missing or not a string. */
const char *member_string(struct json_object *o, const char *path);
/* 0 if missing or not an integer. */
uint64_t member_u64(struct json_object *o, const char *path);
/* False if missing or not a boolean. */
bool member_true(struct json_object *o, const char *path);

#endif
