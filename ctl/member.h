/*
 * member - values out of the API's objects, by dotted path
 *
 * An object that lacks one, or has one of another type, is no error: daemons of
 * other versions say more or less. Everything is borrowed from the object.
 */
#ifndef UFFDD_MEMBER_H
#define UFFDD_MEMBER_H

#include <json-c/json.h>

#include "common/base.h"

/* NULL if it is missing or null. */
struct json_object *member_at(struct json_object *o, const char *path);
/* NULL if it is missing or no text. */
const char *member_string(struct json_object *o, const char *path);
/* 0 if it is missing or no number. */
uint64_t member_u64(struct json_object *o, const char *path);
bool member_true(struct json_object *o, const char *path);

#endif
