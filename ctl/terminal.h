/*
 * terminal - text that strangers chose, printed so that a terminal shows what it is
 *
 * The daemon's answers hold such text. No control character reaches the terminal, and none that
 * hides, breaks or reorders what is shown beside it.
 */
#ifndef UFFDD_TERMINAL_H
#define UFFDD_TERMINAL_H

#include <json-c/json.h>

#include "common/base.h"

/* Is @fd a terminal that understands escape sequences? */
bool terminal_escapes(int fd);

/* Prints text; of what is not printable the code, as \xNN, \uNNNN or \UNNNNNNNN. */
void terminal_text(FILE *out, const char *text);
/* Prints one line of JSON: the same object, with more of it escaped than JSON asks for. */
void terminal_json(FILE *out, struct json_object *o);
/* The same without a newline. */
void terminal_json_part(FILE *out, struct json_object *o);

#endif
