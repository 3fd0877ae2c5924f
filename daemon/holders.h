/*
 * holders - the processes that keep the snapshot files of restores open (worker/holder.h)
 *
 * Each listens at <run>/files/KEY, where only the supervisor may connect. The supervisor keeps no
 * descriptor of a holder or of the files: it connects for a successor, which gets the connection.
 */
#ifndef UFFDD_HOLDERS_H
#define UFFDD_HOLDERS_H

#include "daemon/host.h"

/*
 * holders_reach - what ASSIGN brings for the files of the restore with @key
 * @uid: of the caller, as whom the holder runs
 * @anew: for a create: an old holder of that key is killed
 * @ret_fd: owned by the caller; -1 with CHAN_HOLDER_NONE
 *
 * Never blocks. A connection to the holder; without a holder, a new bound socket for one.
 */
enum chan_holder holders_reach(const struct host *host, const char *key, uid_t uid, bool anew,
			       int *ret_fd);
/* Kills the holder of the restore with @key, if there is one, and removes its socket. */
void holders_end(const struct host *host, const char *key);

#endif
