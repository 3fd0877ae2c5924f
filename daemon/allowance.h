/*
 * allowance - how much a worker may say
 *
 * A good one says little by itself, and otherwise answers. So each has a purse: what
 * it says has a price, what it is told fills the purse, and so does time, slowly. Who
 * cannot pay floods us. Pure: time is an argument.
 */
#ifndef UFFDD_ALLOWANCE_H
#define UFFDD_ALLOWANCE_H

#include "common/base.h"

#define ALLOWANCE_CHEAP 1
#define ALLOWANCE_DEAR 10    /* what costs a transaction of the store, or an event */
#define ALLOWANCE_ANSWERS 20 /* one to any message of ours: the dearest, and some more */
/* All that is ever said unasked: 129 FILES, 16 PEER and REFUSED each, some dear ones. */
#define ALLOWANCE_MAX 1000
#define ALLOWANCE_PER_S 100

struct allowance {
	uint64_t left;
	uint64_t since_us; /* until when time has been paid out */
};

/* A full purse. */
void allowance_init(struct allowance *a, uint64_t now);
/* False: it cannot pay, and nothing is taken. */
bool allowance_pay(struct allowance *a, uint64_t price, uint64_t now);
/* It was told something. */
void allowance_earn(struct allowance *a, uint64_t amount);

#endif
