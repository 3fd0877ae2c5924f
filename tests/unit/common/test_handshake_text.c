/* handshake: the text of the message, of every VMM, and what is not one */
#include "tests/support/handkit.h"

static enum handshake_step parse(const char *text, size_t len, struct regions *ret, char *why)
{
	struct err err = {.msg = ""};
	enum handshake_step step = handshake_parse(text, len, ret, &err);

	memcpy(why, err.msg, sizeof(err.msg));
	if (step == HANDSHAKE_BAD)
		ck_assert_int_eq(err.code, ERR_PEER);
	return step;
}

static const struct {
	const char *name;
	const char *members; /* behind the required ones */
	uint64_t page_bytes; /* 0: bad */
	const char *needle;
} variants[] = {
	{"1.1 to 1.6", "", 4096},
	{"1.7 to 1.11", ",\"page_size_kib\":4096", 4096},
	{"1.7 to 1.11, huge", ",\"page_size_kib\":2097152", 2097152},
	{"since 1.12", ",\"page_size\":4096,\"page_size_kib\":4096", 4096},
	{"since 1.12, huge", ",\"page_size\":2097152,\"page_size_kib\":2097152", 2097152},
	{"2.0", ",\"page_size\":4096", 4096},
	{"2.0, huge", ",\"page_size\":2097152", 2097152},
	{"a fork", ",\"gpa_start\":0,\"is_guest_memfd\":true,\"x\":[{\"size\":-1.5}]", 4096},
	{"disagree", ",\"page_size\":2097152,\"page_size_kib\":4096", 0,
	 "region 0: page_size 2097152 and page_size_kib 4096 (in bytes, too) differ"},
	{"disagree by unit", ",\"page_size\":4096,\"page_size_kib\":2048", 0,
	 "page_size 4096 and page_size_kib 2097152 (in bytes, too) differ"},
	{"a fork, kib unused", ",\"page_size\":4096,\"page_size_kib\":0", 4096},
	{"a fork, kib unused, huge", ",\"page_size\":2097152,\"page_size_kib\":0", 2097152},
	{"a fork, kib null", ",\"page_size\":2097152,\"page_size_kib\":null", 2097152},
	{"a fork, size unused", ",\"page_size\":0,\"page_size_kib\":2097152", 2097152},
	{"a fork, size null", ",\"page_size\":null,\"page_size_kib\":2097152", 2097152},
	{"neither is said", ",\"page_size\":null,\"page_size_kib\":0", 4096},
	{"KiB", ",\"page_size_kib\":4", 4096},
	{"KiB, huge", ",\"page_size_kib\":2048", 2097152},
	{"KiB and bytes", ",\"page_size\":4096,\"page_size_kib\":4", 4096},
	{"KiB and bytes, huge", ",\"page_size\":2097152,\"page_size_kib\":2048", 2097152},
	{"size is no KiB", ",\"page_size\":4,\"page_size_kib\":4", 0,
	 "page_size 4 and page_size_kib 4096 (in bytes, too) differ"},
	{"false", ",\"page_size\":false", 0, "page_size: must be an integer"},
	{"kib is text", ",\"page_size_kib\":\"4096\"", 0, "page_size_kib: must be an integer"},
	{"negative", ",\"page_size\":-4096", 0, "page_size: must be from 0"},
};

START_TEST(variant)
{
	struct regions r;
	char text[512], why[512];
	int len = snprintf(text, sizeof(text), "[{" R "%s}]", variants[_i].members);
	enum handshake_step step = parse(text, (size_t)len, &r, why);

	if (!variants[_i].page_bytes) {
		ck_assert_msg(step == HANDSHAKE_BAD, "%s: %s", variants[_i].name, step_name(step));
		ck_assert_msg(strstr(why, variants[_i].needle), "%s: %s", variants[_i].name, why);
		return;
	}
	ck_assert_msg(step == HANDSHAKE_DONE, "%s: %s", variants[_i].name, why);
	ck_assert_msg(r.page_bytes == variants[_i].page_bytes && r.n == 1, "%s", variants[_i].name);
	ck_assert_msg(r.v[0].base == SOME_BASE && r.v[0].size == 8192 && r.v[0].offset == 4096,
		      "%s", variants[_i].name);
}
END_TEST

#define T(s) s, sizeof(s) - 1
#define MORE HANDSHAKE_MORE
#define DONE HANDSHAKE_DONE
#define BAD HANDSHAKE_BAD
#define WITH(s) "[{\"base_host_virt_addr\":4096,\"size\":4096," s "}]"

/* clang-format off */
static const struct {
	const char *name;
	const char *text;
	size_t len;
	enum handshake_step step;
	const char *needle;
} texts[] = {
	{"blanks", T(" \n\t\r"), MORE},
	{"blanks around", T(" \n[ {" R "} ]\r\n "), DONE},
	{"cut in a string", T("[{" R ",\"x\":\"]"), MORE},
	{"cut behind a backslash", T("[{" R ",\"x\":\"\\"), MORE},
	{"brackets in strings", T("[{" R ",\"]}\":\"[{\\\"]\"}]"), DONE},
	{"colons in strings", T("[{" R ",\"a:b\":\":::\"}]"), DONE},
	{"colons in objects", T("[{" R ",\"a\":{\"b\":1,\"c\":{\"d\":[]}}}]"), DONE},
	{"highest aligned base", T("[{\"base_host_virt_addr\":18446744073709547520,\"size\":4096,"
	 "\"offset\":0}]"), DONE},
	{"empty array", T("[]"), BAD, "no regions"},
	{"in regions", T("{\"regions\":[{" R "}]}"), DONE},
	{"in mappings", T(" {\"mappings\" : [{" R "}] }\n"), DONE},
	{"among others", T("{\"v\":{\"x\":[1]},\"mappings\":[{" R "}],\"z\":null}"), DONE},
	{"an object arrives", T("{\"regions\":[{" R "}]"), MORE},
	{"a key arrives", T("{\"regi"), MORE},
	{"a region", T("{" R "}"), BAD, "an object without \"regions\" or \"mappings\""},
	{"empty", T("{}"), BAD, "an object without \"regions\" or \"mappings\""},
	{"in both", T("{\"regions\":[{" R "}],\"mappings\":[{" R "}]}"), BAD,
	 "both \"regions\" and \"mappings\""},
	{"in one, twice", T("{\"regions\":[{" R "}],\"regions\":[{" R "}]}"), BAD, "duplicate key"},
	{"regions is an object", T("{\"regions\":{" R "}}"), BAD, "regions: must be an array"},
	{"mappings is null", T("{\"mappings\":null}"), BAD, "mappings: must be an array"},
	{"no regions in it", T("{\"mappings\":[]}"), BAD, "no regions"},
	{"an object ends as an array", T("{\"regions\":[{" R "}]]"), BAD, "expected '}'"},
	{"two objects", T("{\"regions\":[{" R "}]}{}"), BAD, "follows the end"},
	{"null", T("null"), BAD, "expected an array"},
	{"HTTP", T("GET / HTTP/1.1\r\n\r\n"), BAD, "expected an array"},
	{"NUL first", T("\0[{" R "}]"), BAD, "expected an array"},
	{"NUL inside", T("[{" R "\0}]"), BAD, "unexpected character"},
	{"NUL in a string", T("[{" R ",\"a\0b\":1}]"), BAD, "control character"},
	{"NUL behind", T("[{" R "}]\0"), BAD, "follows the end"},
	{"NUL written as an escape", T("[{" R ",\"size\\u0000\":1}]"), BAD, "contains a NUL"},
	{"two arrays", T("[{" R "}][{" R "}]"), BAD, "follows the end"},
	{"wrong bracket", T("[{" R "}}"), BAD, "bad JSON"},
	{"comma behind", T("[{" R "},]"), BAD, "bad JSON"},
	{"comment", T("[{" R "}/* */]"), BAD, "comments are not allowed"},
	{"single quotes", T("[{" R ",'x':1}]"), BAD, "double quotes"},
	{"NaN", T("[{" R ",\"x\":NaN}]"), BAD, "is no value"},
	{"Infinity", T("[{" R ",\"x\":-Infinity}]"), BAD, "is no value"},
	{"nan", T("[{" R ",\"x\":nan}]"), BAD, "bad JSON"},
	{"invalid UTF-8", T("[{" R ",\"x\":\"\xff\xfe\"}]"), BAD, "bad JSON"},
	{"newline in a string", T("[{" R ",\"x\":\"a\nb\"}]"), BAD, "control character"},
	{"too deep", T("[{" R ",\"x\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}]"), BAD, "bad JSON"},
	{"elements are arrays", T("[[{" R "}]]"), BAD, "region 0 is not an object"},
	{"second is null", T("[{" R "},null]"), BAD, "region 1 is not an object"},
	{"null before", T("[null,{" R "}]"), BAD, "region 0 is not an object"},
	{"empty object", T("[{}]"), BAD, "region 0.base_host_virt_addr: is missing"},
	{"no base", T("[{\"size\":4096,\"offset\":0}]"), BAD,
	 "region 0.base_host_virt_addr: is missing"},
	{"no size in the second", T("[{" R "},{\"base_host_virt_addr\":0,\"offset\":0}]"),
	 BAD, "region 1.size: is missing"},
	{"no offset", T(WITH("\"page_size\":4096")), BAD, "region 0.offset: is missing"},
	{"other case", T(WITH("\"Offset\":0")), BAD, "region 0.offset: is missing"},
	{"negative", T(WITH("\"offset\":-4096")), BAD, "offset: must be from 0"},
	{"2^64", T(WITH("\"offset\":18446744073709551616")), BAD, "does not fit into 64 bits"},
	{"2^64 + 4096", T(WITH("\"offset\":18446744073709555712")), BAD, "does not fit into 64 bits"},
	{"-2^64", T(WITH("\"offset\":-18446744073709551616")), BAD, "does not fit into 64 bits"},
	{"40 digits", T(WITH("\"offset\":1000000000000000000000000000000000000000")),
	 BAD, "does not fit into 64 bits"},
	{"whole fraction", T(WITH("\"offset\":4096.0")), BAD, "must be an integer"},
	{"exponent", T(WITH("\"offset\":4e3")), BAD, "offset: must be an integer"},
	{"text", T(WITH("\"offset\":\"4096\"")), BAD, "offset: must be an integer"},
	{"true", T(WITH("\"offset\":true")), BAD, "offset: must be an integer"},
	{"null offset", T(WITH("\"offset\":null")), BAD, "offset: must be an integer"},
	{"leading zero", T(WITH("\"offset\":04096")), BAD, "bad JSON"},
	{"hexadecimal", T(WITH("\"offset\":0x1000")), BAD, "is no value"},
	{"sum", T(WITH("\"offset\":4096-1")), BAD, "bad JSON"},
	{"duplicate key", T("[{" R "},{" R ",\"size\":8192}]"), BAD,
	 "duplicate key"},
	{"duplicate key, escaped", T("[{" R ",\"s\\u0069ze\":4096}]"), BAD,
	 "duplicate key"},
	{"duplicate unknown key", T("[{" R ",\"x\":1,\"x\":2}]"), BAD,
	 "duplicate key"},
	{"page sizes differ", T("[{" R "},{" R ",\"page_size\":2097152}]"), BAD,
	 "region 1 has page size 2097152, region 0 has 4096"},
};
/* clang-format on */

START_TEST(text)
{
	struct regions r, before;
	char why[512];
	/* A copy of the exact size: a sanitizer then sees a read beyond the text. */
	cleanup_free char *copy = malloc(texts[_i].len + !texts[_i].len);
	enum handshake_step step;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, texts[_i].text, texts[_i].len);
	memset(&before, 0xa5, sizeof(before));
	r = before;
	step = parse(copy, texts[_i].len, &r, why);
	ck_assert_msg(step == texts[_i].step, "%s: %s %s", texts[_i].name, step_name(step), why);
	if (step != HANDSHAKE_DONE)
		ck_assert_msg(!memcmp(&r, &before, sizeof(r)), "%s: changed", texts[_i].name);
	if (texts[_i].needle)
		ck_assert_msg(strstr(why, texts[_i].needle), "%s: %s", texts[_i].name, why);
}
END_TEST

static struct regions full_table(uint32_t n)
{
	struct regions r = {.page_bytes = PAGE_2M, .n = n};

	for (uint32_t i = 0; i < n; i++)
		r.v[i] = (struct region){SOME_BASE + i * 2 * PAGE_2M, PAGE_2M, i * PAGE_2M};
	r.v[n - 1].base = UINT64_MAX - 2 * PAGE_2M + 1;
	return r;
}

START_TEST(format_every_style)
{
	static const struct {
		enum handshake_style style;
		const char *members;
		uint64_t page_bytes;
	} styles[] = {
		{HANDSHAKE_BOTH, ",\"page_size\":2097152,\"page_size_kib\":2097152}", PAGE_2M},
		{HANDSHAKE_KIB, "\"offset\":0,\"page_size_kib\":2097152}", PAGE_2M},
		{HANDSHAKE_SIZE, "\"offset\":0,\"page_size\":2097152}", PAGE_2M},
		{HANDSHAKE_NEITHER, "\"offset\":0}", PAGE_4K},
		{HANDSHAKE_KIB_ZERO, ",\"page_size\":2097152,\"page_size_kib\":0}", PAGE_2M},
		{HANDSHAKE_IN_KIB, "\"offset\":0,\"page_size_kib\":2048}", PAGE_2M},
	};
	struct regions r = full_table(REGIONS_MAX), back;
	char why[512];

	for (size_t i = 0; i < ARRAY_LEN(styles); i++) {
		cleanup_free char *t = handshake_format(&r, styles[i].style);

		ck_assert_msg(strstr(t, styles[i].members), "style %zu: %.200s", i, t);
		ck_assert_msg(parse(t, strlen(t), &back, why) == HANDSHAKE_DONE, "%s", why);
		ck_assert_uint_eq(back.page_bytes, styles[i].page_bytes);
		ck_assert_uint_eq(back.n, r.n);
		ck_assert_mem_eq(back.v, r.v, sizeof(r.v));
	}
}
END_TEST

START_TEST(every_prefix_is_incomplete)
{
	struct regions r = full_table(3), back;
	cleanup_free char *t = handshake_format(&r, HANDSHAKE_BOTH);
	char why[512];

	cleanup_free char *object = NULL;

	ck_assert_int_gt(asprintf(&object, "{\"regions\":%s}", t), 0);
	for (size_t len = 0; len < strlen(t); len++)
		ck_assert_msg(parse(t, len, &back, why) == HANDSHAKE_MORE, "%zu: %s", len, why);
	for (size_t len = 0; len < strlen(object); len++)
		ck_assert_msg(parse(object, len, &back, why) == HANDSHAKE_MORE, "%zu: %s", len,
			      why);
}
END_TEST

START_TEST(one_region_too_many)
{
	struct regions r = full_table(REGIONS_MAX), back;
	cleanup_free char *t = handshake_format(&r, HANDSHAKE_KIB);
	cleanup_free char *longer = NULL;
	char why[512];

	t[strlen(t) - 1] = '\0';
	ck_assert_int_gt(asprintf(&longer, "%s,{" R "}]", t), 0);
	ck_assert_int_eq(parse(longer, strlen(longer), &back, why), HANDSHAKE_BAD);
	ck_assert_msg(strstr(why, "more than 128 regions"), "%s", why);
}
END_TEST

/* Whatever a VMM sends, the answer is one of three, and what is done holds regions. */
START_TEST(mutations)
{
	static const char alphabet[] = "[]{}:,\"\\\0u019-.eE \n'/tfn\xff";
	struct regions r = full_table(2), back;
	cleanup_free char *t = handshake_format(&r, HANDSHAKE_BOTH);
	uint32_t seed = 1, done = 0, bad = 0;
	size_t len = strlen(t);
	cleanup_free char *copy = xcalloc(1, len);
	struct err err;

	for (int round = 0; round < 20000; round++) {
		enum handshake_step step;

		memcpy(copy, t, len);
		for (int k = 0; k <= round % 4; k++) {
			seed = seed * 1664525 + 1013904223;
			copy[(seed >> 8) % len] = alphabet[(seed >> 3) % sizeof(alphabet)];
		}
		step = handshake_parse(copy, len, &back, &err);
		done += step == HANDSHAKE_DONE;
		bad += step == HANDSHAKE_BAD;
		if (step == HANDSHAKE_EMPTY || (step == HANDSHAKE_DONE && back.n != 2))
			ck_abort_msg("round %d: %s %u", round, step_name(step), back.n);
	}
	ck_assert_uint_gt(done, 100);
	ck_assert_uint_gt(bad, 10000);
}
END_TEST

Suite *test_suite(void)
{
	Suite *s = suite_create("handshake_text");
	TCase *tc = tcase_create("text");

	tcase_add_loop_test(tc, variant, 0, ARRAY_LEN(variants));
	tcase_add_loop_test(tc, text, 0, ARRAY_LEN(texts));
	tcase_add_test(tc, format_every_style);
	tcase_add_test(tc, every_prefix_is_incomplete);
	tcase_add_test(tc, one_region_too_many);
	tcase_add_test(tc, mutations);
	suite_add_tcase(s, tc);
	return s;
}
