/*
 * ctl - what every verb has in hand: the options, the daemon, how to print
 *
 * A verb returns the exit code of the program. Data goes to stdout, everything
 * else to stderr.
 */
#ifndef UFFDD_CTL_H
#define UFFDD_CTL_H

#include "ctl/args.h"
#include "ctl/client.h"

/* The other exit codes come from the table of err.h. */
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
	const char *verb; /* borrowed; NULL until it is known */
	bool json, quiet, colour;
};

extern const struct args_option ctl_options[];

void ctl_init(struct ctl *ctl, int argc, char **argv);
void ctl_fini(struct ctl *ctl);
/* Once the command line is read: what the global options and the environment say. */
void ctl_settle(struct ctl *ctl);

/* A global option; an option of the verb. NULL if it was not given. */
const char *ctl_global(const struct ctl *ctl, const char *name);
const char *ctl_option(const struct ctl *ctl, const char *name);

/* Says why on stderr and returns the exit code of @err. */
int ctl_fail(struct ctl *ctl, const struct err *err);
int ctl_usage(struct ctl *ctl, const struct err *err);

/* One request whose answer must be a JSON object, owned by the caller. */
int ctl_call(struct ctl *ctl, const struct client_request *req, struct json_object **ret,
	     struct err *err);
/* The same for a restore; @show is for ctl_print(). Returns the exit code. */
int ctl_show(struct ctl *ctl, const struct client_request *req,
	     void (*show)(FILE *out, struct json_object *o, bool colour));
/* Print a restore as JSON, as its id (-q), or by @show. */
void ctl_print(struct ctl *ctl, struct json_object *restore,
	       void (*show)(FILE *out, struct json_object *o, bool colour));

#endif
