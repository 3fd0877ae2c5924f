#include "daemon/table.h"

#include <string.h>

#define FIRST_CAP 64

/* What a restore is compared with, by one of the two orders. */
struct place {
	const char *key;         /* NULL: by id and tenant */
	const char *id, *tenant; /* tenant: NULL comes before all others */
};

static int compare(const struct restore *r, const struct place *p)
{
	int cmp = p->key ? strcmp(r->rec.key, p->key) : strcmp(r->rec.id, p->id);

	if (cmp || p->key)
		return cmp;
	return p->tenant ? strcmp(r->rec.tenant, p->tenant) : 1;
}

/* The index of the restore at @p, or where it belongs. */
static size_t position(const struct table *t, const struct place *p, bool *ret_found)
{
	struct restore *const *v = p->key ? t->by_key : t->v;
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int cmp = compare(v[mid], p);

		if (cmp == 0) {
			*ret_found = true;
			return mid;
		}
		if (cmp < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_found = false;
	return lo;
}

struct restore *table_find(const struct table *t, const char *id, const char *tenant)
{
	const struct place p = {.id = id, .tenant = tenant};
	bool found;
	size_t at = position(t, &p, &found);

	if (!tenant)
		found = at < t->n && strcmp(t->v[at]->rec.id, id) == 0;
	return found ? t->v[at] : NULL;
}

struct restore *table_of_key(const struct table *t, const char *key)
{
	const struct place p = {.key = key};
	bool found;
	size_t at = position(t, &p, &found);

	return found ? t->by_key[at] : NULL;
}

struct restore *table_next(const struct table *t, const char *id, const char *tenant)
{
	const struct place p = {.id = id, .tenant = tenant};
	bool found;
	size_t at = position(t, &p, &found) + found;

	return at < t->n ? t->v[at] : NULL;
}

static void grow(struct restore ***v, size_t n, size_t cap)
{
	struct restore **wider = xcalloc(cap, sizeof(*wider));

	if (n)
		memcpy(wider, *v, n * sizeof(*wider));
	free(*v);
	*v = wider;
}

static void insert(struct restore **v, size_t n, size_t at, struct restore *r)
{
	memmove(&v[at + 1], &v[at], (n - at) * sizeof(v[0]));
	v[at] = r;
}

void table_insert(struct table *t, struct restore *r)
{
	const struct place by_key = {.key = r->rec.key};
	const struct place by_id = {.id = r->rec.id, .tenant = r->rec.tenant};
	bool found;

	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : FIRST_CAP;
		grow(&t->v, t->n, t->cap);
		grow(&t->by_key, t->n, t->cap);
	}
	insert(t->v, t->n, position(t, &by_id, &found), r);
	insert(t->by_key, t->n, position(t, &by_key, &found), r);
	t->n++;
}

struct restore *table_of_worker(const struct table *t, pid_t pid, uint64_t start)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct restore_record *rec = &t->v[i]->rec;

		if (rec->worker_pid == (uint32_t)pid && rec->worker_start == start)
			return t->v[i];
	}
	return NULL;
}

static void take_out(struct restore **v, size_t n, size_t at)
{
	memmove(&v[at], &v[at + 1], (n - at - 1) * sizeof(v[0]));
}

void table_remove(struct table *t, const struct restore *r)
{
	const struct place by_key = {.key = r->rec.key};
	const struct place by_id = {.id = r->rec.id, .tenant = r->rec.tenant};
	bool found;
	size_t at = position(t, &by_key, &found);

	if (!found || t->by_key[at] != r)
		return;
	take_out(t->by_key, t->n, at);
	take_out(t->v, t->n, position(t, &by_id, &found));
	t->n--;
}

void table_fini(struct table *t)
{
	free(t->v);
	free(t->by_key);
	*t = (struct table){0};
}
