#include "daemon/table.h"

#include <string.h>

#define FIRST_CAP 64

/* The index of @id, or where it belongs. */
static size_t position(const struct table *t, const char *id, bool *ret_found)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int cmp = strcmp(t->v[mid]->rec.id, id);

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

struct restore *table_find(const struct table *t, const char *id)
{
	bool found;
	size_t at = position(t, id, &found);

	return found ? t->v[at] : NULL;
}

struct restore *table_next(const struct table *t, const char *after)
{
	bool found;
	size_t at = position(t, after, &found) + found;

	return at < t->n ? t->v[at] : NULL;
}

static void grow(struct table *t)
{
	size_t cap = t->cap ? t->cap * 2 : FIRST_CAP;
	struct restore **v = xcalloc(cap, sizeof(*v));

	if (t->n)
		memcpy(v, t->v, t->n * sizeof(*v));
	free(t->v);
	t->v = v;
	t->cap = cap;
}

void table_insert(struct table *t, struct restore *r)
{
	bool found;
	size_t at = position(t, r->rec.id, &found);

	if (t->n == t->cap)
		grow(t);
	memmove(&t->v[at + 1], &t->v[at], (t->n - at) * sizeof(t->v[0]));
	t->v[at] = r;
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

void table_remove(struct table *t, const struct restore *r)
{
	bool found;
	size_t at = position(t, r->rec.id, &found);

	if (!found || t->v[at] != r)
		return;
	t->n--;
	memmove(&t->v[at], &t->v[at + 1], (t->n - at) * sizeof(t->v[0]));
}

void table_fini(struct table *t)
{
	free(t->v);
	*t = (struct table){0};
}
