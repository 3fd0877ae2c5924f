/* test_json_view - each member of the restore and event objects, and where it comes from */
#include "daemon/json_view.h"

#include <string.h>

#include "tests/support/restorekit.h"

#define PAGES 8

static struct restorekit k;

static void begin(void)
{
	restorekit_open(&k, "");
}

static void end(void)
{
	restorekit_close(&k);
}

/* The JSON text of a member, by dotted path; "(none)" where there is none. Static storage. */
static const char *member(struct json_object *o, const char *path)
{
	static char text[4096];
	char name[64];

	for (size_t n; *path; path += n + (path[n] == '.')) {
		n = strcspn(path, ".");
		snprintf(name, sizeof(name), "%.*s", (int)n, path);
		if (!json_object_object_get_ex(o, name, &o))
			return "(none)";
	}
	snprintf(text, sizeof(text), "%s",
		 o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE) : "null");
	return text;
}

struct expected {
	const char *path, *value;
};

static void check(const struct expected *v, size_t n)
{
	cleanup_json struct json_object *o = json_view_restore(k.r);

	for (size_t i = 0; i < n; i++)
		ck_assert_msg(strcmp(member(o, v[i].path), v[i].value) == 0, "%s is %s, not %s",
			      v[i].path, member(o, v[i].path), v[i].value);
}

static void check_one(const char *path, const char *value)
{
	check(&(struct expected){path, value}, 1);
}

static void remake(const char *members)
{
	restorekit_close(&k);
	restorekit_open(&k, members);
}

static void open_map(struct pagemap *ret)
{
	struct regions regions = {.page_bytes = PAGE_4K, .n = 1};
	struct err err = {.msg = ""};
	char path[CONF_PATH_MAX + 1];
	cleanup_fd int fd = -1;

	regions.v[0] = (struct region){.base = PAGE_2M, .size = PAGES * PAGE_4K};
	host_path(&k.host, "maps", "r", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_msg(pagemap_create(fd, PAGES * PAGE_4K, ret, &err) == 0, "%s", err.msg);
	pagemap_connect(ret, &regions, 7, 8, 9);
}

/* ---- without a VMM ---- */

START_TEST(test_waiting)
{
	static const struct expected v[] = {
		{"id", "\"r\""},
		{"tenant", "\"t\""},
		{"state", "\"waiting\""},
		{"reason", "null"},
		{"complete", "false"},
		{"paused", "false"},
		{"vmm", "null"},
		{"worker.release", "null"},
		{"mem_backend.backend_type", "\"Uffd\""},
		{"memory.page_bytes", "0"},
		{"memory.resident_bytes", "0"},
		{"memory.short_of", "null"},
		{"faults.count", "0"},
		{"prefetch.mode", "\"all\""},
		{"prefetch.reason", "null"},
		{"connected_at", "null"},
		{"ended_at", "null"},
	};

	cleanup_free char *snapshot = NULL;

	ck_assert_int_gt(asprintf(&snapshot, "{\"dir\":\"%s/snapshot\"}", k.dir), 0);
	check_one("snapshot", snapshot);
	check(v, ARRAY_LEN(v));
}
END_TEST

/* What the request said, as it was understood. */
START_TEST(test_request)
{
	static const struct expected v[] = {
		{"socket.mode", "\"0640\""},
		{"socket.uid", "11"},
		{"socket.gid", "12"},
		{"peer.uid", "13"},
		{"prefetch.mode", "\"none\""},
		{"prefetch.state", "\"off\""},
		{"working_set.record", "false"},
		{"working_set.path", "\"/w\""},
		{"working_set.state", "\"off\""},
		{"connect_timeout", "\"1500ms\""},
		{"when_complete", "\"release\""},
		{"on_failure", "\"hold\""},
	};
	cleanup_free char *path = NULL;

	remake("\"socket\":{\"mode\":\"0640\",\"uid\":11,\"gid\":12},\"peer\":{\"uid\":13},"
	       "\"prefetch\":{\"mode\":\"none\"},\"working_set\":{\"record\":false,\"path\":\"/"
	       "w\"},"
	       "\"connect_timeout\":\"1500ms\",\"when_complete\":\"release\","
	       "\"on_failure\":\"hold\"");
	check(v, ARRAY_LEN(v));
	ck_assert_int_gt(asprintf(&path, "\"%s\"", k.r->rec.socket_path), 0);
	check_one("socket.path", path);
	check_one("mem_backend.backend_path", path);
}
END_TEST

/* ---- with one ---- */

START_TEST(test_record)
{
	static const struct expected v[] = {
		{"state", "\"failed\""},
		{"reason", "\"a test\""},
		{"revision", "77"},
		{"complete", "true"},
		{"paused", "true"},
		{"vmm", "{\"pid\":4711,\"uid\":5}"},
		{"worker", "{\"pid\":12,\"restarts\":3,\"release\":\"a release\"}"},
		{"memory.size_bytes", "999"},
		{"memory.total_bytes", "888"},
		{"prefetch.total_bytes", "888"},
		{"prefetch.rate_bytes_per_s", "33"},
		{"prefetch.max_resident_bytes", "44"},
		{"working_set.state", "\"recorded\""},
		{"working_set.pages", "55"},
		{"created_at", "\"1970-01-01T00:00:01.000Z\""},
		{"connected_at", "\"1970-01-01T00:00:02.000Z\""},
		{"ended_at", "\"1970-01-01T00:00:03.000Z\""},
	};
	struct worker w = {.release = "a release"};
	struct restore_record *r = &k.r->rec;

	k.r->worker = &w;
	r->state = STATE_FAILED;
	snprintf(r->reason, sizeof(r->reason), "a test");
	r->revision = 77;
	r->complete = r->paused = true;
	r->vmm_pid = 4711;
	r->vmm_uid = 5;
	r->worker_pid = 12;
	r->worker_restarts = 3;
	r->size_bytes = 999;
	r->memory_bytes = 888;
	r->rate_bytes_per_s = 33;
	r->max_resident_bytes = 44;
	r->wset_pages = 55;
	r->created_ms = 1000;
	r->connected_ms = 2000;
	r->ended_ms = 3000;
	check(v, ARRAY_LEN(v));
	/* There is one, but nobody knows which process it is. */
	r->vmm_pid = 0;
	check_one("vmm", "{\"pid\":null,\"uid\":5}");
	k.r->worker = NULL;
}
END_TEST

/* Each counter is shown as itself. */
START_TEST(test_page_map)
{
	static const struct expected v[] = {
		{"memory.resident_bytes", "16384"},
		{"memory.zero_bytes", "4096"},
		{"memory.removed_bytes", "8192"},
		{"memory.short_of", "\"huge-pages\""},
		{"faults", "{\"count\":1,\"written\":2,\"served\":3,\"zero\":4,"
			   "\"present\":5,\"deferred\":6,\"left\":7,\"overflows\":8}"},
		{"events", "{\"remove\":9,\"unmap\":10,\"remap\":11,\"fork\":12}"},
		{"installed", "{\"data_bytes\":13,\"zero_bytes\":14}"},
		{"prefetch.done_bytes", "15"},
		{"errors", "{\"source\":16,\"refused_peers\":17,\"page_states\":18}"},
	};
	struct pagemap map;
	uint64_t n = 0;

	open_map(&map);
	pagemap_set(&map, 0, 3, PAGE_PRESENT);
	pagemap_set(&map, 3, 1, PAGE_ZEROED);
	pagemap_set(&map, 4, 2, PAGE_REMOVED);
	map.head->short_of = PAGEMAP_SHORT_OF_HUGE;
#define X(field, meaning) map.stats->field = ++n;
	PAGEMAP_COUNTERS(X)
#undef X
	k.r->rec.page_bytes = PAGE_4K;
	k.r->rec.state = STATE_SERVING;
	check(v, ARRAY_LEN(v));
	map.head->short_of = PAGEMAP_SHORT_OF_MEMORY;
	check_one("memory.short_of", "\"memory\"");
	map.head->short_of = PAGEMAP_SHORT_OF_HUGE + 1;
	check_one("memory.short_of", "null");
	/* Nobody waits for it any more. */
	map.head->short_of = PAGEMAP_SHORT_OF_HUGE;
	k.r->rec.state = STATE_ENDED;
	check_one("memory.short_of", "null");
	pagemap_close(&map);
}
END_TEST

/* What is first true is shown. */
/* clang-format off */
static const struct {
	bool off, complete, done, held, paused;
	enum restore_state state;
	enum pagemap_limit limit;
	enum claim_state claim;
	const char *shown;
} prefetches[] = {
	{true,  true,  true,  true,  true,  STATE_SERVING, LIMIT_POOL, CLAIM_HELD,    "off"},
	{false, true,  false, true,  true,  STATE_SERVING, LIMIT_POOL, CLAIM_HELD,    "done"},
	{false, false, true,  true,  true,  STATE_SERVING, LIMIT_POOL, CLAIM_HELD,    "done"},
	{false, false, false, true,  false, STATE_SERVING, LIMIT_POOL, CLAIM_HELD,    "paused"},
	{false, false, false, false, true,  STATE_WAITING, LIMIT_POOL, CLAIM_HELD,    "paused"},
	{false, false, false, false, false, STATE_WAITING, LIMIT_POOL, CLAIM_HELD,    "idle"},
	{false, false, false, false, false, STATE_SERVING, LIMIT_POOL, CLAIM_HELD,    "limited"},
	{false, false, false, false, false, STATE_SERVING, LIMIT_NONE, CLAIM_NONE,    "idle"},
	{false, false, false, false, false, STATE_SERVING, LIMIT_NONE, CLAIM_WAITING, "queued"},
	{false, false, false, false, false, STATE_SERVING, LIMIT_NONE, CLAIM_HELD,    "running"},
	{false, false, false, false, false, STATE_SERVING, LIMIT_NONE, CLAIM_REVOKED, "running"},
};
/* clang-format on */

START_TEST(test_prefetch)
{
	struct pagemap map;
	char shown[32];

	open_map(&map);
	if (prefetches[_i].off)
		k.r->rec.prefetch = PREFETCH_NONE;
	k.r->rec.complete = prefetches[_i].complete;
	map.head->prefetch_done = prefetches[_i].done;
	k.r->rec.prefetch_held = prefetches[_i].held;
	k.r->rec.paused = prefetches[_i].paused;
	k.r->rec.state = prefetches[_i].state;
	map.head->prefetch_limit = prefetches[_i].limit;
	k.r->claim.state = prefetches[_i].claim;
	snprintf(shown, sizeof(shown), "\"%s\"", prefetches[_i].shown);
	check_one("prefetch.state", shown);
	if (strcmp(prefetches[_i].shown, "limited") == 0)
		check_one("prefetch.reason", "\"too few huge pages of the host are free: raise "
					     "vm.nr_hugepages, or lower prefetch_margin_bytes\"");
	else
		check_one("prefetch.reason", "null");
	k.r->claim.state = CLAIM_NONE;
	pagemap_close(&map);
}
END_TEST

/* ---- events ---- */

/* clang-format off */
static const struct {
	const char *data, *shown;
} datas[] = {
	{"{\"pid\":7}", "{\"pid\":7}"}, {NULL, "{}"}, {"what is no JSON", "{}"},
};
/* clang-format on */

START_TEST(test_event)
{
	const struct store_event e = {.seq = 42,
				      .time_ms = 1500,
				      .type = "created",
				      .tenant = "t",
				      .restore = "r",
				      .data = datas[_i].data};
	cleanup_json struct json_object *o = json_view_event(&e);
	cleanup_free char *expected = NULL;

	ck_assert_int_gt(asprintf(&expected,
				  "{\"seq\":42,\"time\":\"1970-01-01T00:00:01.500Z\",\"type\":"
				  "\"created\",\"tenant\":\"t\",\"restore\":\"r\",\"data\":%s}",
				  datas[_i].shown),
			 0);
	ck_assert_str_eq(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), expected);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("json view");
	TCase *tc = tcase_create("restore");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_waiting);
	tcase_add_test(tc, test_request);
	tcase_add_test(tc, test_record);
	tcase_add_test(tc, test_page_map);
	tcase_add_loop_test(tc, test_prefetch, 0, ARRAY_LEN(prefetches));
	suite_add_tcase(suite, tc);
	tc = tcase_create("event");
	tcase_add_loop_test(tc, test_event, 0, ARRAY_LEN(datas));
	suite_add_tcase(suite, tc);
	return suite;
}
