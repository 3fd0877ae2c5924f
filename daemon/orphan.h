/*
 * orphan - a restore that came back with its worker, and that no row knows
 *
 * The store was lost or moved away, its guests were served on. What the worker says is
 * believed as far as somebody else confirms it:
 *
 *   that it was ours   the page map, which only a supervisor hands out: the file of that id
 *                      in our own directory, open for writing
 *   whose it is        user and groups of the worker, which the kernel tells
 *   its VMM            what the page map names, if it may be that one (live_may_be_vmm)
 *   the request        parsed as strictly as one of the API
 *
 * A worker that was taken over can lie about its own restore, and about nobody else's.
 */
#ifndef UFFDD_ORPHAN_H
#define UFFDD_ORPHAN_H

#include "daemon/reconnect.h"
#include "daemon/restore.h"

/*
 * orphan_new - with its worker, not yet in the table
 * @guest: has a proof
 *
 * Owned by the caller. NULL with what keeps it from being adopted; then the worker stays
 * the caller's.
 */
struct restore *orphan_new(struct host *host, const struct reconnect_guest *guest, struct err *err);
/* It is in the table: say so, and what is not known of it. */
void orphan_publish(struct restore *r);

#endif
