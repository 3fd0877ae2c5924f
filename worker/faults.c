#include "worker/faults.h"

#include <string.h>

/* First index whose page is >= @page. */
static size_t position(const struct faults *f, uint64_t page)
{
	size_t lo = 0, hi = f->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (f->page[mid] < page)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void faults_add(struct faults *f, uint64_t page)
{
	size_t at = position(f, page);

	if (at < f->n && f->page[at] == page)
		return;
	if (f->n == FAULTS_MAX) {
		f->overflow = true;
		return;
	}
	memmove(&f->page[at + 1], &f->page[at], (f->n - at) * sizeof(f->page[0]));
	f->page[at] = page;
	f->n++;
}

size_t faults_each(struct faults *f, bool (*answer)(void *arg, uint64_t page), void *arg)
{
	size_t before = f->n, kept = 0;

	for (size_t i = 0; i < before; i++) {
		uint64_t page = f->page[i];

		if (!answer(arg, page))
			f->page[kept++] = page;
	}
	f->n = kept;
	return before - kept;
}
