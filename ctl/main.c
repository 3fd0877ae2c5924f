/* uffdctl - talks to uffdd over its control socket */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "ctl/progress.h"
#include "ctl/terminal.h"
#include "ctl/verbs.h"

static void on_signal(int number)
{
	progress_interrupted();
	_exit(128 + number);
}

/* Nothing needs undoing, but exit code and terminal must be as documented. */
static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static int no_verb(struct ctl *ctl)
{
	if (ctl_global(ctl, "help")) {
		verbs_help(stdout);
		return CTL_DONE;
	}
	if (ctl_global(ctl, "version")) {
		puts("uffdctl " PACKAGE_VERSION);
		return CTL_DONE;
	}
	verbs_help(stderr);
	return CTL_USAGE;
}

static int unknown_verb(const char *name)
{
	fputs("uffdctl: there is no verb \"", stderr);
	terminal_text(stderr, name);
	fputs("\"; there are:", stderr);
	for (const struct verb *v = verbs_table; v->name; v++)
		fprintf(stderr, " %s", v->name);
	fputs("\nSee: uffdctl --help\n", stderr);
	return CTL_USAGE;
}

static int run_verb(struct ctl *ctl, const struct verb *verb)
{
	struct err err;

	ctl->verb = verb->name;
	if (args_rest(&ctl->args, verb->options, &err) < 0)
		return ctl_usage(ctl, &err);
	if (ctl_global(ctl, "help")) {
		verbs_help_one(stdout, verb);
		return CTL_DONE;
	}
	if (ctl_global(ctl, "version"))
		return no_verb(ctl);
	if (verbs_check(verb, &ctl->args, &err) < 0)
		return ctl_usage(ctl, &err);
	ctl_settle(ctl);
	return verb->run(ctl);
}

static int run(struct ctl *ctl)
{
	const struct verb *verb;
	const char *name;
	struct err err;

	if (args_verb(&ctl->args, &name, &err) < 0)
		return ctl_usage(ctl, &err);
	if (!name)
		return no_verb(ctl);
	verb = verbs_find(name);
	return verb ? run_verb(ctl, verb) : unknown_verb(name);
}

int main(int argc, char **argv)
{
	struct ctl ctl;
	int rc;

	catch_signals();
	ctl_init(&ctl, argc, argv);
	rc = run(&ctl);
	ctl_fini(&ctl);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "uffdctl: write to stdout: %s\n", strerror(errno));
		rc = rc == CTL_DONE ? CTL_REFUSED : rc;
	}
	return rc;
}
