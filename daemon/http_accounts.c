#include "daemon/http_accounts.h"

#include <string.h>

#define HALF_LIFE_US ((uint64_t)1000 * 1000)
/* Twice what is taken in a second, where it is the same each second. */
#define MUCH_US ((uint64_t)200 * 1000)
/* Of accounts without a user; others than these are forgotten at once. */
#define RESTING_MAX 256

static uint64_t halvings(const struct http_account *account, uint64_t now)
{
	return now > account->since_us ? (now - account->since_us) / HALF_LIFE_US : 0;
}

static uint64_t taken(const struct http_account *account, uint64_t now)
{
	uint64_t n = halvings(account, now);

	return n < 64 ? account->taken_us >> n : 0;
}

static void account_free(struct http_account *account)
{
	LIST_REMOVE(account, link);
	free(account);
}

/* Forgets who takes nothing any more. Returns how many are left without a user. */
static size_t tidy(struct http_accounts *accounts, uint64_t now)
{
	struct http_account *account, *next;
	size_t resting = 0;

	for (account = LIST_FIRST(accounts); account; account = next) {
		next = LIST_NEXT(account, link);
		if (account->users)
			continue;
		if (taken(account, now))
			resting++;
		else
			account_free(account);
	}
	return resting;
}

struct http_account *http_account_get(struct http_accounts *accounts, const char *name)
{
	struct http_account *account;

	LIST_FOREACH(account, accounts, link)
	if (strncmp(account->name, name, HTTP_ACCOUNT_MAX) == 0)
		break;
	if (!account) {
		account = xcalloc(1, sizeof(*account));
		snprintf(account->name, sizeof(account->name), "%s", name);
		LIST_INSERT_HEAD(accounts, account, link);
	}
	account->users++;
	return account;
}

void http_account_put(struct http_accounts *accounts, struct http_account *account)
{
	if (!account || --account->users)
		return;
	if (!taken(account, now_us()))
		account_free(account);
	else if (tidy(accounts, now_us()) > RESTING_MAX)
		account_free(account);
}

void http_accounts_fini(struct http_accounts *accounts)
{
	while (!LIST_EMPTY(accounts))
		account_free(LIST_FIRST(accounts));
}

void http_account_charge(struct http_account *account, uint64_t us, uint64_t now)
{
	uint64_t n = halvings(account, now);

	account->taken_us = taken(account, now) + us;
	account->since_us = account->since_us ? account->since_us + n * HALF_LIFE_US : now;
}

bool http_account_is_late(const struct http_account *account, uint64_t now)
{
	return taken(account, now) >= MUCH_US;
}
