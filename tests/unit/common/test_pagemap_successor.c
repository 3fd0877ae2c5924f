/* the page map of a dead worker, as its successor finds it */
#include <sys/stat.h>

#include "tests/support/mapkit.h"

/* As if its worker had died: the mapping goes, the file stays. */
static void reopen(struct fixture *f, const char *name)
{
	struct err err;

	pagemap_close(&f->pm);
	ck_assert_msg(pagemap_open(f->fd, &f->pm, &err) == 0, "%s: %s", name, err.msg);
}

START_TEST(successor_goes_on)
{
	const char *name = layouts[_i].name;
	struct fixture f;

	setup(&f, _i);
	f.pm.head->source_hash = 0x1234567890abcdef;
	memset(f.pm.head->source_id, 0x5a, sizeof(uuid_t));
	f.pm.stats->faults = 77;
	f.pm.inbox->raw[0][0] = 0x12;
	for (int round = 0; round < 40; round++) {
		uint64_t pages = f.pm.npages;

		for (int i = 0; i < 5; i++)
			change(&f);
		reopen(&f, name);
		ck_assert_uint_eq(f.pm.npages, pages);
		check_states(&f, name);
	}
	ck_assert_uint_eq(f.pm.head->source_hash, 0x1234567890abcdef);
	for (size_t i = 0; i < sizeof(uuid_t); i++)
		ck_assert_uint_eq(f.pm.head->source_id[i], 0x5a);
	ck_assert_uint_eq(f.pm.head->vmm_pid, 11);
	ck_assert_int_eq(memcmp(f.pm.regions, f.regions, sizeof(*f.regions)), 0);
	ck_assert_uint_eq(f.pm.stats->faults, 77);
	ck_assert_uint_eq(f.pm.inbox->raw[0][0], 0x12);
	teardown(&f);
}
END_TEST

/* It died between a bit and its count, or between two counts. */
START_TEST(successor_counts_again)
{
	struct fixture f;

	setup(&f, 3);
	for (int round = 0; round < 60; round++) {
		change(&f);
		for (int s = 0; s < PAGE_STATE_COUNT; s++)
			f.pm.stats->pages[s] = rnd(535);
		reopen(&f, "torn counts");
		check_states(&f, "torn counts");
	}
	memset(f.pm.stats->pages, 0, sizeof(f.pm.stats->pages));
	reopen(&f, "no counts");
	check_states(&f, "no counts");
	ck_assert(!pagemap_complete(&f.pm));
	teardown(&f);
}
END_TEST

static void refuse_open(int fd, const char *what, const char *text)
{
	struct pagemap pm = {.npages = 5};
	struct err err;

	ck_assert_msg(pagemap_open(fd, &pm, &err) == -1, "%s: taken", what);
	ck_assert_msg(strstr(err.msg, text) != NULL, "%s: %s", what, err.msg);
	ck_assert_msg(pm.npages == 5 && !pm.head, "%s: output", what);
}

START_TEST(successor_refuses)
{
	struct fixture f;

	setup(&f, 3);
	ck_assert_int_eq(pwrite(f.fd, &lies[_i].value, lies[_i].size, (off_t)lies[_i].at),
			 (ssize_t)lies[_i].size);
	refuse_open(f.fd, lies[_i].what, lies[_i].text);
	teardown(&f);
}
END_TEST

START_TEST(successor_refuses_without_a_vmm)
{
	int fd = memfd_create("map", MFD_CLOEXEC);
	struct pagemap pm;
	struct err err;

	refuse_open(fd, "an empty file", "cut short");
	ck_assert_int_eq(pagemap_create(fd, MIB, &pm, &err), 0);
	refuse_open(fd, "nobody connected", "knows no VMM");
	pagemap_close(&pm);
	close(fd);
}
END_TEST

/* Exactly as long as it was made: what is mapped beyond the end would be a SIGBUS. */
START_TEST(successor_refuses_sizes)
{
	static const struct {
		off_t beside;
		const char *text;
	} sizes[] = {{1, "bytes, not"}, {4096, "bytes, not"}, {MIB, "bytes, not"},
		     {-1, "too few"},   {-8, "too few"},      {-4096, "too few"}};
	struct fixture f;
	struct stat st;

	setup(&f, 3);
	ck_assert_int_eq(fstat(f.fd, &st), 0);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		cleanup_free char *what = NULL;

		ck_assert_int_gt(asprintf(&what, "%jd bytes more", (intmax_t)sizes[i].beside), 0);
		ck_assert_int_eq(ftruncate(f.fd, st.st_size + sizes[i].beside), 0);
		refuse_open(f.fd, what, sizes[i].text);
	}
	teardown(&f);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("successor");
	TCase *tc = tcase_create("successor");
	tcase_add_loop_test(tc, successor_goes_on, 0, ARRAY_LEN(layouts));
	tcase_add_test(tc, successor_counts_again);
	tcase_add_loop_test(tc, successor_refuses, 0, ARRAY_LEN(lies));
	tcase_add_test(tc, successor_refuses_without_a_vmm);
	tcase_add_test(tc, successor_refuses_sizes);
	suite_add_tcase(suite, tc);
	return suite;
}
