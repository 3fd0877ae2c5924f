/*
 * orphan - a restore without a row, that came back with its worker
 *
 * The store was lost or moved away, while its guests were served on. What the worker says is
 * believed only as far as something else confirms it:
 *
 *   it is a worker     the page map, which only a supervisor hands out: the file of that key in
 *                      our own directory, open for writing
 *   its caller         user and groups of the worker, from the kernel; the user decides the tenant.
 *                      The workers' own user serves root (worker_user)
 *   its VMM            what the page map names, if it may be that process (vmm_check)
 *   the request        a sealed memfd, parsed as strictly as a request of the API
 *   its id             nothing: so another restore of its tenant that has that id keeps it
 *
 * A worker that was taken over can lie about its own restore, and about no other.
 */
#ifndef UFFDD_ORPHAN_H
#define UFFDD_ORPHAN_H

#include "daemon/reconnect.h"
#include "daemon/table.h"

/*
 * orphan_may_be - has the process a page map of ours open?
 *
 * For a process of which nothing was read yet. Asks the kernel alone. An unprivileged daemon may
 * not look into its workers: then its own user is enough.
 */
bool orphan_may_be(const struct host *host, const struct sock_peer *who);
/*
 * orphan_new - makes the restore, with its worker; the caller puts it into the table
 * @host: borrowed. @table: for the ids that are taken
 * @guest: has a proof; descriptors that are needed are taken from it
 *
 * Without a listening socket, what is left in our own directory in the socket's place is unlinked.
 *
 * The restore is owned by the caller. NULL: it cannot be adopted, @err says why, and the worker
 * stays the caller's, with all descriptors.
 */
struct restore *orphan_new(struct host *host, const struct table *table,
			   const struct reconnect_guest *guest, struct err *err);
/* @r is in the table: stores it, with an event that lists what is not known of it. */
void orphan_publish(struct restore *r);

#endif
