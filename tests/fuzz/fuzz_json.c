/* fuzz_json - JSON from outside, alone and as the request for a restore: what is read is written */
#include "common/js.h"

#include "common/spec.h"
#include "tests/fuzz/fuzz.h"

/* Owned by the caller. */
static struct json_object *again(struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	struct err err = {.msg = ""};
	struct json_object *back = js_parse(text, strlen(text), false, &err);

	if (!back)
		fuzz_fail(__FILE__, __LINE__, "%s: %s", text, err.msg);
	return back;
}

static bool is_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_same(const struct spec *a, const struct spec *b)
{
	FUZZ_CHECK(a->source == b->source && a->nlayers == b->nlayers && is_same(a->path, b->path));
	for (size_t i = 0; i < a->nlayers; i++)
		FUZZ_CHECK(is_same(a->layers[i].path, b->layers[i].path));
	FUZZ_CHECK(a->dense_diffs == b->dense_diffs && is_same(a->tenant, b->tenant));
	FUZZ_CHECK(is_same(a->socket_path, b->socket_path) && a->socket_mode == b->socket_mode);
	FUZZ_CHECK(a->socket_uid == b->socket_uid && a->socket_gid == b->socket_gid);
	FUZZ_CHECK(a->peer_uid == b->peer_uid && a->prefetch == b->prefetch);
	FUZZ_CHECK(a->rate_bytes_per_s == b->rate_bytes_per_s);
	FUZZ_CHECK(a->max_resident_bytes == b->max_resident_bytes);
	FUZZ_CHECK(a->zero_pages == b->zero_pages && a->record == b->record);
	FUZZ_CHECK(is_same(a->wset_path, b->wset_path));
	FUZZ_CHECK(a->connect_timeout_ms == b->connect_timeout_ms);
	FUZZ_CHECK(a->when_complete == b->when_complete && a->on_failure == b->on_failure);
}

/* The canonical text is the same for a spec that was read from it. */
static void check_spec(struct json_object *body)
{
	cleanup_json struct json_object *canonical = NULL, *back = NULL, *second = NULL;
	struct spec spec, read;
	struct err err = {.msg = ""};

	if (spec_parse(body, &spec, &err)) {
		FUZZ_CHECK_ERR(&err);
		spec_fini(&spec);
		return;
	}
	spec_resolve(&spec, "t", 1, 2);
	canonical = spec_json(&spec);
	back = again(canonical);
	if (spec_parse(back, &read, &err))
		fuzz_fail(__FILE__, __LINE__, "%s: %s", json_object_to_json_string(canonical),
			  err.msg);
	check_same(&spec, &read);
	second = spec_json(&read);
	FUZZ_CHECK(json_object_equal(canonical, second));
	spec_fini(&spec);
	spec_fini(&read);
}

/* A text may arrive in pieces: what comes before its end is not wrong. */
static void check_arriving(const char *text, size_t len, size_t part)
{
	cleanup_json struct json_object *whole = NULL, *half = NULL;
	struct err err = {.msg = ""};
	bool more;

	whole = js_parse_arriving(text, len, &more, &err);
	if (!whole) {
		if (!more)
			FUZZ_CHECK_ERR(&err);
		return;
	}
	half = js_parse_arriving(text, part, &more, &err);
	FUZZ_CHECK(half || more);
	FUZZ_CHECK(!half || json_object_equal(half, whole));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_json struct json_object *plain = NULL, *commented = NULL, *problem = NULL;
	/* Of exactly its length, so that a read beyond it is seen. */
	cleanup_free char *text = malloc(len ? len : 1);
	struct err err = {.msg = ""};

	if (!text)
		return 0;
	if (len)
		memcpy(text, data, len);
	plain = js_parse(text, len, false, &err);
	if (!plain) {
		FUZZ_CHECK_ERR(&err);
		problem = js_problem(&err);
		json_object_put(again(problem));
	}
	commented = js_parse(text, len, true, &err);
	FUZZ_CHECK(!plain || (commented && json_object_equal(plain, commented)));
	if (plain) {
		cleanup_json struct json_object *back = again(plain);

		FUZZ_CHECK(json_object_equal(plain, back));
		check_spec(plain);
	}
	check_arriving(text, len, len ? data[len - 1] * len / 256 : 0);
	return 0;
}
