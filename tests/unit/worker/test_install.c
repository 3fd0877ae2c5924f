/* test_install - each answer of a real kernel: what is in the page then, what counts as installed */
#include "worker/install.h"

#include <fcntl.h>

#include "tests/support/installkit.h"

/* ---- what the snapshot says ---- */

static const struct {
	const char *name;
	uint64_t page, n;
	enum uf_outcome says;
	uint64_t done, data, zeros; /* pages */
} runs[] = {
	{"one page", 3, 1, UF_DONE, 1, 1, 0},
	{"a run of data", 0, 4, UF_DONE, 4, 4, 0},
	{"data, then zeros", 2, 5, UF_PART, 3, 3, 0},
	{"zeros, then data", HOLE, 3, UF_PART, 1, 0, 1},
	{"a page of zeros", HOLE, 1, UF_DONE, 1, 0, 1},
};

START_TEST(test_run)
{
	struct install in;
	struct served v;
	struct err err;

	served_open(&v, 0);
	in = at(&v, runs[_i].page, runs[_i].n);
	ck_outcome(install_snapshot(&v.s.guest, &in, &err), runs[_i].says);
	ck_assert_msg(in.done == runs[_i].done, "%s: %ju pages", runs[_i].name, in.done);
	check_bytes(&v, runs[_i].page, runs[_i].done);
	check_counts(&v, runs[_i].data, runs[_i].zeros);
	/* Page states are not the business of this room. */
	ck_page(&v, runs[_i].page, PAGE_ABSENT);
	served_end(&v);
}
END_TEST

/* ---- what the kernel answers ---- */

/* It is refused, and nothing counts. */
static void check_refused(struct served *v, uint64_t page, enum uf_outcome want)
{
	for (int how = 0; how < HOWS; how++) {
		struct install in = at(v, page, 1);
		enum uf_outcome o = put(v, (enum how)how, &in);

		ck_assert_msg(o == want, "%s: %s, not %s", how_names[how], uf_outcome_name(o),
			      uf_outcome_name(want));
		ck_assert_msg(in.done == 0, "%s: %ju pages", how_names[how], in.done);
	}
	check_counts(v, 0, 0);
}

static void install_other(struct served *v, uint64_t page)
{
	uint64_t done;

	ck_outcome(uffd_copy(v->m.uffd, v->m.base + page * PAGE_4K, v->m.src, PAGE_4K, &done),
		   UF_DONE);
}

START_TEST(test_exists)
{
	struct served v;

	served_open(&v, 0);
	install_other(&v, 3);
	check_refused(&v, 3, UF_EXISTS);
	ck_assert_int_eq(v.m.mem[3 * PAGE_4K], 'a');
	served_end(&v);
}
END_TEST

/* A run ends before a page that is there. */
START_TEST(test_short_copy)
{
	struct install in;
	struct served v;

	served_open(&v, 0);
	install_other(&v, 3);
	in = at(&v, 1, 4);
	ck_outcome(put(&v, SNAPSHOT, &in), UF_PART);
	ck_assert_uint_eq(in.done, 2);
	check_bytes(&v, 1, 2);
	check_counts(&v, 2, 0);
	in = at(&v, 4, 3);
	install_other(&v, 6);
	ck_outcome(put(&v, ZEROS, &in), UF_PART);
	ck_assert_uint_eq(in.done, 2);
	check_counts(&v, 2, 2);
	served_end(&v);
}
END_TEST

START_TEST(test_left)
{
	struct install in;
	struct served v;

	served_open(&v, 0);
	ck_outcome(uffd_unregister(v.m.uffd, v.m.base + 3 * PAGE_4K, PAGE_4K), UF_DONE);
	check_refused(&v, 3, UF_LEFT);
	/* Across the border as well: nothing of it. */
	in = at(&v, 1, 3);
	ck_outcome(put(&v, SNAPSHOT, &in), UF_LEFT);
	ck_assert_uint_eq(in.done, 0);
	check_counts(&v, 0, 0);
	served_end(&v);
}
END_TEST

START_TEST(test_removal_under_way)
{
	struct touch removal = {.body = touch_discard, .page = 6};
	struct served v;

	served_open(&v, UF_FEATURE_REMOVE);
	removal.m = &v.m;
	touch_start(&removal);
	ck_assert(touch_readable(v.m.uffd, HARNESS_MS));
	check_refused(&v, 3, UF_AGAIN);
	messages_read(&v.s.loop);
	touch_join(&removal);
	served_end(&v);
}
END_TEST

START_TEST(test_gone)
{
	struct served v;

	served_open_apart(&v, 0);
	kill_apart(&v);
	check_refused(&v, 3, UF_GONE);
	served_end(&v);
}
END_TEST

/* ---- who watches writes, and whose zeros cost memory ---- */

static bool is_protected(const struct served *v, uint64_t page)
{
	const uint64_t protected_bit = UINT64_C(1) << 57;
	cleanup_fd int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t word = 0, addr = v->m.base + page * PAGE_4K;

	ck_assert_int_eq(pread(pagemap, &word, sizeof(word),
			       (off_t)(addr / PAGE_4K * sizeof(word))),
			 sizeof(word));
	return word & protected_bit;
}

/* What is installed must not look as if the guest had written it. */
START_TEST(test_tracked)
{
	const bool tracked = _i;
	struct served v;
	struct install in;
	struct err err;

	served_prepare(&v, 0);
	if (tracked)
		ck_assert_msg(uffd_register_tracked(v.m.uffd, v.m.base, v.m.len, &err) == 0, "%s",
			      err.msg);
	served_begin(&v);
	in = at(&v, 3, 2);
	ck_outcome(put(&v, SNAPSHOT, &in), UF_DONE);
	in = at(&v, HOLE, 1);
	ck_outcome(put(&v, SNAPSHOT, &in), UF_DONE);
	in = at(&v, 6, 1);
	ck_outcome(put(&v, FAULTED, &in), UF_DONE);
	for (uint64_t page = 3; page < 7; page++)
		ck_assert_msg(is_protected(&v, page) == tracked, "page %d", (int)page);
	check_bytes(&v, 3, 4);
	check_counts(&v, 3, 1);
	served_end(&v);
}
END_TEST

/* Zeros that are copied come in pieces. */
START_TEST(test_many_zeros)
{
	struct served v;
	struct install in;
	struct err err;
	uint64_t whole;

	served_prepare(&v, 0);
	ck_assert_int_eq(uffd_register_tracked(v.m.uffd, v.m.base, v.m.len, &err), 0);
	served_begin(&v);
	whole = v.s.guest.zeros_bytes;
	v.s.guest.zeros_bytes = 2 * PAGE_4K;
	in = at(&v, 0, 8);
	ck_outcome(put(&v, ZEROS, &in), UF_PART);
	ck_assert_uint_eq(in.done, 2);
	check_counts(&v, 0, 2);
	v.s.guest.zeros_bytes = whole;
	served_end(&v);
}
END_TEST

/* It may be the pool that is empty, the kernel says the same of both. */
START_TEST(test_huge_exists)
{
	struct guest *g;
	struct install in;
	struct served v;

	open_huge(&v, PAGE_2M);
	g = &v.s.guest;
	in = at(&v, 0, 1);
	ck_outcome(put(&v, SNAPSHOT, &in), UF_DONE);
	ck_outcome(put(&v, SNAPSHOT, &in), UF_NOMEM);
	ck_outcome(put(&v, ZEROS, &in), UF_NOMEM);
	presence_use(&g->presence, open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	presence_verify(&g->presence, v.m.base, PAGE_2M);
	ck_assert(g->presence.verified);
	ck_outcome(put(&v, SNAPSHOT, &in), UF_EXISTS);
	ck_outcome(put(&v, ZEROS, &in), UF_EXISTS);
	check_counts(&v, PAGE_2M / PAGE_4K, 0);
	served_end(&v);
}
END_TEST

START_TEST(test_huge_zeros)
{
	struct install in;
	struct served v;

	open_huge(&v, 0);
	in = at(&v, 0, 1);
	ck_outcome(put(&v, SNAPSHOT, &in), UF_DONE);
	ck_assert_uint_eq(in.done, 1);
	check_counts(&v, 0, PAGE_2M / PAGE_4K);
	served_end(&v);
}
END_TEST

/* ---- a page of several extents ---- */

START_TEST(test_assembled)
{
	const bool lent = _i;
	struct install in;
	struct served v;
	char *bytes;

	open_huge(&v, PAGE_4K);
	bytes = xcalloc(1, PAGE_2M);
	memset(bytes, 'q', PAGE_2M);
	if (lent)
		install_assembled(&v.s.guest, 0, bytes);
	ck_assert_ptr_null(install_take_back(&v.s.guest));
	in = at(&v, 0, 1);
	ck_outcome(put(&v, SNAPSHOT, &in), UF_DONE);
	ck_assert_uint_eq(in.done, 1);
	check_counts(&v, PAGE_2M / PAGE_4K, 0);
	ck_assert_int_eq(v.m.mem[0], lent ? 'q' : 'p');
	ck_assert_int_eq(v.m.mem[PAGE_4K - 1], lent ? 'q' : 'p');
	ck_assert_int_eq(v.m.mem[PAGE_4K], lent ? 'q' : 0);
	ck_assert_int_eq(v.m.mem[PAGE_2M - 1], lent ? 'q' : 0);
	guest_mark(&v.s.guest, 0, 1, PAGE_PRESENT);
	ck_assert_ptr_eq(install_take_back(&v.s.guest), lent ? bytes : NULL);
	ck_assert_ptr_null(install_take_back(&v.s.guest));
	free(bytes);
	served_end(&v);
}
END_TEST

/* Those of pages that are still absent stay. */
START_TEST(test_taken_back)
{
	static char bytes[3];
	struct guest *g;
	struct served v;

	served_open(&v, 0);
	g = &v.s.guest;
	for (size_t i = 0; i < ARRAY_LEN(bytes); i++)
		install_assembled(g, i, &bytes[i]);
	guest_mark(g, 1, 1, PAGE_REMOVED);
	ck_assert_ptr_eq(install_take_back(g), &bytes[1]);
	ck_assert_ptr_null(install_take_back(g));
	guest_mark(g, 2, 1, PAGE_PRESENT);
	ck_assert_ptr_eq(install_take_back(g), &bytes[2]);
	guest_mark(g, 0, 1, PAGE_PRESENT);
	ck_assert_ptr_eq(install_take_back(g), &bytes[0]);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("install");
	TCase *t = tcase_create("outcomes");

	tcase_add_loop_test(t, test_run, 0, ARRAY_LEN(runs));
	tcase_add_test(t, test_exists);
	tcase_add_test(t, test_short_copy);
	tcase_add_test(t, test_left);
	tcase_add_test(t, test_removal_under_way);
	tcase_add_test(t, test_gone);
	suite_add_tcase(s, t);
	t = tcase_create("kinds of memory");
	tcase_add_loop_test(t, test_tracked, 0, 2);
	tcase_add_test(t, test_many_zeros);
	tcase_add_test(t, test_huge_exists);
	tcase_add_test(t, test_huge_zeros);
	tcase_add_loop_test(t, test_assembled, 0, 2);
	tcase_add_test(t, test_taken_back);
	suite_add_tcase(s, t);
	return s;
}
