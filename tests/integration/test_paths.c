/* test_paths - snapshots that are not whole, and places where no socket can be */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/sock.h"
#include "tests/support/runner.h"
#include "tests/support/scene.h"

#define RESTORES "/v1/restores"
/* The newest layer of SCENE_SNAPSHOT. */
#define LAYER "memfile.de4ea6ef-f527-4011-8b3d-a10198bb9cd8"

/* --- snapshots --- */

static void remove_dir(const char *dir)
{
	harness_rmtree(dir);
}

static void remove_file(const char *dir, const char *name)
{
	cleanup_free char *path = scene_format("%s/%s", dir, name);

	ck_assert_int_eq(unlink(path), 0);
}

static void shorten(const char *dir, const char *name, off_t len)
{
	cleanup_free char *path = scene_format("%s/%s", dir, name);

	ck_assert_msg(truncate(path, len) == 0, "%s: %s", path, strerror(errno));
}

static void no_header(const char *dir)
{
	remove_file(dir, "memfile.header");
}

static void short_header(const char *dir)
{
	shorten(dir, "memfile.header", 50);
}

static void cut_header(const char *dir)
{
	shorten(dir, "memfile.header", 64 + 40 + 7);
}

static void empty_header(const char *dir)
{
	shorten(dir, "memfile.header", 0);
}

static void no_layer(const char *dir)
{
	remove_file(dir, LAYER);
}

static void short_layer(const char *dir)
{
	shorten(dir, LAYER, 4096);
}

static void fifo_for_layer(const char *dir)
{
	cleanup_free char *path = scene_format("%s/" LAYER, dir);

	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0644), 0);
}

static void text_for_header(const char *dir)
{
	cleanup_free char *path = scene_format("%s/memfile.header", dir);
	char text[4096];

	memset(text, 'x', sizeof(text));
	scene_write(path, text, sizeof(text));
}

START_TEST(test_broken_snapshots)
{
	static const struct {
		const char *name;
		void (*break_it)(const char *dir);
		enum err_code code;
		const char *file, *detail;
	} cases[] = {
		{"no-dir", remove_dir, ERR_PATH, "", "No such file"},
		{"no-header", no_header, ERR_PATH, "/memfile.header", "No such file"},
		{"short-header", short_header, ERR_SNAPSHOT, "/memfile.header", "64"},
		{"cut-header", cut_header, ERR_SNAPSHOT, "/memfile.header", ""},
		{"empty-header", empty_header, ERR_SNAPSHOT, "/memfile.header", ""},
		{"text-header", text_for_header, ERR_SNAPSHOT, "/memfile.header", ""},
		{"no-layer", no_layer, ERR_SNAPSHOT, ": " LAYER, "missing in"},
		{"short-layer", short_layer, ERR_SNAPSHOT, "/" LAYER, "has 4096 bytes"},
		{"fifo-layer", fifo_for_layer, ERR_PATH, "/" LAYER, "not a regular file"},
	};
	struct scene s = {0};
	struct json_object *o;

	scene_open(&s);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_free char *dir = scene_format("%s/%s", s.d.dir, cases[i].name);
		cleanup_free char *target = scene_format(RESTORES "/%s", cases[i].name);
		cleanup_free char *file = scene_format("%s%s", dir, cases[i].file);
		cleanup_free char *body = scene_body(dir, NULL);

		scene_copy_dir(SCENE_SNAPSHOT, dir);
		cases[i].break_it(dir);
		scene_refused(&s, "PUT", target, body, cases[i].code, file);
		scene_refused(&s, "PUT", target, body, cases[i].code, cases[i].detail);
		scene_refused(&s, "GET", target, NULL, ERR_NOTFOUND, cases[i].name);
	}
	o = scene_ask(&s, 200, "GET", RESTORES, NULL);
	ck_assert_uint_eq(json_object_array_length(scene_member(o, "items")), 1); /* warm-up */
	json_object_put(o);
	scene_close(&s);
}
END_TEST

START_TEST(test_largest_snapshot)
{
	struct scene s = {.config = "\"snapshot_bytes_max\":1048576"};
	cleanup_free char *dir = NULL, *body = NULL;

	/* The warm-up's is exactly as large as allowed. */
	scene_open(&s);
	dir = scene_format("%s/large", s.d.dir);
	scene_make_snapshot(dir, 1048576 + PAGE_4K, 1);
	body = scene_body(dir, NULL);
	scene_refused(&s, "PUT", RESTORES "/a", body, ERR_SNAPSHOT, "snapshot_bytes_max");
	scene_refused(&s, "GET", RESTORES "/a", NULL, ERR_NOTFOUND, "no restore a");
	scene_close(&s);
}
END_TEST

/* Bytes of two snapshots must never be mixed: the restore fails, and says which file. */
START_TEST(test_layer_changes_while_served)
{
	struct scene s = {0};
	cleanup_free char *dir = NULL, *layer = NULL;
	struct scene_vmm vmm, other;

	scene_open(&s);
	dir = scene_format("%s/changing", s.d.dir);
	layer = scene_format("%s/" LAYER, dir);
	scene_copy_dir(SCENE_SNAPSHOT, dir);
	scene_create(&s, "a", dir, "\"prefetch\":{\"mode\":\"none\"}");
	scene_create(&s, "b", SCENE_SNAPSHOT, "\"prefetch\":{\"mode\":\"none\"}");
	scene_vmm_start(&vmm, &s, "a", "--hold-before");
	scene_vmm_start(&other, &s, "b", "--hold-before");
	scene_reach(&s, "a", "serving", "");
	scene_reach(&s, "b", "serving", "");
	shorten(dir, LAYER, 4096);
	scene_vmm_go(&vmm);
	scene_reach(&s, "a", "failed", layer);
	ck_assert_int_eq(scene_vmm_end(&vmm), 128 + SIGKILL);
	close_fd(&vmm.out);
	scene_vmm_go(&other);
	scene_vmm_right(&other);
	scene_reach(&s, "b", "ended", "vmm-exited");
	scene_close(&s);
}
END_TEST

static char *write_memory(const struct scene *s, const char *name, char byte)
{
	char *path = scene_format("%s/%s", s->d.dir, name);
	static char bytes[64 * PAGE_4K];

	memset(bytes, byte, sizeof(bytes));
	scene_write(path, bytes, sizeof(bytes));
	return path;
}

/* One that seems to replace everything is asked about, and served if that is meant. */
START_TEST(test_diff_without_holes)
{
	struct scene s = {0};
	cleanup_free char *base = NULL, *diff = NULL, *lost = NULL, *meant = NULL;
	struct json_object *o;
	struct scene_vmm vmm;

	scene_open(&s);
	base = write_memory(&s, "base", 'b');
	diff = write_memory(&s, "diff", 'd');
	lost = scene_format("{\"snapshot\":{\"memory\":[\"%s\",\"%s\"]}}", base, diff);
	meant = scene_format("{\"snapshot\":{\"memory\":[\"%s\",\"%s\"],\"dense_diffs\":true}}",
			     base, diff);
	scene_refused(&s, "PUT", RESTORES "/dense", lost, ERR_SNAPSHOT, "/diff has no hole");
	scene_tell(&s, 201, "PUT", RESTORES "/dense", meant);
	scene_refused(&s, "PUT", RESTORES "/dense", lost, ERR_CONFLICT, "different request");
	o = scene_ask(&s, 200, "PUT", RESTORES "/dense", meant);
	ck_assert(scene_flag(o, "snapshot.dense_diffs"));
	scene_vmm_start_at(&vmm, scene_text(o, "socket.path"), diff, "--threads 2");
	scene_vmm_right(&vmm);
	json_object_put(o);
	scene_reach(&s, "dense", "ended", "vmm-exited");
	scene_close(&s);
}
END_TEST

/* --- sockets --- */

static char *body_at(const char *path)
{
	cleanup_free char *more = scene_format("\"socket\":{\"path\":\"%s\"}", path);

	return scene_body(SCENE_SNAPSHOT, more);
}

/* Bound once, and nobody listens any more. */
static void leave_socket(const char *path)
{
	struct err err;
	int fd;

	ck_assert_msg(sock_listen(path, SOCK_STREAM, sock_mode(0600), &fd, &err) == 0, "%s",
		      err.msg);
	close(fd);
}

START_TEST(test_stale_socket_is_replaced)
{
	struct scene s = {0};
	cleanup_free char *path = NULL, *body = NULL;
	struct scene_vmm vmm;
	struct stat st;

	scene_open(&s);
	path = scene_format("%s/vm.sock", s.d.dir);
	body = body_at(path);
	leave_socket(path);
	scene_tell(&s, 201, "PUT", RESTORES "/a", body);
	scene_vmm_start(&vmm, &s, "a", "");
	scene_vmm_right(&vmm);
	scene_reach(&s, "a", "ended", "vmm-exited");
	scene_at_rest(&s);
	ck_assert_int_lt(lstat(path, &st), 0);
	scene_close(&s);
}
END_TEST

START_TEST(test_taken_paths)
{
	static const char kept[] = "precious";
	struct scene s = {0};
	cleanup_free char *live = NULL, *file = NULL, *link = NULL, *to_live = NULL;
	cleanup_free char *to_file = NULL, *to_link = NULL;
	cleanup_fd int fd = -1, in = -1, client = -1;
	char text[sizeof(kept)] = "";
	struct err err;

	scene_open(&s);
	live = scene_format("%s/live.sock", s.d.dir);
	file = scene_format("%s/file", s.d.dir);
	link = scene_format("%s/link", s.d.dir);
	to_live = body_at(live);
	to_file = body_at(file);
	to_link = body_at(link);
	ck_assert_int_eq(sock_listen(live, SOCK_STREAM, sock_mode(0600), &fd, &err), 0);
	scene_write(file, kept, sizeof(kept));
	ck_assert_int_eq(symlink(file, link), 0);
	scene_refused(&s, "PUT", RESTORES "/a", to_live, ERR_PATH, "somebody is listening at");
	scene_refused(&s, "PUT", RESTORES "/a", to_file, ERR_PATH, "is not a socket");
	scene_refused(&s, "PUT", RESTORES "/a", to_link, ERR_PATH, "is not a socket");
	/* The listener is as it was, and so is the file. */
	ck_assert_int_eq(sock_connect(live, SOCK_STREAM, &client, &err), 0);
	in = open(file, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(in, text, sizeof(text)), sizeof(kept));
	ck_assert_str_eq(text, kept);
	/* Two restores cannot share one path either. */
	unlink(file);
	scene_tell(&s, 201, "PUT", RESTORES "/a", to_file);
	scene_refused(&s, "PUT", RESTORES "/b", to_file, ERR_PATH, "somebody is listening at");
	scene_delete(&s, "a", "");
	scene_tell(&s, 201, "PUT", RESTORES "/b", to_file);
	scene_delete(&s, "b", "");
	scene_close(&s);
}
END_TEST

START_TEST(test_impossible_paths)
{
	struct scene s = {0};
	cleanup_free char *longest = NULL, *one_more = NULL, *nowhere = NULL, *path = NULL;

	scene_open(&s);
	path = scene_format("%s/%0*d", s.d.dir, PROTO_SUN_MAX - (int)strlen(s.d.dir) - 1, 0);
	ck_assert_uint_eq(strlen(path), PROTO_SUN_MAX);
	longest = body_at(path);
	scene_tell(&s, 201, "PUT", RESTORES "/a", longest);
	scene_delete(&s, "a", "");
	free(path);
	path = scene_format("%s/%0*d", s.d.dir, PROTO_SUN_MAX - (int)strlen(s.d.dir), 0);
	one_more = body_at(path);
	scene_refused(&s, "PUT", RESTORES "/b", one_more, ERR_INVALID, "socket.path: ");
	scene_refused(&s, "PUT", RESTORES "/b", one_more, ERR_INVALID, "107");
	nowhere = body_at("/nowhere/at/all/vm.sock");
	scene_refused(&s, "PUT", RESTORES "/b", nowhere, ERR_PATH, "there is no directory");
	scene_close(&s);
}
END_TEST

/* The same holds for the path that the daemon makes up itself. */
START_TEST(test_run_dir_too_long_for_a_socket)
{
	struct scene s = {0};
	cleanup_free char *run = NULL, *named = NULL;
	const char *extra[] = {"--run-dir", NULL, NULL};

	scene_open(&s);
	run = scene_format("%s/%0*d", s.d.dir, 80 - (int)strlen(s.d.dir), 0);
	extra[1] = run;
	ck_assert_int_eq(mkdir(run, 0755), 0);
	scene_stop(&s);
	snprintf(s.d.run, sizeof(s.d.run), "%s", run);
	snprintf(s.d.socket, sizeof(s.d.socket), "%s/control.sock", run);
	harness_daemon_start(&s.d, extra);
	scene_refused(&s, "PUT", RESTORES "/a", "{\"snapshot\":{\"dir\":\"" SCENE_SNAPSHOT "\"}}",
		      ERR_INVALID, "a Unix socket may have 107");
	named = scene_format("\"socket\":{\"path\":\"%s/named\"}", s.d.dir);
	scene_create(&s, "a", SCENE_SNAPSHOT, named);
	scene_delete(&s, "a", "");
	harness_daemon_stop(&s.d);
	free(s.config_text);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("story_paths");
	TCase *tc = tcase_create("paths");

	tcase_add_test(tc, test_broken_snapshots);
	tcase_add_test(tc, test_largest_snapshot);
	tcase_add_test(tc, test_layer_changes_while_served);
	tcase_add_test(tc, test_diff_without_holes);
	tcase_add_test(tc, test_stale_socket_is_replaced);
	tcase_add_test(tc, test_taken_paths);
	tcase_add_test(tc, test_impossible_paths);
	tcase_add_test(tc, test_run_dir_too_long_for_a_socket);
	suite_add_tcase(suite, tc);
	return suite;
}
