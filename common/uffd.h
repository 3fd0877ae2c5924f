/*
 * uffd - userfaultfd calls as typed outcomes
 *
 * The only user of <linux/userfaultfd.h>. What the kernel may legitimately
 * answer is not an error but an outcome; each says what to do next. No errno
 * leaves this file, except in struct err of the set-up calls.
 */
#ifndef UFFDD_UFFD_H
#define UFFDD_UFFD_H

#include "common/base.h"
#include "common/err.h"

enum uf_outcome {
	UF_DONE,   /* all of it */
	UF_PART,   /* *ret_done > 0 bytes done; ask again for the rest to learn why */
	UF_AGAIN,  /* a removal is under way (mmap_changing): defer, never drop */
	UF_EXISTS, /* the first page is there; nobody was woken */
	UF_LEFT,   /* ENOENT: the range is not inside one registered mapping */
	UF_GONE,   /* ESRCH: the address space ended */
	UF_SOURCE, /* EFAULT: the source could not be read */
	UF_NOMEM,  /* ENOMEM: no page for the VMM */
	UF_FAIL,   /* anything else: a bug of ours or a kernel without the call */
};
const char *uf_outcome_name(enum uf_outcome o);

/*
 * Install. @dst and @len are page-aligned addresses in the VMM; @src is ours,
 * any readable mapping. *ret_done is always set, bytes, 0 where nothing was done.
 * Waiting threads of the installed part are woken.
 */
enum uf_outcome uffd_copy(int uffd, uint64_t dst, const void *src, uint64_t len,
			  uint64_t *ret_done);
/*
 * The same, and write-protected, so that it does not count as written by the guest. Only
 * where uffd_tracks() says yes.
 */
enum uf_outcome uffd_copy_protected(int uffd, uint64_t dst, const void *src, uint64_t len,
				    uint64_t *ret_done);
/* Not for hugetlb memory, nor where writes are tracked: there copy zeros. */
enum uf_outcome uffd_zero(int uffd, uint64_t dst, uint64_t len, uint64_t *ret_done);
/* Access to the pages becomes SIGBUS. UF_FAIL where the kernel (< 6.6) has none. */
enum uf_outcome uffd_poison(int uffd, uint64_t dst, uint64_t len, uint64_t *ret_done);

/*
 * uffd_continue - map the page that a shared mapping has in memory already
 *
 * UF_DONE or UF_EXISTS: there is one. UF_SOURCE: there is none, or the memory is private
 * (huge pages). UF_FAIL: the memory is private. Nothing is allocated in any case.
 */
enum uf_outcome uffd_continue(int uffd, uint64_t addr, uint64_t page_bytes);

/* Make waiting threads of the range fault again. */
enum uf_outcome uffd_wake(int uffd, uint64_t start, uint64_t len);
/* Give the range back to the kernel: missing pages read zero from now on. */
enum uf_outcome uffd_unregister(int uffd, uint64_t start, uint64_t len);
/* Clear write protection and wake. */
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
	uint64_t start; /* address; fault address as reported; REMAP: from */
	uint64_t end;   /* REMOVE, UNMAP: exclusive. REMAP: from + len */
	uint64_t to;    /* REMAP only */
	int fd;         /* FORK only: owned by the reader; else -1 */
};

/*
 * Where the kernel puts messages. In shared memory it outlives its reader: a
 * REMOVE that was read but not yet acted upon would be lost for ever otherwise,
 * and a page that the guest gave back would come back with its old bytes.
 */
#define UF_READ_MAX 256
struct uf_inbox {
	uint64_t raw[UF_READ_MAX][4]; /* struct uffd_msg; all zero: none */
};

/*
 * uffd_read - everything that is pending, as far as it fits
 * @box: where the kernel puts it; empty before, see uffd_clear()
 * @msgs: room for @max (at most UF_READ_MAX): the same, decoded
 *
 * The kernel delivers all faults before any event. Returns the number read;
 * fewer than @max means the queue was empty at that moment. 0 also stands for
 * "nothing". -1 with err when the descriptor is unusable.
 */
int uffd_read(int uffd, struct uf_inbox *box, struct uf_msg *msgs, size_t max, struct err *err);
/* What a reader that died left in @box; fd of a FORK is -1, it died with it. */
int uffd_left(const struct uf_inbox *box, struct uf_msg *msgs);
/* All of it has been acted upon. */
void uffd_clear(struct uf_inbox *box);

/*
 * uffd_check - is this descriptor an initialised userfaultfd that takes the range?
 *
 * The kernel does not tell whether the range is registered, or its VMM alive:
 * an install does. Also sets O_NONBLOCK. Returns 0, or -1 with ERR_PEER.
 */
int uffd_check(int uffd, uint64_t start, uint64_t len, struct err *err);

/*
 * uffd_registered - is the page at @addr registered for missing faults?
 * Installs nothing. Also true while it cannot be told (a removal is under way).
 */
bool uffd_registered(int uffd, uint64_t addr, uint64_t page_bytes);

enum uf_life {
	UF_LIVES, /* the address space is there, whoever has it */
	UF_ENDED, /* it has ended, or this is no userfaultfd: nobody waits for it */
	UF_BUSY,  /* a removal is under way: cannot be told now, ask again */
};
/* Does the address space of this userfaultfd live? Installs nothing. */
enum uf_life uffd_life(int uffd);

enum uf_claim {
	UF_OURS,    /* registered with this userfaultfd */
	UF_OTHERS,  /* with another one of the same process */
	UF_NOBODYS, /* not registered, or not mapped */
	UF_UNSURE,  /* a removal is under way: until somebody reads it, nothing can be told */
};
/*
 * uffd_claim - whose is the page at @addr?
 *
 * Installs nothing and changes nothing: what is registered with it already stays as
 * it is, write protection included.
 */
enum uf_claim uffd_claim(int uffd, uint64_t addr, uint64_t page_bytes);

enum uf_tracking {
	UF_TRACKING_UNSURE, /* not to be told at this page, or at this moment */
	UF_TRACKS,          /* registered for write protection, too: the VMM looks who writes */
	UF_TRACKS_NOT,
};
/* Does the VMM track the writes of its guest there? Installs and changes nothing. */
enum uf_tracking uffd_tracks(int uffd, uint64_t addr, uint64_t page_bytes);

/* For missing pages. */
int uffd_register(int uffd, uint64_t start, uint64_t len, struct err *err);

#endif
