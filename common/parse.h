/*
 * parse - numbers, times and permissions as people write them
 *
 * The whole text must match: no blanks, no sign, no "0x"; leading zeros are ignored. *ret is
 * untouched on failure.
 */
#ifndef UFFDD_PARSE_H
#define UFFDD_PARSE_H

#include "common/base.h"

/* Decimal digits. False: anything else, or a number outside @min to @max. */
bool parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
/* Octal digits, as "0660" or "660". False: anything else, or more than @max. */
bool parse_octal(const char *text, uint32_t max, uint32_t *ret);

enum parse_step {
	PARSE_OK,
	PARSE_NO_NUMBER, /* no digit at the beginning, or a number of more than 64 bits */
	PARSE_NO_UNIT,
	PARSE_TOO_LONG, /* more milliseconds than 64 bits count */
};
/* A number and its unit, ms, s, m, h or d: "500ms", "30s", "3d". */
enum parse_step parse_duration_ms(const char *text, uint64_t *ret_ms);

#endif
