/*
 * http_foreign - descriptors that HTTP clients send beside their bytes
 *
 * No request has any. But any of them may be one whose close() waits for the client: a socket with
 * unsent data that lingers, or a file on the client's own FUSE. Those that nobody receives are
 * closed all the same: by whoever reads the bytes, or closes the connection last. Here that is the
 * event loop.
 *
 * Since Linux 6.16 a socket can refuse them (SO_PASSRIGHTS). On older kernels they are received and
 * given to foreign_close(), which also closes each connection last; and the client is cut off.
 */
#ifndef UFFDD_HTTP_FOREIGN_H
#define UFFDD_HTTP_FOREIGN_H

#include "common/base.h"

/*
 * To be called for a listening socket: clients cannot send descriptors from now on. False: the
 * kernel cannot do that.
 */
bool http_foreign_refuse(int listen_fd);

#endif
