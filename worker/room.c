#include "worker/room.h"

static const enum pagemap_limit limits[CGROUP_KIND_COUNT] = {
	[CGROUP_MEMORY_V1] = LIMIT_MEMORY,   [CGROUP_MEMORY_V2] = LIMIT_MEMORY,
	[CGROUP_HUGETLB_V1] = LIMIT_HUGETLB, [CGROUP_HUGETLB_V2] = LIMIT_HUGETLB,
	[CGROUP_POOL] = LIMIT_POOL,
};

static void forget(struct room *r)
{
	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++)
		cgroup_close(kind, &r->files[kind]);
}

void room_fini(struct room *r)
{
	forget(r);
}

void room_receive(struct room *r, const struct chan_cgroups *told, int fds[CHAN_FDS_MAX])
{
	struct cgroup_files f = {.levels = told->levels};
	size_t n;

	if (told->anew)
		forget(r);
	r->told = true;
	if (told->kind >= CGROUP_KIND_COUNT || told->levels > CGROUP_LEVELS_MAX)
		return;
	n = cgroup_nfds(told->kind, &f);
	for (size_t i = 0; i < n; i++)
		f.fds[i] = i < CHAN_FDS_MAX ? steal_fd(&fds[i]) : -1;
	cgroup_close(told->kind, &r->files[told->kind]);
	r->files[told->kind] = f;
}

void room_bound(struct room *r, uint64_t max_resident_bytes)
{
	r->max_resident_bytes = max_resident_bytes;
	r->limit = LIMIT_NONE;
	r->left_bytes = 0;
}

/* Less room than one step counts as none. */
static uint64_t step(uint64_t page_bytes)
{
	return max_u64(ROOM_STEP, page_bytes);
}

struct room_reading room_read(const struct room *r, uint64_t page_bytes, uint64_t resident_bytes)
{
	struct room_reading reading = {UINT64_MAX, LIMIT_NONE, UINT64_MAX};

	for (int kind = 0; kind < CGROUP_KIND_COUNT; kind++) {
		uint64_t left = cgroup_room(kind, &r->files[kind], r->margin_bytes,
					    ROOM_AGAIN * step(page_bytes));

		if (left >= reading.shared_bytes)
			continue;
		reading.shared_bytes = left;
		reading.shared = limits[kind];
	}
	if (r->max_resident_bytes)
		reading.own_bytes = r->max_resident_bytes -
				    min_u64(resident_bytes, r->max_resident_bytes);
	return reading;
}

bool room_due(const struct room *r, uint64_t page_bytes, uint64_t now)
{
	if (r->limit != LIMIT_NONE)
		return now >= r->again_us;
	return r->left_bytes < page_bytes || now - r->looked_us >= ROOM_LOOK_US;
}

void room_close(struct room *r, enum pagemap_limit why, uint64_t until_us)
{
	r->limit = why;
	r->left_bytes = 0;
	r->again_us = until_us;
}

static void close_for_now(struct room *r, enum pagemap_limit why, uint64_t now)
{
	uint64_t longer = r->limit == LIMIT_NONE ? 0 : r->pause_us * 2;

	r->pause_us = min_u64(max_u64(longer, ROOM_PAUSE_MIN_US), ROOM_PAUSE_MAX_US);
	room_close(r, why, now + r->pause_us);
}

void room_look(struct room *r, const struct room_reading *reading, uint64_t page_bytes,
	       uint64_t now)
{
	uint64_t least = step(page_bytes);
	uint64_t enough = r->limit == LIMIT_NONE ? least : ROOM_AGAIN * least;

	r->looked_us = now;
	if (reading->own_bytes < page_bytes) {
		close_for_now(r, LIMIT_RESIDENT, now);
	} else if (reading->shared_bytes < enough) {
		close_for_now(r, reading->shared, now);
	} else {
		r->limit = LIMIT_NONE;
		r->left_bytes = min_u64(reading->own_bytes,
					max_u64(reading->shared_bytes / ROOM_PARTS, least));
	}
}

bool room_suffices(const struct room *r, uint64_t bytes)
{
	static const enum cgroup_kind huge[] = {CGROUP_HUGETLB_V1, CGROUP_HUGETLB_V2, CGROUP_POOL};

	for (size_t i = 0; i < ARRAY_LEN(huge); i++)
		if (cgroup_room(huge[i], &r->files[huge[i]], 0, bytes) < bytes)
			return false;
	return r->told;
}

bool room_allows(const struct room *r, uint64_t page_bytes)
{
	return r->left_bytes >= page_bytes;
}

void room_take(struct room *r, uint64_t bytes)
{
	r->left_bytes -= min_u64(bytes, r->left_bytes);
}

uint64_t room_wait_us(const struct room *r, uint64_t now)
{
	return r->limit != LIMIT_NONE && r->again_us > now ? r->again_us - now : 0;
}
