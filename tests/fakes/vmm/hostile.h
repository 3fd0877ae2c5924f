/*
 * hostile - the ways in which a VMM may misbehave towards the server
 *
 * One table: what is sent, with which descriptors, and what comes after. Whether
 * the server did right is for the caller (and the test around it) to judge.
 */
#ifndef UFFDD_TESTS_HOSTILE_H
#define UFFDD_TESTS_HOSTILE_H

#include "tests/fakes/vmm/vmm.h"

struct hostile;

/* NULL: no such way. */
const struct hostile *hostile_find(const char *name);
void hostile_list(FILE *f);
/* Must guest memory stay out of the uffd (struct vmm_opts)? */
bool hostile_unregistered(const struct hostile *h);

enum hostile_end {
	HOSTILE_CLOSED, /* the server closed the connection, or refused it */
	HOSTILE_OPEN,   /* it had not by the deadline */
	HOSTILE_SERVED, /* guest memory is served and must be right */
};

/*
 * hostile_run - misbehave towards the server at @path until @deadline_us at the latest
 *	(flood-remove: or the end of stdin)
 *
 * Needs at least two pages of guest memory. Two connections: "closed", "refused" or
 * "open" is printed for the second. Does not return where dying is the point:
 * the process ends with 0, without any cleaning up. An error means that the
 * attack could not be made.
 */
int hostile_run(const struct hostile *h, struct vmm *v, const char *path, uint64_t deadline_us,
		enum hostile_end *ret, struct err *err);

#endif
