/*
 * run_dir - the directories of a daemon, and its lock on them
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
 * run_dir_open - makes missing directories, with their modes, and locks the run directory
 * @ret_fd: owned by the caller; while it is open no other daemon gets the lock
 *
 * 0, or -1 with ERR_SYSTEM that names the directory, also when another daemon has the lock.
 */
int run_dir_open(const struct conf *conf, int *ret_fd, struct err *err);
/* The id of this boot, from /proc; rows of other boots have lost their VMMs. 0, or -1. */
int run_dir_boot_id(char ret[BOOT_ID_LEN + 1], struct err *err);

#endif
