/*
 * args - the command line, by tables of options
 *
 * A table ends with a row without a name. The kind of an option says what its value must look like,
 * so that every verb gets valid values and every error names its option. Strings are borrowed from
 * argv.
 */
#ifndef UFFDD_ARGS_H
#define UFFDD_ARGS_H

#include "common/base.h"
#include "common/err.h"
#include "common/proto.h"

enum args_kind {
	ARGS_FLAG,   /* no value */
	ARGS_TEXT,   /* anything but "" */
	ARGS_CHOICE, /* one word of the "a|b|c" in the member value */
	ARGS_ID,     /* id of a restore or a tenant */
	ARGS_STATE,  /* state of a restore */
	ARGS_GOAL,   /* state of a restore, or "complete" */
	ARGS_UID,    /* 0..2^32-2 */
	ARGS_GID,    /* the same, of a group */
	ARGS_OWNER,  /* UID or UID:GID */
	ARGS_MODE,   /* octal, up to 0777 */
	ARGS_U64,
	ARGS_BYTES,    /* number, perhaps with K, M or G: powers of 1024 */
	ARGS_DURATION, /* duration, as in proto.h */
	ARGS_LAYER,    /* BUILDID=FILE */
	ARGS_BUDGET,   /* NAME=N, N as ARGS_BYTES, or NAME=default */
};

struct args_option {
	const char *name;  /* without dashes */
	char letter;       /* short option; 0: none */
	const char *value; /* name of the value in help texts; NULL for a flag */
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
	int argc, next;                         /* next: index of the first word not yet read */
	const struct args_option *global, *own; /* own: NULL until the verb is known */
	struct args_given *given;               /* owned */
	size_t ngiven;
	const char **words; /* owned, room for argc: the words that are no options */
	size_t nwords;
};

/* @argv and @global are borrowed until args_fini(). */
void args_init(struct args *args, int argc, char **argv, const struct args_option *global);
void args_fini(struct args *args);

/*
 * Reads options up to the verb; *ret_verb is NULL if there is no verb. Returns 0, or -1 with
 * ERR_INVALID naming the option.
 */
int args_verb(struct args *args, const char **ret_verb, struct err *err);
/*
 * Reads the rest. @own: the verb's table, or NULL; its options win over global ones of the same
 * name. Returns 0, or -1 with ERR_INVALID.
 */
int args_rest(struct args *args, const struct args_option *own, struct err *err);

/* What the words that are no options must be. */
struct args_words {
	const char *operands; /* as in the synopsis; the first one is named if none is there */
	size_t min, max;
	size_t ids; /* so many words, from the first on, are ids */
};

/*
 * Checks number and form of the words behind the first @skip. Returns 0, or -1 with ERR_INVALID.
 */
int args_check_words(const struct args *args, size_t skip, const struct args_words *wanted,
		     struct err *err);

/* The value of option @name of @table: "" for a flag, NULL if not given. Borrowed. */
const char *args_get(const struct args *args, const struct args_option *table, const char *name);
/*
 * Every value of a repeated option, one a call, in the order given; *at is 0 at first. NULL: there
 * are no more. Borrowed.
 */
const char *args_next(const struct args *args, const struct args_option *table, const char *name,
		      size_t *at);

/* A number, perhaps with K, M or G (powers of 1024). False: anything else. */
bool args_bytes(const char *text, uint64_t *ret);
/* UID[:GID]; *ret_have_gid says whether a GID was given. False: anything else. */
bool args_owner(const char *text, uint64_t *ret_uid, uint64_t *ret_gid, bool *ret_have_gid);

struct args_budget {
	char name[PROTO_ID_MAX + 1]; /* has the form of an id */
	bool by_default;             /* the host's limit is wanted */
	uint64_t limit;              /* 0 if @by_default */
};
/* NAME=N or NAME=default. False: anything else. */
bool args_budget(const char *text, struct args_budget *ret);

/* Prints one line per option, for --help. */
void args_help(FILE *out, const struct args_option *table);

#endif
