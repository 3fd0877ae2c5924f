/*
 * allowance - how much a worker may send
 *
 * An honest worker sends little by itself, and otherwise answers. So each worker has tokens: its
 * messages cost some, messages to it earn some, and so does time, slowly. A worker that cannot pay
 * floods us. Pure: time is an argument, in us.
 */
#ifndef UFFDD_ALLOWANCE_H
#define UFFDD_ALLOWANCE_H

#include "common/base.h"

#define ALLOWANCE_CHEAP 1    /* what costs no more than a look */
#define ALLOWANCE_DEAR 10    /* what costs a transaction of the store, or an event */
#define ALLOWANCE_ANSWERS 20 /* earned by a message to the worker: the dearest answer, and more */
/* All that is ever sent unasked: 129 FILES, 16 PEER and REFUSED each, some dear ones. */
#define ALLOWANCE_MAX 1000
#define ALLOWANCE_PER_S 100

struct allowance {
	uint64_t left;
	uint64_t since_us; /* until when time has been paid */
};

/* Begins with ALLOWANCE_MAX. */
void allowance_init(struct allowance *a, uint64_t now);
/* False: too few tokens, and none is taken. */
bool allowance_pay(struct allowance *a, uint64_t price, uint64_t now);
/* The worker was sent a message. Never more than ALLOWANCE_MAX. */
void allowance_earn(struct allowance *a, uint64_t amount);

#endif
