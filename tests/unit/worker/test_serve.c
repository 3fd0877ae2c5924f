/* test_serve - which VMMs are served, and how that ends */
#include "worker/serve.h"

#include "tests/support/peerkit.h"

/* Types, in the order in which they were said. */
static void check_said(struct scene *s, const enum chan_type *types, size_t n)
{
	struct chan_msg msg;
	size_t nfds;

	for (size_t i = 0; i < n; i++) {
		enum chan_type type = hear(s->sup, &msg, &nfds);

		ck_assert_msg(type == types[i], "%zu: %s, not %s", i, chan_type_name(type),
			      chan_type_name(types[i]));
	}
	ck_assert_int_eq(hear(s->sup, &msg, &nfds), CHAN_NONE);
}

/* ---- a new VMM whose message is wrong ---- */

static void beyond_the_snapshot(struct scene *s)
{
	s->regions.v[0].offset = JOBKIT_BYTES;
}

static void not_registered(struct scene *s)
{
	struct err err;

	ck_assert_int_eq(uffd_unregister(s->uffd, s->regions.v[0].base, JOBKIT_BYTES), UF_DONE);
	ck_assert_int_eq(uffd_register(s->uffd, s->regions.v[0].base, JOBKIT_BYTES / 2, &err), 0);
}

static void nowhere(struct scene *s)
{
	ck_assert_int_eq(munmap(s->memory, JOBKIT_BYTES), 0);
	s->memory = NULL;
}

static const struct {
	void (*prepare)(struct scene *s);
	const char *why;
} wrong[] = {
	{beyond_the_snapshot, "snapshot"},
	{not_registered, "is not registered"},
	{nowhere, ""},
};

START_TEST(test_wrong)
{
	struct peer vmm;
	struct scene s;
	struct err err;

	scene_open(&s);
	give_memory(&s);
	wrong[_i].prepare(&s);
	make_peer(&s, &vmm, s.uffd);
	s.job.phase = JOB_WAITING;
	ck_assert_int_eq(serve_vmm(&s.job, &vmm, &s.regions, &err), -1);
	ck_assert_int_eq(err.code, ERR_PEER);
	ck_assert_msg(strstr(err.msg, wrong[_i].why) != NULL, "%s", err.msg);
	ck_assert_int_ne(s.job.phase, JOB_SERVING);
	ck_assert_msg(vmm.hs.fds[0] >= 0, "its uffd must stay open");
	ck_assert_uint_eq(s.job.map.head->connected, 0);
	check_said(&s, NULL, 0);
	peer_fini(&vmm);
	scene_close(&s);
}
END_TEST

/* ---- a predecessor's guest ---- */

/* He was leaving it to the kernel: what is absent then needs nobody. */
START_TEST(test_released)
{
	static const enum chan_type said[] = {CHAN_RELEASED};
	struct scene s;
	struct err err;

	scene_open(&s);
	give_memory(&s);
	pagemap_connect(&s.job.map, &s.regions, 1, 2, 3);
	s.job.map.head->releasing = 1;
	s.job.uffd = s.uffd;
	s.job.vmm = fcntl(s.vmm, F_DUPFD_CLOEXEC, 0);
	ck_assert_int_eq(serve_on(&s.job, &err), 0);
	check_said(&s, said, ARRAY_LEN(said));
	ck_assert_ptr_null(s.job.loop);
	/* The kernel gives zeros by itself now: else this would hang. */
	for (size_t i = 0; i < JOBKIT_BYTES; i += PAGE_4K)
		ck_assert_int_eq(s.memory[i], 0);
	scene_close(&s);
}
END_TEST

START_TEST(test_gone)
{
	static const enum chan_type said[] = {CHAN_GONE};
	struct scene s;
	struct err err;
	pid_t pid;

	scene_open(&s);
	pid = start_vmm(&s, &s.job.uffd);
	pagemap_connect(&s.job.map, &s.regions, 1, 2, 3);
	s.job.vmm = fcntl(s.vmm, F_DUPFD_CLOEXEC, 0);
	end_vmm(pid);
	ck_assert_int_eq(serve_on(&s.job, &err), 0);
	ck_assert_int_eq(s.job.phase, JOB_SERVING);
	check_said(&s, said, ARRAY_LEN(said));
	ck_assert_str_eq(s.job.link.reconnect_path, "");
	scene_close(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("serve");
	TCase *t = tcase_create("guests");

	tcase_add_loop_test(t, test_wrong, 0, ARRAY_LEN(wrong));
	tcase_add_test(t, test_released);
	tcase_add_test(t, test_gone);
	suite_add_tcase(s, t);
	return s;
}
