/*
 * ctl - what every verb has in hand: the options, the daemon, how to print
 *
 * A verb returns the program's exit code. Data goes to stdout, everything else to stderr.
 */
#ifndef UFFDD_CTL_H
#define UFFDD_CTL_H

#include "ctl/args.h"
#include "ctl/client.h"

/* Exit codes. Others come from the table of err.h. */
enum {
	CTL_DONE = 0,
	CTL_REFUSED = 1,
	CTL_USAGE = 2,
	CTL_UNREADY = 5,
	CTL_FAILED = 8,
	CTL_PARTLY = 9,
};

#define CTL_TARGET_MAX 4096 /* bytes of path and query, with NUL */

struct ctl {
	struct args args;
	struct client client;
	const char *verb; /* borrowed; NULL until the verb is known */
	bool json, quiet, colour;
};

extern const struct args_option ctl_options[];
/* Of verbs that are about one restore: a row for their table, and a table with nothing else. */
#define CTL_TENANT_OPTION                                                                          \
	{                                                                                          \
		"tenant", 0, "NAME", ARGS_ID, false,                                               \
			"whose restore (default: your own tenant's, else the only one of that id)" \
	}
extern const struct args_option ctl_tenant_options[];

void ctl_init(struct ctl *ctl, int argc, char **argv);
void ctl_fini(struct ctl *ctl);
/* Call once the command line is read: applies global options and environment. */
void ctl_settle(struct ctl *ctl);

/* The value of a global option, or of an option of the verb. NULL if not given. Borrowed. */
const char *ctl_global(const struct ctl *ctl, const char *name);
const char *ctl_option(const struct ctl *ctl, const char *name);

/*
 * ctl_fail - print the daemon's problem, or else @err, on stderr; returns the exit code of
 *	@err
 * ctl_usage - print @err and a hint at --help; returns CTL_USAGE
 */
int ctl_fail(struct ctl *ctl, const struct err *err);
int ctl_usage(struct ctl *ctl, const struct err *err);

/*
 * Makes one request whose answer must be JSON. *ret is owned by the caller. Errors as
 * client_call().
 */
int ctl_call(struct ctl *ctl, const struct client_request *req, struct json_object **ret,
	     struct err *err);
/*
 * /v1/restores/ID, @what, and a query of the option "tenant" and of @query ("" or "KEY=VALUE&…").
 * @target: CTL_TARGET_MAX bytes.
 */
void ctl_restore_target(const struct ctl *ctl, const char *id, const char *what, const char *query,
			char *target);
/* Requests a restore or a tenant and prints it; @show is for ctl_print(). Returns the exit code. */
int ctl_show(struct ctl *ctl, const struct client_request *req,
	     void (*show)(FILE *out, struct json_object *o, bool colour));
/* Prints a restore or a tenant as JSON (-o json), as its id or name (-q), or by @show. */
void ctl_print(struct ctl *ctl, struct json_object *o,
	       void (*show)(FILE *out, struct json_object *o, bool colour));

#endif
