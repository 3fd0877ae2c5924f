/*
 * verbs - the one table of what uffdctl can do
 *
 * Help, argument checks and dispatch all use this table.
 */
#ifndef UFFDD_VERBS_H
#define UFFDD_VERBS_H

#include "ctl/ctl.h"

struct verb {
	const char *name;
	const char *operands;              /* as in the synopsis */
	const char *help;                  /* one sentence */
	const struct args_option *options; /* NULL: no options of its own */
	size_t min_words, max_words;
	size_t ids; /* so many words, from the first on, are ids of restores */
	int (*run)(struct ctl *ctl);
};

extern const struct verb verbs_table[]; /* ends with a row without a name */

/* NULL for an unknown name. */
const struct verb *verbs_find(const char *name);
/* Checks number and form of the words that are no options. Returns 0, or -1 with ERR_INVALID. */
int verbs_check(const struct verb *verb, const struct args *args, struct err *err);

void verbs_help(FILE *out);
void verbs_help_one(FILE *out, const struct verb *verb);

#endif
