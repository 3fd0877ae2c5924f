/*
 * survey - compares page states with what the kernel says, and corrects them
 *
 * A userfaultfd does not tell everything. A VMM may put other memory over a range, which
 * leaves the userfaultfd without an event (Firecracker's balloon up to 1.10); a REMOVE of
 * shared memory, or of MADV_FREE, gives nothing back; and a page that is installed while it is
 * being removed is gone without another event. Whoever makes a diff snapshot out of such
 * states loses what the guest has written. So they are looked over before they are
 * called exact, a chunk at a time, from the owner thread:
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

/* Looked over at once. */
#define SURVEY_PAGES 16384

struct survey {
	bool on;
	uint64_t offset; /* of the snapshot; what lies before it has been looked over */
};

enum survey_step {
	SURVEY_MORE,  /* go on, but let others have their turn */
	SURVEY_AGAIN, /* a removal is under way: read it, then go on */
	SURVEY_OVER,  /* guest->map.head->exact says what came of it */
};

/* From the beginning. Until it is over nothing is exact. */
void survey_begin(struct survey *s, struct guest *g);
/* Not wanted any more, and page states are about to change. */
void survey_end(struct survey *s, struct guest *g);
enum survey_step survey_step(struct survey *s, struct guest *g);

#endif
