/*
 * uffd_requests - the ioctls of a userfaultfd, where the kernel's headers are older
 *
 * Made by uffd.c alone; the sandbox must know which they are.
 */
#ifndef UFFDD_UFFD_REQUESTS_H
#define UFFDD_UFFD_REQUESTS_H

#include <linux/userfaultfd.h>
#include <stdint.h>

#ifndef UFFDIO_POISON /* Linux 6.6 */
struct uffdio_poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif

#endif
