/*
 * plan - what to do with a restore after its worker's death, or under a new supervisor
 *
 * Pure. recover.c and adopt.c gather the facts once, plan_of() says what follows from them, and
 * recover_act() does it.
 */
#ifndef UFFDD_PLAN_H
#define UFFDD_PLAN_H

/*        fact             text */
/* clang-format off */
#define FACTS(X)                                                                       \
	X(FACT_MAP_LOST,   "its page map is lost")                                     \
	X(FACT_GUEST,      "somebody may hang on it")     /* asked with a lost map */  \
	X(FACT_OVER,       "its VMM has ended")                                        \
	X(FACT_WORKER,     "its worker lives")            /* under a new supervisor */ \
	X(FACT_UNRECOVERABLE,   "nobody can serve it")         /* or being killed */   \
	X(FACT_BEGUN,      "a VMM has come")              /* its guest may have run */ \
	X(FACT_UFFD,       "we have its userfaultfd")                                  \
	X(FACT_NO_MEMORY,  "its VMM has no memory")       /* usually: it is ending */  \
	X(FACT_LEFT_ALONE, "nothing is registered")       /* it was released */        \
	X(FACT_TOO_OFTEN,  "its workers die all the time")
/* clang-format on */

enum fact {
#define X(fact, text) fact,
	FACTS(X)
#undef X
		FACT_COUNT
};

#define FACT(f) (1u << (f))

/*        plan                 name */
/* clang-format off */
#define PLANS(X)                                                            \
	X(PLAN_END_EXITED,     "end: vmm-exited")                               \
	X(PLAN_END_RELEASED,   "end: released")                                 \
	X(PLAN_FAIL_MAP,       "fail: no page map")                             \
	X(PLAN_FAIL_UFFD,      "fail: no userfaultfd")                          \
	X(PLAN_FAIL_DEATHS,    "fail: too many deaths")                         \
	X(PLAN_LEAVE,          "leave it as it is")                             \
	X(PLAN_AWAIT_WORKER,   "wait for its worker")                           \
	X(PLAN_AWAIT_END,      "wait for the VMM's end")                        \
	X(PLAN_SUCCEED,        "another worker takes over")
/* clang-format on */

enum plan {
#define X(plan, name) plan,
	PLANS(X)
#undef X
		PLAN_COUNT
};

/* @facts: FACT() bits. */
enum plan plan_of(unsigned facts);
/* For logs; a static string. */
const char *plan_name(enum plan plan);

#endif
