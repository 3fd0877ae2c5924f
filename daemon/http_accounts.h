/*
 * http_accounts - how much of the HTTP server's time each account has taken
 *
 * One thread answers everybody. Who takes much of its time comes later than others (timer.h), so that
 * nobody waits for more than one request of a crowd. An account is a tenant's, whichever of its users
 * ask.
 */
#ifndef UFFDD_HTTP_ACCOUNTS_H
#define UFFDD_HTTP_ACCOUNTS_H

#include <sys/queue.h>

#include "common/base.h"
#include "common/sock.h"

#define HTTP_ACCOUNT_MAX 63

struct http_account {
	LIST_ENTRY(http_account) link;
	char name[HTTP_ACCOUNT_MAX + 1];
	size_t users;                /* that have it */
	uint64_t taken_us, since_us; /* of our time, halved each second; since now_us() */
};

LIST_HEAD(http_accounts, http_account);

/*
 * Who is that client? True: it is privileged: has places of its own for held requests, and is never
 * late. @ret_account: whose time it takes.
 */
typedef bool (*http_identify)(void *arg, const struct sock_peer *peer,
			      char ret_account[HTTP_ACCOUNT_MAX + 1]);

/* Counts one more user of the account; to be given back. @name: copied, cut if too long. */
struct http_account *http_account_get(struct http_accounts *accounts, const char *name);
/* Accepts NULL. The last one may free @account, which is kept as long as what it has taken counts. */
void http_account_put(struct http_accounts *accounts, struct http_account *account);
void http_accounts_fini(struct http_accounts *accounts);

/* A request has taken @us until now. */
void http_account_charge(struct http_account *account, uint64_t us, uint64_t now_us);
/* Has it taken much, a tenth of the time or more for a second or two? Then others come first. */
bool http_account_is_late(const struct http_account *account, uint64_t now_us);

#endif
