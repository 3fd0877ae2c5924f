/*
 * vmm - a stand-in for the VMM: guest memory behind a userfaultfd, and the handshake
 *
 * Plays Firecracker restoring a snapshot: private anonymous memory in one or
 * several regions, registered MISSING, announced once over a Unix socket. What
 * each page must read is kept in a table that tests/fakes/vmm/pages.h owns; threads that
 * touch are in tests/fakes/vmm/walk.h; a real guest is in tests/fakes/vmm/kvm.h.
 *
 *   struct vmm_opts o = { .image = path, .features = UF_FEATURE_REMOVE, .seed = 1 };
 *   vmm_create(&o, &v, &err); vmm_connect(v, socket, &link, &err);
 *   walk_start(v, &plan, &walk, &err); walk_join(walk, &totals);
 *   … v->wrong == 0 … vmm_destroy(v);
 */
#ifndef UFFDD_TESTS_VMM_H
#define UFFDD_TESTS_VMM_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/handshake.h"
#include "common/uffd.h"
#include "tests/support/vmmside.h"

#define VMM_WRONG_MAX 10
#define VMM_SIZE_MAX ((uint64_t)1 << 40)

struct vmm_opts {
	const char *image;     /* what the snapshot holds; must not change; NULL: zeros */
	uint64_t size;         /* bytes of guest memory; 0: the image's, rounded up */
	uint64_t page_bytes;   /* 2 MiB (hugetlb), or 4096 (also for 0) */
	const uint64_t *split; /* sizes of regions in offset order; 0 is "the rest", once */
	size_t nsplit;         /* 0: one region */
	bool reverse;          /* later offsets at lower addresses */
	bool unregistered;     /* hostile: leave the memory out of the uffd */
	unsigned features;     /* UF_FEATURE_* */
	uint64_t seed;
};

/* Who connects. */
enum vmm_helper {
	VMM_ITSELF,
	VMM_HELPER_ENDS,  /* another process, for it, and has ended before anything is touched */
	VMM_HELPER_STAYS, /* one that goes on, with a uffd of its own, until it is killed */
};

/* How to speak. All zero: as Firecracker 1.12 and later. */
struct vmm_link {
	enum handshake_style style;
	unsigned extra_fds;    /* after the uffd */
	bool split_send;       /* byte by byte */
	void (*between)(void); /* called between the halves of the message; NULL: no halves */
	bool drop;             /* close the connection at once, as before 1.12 */
	bool no_keep;          /* close our uffd: the server's becomes the last */
	enum vmm_helper helper;
};

/* One guest page; the bits of word are private to pages.c. */
struct vmm_page {
	_Atomic uint64_t word;
	uint8_t *addr; /* changes only while nobody can be in the page */
};

/* A page that did not read as it must: first word that differs. */
struct vmm_wrong {
	uint64_t page;
	uint64_t at; /* bytes into the page */
	uint64_t expected;
	uint64_t got;
	const char *as; /* "image", "zero", "written", or "changing" */
};

struct walker;

struct vmm {
	uint64_t size;
	uint64_t page_bytes;
	uint64_t npages;
	unsigned features;
	uint64_t seed;
	int uffd;               /* owned; -1 after no_keep */
	int sock;               /* owned; -1 before connect and after drop */
	struct regions regions; /* as announced, in offset order */
	uint8_t *image;         /* owned mapping of size bytes, read-only */
	struct vmm_page *pages; /* owned, npages; index is the snapshot page */

	_Atomic uint64_t wrong;
	_Atomic uint64_t removed;
	pthread_mutex_t lock; /* of the two below */
	struct vmm_wrong first_wrong[VMM_WRONG_MAX];
	struct walker *walkers; /* borrowed list, for vmm_print_busy() */
};

/* Maps and registers. ERR_INVALID: the options; ERR_SYSTEM: the kernel. */
int vmm_create(const struct vmm_opts *o, struct vmm **ret, struct err *err);
/* Unregisters before it unmaps: munmap would wait for a reader of the uffd. NULL is fine. */
void vmm_destroy(struct vmm *v);
/* Once per VMM. */
int vmm_connect(struct vmm *v, const char *path, const struct vmm_link *link, struct err *err);

/* Pages present now, by /proc/self/pagemap; no page is touched. */
int vmm_resident(struct vmm *v, uint64_t *ret_pages, struct err *err);
/* Bytes free in the 2 MiB pool; memory beyond it cannot be supplied. */
uint64_t vmm_huge_free(void);
/* One line per thread that is inside a page: "hung thread=<name> page=<n>". */
void vmm_print_busy(struct vmm *v, FILE *f);

/* Deterministic noise: equal inputs, equal output. */
uint64_t vmm_mix(uint64_t v);

#endif
