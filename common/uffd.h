/*
 * uffd - userfaultfd calls as typed outcomes
 *
 * The only user of the ioctls in uffd_requests.h. An answer that the kernel may legitimately give is
 * not an error but an outcome, which says what to do next. No errno leaves this file, except in
 * struct err of the set-up calls. No call here takes ownership of @uffd. Addresses are the VMM's.
 */
#ifndef UFFDD_UFFD_H
#define UFFDD_UFFD_H

#include "common/base.h"
#include "common/err.h"

enum uf_outcome {
	UF_DONE,   /* the whole range */
	UF_PART,   /* *ret_done > 0 bytes are done; repeat for the rest to learn why */
	UF_AGAIN,  /* EAGAIN: a removal is under way (mmap_changing): defer, never drop */
	UF_EXISTS, /* EEXIST: the first page is there; no thread was woken */
	UF_LEFT,   /* ENOENT: the range is not inside one registered mapping */
	UF_GONE,   /* ESRCH: the address space has ended */
	UF_SOURCE, /* EFAULT: the source could not be read */
	UF_NOMEM,  /* ENOMEM: no memory for a page of the VMM */
	UF_FAIL,   /* any other errno: a bug of ours, or a kernel without the call */
};
/* Static text. */
const char *uf_outcome_name(enum uf_outcome o);

/*
 * uffd_copy - install bytes of this process in the VMM
 * @dst: address, page-aligned, like @len
 * @src: any readable mapping of this process
 * @ret_done: always set; bytes that were installed
 *
 * Threads that wait for the installed part are woken.
 */
enum uf_outcome uffd_copy(int uffd, uint64_t dst, const void *src, uint64_t len,
			  uint64_t *ret_done);
/*
 * As uffd_copy(), and write-protects the pages, so that they do not count as written by the guest.
 * Only valid where uffd_tracks() says UF_TRACKS.
 */
enum uf_outcome uffd_copy_protected(int uffd, uint64_t dst, const void *src, uint64_t len,
				    uint64_t *ret_done);
/*
 * As uffd_copy(), with the kernel's zero page. Not for hugetlb memory, nor where the VMM tracks
 * writes: copy zeros there.
 */
enum uf_outcome uffd_zero(int uffd, uint64_t dst, uint64_t len, uint64_t *ret_done);
/*
 * Makes access to the pages a SIGBUS. @ret_done as for uffd_copy(). UF_FAIL on a kernel without
 * UFFDIO_POISON (before 6.6).
 */
enum uf_outcome uffd_poison(int uffd, uint64_t dst, uint64_t len, uint64_t *ret_done);

/*
 * uffd_continue - map a page that a shared mapping has in memory already
 *
 * UF_DONE or UF_EXISTS: the page is there. UF_SOURCE: the page is not there, or the memory is
 * private (huge pages). UF_FAIL: the memory is private. The kernel never allocates memory here.
 */
enum uf_outcome uffd_continue(int uffd, uint64_t addr, uint64_t page_bytes);

/* Wakes the threads that wait in the range; they fault again. */
enum uf_outcome uffd_wake(int uffd, uint64_t start, uint64_t len);
/* Gives the range back to the kernel: missing pages read zero from now on. */
enum uf_outcome uffd_unregister(int uffd, uint64_t start, uint64_t len);
/* Clears write protection in the range and wakes waiting threads. */
enum uf_outcome uffd_unprotect(int uffd, uint64_t start, uint64_t len);

enum uf_event {
	UF_FAULT,
	UF_FAULT_WP,
	UF_FAULT_MINOR,
	UF_REMOVE,
	UF_UNMAP,
	UF_REMAP,
	UF_FORK,
	UF_UNKNOWN
};

struct uf_msg {
	enum uf_event event;
	bool write;     /* UF_FAULT* */
	uint64_t start; /* address; UF_FAULT*: as reported; UF_REMAP: the old address */
	uint64_t end;   /* UF_REMOVE, UF_UNMAP: exclusive end; UF_REMAP: old address + length */
	uint64_t to;    /* UF_REMAP: the new address */
	int fd;         /* UF_FORK: owned by the reader of the message; else -1 */
};

/*
 * The kernel writes messages here. In shared memory the messages outlive the reader: otherwise a
 * REMOVE that was read but not yet acted upon would be lost, and a page that the guest gave back
 * would come back with its old bytes.
 */
#define UF_READ_MAX 256
struct uf_inbox {
	uint64_t raw[UF_READ_MAX][4]; /* struct uffd_msg; all zero: no message */
};

/*
 * uffd_read - read the pending messages, without blocking
 * @box: where the kernel writes them; empty before the call, see uffd_clear()
 * @msgs: room for @max (1 to UF_READ_MAX): the same messages, decoded
 *
 * The kernel delivers all faults before any event. Returns the number of messages; fewer than @max
 * means that the queue was empty at that moment, and 0 that nothing was pending. Returns -1 with
 * ERR_SYSTEM when the descriptor is unusable.
 */
int uffd_read(int uffd, struct uf_inbox *box, struct uf_msg *msgs, size_t max, struct err *err);
/*
 * Decodes the messages that a dead reader left in @box. @msgs has room for UF_READ_MAX. Returns
 * their number. A UF_FORK has fd -1: the descriptor died with the reader.
 */
int uffd_left(const struct uf_inbox *box, struct uf_msg *msgs);
/* Empties @box: all its messages have been acted upon. */
void uffd_clear(struct uf_inbox *box);

/*
 * uffd_check - is @uffd an initialised userfaultfd whose address space can hold the range?
 *
 * Does not tell whether the range is registered, or the VMM alive: an install does. Also sets
 * O_NONBLOCK. Returns 0, or -1 with ERR_PEER.
 */
int uffd_check(int uffd, uint64_t start, uint64_t len, struct err *err);

/*
 * uffd_registered - is the page at @addr registered for missing faults?
 *
 * Installs nothing. Also true while a removal is under way and the kernel does not tell.
 */
bool uffd_registered(int uffd, uint64_t addr, uint64_t page_bytes);

enum uf_life {
	UF_LIVES, /* the address space exists, in whichever process */
	UF_ENDED, /* the address space has ended, or @uffd is no userfaultfd */
	UF_BUSY,  /* a removal is under way: ask again */
};
/* Does the address space behind @uffd still exist? Installs nothing. */
enum uf_life uffd_life(int uffd);

enum uf_claim {
	UF_OURS,    /* with this userfaultfd */
	UF_OTHERS,  /* with another userfaultfd of the same process */
	UF_NOBODYS, /* with none, or the page is not mapped */
	UF_UNSURE,  /* a removal is under way: unknown until its event is read */
};
/*
 * uffd_claim - with which userfaultfd is the page at @addr registered?
 *
 * Installs nothing. What is registered with @uffd stays as it is, write protection included.
 */
enum uf_claim uffd_claim(int uffd, uint64_t addr, uint64_t page_bytes);

enum uf_tracking {
	UF_TRACKING_UNSURE, /* this page, or this moment, does not tell */
	UF_TRACKS,          /* also registered for write protection: the VMM looks who writes */
	UF_TRACKS_NOT,
};
/* Does the VMM track the writes of its guest at @addr? Installs and changes nothing. */
enum uf_tracking uffd_tracks(int uffd, uint64_t addr, uint64_t page_bytes);

/* Registers the range for missing faults. Returns 0, or -1 with ERR_SYSTEM. */
int uffd_register(int uffd, uint64_t start, uint64_t len, struct err *err);

#endif
