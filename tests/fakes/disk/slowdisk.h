/*
 * slowdisk - a file system with one file, one piece of which is read when the test says so
 *
 *   struct slowdisk d;
 *   if (!harness_private_mounts() || !slowdisk_mount(&d, dir, image, off, len)) … not allowed here
 *   … somebody reads <dir>/memory; slowdisk_await(&d); … slowdisk_go(&d); slowdisk_end(&d);
 *
 * FUSE without a library, in a process of its own. What is not held is answered at
 * once. Whoever is to see it must have been started after harness_private_mounts().
 */
#ifndef UFFDD_TESTS_SLOWDISK_H
#define UFFDD_TESTS_SLOWDISK_H

#include <sys/types.h>

#include "common/base.h"

#define SLOWDISK_FILE "memory"

struct slowdisk {
	pid_t pid;
	int control; /* owned */
};

/* @image: its bytes; [off, off + len) is held. False: this process may not mount. */
bool slowdisk_mount(struct slowdisk *d, const char *dir, const char *image, uint64_t off,
		    uint64_t len);
/* Waits until somebody asks for what is held. */
void slowdisk_await(struct slowdisk *d);
/*
 * Looks names up, but answers nothing else from now on, not even the close of a file. @opens: a file
 * can still be opened.
 */
void slowdisk_mute(struct slowdisk *d, bool opens);
/* Answers what it was asked, and everything from now on. */
void slowdisk_go(struct slowdisk *d);
void slowdisk_end(struct slowdisk *d);

#endif
