/* test_install_verify - a layer that changes before, during and after a copy from it */
#include "worker/install.h"

#include "tests/support/installkit.h"

#define LAYER 0
#define LONG_AGO 1 /* us */
#define TRIES 1000

/* Its layer is another one now. */
START_TEST(test_assembled_of_changed)
{
	struct install in;
	struct served v;
	struct err err;

	open_huge(&v, PAGE_4K);
	change_layer(&v);
	in = at(&v, 0, 1);
	ck_outcome(install_snapshot(&v.s.guest, &in, &err), UF_SOURCE);
	ck_assert_int_eq(err.code, ERR_SNAPSHOT);
	check_counts(&v, 0, 0);
	served_end(&v);
}
END_TEST

/* Before the copy: nothing of it is installed. */
START_TEST(test_changed_before)
{
	struct guest *g;
	struct install in;
	struct served v;
	struct source_run run;
	struct err err;

	served_open(&v, 0);
	g = &v.s.guest;
	change_layer(&v);
	in = at(&v, 3, 1);
	run = source_at(v.s.job.src, 3 * PAGE_4K, PAGE_4K);
	ck_outcome(install_snapshot(g, &in, &err), UF_SOURCE);
	ck_assert_int_eq(err.code, ERR_SNAPSHOT);
	for (int read = 0; read < 2; read++) {
		g->unverified = LAYER;
		g->checked_us = LONG_AGO;
		in.done = 77;
		err = (struct err){.code = ERR_SYSTEM};
		ck_outcome(install_faulted(g, &in, &run, read, &err), UF_SOURCE);
		ck_assert_int_eq(err.code, ERR_SNAPSHOT);
		ck_assert_uint_eq(in.done, 0);
	}
	check_counts(&v, 0, 0);
	/* Zeros are of no layer. */
	in = at(&v, HOLE, 1);
	ck_outcome(install_snapshot(g, &in, &err), UF_DONE);
	served_end(&v);
}
END_TEST

struct copying {
	struct guest *g;
	struct install in;
	enum uf_outcome o;
	struct err err;
	pthread_t id;
};

static void *copy(void *arg)
{
	struct copying *c = arg;

	c->o = install_snapshot(c->g, &c->in, &c->err);
	return NULL;
}

/* During the copy, which takes as long as the test wants: the page is there, and it is told. */
START_TEST(test_changed_meanwhile)
{
	const bool changed = _i;
	struct touch_mem slow = {.len = PAGE_4K};
	struct copying c;
	struct served v;
	struct source_run run;
	uint64_t done;
	struct err err;

	served_open(&v, 0);
	run = source_at(v.s.job.src, 3 * PAGE_4K, PAGE_4K);
	slow.mem = mmap((void *)(uintptr_t)run.data, PAGE_4K, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ck_assert_ptr_eq(slow.mem, run.data);
	ck_assert_int_eq(uffd_open(0, &slow.uffd, &err), 0);
	ck_assert_int_eq(uffd_register(slow.uffd, (uintptr_t)slow.mem, PAGE_4K, &err), 0);
	c = (struct copying){.g = &v.s.guest, .in = at(&v, 3, 1)};
	ck_assert_int_eq(pthread_create(&c.id, NULL, copy, &c), 0);
	touch_await_faults(slow.uffd, 1);
	if (changed)
		change_layer(&v);
	ck_outcome(uffd_copy(slow.uffd, (uintptr_t)slow.mem, v.m.src + 3 * PAGE_4K, PAGE_4K, &done),
		   UF_DONE);
	pthread_join(c.id, NULL);
	ck_outcome(c.o, changed ? UF_SOURCE : UF_DONE);
	ck_assert_uint_eq(c.in.done, 1);
	if (changed)
		ck_assert_int_eq(c.err.code, ERR_SNAPSHOT);
	check_bytes(&v, 3, 1);
	check_counts(&v, 1, 0);
	close_fd(&slow.uffd);
	served_end(&v);
}
END_TEST

/* As if checked just now; who is kept from running meanwhile tries again. */
static enum uf_outcome put_unchecked(struct served *v, struct install *in, struct err *err)
{
	struct source_run run = source_at(v->s.job.src, in->page * PAGE_4K, PAGE_4K);
	enum uf_outcome o = UF_SOURCE;
	bool late = true;

	for (int i = 0; i < TRIES && late; i++) {
		v->s.guest.unverified = LAYER;
		v->s.guest.checked_us = now_us();
		o = install_faulted(&v->s.guest, in, &run, false, err);
		late = o == UF_SOURCE && v->s.guest.unverified != LAYER;
	}
	return o;
}

/* One check is good for a moment; what came in that moment is found out by the next one. */
START_TEST(test_verified_afterwards)
{
	struct install in;
	struct served v;
	struct err err;

	served_open(&v, 0);
	ck_assert(!install_unverified(&v.s.guest));
	in = at(&v, 3, 1);
	ck_outcome(put(&v, FAULTED, &in), UF_DONE);
	ck_assert(install_unverified(&v.s.guest));
	ck_assert_int_eq(install_verify(&v.s.guest, &err), 0);
	ck_assert(!install_unverified(&v.s.guest));
	change_layer(&v);
	in = at(&v, 4, 1);
	ck_outcome(put_unchecked(&v, &in, &err), UF_DONE);
	ck_assert_uint_eq(in.done, 1);
	ck_assert(install_unverified(&v.s.guest));
	ck_assert_int_eq(install_verify(&v.s.guest, &err), -1);
	ck_assert_int_eq(err.code, ERR_SNAPSHOT);
	ck_assert(!install_unverified(&v.s.guest));
	served_end(&v);
}
END_TEST

/* The next copy is of another layer, which has not changed. */
START_TEST(test_verified_before_the_next_layer)
{
	const bool faulted = _i;
	char base[64], diff[64], page[PAGE_4K] = "d";
	cleanup_fd int fd = memfd_create("diff", MFD_CLOEXEC);
	struct install in;
	struct served v;

	served_prepare(&v, 0);
	ck_assert_int_eq(ftruncate(fd, JOBKIT_BYTES), 0);
	ck_assert_int_eq(pwrite(fd, page, PAGE_4K, 6 * PAGE_4K), PAGE_4K);
	snprintf(base, sizeof(base), "/proc/self/fd/%d", v.layer);
	snprintf(diff, sizeof(diff), "/proc/self/fd/%d", fd);
	source_free(v.s.job.src);
	v.s.job.src = load_files((const char *[]){base, diff}, 2);
	served_begin(&v);
	in = at(&v, 3, 1);
	ck_outcome(put(&v, FAULTED, &in), UF_DONE);
	change_layer(&v);
	in = at(&v, 6, 1);
	ck_outcome(put(&v, faulted ? FAULTED : SNAPSHOT, &in), UF_SOURCE);
	ck_assert_uint_eq(in.done, 0);
	check_counts(&v, 1, 0);
	served_end(&v);
}
END_TEST

/* Bytes of our own, which were checked when they were read. */
START_TEST(test_read_before)
{
	struct install in;
	struct served v;
	struct source_run run;
	struct err err;

	served_open(&v, 0);
	run = source_at(v.s.job.src, 3 * PAGE_4K, PAGE_4K);
	memset(v.s.guest.bounce, 'z', PAGE_4K);
	in = at(&v, 3, 1);
	ck_outcome(install_faulted(&v.s.guest, &in, &run, true, &err), UF_DONE);
	ck_assert_int_eq(v.m.mem[3 * PAGE_4K], 'z');
	ck_assert(!install_unverified(&v.s.guest));
	check_counts(&v, 1, 0);
	served_end(&v);
}
END_TEST

/* The mapping ends where the file does: the kernel cannot read it. */
START_TEST(test_truncated)
{
	struct install in;
	struct served v;
	struct err err = {.msg = ""};

	served_open(&v, 0);
	ck_assert_int_eq(ftruncate(v.layer, 0), 0);
	in = at(&v, 3, 1);
	ck_outcome(put_unchecked(&v, &in, &err), UF_SOURCE);
	ck_assert_int_eq(err.code, ERR_SNAPSHOT);
	ck_assert_msg(strstr(err.msg, "layer 0 cannot be read"), "%s", err.msg);
	ck_assert_uint_eq(in.done, 0);
	check_counts(&v, 0, 0);
	served_end(&v);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("install_verify");
	TCase *t = tcase_create("changed layers");

	tcase_add_test(t, test_assembled_of_changed);
	tcase_add_test(t, test_changed_before);
	tcase_add_loop_test(t, test_changed_meanwhile, 0, 2);
	tcase_add_test(t, test_verified_afterwards);
	tcase_add_loop_test(t, test_verified_before_the_next_layer, 0, 2);
	tcase_add_test(t, test_read_before);
	tcase_add_test(t, test_truncated);
	suite_add_tcase(s, t);
	return s;
}
