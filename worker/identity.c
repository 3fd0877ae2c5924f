#include "worker/identity.h"

#include <string.h>

/* The members of struct stat that differ between files, and change when a file changes. */
#define FACTS 5

static void facts_of(const struct stat *st, uint64_t ret[static FACTS])
{
	ret[0] = st->st_dev;
	ret[1] = st->st_ino;
	ret[2] = (uint64_t)st->st_size;
	ret[3] = (uint64_t)st->st_mtim.tv_sec;
	ret[4] = (uint64_t)st->st_mtim.tv_nsec;
}

/* The files of a source, or of a predecessor. */
struct listing {
	const struct source *src;
	const struct stat *seen; /* NULL: of @src */
	size_t n;
};

static struct listing files_of(const struct source *src)
{
	return (struct listing){.src = src, .n = source_nfds(src)};
}

static void facts_at(const struct listing *l, size_t i, uint64_t ret[static FACTS])
{
	facts_of(l->seen ? &l->seen[i] : source_stat(l->src, i), ret);
}

/* File by file: the name of the files so far is the name space for the next file. */
static void name_of(const struct listing *l, uuid_t ret)
{
	static const uuid_t space = {0x5b, 0x0e, 0x9c, 0x61, 0x2f, 0x7d, 0x4a, 0x38,
				     0x93, 0x4c, 0xd1, 0x6a, 0x80, 0x1b, 0xe7, 0x54};
	uuid_t before;

	uuid_copy(ret, space);
	for (size_t i = 0; i < l->n; i++) {
		uint64_t facts[FACTS];

		facts_at(l, i, facts);
		uuid_copy(before, ret);
		uuid_generate_sha1(ret, before, (const char *)facts, sizeof(facts));
	}
}

/*
 * The name as release 0.1 makes it: FNV-1a, a word at a time. Remove it once no upgrade from, or
 * downgrade to, a release with only this name is supported.
 */
static uint64_t hash_0_1(const struct listing *l)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < l->n; i++) {
		uint64_t facts[FACTS];

		facts_at(l, i, facts);
		for (size_t k = 0; k < FACTS; k++)
			hash = (hash ^ facts[k]) * 0x100000001b3ull;
	}
	return hash;
}

static bool same(const struct listing *l, const struct pagemap_head *head)
{
	uuid_t name = {0};

	if (uuid_is_null(head->source_id))
		return head->source_hash == hash_0_1(l);
	name_of(l, name);
	return uuid_compare(head->source_id, name) == 0;
}

void identity_write(const struct source *src, struct pagemap_head *head)
{
	const struct listing l = files_of(src);

	name_of(&l, head->source_id);
	head->source_hash = hash_0_1(&l);
}

bool identity_same(const struct source *src, const struct pagemap_head *head)
{
	const struct listing l = files_of(src);

	return head->span_bytes == source_span_bytes(src) && same(&l, head);
}

bool identity_given(const struct stat *seen, size_t n, const struct pagemap_head *head)
{
	return same(&(struct listing){.seen = seen, .n = n}, head);
}

struct wset_key identity_wset_key(const struct source *src)
{
	struct wset_key key = {.kind = WSET_BUILD, .number = source_size_bytes(src)};
	const struct listing l = files_of(src);

	if (source_build(src, key.id))
		return key;
	key.kind = WSET_FILES;
	name_of(&l, key.id);
	return key;
}
