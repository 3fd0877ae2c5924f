/*
 * ctlkit - a command of uffdctl in this process: a canned server, and what the command prints
 */
#ifndef UFFDD_TESTS_CTLKIT_H
#define UFFDD_TESTS_CTLKIT_H

#include "ctl/ctl.h"
#include "ctl/verbs.h"
#include "tests/fakes/http/canned.h"
#include "tests/support/capture.h"

/* Answers of the API. */
#define PROBLEM(status, code, detail)                                                           \
	"{\"type\":\"about:blank\",\"title\":\"T\",\"status\":" #status ",\"detail\":\"" detail \
	"\",\"code\":\"" code "\"}"
/* The same, of uffdctl itself. */
#define OWN_PROBLEM(status, code, title, detail)                            \
	"{\"type\":\"urn:uffdd:problem:" code "\",\"title\":\"" title "\"," \
	"\"status\":" #status ",\"detail\":\"" detail "\",\"code\":\"" code "\"}\n"
#define RESTORE(id, state, more) \
	"{\"id\":\"" id "\",\"tenant\":\"t1\",\"state\":\"" state "\"" more "}"
#define VM1 RESTORE("vm1", "serving", "")
#define VM2 RESTORE("vm2", "ended", "")
#define PART(items, token) "{\"items\":[" items "],\"next_page_token\":" token "}"

#define CTLKIT_NOWHERE "/nonexistent/control.sock"
/* What every verb says if no daemon listens there. */
#define CTLKIT_NO_DAEMON                                                                    \
	"uffdctl: is uffdd running? cannot reach it at socket " CTLKIT_NOWHERE ": No such " \
	"file or directory (-S or UFFDD_SOCKET names another) (not-ready)\n"

/* A command line that was read: the verb's run() comes next. */
struct ctlkit_line {
	struct ctl ctl;
	const struct verb *verb;
	char *text;
	char *words[CANNED_WORDS_MAX];
};

/*
 * Reads what follows "uffdctl" on a command line (words as in struct run), which must be valid. The
 * environment names @socket and says nothing else that matters; it is applied by ctl_settle().
 */
void ctlkit_read(struct ctlkit_line *l, const char *line, const char *socket);
void ctlkit_line_fini(struct ctlkit_line *l);

struct ctlkit {
	/* in */
	const char *line;
	const struct canned_reply *script; /* NULL: no daemon */
	const char *env;                   /* more of the environment, "NAME=VALUE"; or NULL */
	struct capture printed;            /* in and out */
	/* out */
	int code;
	char *asked; /* owned: "METHOD TARGET" or "METHOD TARGET BODY", a line for each request */
};

/* Runs the verb of a command line to its end. */
void ctlkit_run(struct ctlkit *k);
void ctlkit_fini(struct ctlkit *k);

/* A row of a test's table. Texts are the whole of what is printed and asked; NULL: nothing. */
struct ctlkit_case {
	const char *line;
	struct canned_reply replies[CANNED_REPLIES_MAX]; /* none: no daemon */
	int code;
	const char *out, *err, *asked;
};

void ctlkit_check(const struct ctlkit_case *c);

#endif
