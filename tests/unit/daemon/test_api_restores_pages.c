/* test_api_restores_pages - the page states and the working set of a restore, as answered */
#include "daemon/api_restores.h"

#include <string.h>

#include "daemon/restore_wset.h"
#include "tests/support/apikit.h"

#define ON_DEMAND "\"prefetch\":{\"mode\":\"none\"}"

static void check_number(struct json_object *o, const char *path, uint64_t want)
{
	ck_assert_msg(scene_number(o, path) == want, "%s is not %ju: %s", path, (uintmax_t)want,
		      json_object_to_json_string(o));
}

static void check_flag(struct json_object *o, const char *path, bool want)
{
	ck_assert_msg(scene_flag(o, path) == want, "%s: %s", path, json_object_to_json_string(o));
}

/* ---- pages ---- */

static void open_map(const struct restore *r, struct pagemap *ret)
{
	cleanup_fd int fd = -1;
	struct err err = {.msg = ""};

	ck_assert_msg(restore_open_map(r, &fd, &err) == 0 && pagemap_open(fd, ret, &err) == 0, "%s",
		      err.msg);
}

/* The runs as "state:first+pages ". Static storage. */
static const char *runs_of(struct json_object *o)
{
	struct json_object *runs = scene_member(o, "runs");
	static char text[512];
	size_t n = 0;

	text[0] = '\0';
	for (size_t i = 0; i < json_object_array_length(runs); i++) {
		struct json_object *run = json_object_array_get_idx(runs, i);

		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s:%ju+%ju ",
				      scene_text(run, "state"),
				      (uintmax_t)scene_number(run, "offset") / PAGE_4K,
				      (uintmax_t)scene_number(run, "length") / PAGE_4K);
	}
	return text;
}

/* clang-format off */
static const struct {
	const char *suffix, *runs;
	uint64_t next; /* page; 0: none */
} pages[] = {
	{"", "absent:0+2 present:2+3 removed:5+1 zeroed:6+1 absent:7+249 ", 0},
	{"?limit=50000", "absent:0+2 present:2+3 removed:5+1 zeroed:6+1 absent:7+249 ", 0},
	{"?limit=1", "absent:0+2 ", 2},
	{"?limit=2&offset=8192", "present:2+3 removed:5+1 ", 6},
	{"?offset=1044480", "absent:255+1 ", 0},
	{"?offset=1048576", "", 0},
};

static const struct {
	const char *suffix, *detail;
} bad_pages[] = {
	{"/a/pages?offset=x", "offset: must be a number"},
	{"/a/pages?offset=9223372036854775808", "offset: must be a number"},
	{"/a/pages?limit=0", "limit: must be a number from 1 to 50000"},
	{"/a/pages?limit=50001", "limit: must be a number from 1 to 50000"},
};
/* clang-format on */

START_TEST(test_pages)
{
	struct scene_vmm vmm;
	struct restore *r = apikit_serve(&apikit, &vmm, "a", ON_DEMAND, "--hold-before");
	struct pagemap map;

	open_map(r, &map);
	pagemap_set(&map, 2, 3, PAGE_PRESENT);
	pagemap_set(&map, 5, 1, PAGE_REMOVED);
	pagemap_set(&map, 6, 1, PAGE_ZEROED);
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		cleanup_free char *suffix = scene_format("/a/pages%s", pages[i].suffix);
		cleanup_json struct json_object *o = apikit_object(200, "GET", suffix, NULL);

		check_number(o, "page_bytes", PAGE_4K);
		check_number(o, "size_bytes", APIKIT_BYTES);
		check_flag(o, "exact", false);
		ck_assert_ptr_null(scene_member(o, "inexact"));
		ck_assert_msg(strcmp(runs_of(o), pages[i].runs) == 0, "%s: %s", suffix, runs_of(o));
		if (pages[i].next)
			check_number(o, "next_offset", pages[i].next * PAGE_4K);
		else
			ck_assert_ptr_null(scene_member(o, "next_offset"));
	}
	for (size_t i = 0; i < ARRAY_LEN(bad_pages); i++)
		apikit_refused("GET", bad_pages[i].suffix, NULL, ERR_INVALID, bad_pages[i].detail);
	/* A page map that cannot be read. */
	map.head->magic = 0;
	apikit_refused("GET", "/a/pages", NULL, ERR_UNREADY, "page map");
	map.head->magic = PAGEMAP_MAGIC;
	pagemap_close(&map);
	apikit_finish(r, &vmm);
}
END_TEST

/* There are no page states before a VMM has come, nor after the release. */
START_TEST(test_no_pages)
{
	struct restore *r = apikit_create(&apikit, "a", ON_DEMAND);

	apikit_refused("GET", "/a/pages", NULL, ERR_STATE,
		       "restore a is waiting: there are page states while a VMM is connected");
	apikit_finish(r, NULL);
	r->rec.page_bytes = PAGE_4K;
	apikit_refused("GET", "/a/pages", NULL, ERR_STATE, "restore a is ended: there are page");
}
END_TEST

/* clang-format off */
static const struct {
	uint32_t exact; /* as the page map has it */
	const char *why; /* NULL: they are exact */
} exacts[] = {
	{PAGEMAP_INEXACT, "they are being compared with what the kernel says; ask again"},
	{PAGEMAP_EXACT, NULL},
	{PAGEMAP_UNASKED, "the VMM may not be looked into: uffdd needs CAP_SYS_PTRACE"},
	{PAGEMAP_FOREIGN, "the process that connected is not the one whose memory it is"},
	{PAGEMAP_FOREIGN + 1, "they are being compared with what the kernel says; ask again"},
	{UINT32_MAX, "they are being compared with what the kernel says; ask again"},
};
/* clang-format on */

static void check_exact(const char *why)
{
	cleanup_json struct json_object *o = apikit_object(200, "GET", "/a/pages", NULL);

	check_flag(o, "exact", !why);
	apikit_check_text(o, "inexact", why ? why : "");
}

START_TEST(test_exact_pages)
{
	struct scene_vmm vmm;
	struct restore *r = apikit_serve(&apikit, &vmm, "a", ON_DEMAND, "--hold-before");
	struct pagemap map;

	json_object_put(apikit_object(200, "POST", "/a/pause", NULL));
	open_map(r, &map);
	for (size_t i = 0; i < ARRAY_LEN(exacts); i++) {
		map.head->exact = exacts[i].exact;
		check_exact(exacts[i].why);
	}
	map.head->exact = PAGEMAP_EXACT;
	r->slot.state = SLOT_LOADING;
	check_exact("another worker is taking over");
	r->slot.state = SLOT_READY;
	pagemap_close(&map);
	apikit_finish(r, &vmm);
}
END_TEST

/* ---- working set ---- */

/* The answer is the bytes that are stored. */
START_TEST(test_working_set)
{
	cleanup_free char *length = NULL;
	cleanup_free void *want = NULL;
	struct err err = {.msg = ""};
	struct scene_vmm vmm;
	struct restore *r = apikit_serve(&apikit, &vmm, "a", ON_DEMAND, "--only 3+5 --hold");
	struct reply *reply;
	size_t len;

	apikit_refused("GET", "/a/working-set", NULL, ERR_NOTFOUND, "restore a has no working set");
	scene_vmm_await(&vmm, "touched 5");
	scene_vmm_kill(&vmm);
	WAIT_FOR(r->rec.wset_pages);
	ck_assert_msg(restore_wset_read(r, &want, &len, &err) == 0, "%s", err.msg);
	reply = apikit_ask(geteuid(), "GET", "/v1/restores/a/working-set", NULL);
	length = scene_format("\r\nContent-Length: %zu\r\n", len);
	ck_assert_int_eq(reply->status, 200);
	ck_assert_msg(strstr(reply->text, length) &&
			      strstr(reply->text, "\r\nContent-Type: application/octet-stream\r\n"),
		      "%s", reply->text);
	ck_assert_int_eq(memcmp(reply->body, want, len), 0);
	apikit_finish(r, NULL);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("api restores pages");
	TCase *tc = tcase_create("pages, working set");

	tcase_add_unchecked_fixture(tc, apikit_make_dir, apikit_remove_dir);
	tcase_add_checked_fixture(tc, apikit_begin, apikit_end);
	tcase_add_test(tc, test_pages);
	tcase_add_test(tc, test_no_pages);
	tcase_add_test(tc, test_exact_pages);
	tcase_add_test(tc, test_working_set);
	suite_add_tcase(suite, tc);
	return suite;
}
