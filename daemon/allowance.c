#include "daemon/allowance.h"

#define TOKEN_US (1000000 / ALLOWANCE_PER_S)

void allowance_init(struct allowance *a, uint64_t now)
{
	*a = (struct allowance){.left = ALLOWANCE_MAX, .since_us = now};
}

void allowance_earn(struct allowance *a, uint64_t amount)
{
	a->left = min_u64(a->left + amount, ALLOWANCE_MAX);
}

/* Time that earns less than a token counts later. */
static void pay_out(struct allowance *a, uint64_t now)
{
	uint64_t n = now > a->since_us ? (now - a->since_us) / TOKEN_US : 0;

	a->since_us += n * TOKEN_US;
	allowance_earn(a, min_u64(n, ALLOWANCE_MAX));
}

bool allowance_pay(struct allowance *a, uint64_t price, uint64_t now)
{
	pay_out(a, now);
	if (a->left < price)
		return false;
	a->left -= price;
	return true;
}
