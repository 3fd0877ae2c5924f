#include "worker/fault_set.h"

#include <string.h>

/* First index whose page is >= @page. */
static size_t position(const struct fault_set *f, uint64_t page)
{
	size_t lo = 0, hi = f->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (f->v[mid].page < page)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void fault_set_add(struct fault_set *f, uint64_t page)
{
	size_t at = position(f, page);

	if (at < f->n && f->v[at].page == page)
		return;
	if (f->n == FAULTS_MAX) {
		f->overflow = true;
		return;
	}
	if (at < f->n)
		memmove(&f->v[at + 1], &f->v[at], (f->n - at) * sizeof(f->v[0]));
	f->v[at] = (struct fault){page, FAULT_NEW};
	f->n++;
}

size_t fault_set_each(struct fault_set *f, bool (*answer)(void *arg, struct fault *fault),
		      void *arg)
{
	size_t before = f->n, kept = 0;

	f->warming = 0;
	for (size_t i = 0; i < before; i++) {
		struct fault fault = f->v[i];

		if (fault.stage != FAULT_WARMING && answer(arg, &fault))
			continue;
		f->warming += fault.stage == FAULT_WARMING;
		f->v[kept++] = fault;
	}
	f->n = kept;
	return before - kept;
}

void fault_set_warmed(struct fault_set *f, uint64_t page, uint64_t n)
{
	for (size_t i = position(f, page); i < f->n && f->v[i].page < page + n; i++)
		if (f->v[i].stage == FAULT_WARMING) {
			f->v[i].stage = FAULT_WARMED;
			f->warming--;
		}
}
