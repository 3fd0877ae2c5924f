/*
 * paging - lists that the daemon gives in parts, as one
 */
#ifndef UFFDD_PAGING_H
#define UFFDD_PAGING_H

#include "ctl/ctl.h"

struct paging {
	const char *target; /* path and query of the first part, already escaped; has a "?" */
	const char *what;   /* the items, for errors: "restores" */
	/* Prints the items as a table. */
	void (*show)(FILE *out, struct json_object *items, bool colour);
};

/*
 * Appends the items of all parts to @items. Returns 0, or -1: errors as ctl_call(), and ERR_PEER
 * for an answer that is no list, a token that is too long, or a list without end. Then @items has
 * the parts that came before.
 */
int paging_all(struct ctl *ctl, const struct paging *paging, struct json_object *items,
	       struct err *err);
/*
 * Prints the whole list as JSON (-o json), as names (-q), or by @show, and nothing of half a list.
 * Returns the exit code.
 */
int paging_list(struct ctl *ctl, const struct paging *paging);

#endif
