#include "common/parse.h"

#include <errno.h>
#include <string.h>

/* clang-format off */
static const struct {
	const char *name;
	uint64_t ms;
} units[] = {
	{"ms", 1},
	{"s", 1000},
	{"m", 60 * 1000},
	{"h", 60 * 60 * 1000},
	{"d", 24 * 60 * 60 * 1000},
};
/* clang-format on */

/* *ret_end is behind the digits of that base. False: no digit, or more than 64 bits. */
static bool digits(const char *text, int base, uint64_t *ret, const char **ret_end)
{
	char *end;

	/* strtoull() also accepts blanks and signs. */
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, base);
	*ret_end = end;
	return errno == 0;
}

bool parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	const char *end;
	uint64_t v;

	if (!digits(text, 10, &v, &end) || *end || v < min || v > max)
		return false;
	*ret = v;
	return true;
}

bool parse_octal(const char *text, uint32_t max, uint32_t *ret)
{
	const char *end;
	uint64_t v;

	if (!digits(text, 8, &v, &end) || *end || v > max)
		return false;
	*ret = (uint32_t)v;
	return true;
}

enum parse_step parse_duration_ms(const char *text, uint64_t *ret_ms)
{
	const char *end;
	uint64_t v;

	if (!digits(text, 10, &v, &end))
		return PARSE_NO_NUMBER;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(end, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(v, units[i].ms, &v))
			return PARSE_TOO_LONG;
		*ret_ms = v;
		return PARSE_OK;
	}
	return PARSE_NO_UNIT;
}
