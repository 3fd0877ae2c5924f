/*
 * survey - compares page states with what the kernel says, and corrects them
 *
 * A userfaultfd does not tell everything. A VMM may map other memory over a range, which then
 * leaves the userfaultfd without an event (Firecracker's balloon up to 1.10). A REMOVE of shared
 * memory, or of MADV_FREE, gives nothing back. A page that is installed while it is being removed
 * is gone without another event. A diff snapshot made from such states would lose what the guest
 * has written. So the states are compared before they are called exact, a chunk at a time, from the
 * owner thread:
 *
 *   the page map     the kernel                      from then on
 *   absent           there                           zeroed: what is there must be taken
 *   removed          there                           zeroed
 *   present, zeroed  not there                       removed: it reads zero
 *   any              left the userfaultfd, there     zeroed
 *   any              left the userfaultfd, not there removed
 */
#ifndef UFFDD_SURVEY_H
#define UFFDD_SURVEY_H

#include "worker/guest.h"

/* Pages that one step compares. */
#define SURVEY_PAGES 16384

struct survey {
	bool on;
	uint64_t offset; /* of the snapshot, bytes; the pages below it have been compared */
};

enum survey_step {
	SURVEY_MORE,  /* call again, after other work had its turn */
	SURVEY_AGAIN, /* a removal is under way: read its event, then call again */
	SURVEY_OVER,  /* guest->map.head->exact has the result */
};

/* Begins at the first page. Until the survey is over, head->exact is PAGEMAP_INEXACT. */
void survey_begin(struct survey *s, struct guest *g);
/* Ends the survey, and head->exact becomes PAGEMAP_INEXACT, because page states will change. */
void survey_end(struct survey *s, struct guest *g);
enum survey_step survey_step(struct survey *s, struct guest *g);

#endif
