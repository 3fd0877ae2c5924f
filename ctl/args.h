/*
 * args - the command line, by tables of options
 *
 * A table ends with a row without a name. The kind of an option says what its
 * value must look like, so that every verb gets values that are already good and
 * every error names its option. Strings are borrowed from argv.
 */
#ifndef UFFDD_ARGS_H
#define UFFDD_ARGS_H

#include "common/base.h"
#include "common/err.h"

enum args_kind {
	ARGS_FLAG,   /* no value */
	ARGS_TEXT,   /* anything but "" */
	ARGS_CHOICE, /* one word of the "a|b|c" that is its metavar */
	ARGS_ID,     /* of a restore or a tenant */
	ARGS_STATE,  /* of a restore */
	ARGS_GOAL,   /* a state, or "complete" */
	ARGS_UID,    /* 0..2^32-2 */
	ARGS_OWNER,  /* UID or UID:GID */
	ARGS_MODE,   /* octal, up to 0777 */
	ARGS_U64,
	ARGS_BYTES,    /* with K, M or G, powers of 1024 */
	ARGS_DURATION, /* as in proto.h */
	ARGS_LAYER,    /* BUILDID=FILE */
};

struct args_option {
	const char *name;  /* without its dashes */
	char letter;       /* 0: none */
	const char *value; /* metavar; NULL for a flag */
	enum args_kind kind;
	bool repeat; /* may be given more than once */
	const char *help;
};

struct args_given {
	const struct args_option *option;
	const char *value; /* NULL for a flag */
};

struct args {
	char **argv;
	int argc, next;                         /* next: the first word not yet looked at */
	const struct args_option *global, *own; /* own: NULL until the verb is known */
	struct args_given *given;               /* owned */
	size_t ngiven;
	const char **words; /* owned, room for argc: what is no option */
	size_t nwords;
};

void args_init(struct args *args, int argc, char **argv, const struct args_option *global);
void args_fini(struct args *args);

/* Options up to the verb; *ret_verb is NULL if there is none. Fails with ERR_INVALID. */
int args_verb(struct args *args, const char **ret_verb, struct err *err);
/* The rest: options of the verb come before global ones of the same name. */
int args_rest(struct args *args, const struct args_option *own, struct err *err);

/* The value of option @name of @table, "" for a flag, NULL if it was not given. */
const char *args_get(const struct args *args, const struct args_option *table, const char *name);

/* A number, or one with K, M or G behind it: units of 1024. */
bool args_bytes(const char *text, uint64_t *ret);
/* UID[:GID]; *ret_have_gid tells whether there was a GID. */
bool args_owner(const char *text, uint64_t *ret_uid, uint64_t *ret_gid, bool *ret_have_gid);

/* One line per option, for --help. */
void args_help(FILE *out, const struct args_option *table);

#endif
