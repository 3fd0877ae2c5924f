/*
 * holders - the processes that keep the files of restores open (worker/holder.h)
 *
 * Each listens at <run>/files/ID, where only we may connect. We have no descriptor of it,
 * and never one of the files: a connection is made for a successor, which gets it.
 */
#ifndef UFFDD_HOLDERS_H
#define UFFDD_HOLDERS_H

#include "daemon/host.h"

/*
 * holders_reach - what ASSIGN brings for the files of restore @id
 * @uid: of the user whose files they are, and whose process keeps them
 * @anew: nobody can be there yet
 * @ret_fd: owned by the caller; -1 with CHAN_HOLDER_NONE
 *
 * Never waits. Where no holder is there (any more), or may be: a new socket.
 */
enum chan_holder holders_reach(const struct host *host, const char *id, uid_t uid, bool anew,
			       int *ret_fd);
/* Whoever listens for that id is killed, and its socket removed. */
void holders_end(const struct host *host, const char *id);

#endif
