/*
 * table - columns of values out of the API's objects, for people
 *
 * Objects are borrowed. A missing or null member is "-".
 */
#ifndef UFFDD_CTL_TABLE_H
#define UFFDD_CTL_TABLE_H

#include <json-c/json.h>

#include "common/base.h"

/* Prints one value; @v is the value at the row's path, never NULL. */
typedef void table_cell_fn(FILE *out, struct json_object *v, bool colour);

struct table_row {
	const char *label;
	const char *path; /* "": the whole object */
	table_cell_fn *cell;
	bool right; /* columns: align numbers at the right */
};

/* Prints a head and a line per item. @columns: as many as @n; @items: array. */
void table_print(FILE *out, const struct table_row *columns, size_t n, struct json_object *items,
		 bool colour);

#endif
