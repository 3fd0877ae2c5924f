#include "config.h"
#include "tests/support/ctlkit.h"

#include <check.h>
#include <string.h>

#include "common/proto.h"

void ctlkit_read(struct ctlkit_line *l, const char *line, const char *socket)
{
	struct err err = {.msg = ""};
	const char *name;
	size_t n;

	unsetenv("NO_COLOR");
	setenv("TERM", "xterm", 1);
	setenv(PROTO_SOCKET_ENV, socket, 1);
	l->text = strdup(line);
	ck_assert_ptr_nonnull(l->text);
	l->words[0] = (char *)(uintptr_t) "uffdctl";
	n = 1 + canned_split(l->text, l->words + 1, CANNED_WORDS_MAX - 2);
	l->words[n] = NULL;
	ctl_init(&l->ctl, (int)n, l->words);
	ck_assert_msg(args_verb(&l->ctl.args, &name, &err) == 0 && name, "%s: %s", line, err.msg);
	l->verb = verbs_find(name);
	ck_assert_msg(l->verb, "%s", line);
	l->ctl.verb = name;
	ck_assert_msg(args_rest(&l->ctl.args, l->verb->options, &err) == 0 &&
			      verbs_check(l->verb, &l->ctl.args, &err) == 0,
		      "%s: %s", line, err.msg);
}

void ctlkit_line_fini(struct ctlkit_line *l)
{
	ctl_fini(&l->ctl);
	free(l->text);
}

/* Only method, target and body of each request; @raw is used up. */
static char *in_short(char *raw)
{
	char *text = xcalloc(1, strlen(raw) + 1), *put = text;

	for (char *p = raw; *p;) {
		char *head = strstr(p, "\r\n\r\n"), *length = strstr(p, "Content-Length: ");
		char *version = strstr(p, " HTTP/1.1\r\n");
		size_t len = 0;

		ck_assert_msg(head && version && version < head, "%s", p);
		if (length && length < head)
			len = strtoul(length + strlen("Content-Length: "), NULL, 10);
		head += 4;
		ck_assert_msg(strlen(head) >= len, "%s", p);
		put += sprintf(put, "%.*s%s%.*s\n", (int)(version - p), p, len ? " " : "", (int)len,
			       head);
		p = head + len;
	}
	free(raw);
	return text;
}

void ctlkit_run(struct ctlkit *k)
{
	struct ctlkit_line line;
	struct canned server;

	if (k->script)
		canned_start(&server, k->script);
	ctlkit_read(&line, k->line, k->script ? server.socket : CTLKIT_NOWHERE);
	if (k->env)
		putenv((char *)(uintptr_t)k->env);
	capture_begin(&k->printed);
	ctl_settle(&line.ctl);
	k->code = line.verb->run(&line.ctl);
	capture_end(&k->printed);
	k->asked = k->script ? in_short(canned_stop(&server)) : strdup("");
	ctlkit_line_fini(&line);
}

void ctlkit_fini(struct ctlkit *k)
{
	capture_fini(&k->printed);
	free(k->asked);
}

static void compare(const char *line, const char *what, const char *is, const char *should)
{
	ck_assert_msg(strcmp(is, should ? should : "") == 0, "%s: %s:\n%s\ninstead of:\n%s", line,
		      what, is, should ? should : "");
}

void ctlkit_check(const struct ctlkit_case *c)
{
	struct ctlkit k = {.line = c->line, .script = c->replies[0].status ? c->replies : NULL};

	ctlkit_run(&k);
	compare(c->line, "stdout", k.printed.out, c->out);
	compare(c->line, "stderr", k.printed.err, c->err);
	compare(c->line, "requests", k.asked, c->asked);
	ck_assert_msg(k.code == c->code, "%s: exit %d instead of %d", c->line, k.code, c->code);
	ctlkit_fini(&k);
}
