/*
 * run_dir - the directories of a daemon, and its claim to be alone in them
 *
 *   <run>/uffd/ID          the sockets that VMMs connect to
 *   <run>/maps/ID          page maps
 *   <run>/files/ID         sockets of the processes that keep a snapshot's files
 *   <run>/workers.sock     where workers come back to; control.sock is the API's
 *   <state>/               the store, and the working sets
 */
#ifndef UFFDD_RUN_DIR_H
#define UFFDD_RUN_DIR_H

#include "daemon/conf.h"

#define BOOT_ID_LEN 36

/*
 * run_dir_open - make what is missing, with its modes, and lock the run directory
 * @ret_fd: owned by the caller; while it is open nobody else gets the lock
 *
 * -1 with ERR_SYSTEM that names the directory, also where another daemon has it.
 */
int run_dir_open(const struct conf *conf, int *ret_fd, struct err *err);
/* Of this boot, as /proc has it: a row of another boot has lost its VMM. */
int run_dir_boot_id(char ret[BOOT_ID_LEN + 1], struct err *err);

#endif
