#include "config.h"
#include "ctl/verbs.h"

#include <string.h>

#include "common/spec.h"
#include "ctl/create.h"
#include "ctl/events.h"
#include "ctl/member.h"
#include "ctl/pages.h"
#include "ctl/paging.h"
#include "ctl/render.h"
#include "ctl/tenant.h"
#include "ctl/wait.h"
#include "ctl/working_set.h"
#include "ctl/terminal.h"

/* ---- list, status ---- */

static const struct args_option list_options[] = {
	{"tenant", 0, "NAME", ARGS_ID, false, "only of that tenant"},
	{"state", 0, "STATE", ARGS_STATE, false,
	 "only in that state: waiting, serving, recovering, ended or failed"},
	{0},
};

/* The list that the options of the verb select. @target: CTL_TARGET_MAX bytes. */
static struct paging restores(const struct ctl *ctl, char *target)
{
	const char *tenant = ctl_option(ctl, "tenant"), *state = ctl_option(ctl, "state");

	snprintf(target, CTL_TARGET_MAX, "/v1/restores?limit=1000%s%s%s%s",
		 tenant ? "&tenant=" : "", tenant ? tenant : "", state ? "&state=" : "",
		 state ? state : "");
	return (struct paging){target, "restores", render_list};
}

static int list_run(struct ctl *ctl)
{
	char target[CTL_TARGET_MAX];
	struct paging list = restores(ctl, target);

	return paging_list(ctl, &list);
}

/* Not by path: the name of a newer daemon's state may have a dot. */
static void count_one(struct json_object *counts, const char *state)
{
	uint64_t n = json_object_get_uint64(json_object_object_get(counts, state));

	js_add_u64(counts, state, n + 1);
}

/* {"waiting": N, …}: a member for every state, also for states of a newer daemon. */
static struct json_object *count_states(struct json_object *items)
{
	struct json_object *counts = json_object_new_object();

	for (int s = 0; s < STATE_COUNT; s++)
		js_add_u64(counts, proto_state_name((enum restore_state)s), 0);
	for (size_t i = 0; i < json_object_array_length(items); i++) {
		const char *state = member_string(json_object_array_get_idx(items, i), "state");

		if (state)
			count_one(counts, state);
	}
	return counts;
}

/* What only an admin may see, and only newer daemons tell; else NULL. */
static struct json_object *ask_more(struct ctl *ctl)
{
	struct client_request req = {"GET", "/v1/status"};
	struct json_object *more = NULL;
	struct err ignored;

	if (client_call(&ctl->client, &req, &more, &ignored) < 0)
		return NULL;
	return more;
}

static void print_json_status(bool ready, struct json_object *counts, struct json_object *more)
{
	static const char *const members[] = {"descriptors", "strays_count", "strays"};
	cleanup_json struct json_object *o = json_object_new_object();

	js_add_bool(o, "ready", ready);
	json_object_object_add(o, "restores", json_object_get(counts));
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		struct json_object *v = member_at(more, members[i]);

		if (v)
			json_object_object_add(o, members[i], json_object_get(v));
	}
	terminal_json(stdout, o);
}

static void print_stray(struct json_object *stray)
{
	const char *key = member_string(stray, "key"), *why = member_string(stray, "why");

	printf("  pid %llu, key ", (unsigned long long)member_u64(stray, "pid"));
	terminal_text(stdout, key ? key : "-");
	fputs(": ", stdout);
	terminal_text(stdout, why ? why : "-");
	putchar('\n');
}

static void print_more(struct json_object *more)
{
	struct json_object *strays = member_at(more, "strays");
	uint64_t share = max_u64(member_u64(more, "descriptors.per_restore"), 1);
	uint64_t waiting = member_u64(more, "descriptors.waiting");

	if (member_at(more, "descriptors"))
		printf("%-12s %llu of %llu, room for %llu restores\n", "descriptors",
		       (unsigned long long)member_u64(more, "descriptors.used"),
		       (unsigned long long)member_u64(more, "descriptors.limit"),
		       (unsigned long long)(member_u64(more, "descriptors.free") / share));
	if (waiting)
		printf("%-12s %llu restores wait for descriptors\n", "no room",
		       (unsigned long long)waiting);
	if (!json_object_is_type(strays, json_type_array))
		return;
	printf("%-12s %zu\n", "not adopted", json_object_array_length(strays));
	for (size_t i = 0; i < json_object_array_length(strays); i++)
		print_stray(json_object_array_get_idx(strays, i));
}

static void print_status(bool ready, struct json_object *counts, struct json_object *more)
{
	printf("%-12s %s\n", "ready", ready ? "yes" : "no");
	json_object_object_foreach(counts, state, n)
	{
		terminal_text(stdout, state);
		printf("%*s %llu\n", (int)(12 - min_u64(strlen(state), 12)), "",
		       (unsigned long long)json_object_get_uint64(n));
	}
	print_more(more);
}

static int status_run(struct ctl *ctl)
{
	cleanup_json struct json_object *items = json_object_new_array();
	cleanup_json struct json_object *counts = NULL, *more = NULL;
	struct client_request req = {"GET", "/readyz"};
	char target[CTL_TARGET_MAX];
	struct paging list = restores(ctl, target);
	struct json_object *reply;
	int rc = CTL_DONE;
	struct err err;

	if (client_call(&ctl->client, &req, &reply, &err) < 0) {
		bool answered = ctl->client.problem != NULL;

		rc = ctl_fail(ctl, &err);
		if (!answered)
			return rc;
	} else {
		json_object_put(reply);
	}
	if (paging_all(ctl, &list, items, &err) < 0)
		return ctl_fail(ctl, &err);
	counts = count_states(items);
	more = ask_more(ctl);
	if (ctl->json)
		print_json_status(rc == CTL_DONE, counts, more);
	else
		print_status(rc == CTL_DONE, counts, more);
	return rc;
}

/* ---- one restore ---- */

static int show_run(struct ctl *ctl)
{
	char target[CTL_TARGET_MAX];
	struct client_request req = {"GET", target};

	ctl_restore_target(ctl, ctl->args.words[0], "", "", target);
	return ctl_show(ctl, &req, render_show);
}

/* A POST without a body, answered with the restore. */
static int post(struct ctl *ctl, const char *what)
{
	char target[CTL_TARGET_MAX];
	struct client_request req = {"POST", target};

	ctl_restore_target(ctl, ctl->args.words[0], what, "", target);
	return ctl_show(ctl, &req, render_line);
}

static int pause_run(struct ctl *ctl)
{
	return post(ctl, "/pause");
}

static int resume_run(struct ctl *ctl)
{
	return post(ctl, "/resume");
}

static int restart_run(struct ctl *ctl)
{
	return post(ctl, "/restart-worker");
}

static const struct args_option stop_options[] = {
	{"kill", 0, NULL, ARGS_FLAG, false, "kill the VMM instead of leaving it to itself"},
	{"grace", 0, "TIME", ARGS_DURATION, false, "let the VMM end by itself first"},
	CTL_TENANT_OPTION,
	{0},
};

static int stop_one(struct ctl *ctl, size_t word)
{
	const char *grace = ctl_option(ctl, "grace");
	const char *kill = ctl_option(ctl, "kill") ? "kill=true" : "";
	char target[CTL_TARGET_MAX], query[64] = "";
	struct client_request req = {"DELETE", target, .timeout_ms = CLIENT_TIMEOUT_MS};
	uint64_t ms = 0;

	if (grace && proto_duration_ms(grace, &ms))
		snprintf(query, sizeof(query), "grace=%s%s%s", grace, *kill ? "&" : "", kill);
	else if (*kill)
		snprintf(query, sizeof(query), "%s", kill);
	req.timeout_ms += ms;
	ctl_restore_target(ctl, ctl->args.words[word], "", query, target);
	return ctl_show(ctl, &req, render_line);
}

static int stop_run(struct ctl *ctl)
{
	size_t failed = 0;

	for (size_t i = 0; i < ctl->args.nwords; i++) {
		int rc = stop_one(ctl, i);

		/* No daemon for the first restore: the others would only say so again. */
		if (ctl->args.nwords == 1 || (i == 0 && rc == CTL_UNREADY))
			return rc;
		failed += rc != CTL_DONE;
	}
	return failed ? CTL_PARTLY : CTL_DONE;
}

static const struct args_option prefetch_options[] = {
	{"rate", 0, "BYTES_PER_S", ARGS_BYTES, false,
	 "limit; K, M and G are powers of 1024, 0 is none"},
	{"max-resident", 0, "BYTES", ARGS_BYTES, false,
	 "what the guest may have before prefetch stops; 0 is all"},
	CTL_TENANT_OPTION,
	{0},
};

static int prefetch_body(struct ctl *ctl, struct json_object *body, struct err *err)
{
	const char *word = ctl->args.nwords > 1 ? ctl->args.words[1] : NULL;
	const char *rate = ctl_option(ctl, "rate"), *max = ctl_option(ctl, "max-resident");
	enum spec_prefetch mode;
	uint64_t bytes = 0;

	if (!word && !rate && !max)
		return err_set(err, ERR_INVALID,
			       "none, working-set, all, pause, resume, --rate "
			       "or --max-resident is missing");
	if (word && spec_prefetch_parse(word, &mode) == 0)
		js_add_string(body, "mode", word);
	else if (word && (strcmp(word, "pause") == 0 || strcmp(word, "resume") == 0))
		js_add_bool(body, "paused", strcmp(word, "pause") == 0);
	else if (word)
		return err_set(err, ERR_INVALID,
			       "none, working-set, all, pause or resume is "
			       "wanted, not \"%s\"",
			       word);
	if (rate && args_bytes(rate, &bytes))
		js_add_u64(body, "rate_bytes_per_s", bytes);
	if (max && args_bytes(max, &bytes))
		js_add_u64(body, "max_resident_bytes", bytes);
	return 0;
}

static int prefetch_run(struct ctl *ctl)
{
	cleanup_json struct json_object *body = json_object_new_object();
	char target[CTL_TARGET_MAX];
	struct client_request req = {"PUT", target, .body = body};
	struct err err;

	if (prefetch_body(ctl, body, &err) < 0)
		return ctl_usage(ctl, &err);
	ctl_restore_target(ctl, ctl->args.words[0], "/prefetch", "", target);
	return ctl_show(ctl, &req, render_line);
}

/* ---- version ---- */

static void print_version(struct ctl *ctl, struct json_object *server)
{
	cleanup_json struct json_object *o = NULL;

	if (ctl->json) {
		o = json_object_new_object();
		js_add_string(o, "client", PACKAGE_VERSION);
		json_object_object_add(o, "server", json_object_get(server));
		terminal_json(stdout, o);
		return;
	}
	puts("uffdctl " PACKAGE_VERSION);
	if (server) {
		fputs("uffdd ", stdout);
		render_version(stdout, server);
	}
}

static int version_run(struct ctl *ctl)
{
	cleanup_json struct json_object *server = NULL;
	struct client_request req = {"GET", "/version"};
	struct err err;
	int rc = ctl_call(ctl, &req, &server, &err);

	print_version(ctl, server);
	return rc < 0 ? ctl_fail(ctl, &err) : CTL_DONE;
}

/* ---- the table ---- */

/* clang-format off */
const struct verb verbs_table[] = {
	{"create", "--snapshot DIR | --memory FILE... | --header FILE --layer BUILDID=FILE...",
	 "Create a restore; its socket is listening when this ends.",
	 create_options, 0, 0, 0, create_run},
	{"list", "", "List restores.", list_options, 0, 0, 0, list_run},
	{"show", "ID", "Show everything about one restore.", ctl_tenant_options, 1, 1, 1, show_run},
	{"wait", "ID", "Wait until a restore has come to a state.",
	 wait_options, 1, 1, 1, wait_run},
	{"stop", "ID...", "Stop restores and release all they hold.",
	 stop_options, 1, SIZE_MAX, SIZE_MAX, stop_run},
	{"prefetch", "ID [none|working-set|all|pause|resume]", "Steer the prefetch of a restore.",
	 prefetch_options, 1, 2, 1, prefetch_run},
	{"pages", "ID", "Print page states, a line of \"offset length state\" per run.",
	 ctl_tenant_options, 1, 1, 1, pages_run},
	{"working-set", "ID", "Write what was recorded to stdout, for \"create --working-set\".",
	 ctl_tenant_options, 1, 1, 1, working_set_run},
	{"events", "[ID]", "Print what has happened, to one restore or to all.",
	 events_options, 0, 1, 1, events_run},
	{"status", "", "Say whether the daemon is ready, how full it is, what it could not adopt.",
	 NULL, 0, 0, 0, status_run},
	{"version", "", "Print the versions of uffdctl and of the daemon.",
	 NULL, 0, 0, 0, version_run},
	{"pause", "ID", "Hold prefetch and recording, so that the VM can be snapshotted.",
	 ctl_tenant_options, 1, 1, 1, pause_run},
	{"resume", "ID", "Go on after a pause.", ctl_tenant_options, 1, 1, 1, resume_run},
	{"restart-worker", "ID",
	 "Move a restore to a new worker, of the release that is installed; its guest goes on.",
	 ctl_tenant_options, 1, 1, 1, restart_run},
	{"tenant", "list | show NAME | set NAME | rm NAME",
	 "Show tenants, say who acts for one and how much it may have, or remove it.",
	 tenant_options, 0, SIZE_MAX, 0, tenant_run},
	{0},
};
/* clang-format on */

const struct verb *verbs_find(const char *name)
{
	for (const struct verb *v = verbs_table; v->name; v++)
		if (strcmp(v->name, name) == 0)
			return v;
	return NULL;
}

int verbs_check(const struct verb *verb, const struct args *args, struct err *err)
{
	const struct args_words words = {verb->operands, verb->min_words, verb->max_words,
					 verb->ids};

	return args_check_words(args, 0, &words, err);
}

void verbs_help(FILE *out)
{
	fputs("Usage: uffdctl [OPTION]... VERB ...\n\n"
	      "Talks to uffdd, which serves the memory of microVMs restored from snapshots.\n\n"
	      "Verbs:\n",
	      out);
	for (const struct verb *v = verbs_table; v->name; v++)
		fprintf(out, "  %-14s %s\n", v->name, v->help);
	fputs("\nOptions, before or after the verb:\n", out);
	args_help(out, ctl_options);
	fputs("\n\"uffdctl VERB --help\" tells more about one verb.\n", out);
}

void verbs_help_one(FILE *out, const struct verb *verb)
{
	fprintf(out, "Usage: uffdctl %s%s%s%s\n\n%s\n", verb->name,
		verb->options ? " [OPTION]..." : "", *verb->operands ? " " : "", verb->operands,
		verb->help);
	if (verb->options) {
		fputs("\nOptions:\n", out);
		args_help(out, verb->options);
	}
	fputs("\nOptions of every verb:\n", out);
	args_help(out, ctl_options);
}
