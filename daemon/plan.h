/*
 * plan - what becomes of a restore whose worker has died, or whose supervisor is new
 *
 * Pure: recover.c gathers the facts, once, this says what follows from them, and recover.c
 * does it, once.
 */
#ifndef UFFDD_PLAN_H
#define UFFDD_PLAN_H

/*        fact             text */
/* clang-format off */
#define FACTS(X)                                                                       \
	X(FACT_MAP_LOST,   "its page map is lost")                                     \
	X(FACT_GUEST,      "somebody may hang on it")     /* known with a lost map */  \
	X(FACT_OVER,       "its VMM has ended")                                        \
	X(FACT_WORKER,     "its worker lives")            /* of a former supervisor */ \
	X(FACT_UNRECOVERABLE,   "nobody can serve it")         /* see SLOT_LOST; or it is killed */ \
	X(FACT_BEGUN,      "a VMM has come")              /* its guest may have run */ \
	X(FACT_UFFD,       "we have its userfaultfd")                                  \
	X(FACT_NO_MEMORY,  "its VMM has no memory")       /* it is ending, mostly */   \
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
const char *plan_name(enum plan plan);

#endif
