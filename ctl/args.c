#include "ctl/args.h"

#include <getopt.h>
#include <string.h>

#include "common/parse.h"

#define OPTIONS_MAX 48                         /* options of a verb and global options together */
#define NAMED 256                              /* above every letter */
#define UID_LARGEST ((uint64_t)UINT32_MAX - 1) /* the last value means "no user" */
#define MODE_LARGEST 0777

void args_init(struct args *args, int argc, char **argv, const struct args_option *global)
{
	size_t room = argc > 0 ? (size_t)argc : 1;

	*args = (struct args){.argv = argv, .argc = argc, .next = 1, .global = global};
	/* One word may contain many flags, but each is counted once. */
	args->given = xcalloc(room + OPTIONS_MAX, sizeof(*args->given));
	args->words = xcalloc(room, sizeof(*args->words));
}

void args_fini(struct args *args)
{
	free(args->given);
	free(args->words);
	*args = (struct args){0};
}

bool args_bytes(const char *text, uint64_t *ret)
{
	static const char suffixes[] = "KMG";
	size_t len = strlen(text);
	const char *suffix = len > 1 ? strchr(suffixes, text[len - 1]) : NULL;
	unsigned int shift = suffix ? 10 * (unsigned int)(suffix - suffixes + 1) : 0;
	char digits[32];
	uint64_t v;

	if (len >= sizeof(digits))
		return false;
	memcpy(digits, text, len + 1);
	if (suffix)
		digits[len - 1] = '\0';
	if (!parse_u64(digits, 0, INT64_MAX >> shift, &v))
		return false;
	*ret = v << shift;
	return true;
}

bool args_owner(const char *text, uint64_t *ret_uid, uint64_t *ret_gid, bool *ret_have_gid)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	char uid[16];

	if (len >= sizeof(uid))
		return false;
	memcpy(uid, text, len);
	uid[len] = '\0';
	if (!parse_u64(uid, 0, UID_LARGEST, ret_uid))
		return false;
	*ret_have_gid = colon != NULL;
	return !colon || parse_u64(colon + 1, 0, UID_LARGEST, ret_gid);
}

bool args_budget(const char *text, struct args_budget *ret)
{
	size_t len = strcspn(text, "=");

	if (text[len] != '=' || len > PROTO_ID_MAX)
		return false;
	*ret = (struct args_budget){.by_default = strcmp(text + len + 1, "default") == 0};
	memcpy(ret->name, text, len);
	return proto_id_valid(ret->name) &&
	       (ret->by_default || args_bytes(text + len + 1, &ret->limit));
}

static bool ok_text(const char *value)
{
	return *value != '\0';
}

static bool ok_state(const char *value)
{
	return proto_state_from(value) != STATE_NONE;
}

static bool ok_goal(const char *value)
{
	return strcmp(value, "complete") == 0 || ok_state(value);
}

static bool ok_uid(const char *value)
{
	uint64_t v;

	return parse_u64(value, 0, UID_LARGEST, &v);
}

static bool ok_owner(const char *value)
{
	uint64_t uid, gid;
	bool have_gid;

	return args_owner(value, &uid, &gid, &have_gid);
}

static bool ok_mode(const char *value)
{
	uint32_t mode;

	return parse_octal(value, MODE_LARGEST, &mode);
}

static bool ok_u64(const char *value)
{
	uint64_t v;

	return parse_u64(value, 0, INT64_MAX, &v);
}

static bool ok_bytes(const char *value)
{
	uint64_t v;

	return args_bytes(value, &v);
}

static bool ok_duration(const char *value)
{
	uint64_t ms;

	return proto_duration_ms(value, &ms);
}

static bool ok_layer(const char *value)
{
	const char *equals = strchr(value, '=');

	return equals && equals != value && equals[1] != '\0';
}

static bool ok_budget(const char *value)
{
	struct args_budget budget;

	return args_budget(value, &budget);
}

static const struct {
	bool (*ok)(const char *value);
	const char *wants;
} kinds[] = {
	[ARGS_TEXT] = {ok_text, "a value that is not empty"},
	[ARGS_ID] = {proto_id_valid, "letters, digits, \".\", \"_\" and \"-\", at most 63"},
	[ARGS_STATE] = {ok_state, "waiting, serving, recovering, ended or failed"},
	[ARGS_GOAL] = {ok_goal, "waiting, serving, recovering, ended, failed or complete"},
	[ARGS_UID] = {ok_uid, "a user number"},
	[ARGS_GID] = {ok_uid, "a group number"},
	[ARGS_OWNER] = {ok_owner, "numbers as UID or UID:GID"},
	[ARGS_MODE] = {ok_mode, "octal digits such as 0660, at most 0777"},
	[ARGS_U64] = {ok_u64, "a number"},
	[ARGS_BYTES] = {ok_bytes, "a number of bytes such as 65536, 64K, 200M or 1G"},
	[ARGS_DURATION] = {ok_duration, "a time such as 500ms, 30s or 2m, at most 24h"},
	[ARGS_LAYER] = {ok_layer, "BUILDID=FILE"},
	[ARGS_BUDGET] = {ok_budget, "NAME=N, such as restores=100 or bytes=1G, or NAME=default"},
};

/* Is @value one of the words of "a|b|c"? */
static bool is_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);

	for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
		if (len > 0 && strcspn(p, "|") == len && memcmp(p, value, len) == 0)
			return true;
	return false;
}

static int check_value(const struct args_option *option, const char *value, struct err *err)
{
	bool choice = option->kind == ARGS_CHOICE;

	if (choice ? is_choice(option->value, value) : kinds[option->kind].ok(value))
		return 0;
	return err_set(err, ERR_INVALID, "--%s wants %s, not \"%s\"", option->name,
		       choice ? option->value : kinds[option->kind].wants, value);
}

static int add(struct args *args, const struct args_option *option, const char *value,
	       struct err *err)
{
	for (size_t i = 0; i < args->ngiven; i++) {
		if (args->given[i].option != option || option->repeat)
			continue;
		if (!value)
			return 0;
		return err_set(err, ERR_INVALID, "--%s is given twice", option->name);
	}
	if (value && check_value(option, value, err) < 0)
		return -1;
	args->given[args->ngiven++] = (struct args_given){option, value};
	return 0;
}

/* The tables as getopt_long() wants them; options of the verb come first and win. */
struct syntax {
	const struct args_option *options[OPTIONS_MAX];
	struct option names[OPTIONS_MAX + 1]; /* of value NAMED + index */
	char letters[2 * OPTIONS_MAX + 3];
	size_t n;
};

static void add_table(struct syntax *s, const struct args_option *table)
{
	for (; table && table->name; table++) {
		int has_value = table->kind == ARGS_FLAG ? no_argument : required_argument;
		size_t len = strlen(s->letters);

		if (s->n == OPTIONS_MAX)
			abort();
		if (table->letter)
			snprintf(s->letters + len, sizeof(s->letters) - len, "%c%s", table->letter,
				 has_value == no_argument ? "" : ":");
		s->names[s->n] = (struct option){table->name, has_value, NULL, NAMED + (int)s->n};
		s->options[s->n++] = table;
	}
}

static bool is_long(const char *word)
{
	return word[0] == '-' && word[1] == '-';
}

/* @code: from getopt_long(), which accepts a shortened name; uffdctl does not. */
static const struct args_option *meant(const struct syntax *s, const char *word, int code)
{
	const struct args_option *option = code >= NAMED ? s->options[code - NAMED] : NULL;

	if (is_long(word))
		return option && strlen(option->name) == strcspn(word + 2, "=") ? option : NULL;
	for (size_t i = 0; i < s->n; i++)
		if (s->options[i]->letter == code)
			return s->options[i];
	return NULL;
}

static int take(struct args *args, const struct syntax *s, const char *word, int c, struct err *err)
{
	int code = c == '?' || c == ':' ? optopt : c;
	const struct args_option *option = meant(s, word, code);

	if (!option && is_long(word))
		return err_set(err, ERR_INVALID, "there is no option %.*s",
			       (int)min_u64(strcspn(word, "="), 66), word);
	if (!option)
		return err_set(err, ERR_INVALID, "there is no option -%c", code);
	if (c == '?')
		return err_set(err, ERR_INVALID, "--%s takes no value", option->name);
	if (c == ':')
		return err_set(err, ERR_INVALID, "--%s wants a value: %s", option->name,
			       option->value);
	return add(args, option, option->kind == ARGS_FLAG ? NULL : optarg, err);
}

/* @order: "+" ends at the first word that is no option, "-" takes that word and goes on */
static int scan(struct args *args, const char *order, struct err *err)
{
	char **argv = args->argv + args->next - 1; /* getopt_long() skips the first word */
	int argc = args->argc - args->next + 1, c;
	struct syntax s = {.n = 0};

	snprintf(s.letters, sizeof(s.letters), "%s:", order);
	add_table(&s, args->own);
	add_table(&s, args->global);
	opterr = 0;
	optind = 0; /* glibc: begin again */
	for (;;) {
		const char *word = argv[optind ? optind : 1];

		c = getopt_long(argc, argv, s.letters, s.names, NULL);
		if (c == -1)
			break;
		if (c == 1)
			args->words[args->nwords++] = optarg;
		else if (take(args, &s, word, c, err) < 0)
			return -1;
	}
	args->next += optind - 1;
	return 0;
}

int args_verb(struct args *args, const char **ret_verb, struct err *err)
{
	if (scan(args, "+", err) < 0)
		return -1;
	*ret_verb = args->next < args->argc ? args->argv[args->next++] : NULL;
	return 0;
}

int args_rest(struct args *args, const struct args_option *own, struct err *err)
{
	args->own = own;
	if (scan(args, "-", err) < 0)
		return -1;
	/* Behind "--" */
	while (args->next < args->argc)
		args->words[args->nwords++] = args->argv[args->next++];
	return 0;
}

int args_check_words(const struct args *args, size_t skip, const struct args_words *wanted,
		     struct err *err)
{
	const char **words = args->words + skip;
	size_t n = args->nwords - skip;

	if (n < wanted->min)
		return err_set(err, ERR_INVALID, "%.*s is missing",
			       (int)strcspn(wanted->operands, " ."), wanted->operands);
	if (n > wanted->max)
		return err_set(err, ERR_INVALID, "\"%.200s\" is one argument too many",
			       words[wanted->max]);
	for (size_t i = 0; i < n && i < wanted->ids; i++)
		if (!proto_id_valid(words[i]))
			return err_set(err, ERR_INVALID,
				       "\"%.200s\" is no id: letters, digits, \".\", \"_\" and "
				       "\"-\", at most %d",
				       words[i], PROTO_ID_MAX);
	return 0;
}

static const struct args_option *by_name(const struct args_option *table, const char *name)
{
	for (; table && table->name; table++)
		if (strcmp(table->name, name) == 0)
			return table;
	return NULL;
}

const char *args_next(const struct args *args, const struct args_option *table, const char *name,
		      size_t *at)
{
	const struct args_option *option = by_name(table, name);

	while (*at < args->ngiven) {
		const struct args_given *given = &args->given[(*at)++];

		if (given->option == option)
			return given->value ? given->value : "";
	}
	return NULL;
}

const char *args_get(const struct args *args, const struct args_option *table, const char *name)
{
	size_t at = 0;

	return args_next(args, table, name, &at);
}

void args_help(FILE *out, const struct args_option *table)
{
	for (; table && table->name; table++) {
		char letter[8] = "";
		char left[64];

		if (table->letter)
			snprintf(letter, sizeof(letter), "-%c, ", table->letter);
		snprintf(left, sizeof(left), "%s--%s %s", letter, table->name,
			 table->value ? table->value : "");
		/* A long left column gets a line of its own, so that the texts stay aligned. */
		if (strlen(left) > 30)
			fprintf(out, "  %s\n  %-30s  %s\n", left, "", table->help);
		else
			fprintf(out, "  %-30s  %s\n", left, table->help);
	}
}
