/*
 * vmmside - what a VMM does to be served: a userfaultfd of its own, and the message
 */
#ifndef UFFDD_TESTS_VMMSIDE_H
#define UFFDD_TESTS_VMMSIDE_H

#include "common/err.h"
#include "common/region.h"

/* What it asks for at UFFDIO_API time. */
#define UF_FEATURE_REMOVE 1u
#define UF_FEATURE_UNMAP 2u
#define UF_FEATURE_REMAP 4u
#define UF_FEATURE_FORK 8u
#define UF_FEATURE_TRACK 16u /* the kernel itself lets writes through, and notes them (6.7) */

/*
 * uffd_open - a new userfaultfd
 * @features: bits of UF_FEATURE_*
 *
 * Tries /dev/userfaultfd, then the system call. O_CLOEXEC | O_NONBLOCK.
 * Returns 0, or -1 with ERR_SYSTEM that names device, sysctl and capability.
 */
int uffd_open(unsigned features, int *ret_fd, struct err *err);
/* For missing pages and for write protection; uffd_register() is for the former alone. */
int uffd_register_tracked(int uffd, uint64_t start, uint64_t len, struct err *err);

/* Which members of the message to write. */
enum handshake_style {
	HANDSHAKE_BOTH,     /* page_size and page_size_kib, as since 1.12 */
	HANDSHAKE_KIB,      /* page_size_kib only, 1.7 to 1.11 */
	HANDSHAKE_SIZE,     /* page_size only, 2.0 */
	HANDSHAKE_NEITHER,  /* 1.1 to 1.6 */
	HANDSHAKE_KIB_ZERO, /* a fork's: page_size, and page_size_kib that says nothing */
	HANDSHAKE_IN_KIB,   /* a fork's: page_size_kib in KiB, in an object around the array */
};
/* The message as text; owned by the caller. */
char *handshake_format(const struct regions *r, enum handshake_style style);
/* One sendmsg of text and descriptors, to the end of the text. Blocking socket. */
int handshake_send(int sock, const char *text, const int *fds, size_t nfds, struct err *err);

#endif
