#include "ctl/args.h"

#include <errno.h>
#include <string.h>

#include "common/proto.h"

#define LETTERS 52 /* so many flags may stand in one word, each counted once */
#define UID_LARGEST ((uint64_t)UINT32_MAX - 1) /* the last value means "no user" */

void args_init(struct args *args, int argc, char **argv, const struct args_option *global)
{
	size_t room = argc > 0 ? (size_t)argc : 1;

	*args = (struct args){.argv = argv, .argc = argc, .next = 1, .global = global};
	args->given = xcalloc(room + LETTERS, sizeof(*args->given));
	args->words = xcalloc(room, sizeof(*args->words));
}

void args_fini(struct args *args)
{
	free(args->given);
	free(args->words);
	*args = (struct args){0};
}

bool args_u64(const char *text, uint64_t max, uint64_t *ret)
{
	unsigned long long v;
	char *end;

	/* strtoull alone takes blanks, signs and what does not fit. */
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno || *end || v > max)
		return false;
	*ret = v;
	return true;
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
	if (!args_u64(digits, INT64_MAX >> shift, &v))
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
	if (!args_u64(uid, UID_LARGEST, ret_uid))
		return false;
	*ret_have_gid = colon != NULL;
	return !colon || args_u64(colon + 1, UID_LARGEST, ret_gid);
}

static bool ok_text(const char *value, const char *metavar)
{
	(void)metavar;
	return *value != '\0';
}

static bool ok_choice(const char *value, const char *metavar)
{
	size_t len = strlen(value);

	for (const char *p = metavar; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
		if (len > 0 && strcspn(p, "|") == len && memcmp(p, value, len) == 0)
			return true;
	return false;
}

static bool ok_id(const char *value, const char *metavar)
{
	(void)metavar;
	return proto_id_valid(value);
}

static bool ok_state(const char *value, const char *metavar)
{
	(void)metavar;
	return proto_state_from(value) != STATE_NONE;
}

static bool ok_goal(const char *value, const char *metavar)
{
	return strcmp(value, "complete") == 0 || ok_state(value, metavar);
}

static bool ok_uid(const char *value, const char *metavar)
{
	uint64_t v;

	(void)metavar;
	return args_u64(value, UID_LARGEST, &v);
}

static bool ok_owner(const char *value, const char *metavar)
{
	uint64_t uid, gid;
	bool have_gid;

	(void)metavar;
	return args_owner(value, &uid, &gid, &have_gid);
}

static bool ok_mode(const char *value, const char *metavar)
{
	size_t len = strlen(value);

	(void)metavar;
	return strspn(value, "01234567") == len && (len == 3 || (len == 4 && value[0] == '0'));
}

static bool ok_u64(const char *value, const char *metavar)
{
	uint64_t v;

	(void)metavar;
	return args_u64(value, INT64_MAX, &v);
}

static bool ok_bytes(const char *value, const char *metavar)
{
	uint64_t v;

	(void)metavar;
	return args_bytes(value, &v);
}

static bool ok_duration(const char *value, const char *metavar)
{
	uint64_t ms;

	(void)metavar;
	return proto_duration_ms(value, &ms);
}

static bool ok_layer(const char *value, const char *metavar)
{
	const char *equals = strchr(value, '=');

	(void)metavar;
	return equals && equals != value && equals[1] != '\0';
}

static const struct {
	bool (*ok)(const char *value, const char *metavar);
	const char *wants; /* NULL: the metavar says it */
} kinds[] = {
	[ARGS_TEXT] = {ok_text, "a value that is not empty"},
	[ARGS_CHOICE] = {ok_choice, NULL},
	[ARGS_ID] = {ok_id, "letters, digits, \".\", \"_\" and \"-\", at most 63"},
	[ARGS_STATE] = {ok_state, "waiting, serving, recovering, ended or failed"},
	[ARGS_GOAL] = {ok_goal, "waiting, serving, recovering, ended, failed or complete"},
	[ARGS_UID] = {ok_uid, "a user number"},
	[ARGS_OWNER] = {ok_owner, "numbers as UID or UID:GID"},
	[ARGS_MODE] = {ok_mode, "three octal digits such as 0660"},
	[ARGS_U64] = {ok_u64, "a number"},
	[ARGS_BYTES] = {ok_bytes, "a number of bytes such as 65536, 64K, 200M or 1G"},
	[ARGS_DURATION] = {ok_duration, "a time such as 500ms, 30s or 2m, at most 24h"},
	[ARGS_LAYER] = {ok_layer, "BUILDID=FILE"},
};

static int refuse(const struct args_option *option, const char *value, struct err *err)
{
	const char *wants = kinds[option->kind].wants;

	return err_set(err, ERR_INVALID, "--%s wants %s, not \"%s\"", option->name,
		       wants ? wants : option->value, value);
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
	if (value && !kinds[option->kind].ok(value, option->value))
		return refuse(option, value, err);
	args->given[args->ngiven++] = (struct args_given){option, value};
	return 0;
}

static const struct args_option *by_name(const struct args_option *table, const char *name,
					 size_t len)
{
	for (; table && table->name; table++)
		if (strlen(table->name) == len && memcmp(table->name, name, len) == 0)
			return table;
	return NULL;
}

static const struct args_option *by_letter(const struct args_option *table, char letter)
{
	for (; table && table->name; table++)
		if (table->letter == letter)
			return table;
	return NULL;
}

/* The value that stands in the next word. */
static int add_next(struct args *args, const struct args_option *option, struct err *err)
{
	if (args->next >= args->argc)
		return err_set(err, ERR_INVALID, "--%s wants a value: %s", option->name,
			       option->value);
	return add(args, option, args->argv[args->next++], err);
}

static int long_option(struct args *args, const char *word, struct err *err)
{
	const char *name = word + 2;
	size_t len = strcspn(name, "=");
	const char *value = name[len] ? name + len + 1 : NULL;
	const struct args_option *option = by_name(args->own, name, len);

	if (!option)
		option = by_name(args->global, name, len);
	if (!option)
		return err_set(err, ERR_INVALID, "there is no option --%.*s", (int)min_u64(len, 64),
			       name);
	if (option->kind == ARGS_FLAG && value)
		return err_set(err, ERR_INVALID, "--%s takes no value", option->name);
	if (option->kind == ARGS_FLAG || value)
		return add(args, option, value, err);
	return add_next(args, option, err);
}

/* "-q", "-Spath", "-S path", "-qo json" */
static int letters(struct args *args, const char *word, struct err *err)
{
	for (const char *p = word + 1; *p; p++) {
		const struct args_option *option = by_letter(args->own, *p);

		if (!option)
			option = by_letter(args->global, *p);
		if (!option)
			return err_set(err, ERR_INVALID, "there is no option -%c", *p);
		if (option->kind != ARGS_FLAG)
			return p[1] ? add(args, option, p + 1, err) : add_next(args, option, err);
		if (add(args, option, NULL, err) < 0)
			return -1;
	}
	return 0;
}

static int option_word(struct args *args, struct err *err)
{
	const char *word = args->argv[args->next++];

	return word[1] == '-' ? long_option(args, word, err) : letters(args, word, err);
}

static bool is_option(const char *word)
{
	return word[0] == '-' && word[1] != '\0';
}

int args_verb(struct args *args, const char **ret_verb, struct err *err)
{
	while (args->next < args->argc && is_option(args->argv[args->next]))
		if (option_word(args, err) < 0)
			return -1;
	*ret_verb = args->next < args->argc ? args->argv[args->next++] : NULL;
	return 0;
}

int args_rest(struct args *args, const struct args_option *own, struct err *err)
{
	args->own = own;
	while (args->next < args->argc) {
		const char *word = args->argv[args->next];

		if (strcmp(word, "--") == 0) {
			args->next++;
			break;
		}
		if (!is_option(word))
			args->words[args->nwords++] = args->argv[args->next++];
		else if (option_word(args, err) < 0)
			return -1;
	}
	while (args->next < args->argc)
		args->words[args->nwords++] = args->argv[args->next++];
	return 0;
}

const char *args_get(const struct args *args, const struct args_option *table, const char *name)
{
	const struct args_option *option = by_name(table, name, strlen(name));

	for (size_t i = 0; i < args->ngiven; i++)
		if (args->given[i].option == option)
			return args->given[i].value ? args->given[i].value : "";
	return NULL;
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
		/* A long left column gets a line of its own, so that the texts stay in line. */
		if (strlen(left) > 30)
			fprintf(out, "  %s\n  %-30s  %s\n", left, "", table->help);
		else
			fprintf(out, "  %-30s  %s\n", left, table->help);
	}
}
