/*
 * fault_injection - places at which a test stops or kills a worker
 *
 * Only tests/uffdd-worker-faulty is built with FAULT_POINTS; every other program contains none of
 * this.
 *
 * UFFDD_FAULT names a directory. A worker that is assigned a restore removes the file with the
 * restore's id from it, so that no other worker finds the file. The file says:
 *
 *   NAME:COUNT:ACTION   at the COUNT-th passage of the point NAME "stop" or "kill"
 */
#ifndef UFFDD_FAULT_INJECTION_H
#define UFFDD_FAULT_INJECTION_H

/*        point                   name                where */
/* clang-format off */
#define FAULT_TABLE(X)                                                                      \
	X(FAULT_LOADING,          "loading")          /* assigned, nothing opened yet */     \
	X(FAULT_PEER,             "peer")             /* a peer connected, nothing read */   \
	X(FAULT_PART_READ,        "part-read")        /* part of the handshake was read */   \
	X(FAULT_BEFORE_CONNECTED, "before-connected") /* the whole handshake was read */     \
	X(FAULT_BEFORE_RECORD,    "before-record")    /* and is good, not in the page map */ \
	X(FAULT_RECORDED,         "recorded")         /* in the page map, CONNECTED not sent */ \
	X(FAULT_CONNECTED,        "connected")        /* CONNECTED was sent, no fault read */ \
	X(FAULT_AFTER_READ,       "after-read")       /* messages read, none applied */       \
	X(FAULT_REMOVAL_PENDING,  "removal-pending")  /* the same, of a removal */           \
	X(FAULT_BEFORE_INSTALL,   "before-install")   /* of a page that faulted */           \
	X(FAULT_AFTER_INSTALL,    "after-install")    /* of that page, not yet in the page map */ \
	X(FAULT_BEFORE_STEP,      "before-step")      /* of prefetch */                      \
	X(FAULT_IN_STEP,          "in-step")          /* copied, not yet in the page map */    \
	X(FAULT_STOPPING,         "stopping")         /* STOP was read */                    \
	X(FAULT_POISONING,        "poisoning")        /* a page was poisoned for STOP */     \
	X(FAULT_RELEASING,        "releasing")        /* the page map says so */             \
	X(FAULT_BACK,             "back")             /* all was sent to the next supervisor */
/* clang-format on */

enum fault_point {
#define X(point, name) point,
	FAULT_TABLE(X)
#undef X
		FAULT_COUNT
};

#ifdef FAULT_POINTS
/* Reads the file. Call before the sandbox, and before the worker becomes the caller. */
void fault_arm(const char *id);
void fault_point(enum fault_point point);
#else
static inline void fault_arm(const char *id)
{
	(void)id;
}

static inline void fault_point(enum fault_point point)
{
	(void)point;
}
#endif

#endif
