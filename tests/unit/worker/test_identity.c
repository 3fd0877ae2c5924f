/* test_identity - the name of a snapshot: the same files, unchanged, and no others */
#include "worker/identity.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"
#include "tests/support/openkit.h"
#include "tests/support/runner.h"

#define FILES 2
#define BYTES (2 * PAGE_4K)

static char *top; /* of all that these tests write */

/* A snapshot of two flat files, whose facts a test may set. */
struct fixture {
	struct source *src;
	struct spec_layer layers[FILES];
	char paths[FILES][512];
};

static void setup(void)
{
	top = harness_tmpdir();
}

static void teardown(void)
{
	harness_rmtree(top);
	free(top);
}

static void begin(struct fixture *f)
{
	struct spec spec = {.source = SOURCE_MEMORY,
			    .layers = f->layers,
			    .nlayers = FILES,
			    .dense_diffs = true};
	struct err err;

	memset(f, 0, sizeof(*f));
	for (size_t i = 0; i < FILES; i++) {
		int fd;

		snprintf(f->paths[i], sizeof(f->paths[i]), "%s/%zu", top, i);
		fd = open(f->paths[i], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(ftruncate(fd, BYTES), 0);
		close(fd);
		f->layers[i].path = f->paths[i];
	}
	ck_assert_msg(source_open(&spec, &f->src, &err) == 0, "%s", err.msg);
}

static void end(struct fixture *f)
{
	source_free(f->src);
}

static struct stat *facts(struct fixture *f, size_t i)
{
	return (struct stat *)(uintptr_t)source_stat(f->src, i);
}

/* As they might be on any host. */
static void set_facts(struct fixture *f)
{
	*facts(f, 0) = (struct stat){.st_dev = 2049,
				     .st_ino = 77,
				     .st_size = BYTES,
				     .st_mtim = {1700000000, 123456789}};
	*facts(f, 1) = (struct stat){.st_dev = 2050,
				     .st_ino = ((ino_t)1 << 40) + 5,
				     .st_size = BYTES,
				     .st_mtim = {1700000001, 0}};
}

/* What other programs make of the same facts: a name of yesterday is a name of today. */
START_TEST(known_names)
{
	struct pagemap_head head = {0};
	char text[UUID_STR_LEN];
	struct fixture f;

	begin(&f);
	set_facts(&f);
	identity_write(f.src, &head);
	uuid_unparse_lower(head.source_id, text);
	ck_assert_str_eq(text, "5b013c21-651f-524d-a5a7-e59c07e4b8a5");
	ck_assert_uint_eq(head.source_hash, 0xff2ae136cf3fc354);
	end(&f);
}
END_TEST

/* Where the release before looks for it, and where it knows of nothing. */
START_TEST(head_only_grows)
{
	ck_assert_uint_eq(PAGEMAP_VERSION, 1);
	ck_assert_uint_eq(offsetof(struct pagemap_head, source_hash), 40);
	ck_assert_uint_eq(offsetof(struct pagemap_head, exact), 64);
	ck_assert_uint_eq(offsetof(struct pagemap_head, source_id), 72);
}
END_TEST

/* What may be otherwise of a file. */
/* clang-format off */
static const struct change {
	const char *what;
	bool same;
	dev_t dev;
	ino_t ino;
	off_t size;
	time_t sec;
	long nsec;
	uid_t uid;
	time_t accessed;
} changes[] = {
	{"another device", false, .dev = 1},
	{"another inode", false, .ino = (ino_t)1 << 63},
	{"another size", false, .size = 4096},
	{"an earlier second", false, .sec = -1},
	{"a later nanosecond", false, .nsec = 1},
	{"another owner", true, .uid = 1},
	{"it was read", true, .accessed = 1},
};
/* clang-format on */

static void apply(struct stat *st, const struct change *c)
{
	st->st_dev += c->dev;
	st->st_ino += c->ino;
	st->st_size += c->size;
	st->st_mtim.tv_sec += c->sec;
	st->st_mtim.tv_nsec += c->nsec;
	st->st_uid += c->uid;
	st->st_atim.tv_sec += c->accessed;
}

START_TEST(tells_changes)
{
	const struct change *row = &changes[_i / FILES];
	struct pagemap_head now = {.span_bytes = BYTES}, before;
	struct fixture f;

	begin(&f);
	set_facts(&f);
	identity_write(f.src, &now);
	before = now;
	uuid_clear(before.source_id);
	ck_assert(identity_same(f.src, &now) && identity_same(f.src, &before));
	apply(facts(&f, (size_t)_i % FILES), row);
	ck_assert_msg(identity_same(f.src, &now) == row->same, "%s", row->what);
	ck_assert_msg(identity_same(f.src, &before) == row->same, "%s, by the hash", row->what);
	end(&f);
}
END_TEST

START_TEST(tells_the_order)
{
	struct pagemap_head head = {.span_bytes = BYTES};
	struct fixture f;
	struct stat was;

	begin(&f);
	set_facts(&f);
	identity_write(f.src, &head);
	was = *facts(&f, 0);
	*facts(&f, 0) = *facts(&f, 1);
	*facts(&f, 1) = was;
	ck_assert(!identity_same(f.src, &head));
	uuid_clear(head.source_id);
	ck_assert(!identity_same(f.src, &head));
	end(&f);
}
END_TEST

/* Where there is a name, the hash has no say; and neither is enough for another length. */
START_TEST(name_before_hash)
{
	struct pagemap_head head = {.span_bytes = BYTES}, other;
	struct fixture f;

	begin(&f);
	identity_write(f.src, &head);
	ck_assert(!uuid_is_null(head.source_id));
	for (size_t i = 0; i < sizeof(uuid_t); i++) {
		other = head;
		other.source_id[i] ^= 0x40;
		ck_assert_msg(!identity_same(f.src, &other), "byte %zu of the name", i);
	}
	other = head;
	other.source_hash++;
	ck_assert(identity_same(f.src, &other));
	uuid_clear(other.source_id);
	ck_assert(!identity_same(f.src, &other));
	other = head;
	other.span_bytes += PAGE_4K;
	ck_assert(!identity_same(f.src, &other));
	end(&f);
}
END_TEST

/* All of them, in their order, before any of them is read; by the name and by the hash. */
START_TEST(of_a_predecessor)
{
	struct pagemap_head head = {.span_bytes = BYTES};
	struct fixture f;

	begin(&f);
	identity_write(f.src, &head);
	for (int by_hash = 0; by_hash < 2; by_hash++) {
		const struct stat seen[] = {*source_stat(f.src, 0), *source_stat(f.src, 1),
					    *source_stat(f.src, 1)};
		const struct stat turned[] = {seen[1], seen[0]}, unknown[] = {seen[0], {0}};

		if (by_hash)
			uuid_clear(head.source_id);
		ck_assert(identity_given(seen, FILES, &head));
		ck_assert(!identity_given(seen, FILES - 1, &head));
		ck_assert(!identity_given(seen, FILES + 1, &head));
		ck_assert(!identity_given(turned, FILES, &head));
		ck_assert(!identity_given(unknown, FILES, &head));
	}
	end(&f);
}
END_TEST

/* A map that was begun and not finished, or is of nothing. */
START_TEST(empty_head)
{
	struct pagemap_head head = {.span_bytes = BYTES};
	struct fixture f;

	begin(&f);
	ck_assert(!identity_same(f.src, &head));
	end(&f);
}
END_TEST

START_TEST(key_of_flat_files)
{
	struct pagemap_head head = {0};
	struct wset_key key, other;
	struct fixture f;

	begin(&f);
	key = identity_wset_key(f.src);
	identity_write(f.src, &head);
	ck_assert_uint_eq(key.kind, WSET_FILES);
	ck_assert_uint_eq(key.number, BYTES);
	ck_assert_mem_eq(key.id, head.source_id, sizeof(uuid_t));
	facts(&f, 1)->st_mtim.tv_nsec++;
	other = identity_wset_key(f.src);
	ck_assert(!wset_key_equal(&key, &other));
	end(&f);
}
END_TEST

/* The build id is the same on every host, whatever the files are called there. */
START_TEST(key_of_a_build)
{
	static const uint8_t none[16];
	struct spec spec = {.source = SOURCE_DIR,
			    .path = (char *)(uintptr_t)(TEST_DATA "/vectors/g2")};
	struct wset_key key, other;
	struct source *src;
	struct err err;

	ck_assert_msg(source_open(&spec, &src, &err) == 0, "%s", err.msg);
	key = identity_wset_key(src);
	ck_assert_uint_eq(key.kind, WSET_BUILD);
	ck_assert_uint_eq(key.number, source_size_bytes(src));
	ck_assert(memcmp(key.id, none, sizeof(none)) != 0);
	((struct stat *)(uintptr_t)source_stat(src, 0))->st_ino++;
	other = identity_wset_key(src);
	ck_assert(wset_key_equal(&key, &other));
	source_free(src);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("identity");
	TCase *tc = tcase_create("identity");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, known_names);
	tcase_add_test(tc, head_only_grows);
	tcase_add_loop_test(tc, tells_changes, 0, FILES * (int)ARRAY_LEN(changes));
	tcase_add_test(tc, tells_the_order);
	tcase_add_test(tc, name_before_hash);
	tcase_add_test(tc, of_a_predecessor);
	tcase_add_test(tc, empty_head);
	tcase_add_test(tc, key_of_flat_files);
	tcase_add_test(tc, key_of_a_build);
	suite_add_tcase(suite, tc);
	return suite;
}
