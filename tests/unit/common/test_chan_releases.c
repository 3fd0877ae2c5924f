/* chan: messages of other releases, older and newer */
#include "tests/support/chankit.h"
#include "tests/support/fds.h"

/* How long a message of another release may be, beside what we know of it. */
enum { BODYLESS = -1000 };
static const struct version_rule {
	const char *what;
	int version; /* beside ours */
	int more;    /* bytes; BODYLESS: the head alone */
	bool taken;
} version_rules[] = {
	{"newer, as long", 1, 0, true},
	{"newer, a little longer", 1, 4, true},
	{"newer, longer than any of ours", 1, 4096, true},
	{"much newer, longer", 1000, 16, true},
	{"newer, shorter", 1, -1, false},
	{"newer, no body", 1, BODYLESS, false},
	{"older, as long", -1, 0, true},
	{"older, a little shorter", -1, -4, true},
	{"older, no body", -1, BODYLESS, true},
	{"older, longer", -1, 1, false},
	{"older, longer than any of ours", -1, 4096, false},
};

/* What is known of it came through, and nothing else is in the message. */
static void check_other_release(const struct chan_msg *got, enum chan_type type, size_t len,
				const char *what)
{
	const size_t known = min_u64(len, HEAD + wire[type].body);
	char want[sizeof(*got)] = {0};

	memset(want + HEAD, 'n', known - HEAD);
	for (int t = 0; t < 3; t++)
		if (wire[type].text[t].len)
			want[HEAD + wire[type].text[t].at + wire[type].text[t].len - 1] = '\0';
	ck_assert_msg(memcmp((const char *)got + HEAD, want + HEAD, sizeof(want) - HEAD) == 0,
		      "%s %s: bytes", wire[type].name, what);
}

static void try_rule(int pair[2], enum chan_type type, const struct version_rule *r)
{
	char buf[sizeof(struct chan_msg) + 8192];
	struct chan_msg *msg = (struct chan_msg *)buf, got;
	size_t len = r->more == BODYLESS ? HEAD : HEAD + wire[type].body + (size_t)r->more;
	int fds[CHAN_FDS_MAX];
	struct err err;

	memset(buf, 'n', sizeof(buf));
	msg->type = type;
	msg->version = (uint32_t)(CHAN_VERSION + r->version);
	if (!r->taken) {
		expect_bad(pair, r->what, buf, len, 2, "wrong length");
		return;
	}
	send_raw(pair[1], buf, len, 1);
	ck_assert_msg(chan_recv(pair[0], &got, fds, &err) == CHAN_GOT, "%s %s: %s", wire[type].name,
		      r->what, err.msg);
	ck_assert_uint_eq(got.type, type);
	ck_assert_uint_eq(got.version, msg->version);
	check_other_release(&got, type, len, r->what);
	ck_assert_msg(fds[0] >= 0 && fds[1] == -1, "%s: descriptors", r->what);
	close(fds[0]);
}

/* This is built a second time as the next release, so that there is an older one. */
START_TEST(other_releases)
{
	size_t tried = 0;
	int pair[2];

	make_pair(pair);
	for (size_t i = 0; i < ARRAY_LEN(version_rules); i++)
		if (CHAN_VERSION + version_rules[i].version >= CHAN_VERSION_MIN) {
			try_rule(pair, (enum chan_type)_i, &version_rules[i]);
			tried++;
		}
	ck_assert_uint_ge(tried, CHAN_VERSION > CHAN_VERSION_MIN ? 11 : 6);
}
END_TEST

/* Types that only a newer release knows: of any length, with or without descriptors. */
START_TEST(types_of_the_future)
{
	static const uint32_t types[] = {CHAN_TYPE_COUNT, CHAN_TYPE_COUNT + 1, UINT32_MAX};
	static const size_t lengths[] = {HEAD, HEAD + 1, sizeof(struct chan_msg),
					 sizeof(struct chan_msg) + 4096};
	static const size_t counts[] = {0, 1, CHAN_FDS_MAX, CHAN_FDS_MAX + 1, 250};
	char buf[sizeof(struct chan_msg) + 4096];
	struct chan_msg *msg = (struct chan_msg *)buf, known = {0}, got;
	int pair[2], fds[CHAN_FDS_MAX], before;
	struct err err;

	make_pair(pair);
	before = fds_count(getpid());
	memset(buf, 'n', sizeof(buf));
	msg->version = CHAN_VERSION + 1 + (uint32_t)_i;
	for (size_t t = 0; t < ARRAY_LEN(types); t++)
		for (size_t l = 0; l < ARRAY_LEN(lengths); l++)
			for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
				struct chan_msg want;

				memset(&want, 0, sizeof(want));
				want.version = msg->version;
				msg->type = types[t];
				send_raw(pair[1], buf, lengths[l], counts[c]);
				ck_assert_msg(chan_recv(pair[0], &got, fds, &err) == CHAN_GOT, "%s",
					      err.msg);
				ck_assert_mem_eq(&got, &want, sizeof(got));
				for (int i = 0; i < CHAN_FDS_MAX; i++)
					ck_assert_int_eq(fds[i], -1);
			}
	ck_assert_int_eq(fds_count(getpid()), before);
	/* What follows is heard. */
	ck_assert_int_eq(chan_send(pair[1], CHAN_PAUSED, &known, NULL, 0, &err), 0);
	ck_assert_int_eq(chan_recv(pair[0], &got, fds, &err), CHAN_GOT);
	ck_assert_uint_eq(got.type, CHAN_PAUSED);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("chan_releases");
	TCase *tc = tcase_create("releases");

	tcase_add_loop_test(tc, other_releases, CHAN_NONE + 1, CHAN_TYPE_COUNT);
	tcase_add_loop_test(tc, types_of_the_future, 0, 2);
	suite_add_tcase(suite, tc);
	return suite;
}
