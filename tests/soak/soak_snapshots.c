/* soak_snapshots - what a soak run restores: golden snapshots and generated ones */
#include <stdarg.h>
#include <sys/stat.h>

#include "tests/fakes/snapshot/snapgen.h"
#include "tests/soak/soak.h"

#define MIB ((uint64_t)1 << 20)

static const char *const golden[] = {"chain12", "chain3", "merged", "single"};

/* The sizes are multiples of 2 MiB, so that guests with such pages can have them. */
/* clang-format off */
static const struct snapgen_opts generated[] = {
	{.kind = SNAPGEN_LAYERS, .size_bytes = 4 * MIB, .nlayers = 3, .zero_percent = 40,
	 .run_pages = 16, .image = true},
	{.kind = SNAPGEN_LAYERS, .size_bytes = 8 * MIB, .nlayers = 6, .zero_percent = 10,
	 .run_pages = 1, .image = true},
	{.kind = SNAPGEN_MEMORY, .size_bytes = 4 * MIB, .nlayers = 1, .zero_percent = 60,
	 .run_pages = 8, .image = true},
	{.kind = SNAPGEN_DIFFS, .size_bytes = 4 * MIB, .nlayers = 3, .zero_percent = 30,
	 .run_pages = 4, .image = true},
	{.kind = SNAPGEN_MEMORY, .size_bytes = 32 * MIB, .nlayers = 1, .zero_percent = 0,
	 .run_pages = 64, .image = true},
};
/* clang-format on */

__attribute__((format(printf, 1, 2))) static char *format(const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	return text;
}

static int add(struct soak *s, char *body, char *image, struct err *err)
{
	struct soak_snapshot *snap = &s->snapshots[s->nsnapshots++];
	struct stat st;

	snap->body = body;
	snap->image = image;
	if (stat(image, &st))
		return err_sys(err, "cannot look at %s", image);
	snap->bytes = (uint64_t)st.st_size;
	return 0;
}

static char *flat_body(const char *dir, const struct snapgen_opts *o)
{
	cleanup_free char *files = format("\"%s/" SNAPGEN_BASE "\"", dir);

	for (unsigned i = 1; o->kind == SNAPGEN_DIFFS && i < o->nlayers; i++) {
		cleanup_free char *before = files;

		files = format("%s,\"%s/" SNAPGEN_DIFF "\"", before, dir, i);
	}
	return format("{\"memory\":[%s]}", files);
}

static int generate(struct soak *s, size_t i, uint64_t seed, struct err *err)
{
	cleanup_free char *dir = format("%s/snapshot%zu", s->d.dir, i);
	struct snapgen_opts o = generated[i];

	o.seed = seed + i;
	if (snapgen_write(&o, dir, err))
		return -1;
	return add(s,
		   o.kind == SNAPGEN_LAYERS ? format("{\"dir\":\"%s\"}", dir) : flat_body(dir, &o),
		   format("%s/" SNAPGEN_IMAGE, dir), err);
}

int soak_snapshots_make(struct soak *s, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(golden); i++)
		if (add(s, format("{\"dir\":\"" TEST_DATA "/golden/%s\"}", golden[i]),
			format(TEST_DATA "/golden/%s/" SNAPGEN_IMAGE, golden[i]), err))
			return -1;
	for (size_t i = 0; i < ARRAY_LEN(generated); i++)
		if (generate(s, i, 1, err))
			return -1;
	return 0;
}

void soak_snapshots_free(struct soak *s)
{
	for (size_t i = 0; i < s->nsnapshots; i++) {
		free(s->snapshots[i].body);
		free(s->snapshots[i].image);
	}
}
