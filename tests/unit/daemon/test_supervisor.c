/* test_supervisor - creates: who may, who joins, who is told, and which restores are listed */
#include "daemon/supervisor.h"

#include "daemon/descriptors.h"
#include "daemon/caller.h"
#include "tests/support/capacitykit.h"
#include "tests/support/supervisorkit.h"

/* ---- made ---- */

START_TEST(test_made)
{
	struct asker a;

	workerkit_snapshot(&at);
	ask(&a, "r", "");
	ck_assert(a.c.made && a.c.list && !a.told);
	/* It is there, and hidden. */
	ck_assert_ptr_nonnull(table_find(&k.sup->table, "r", NULL));
	ck_assert_ptr_null(supervisor_find(k.sup, "r", NULL));
	ck_assert_str_eq(listed(), "mine roots ");
	ck_assert_str_eq(rows(), "mine:ended roots:ended ");
	await_told(&a);
	ck_assert_msg(a.with, "%s", a.why.msg);
	ck_assert_ptr_eq(supervisor_find(k.sup, "r", NULL), a.with);
	ck_assert_str_eq(listed(), "mine r roots ");
	ck_assert_str_eq(rows(), "mine:ended r:waiting roots:ended ");
	ck_assert_str_eq(events_of("r"), "created ");
	ck_assert_ptr_null(supervisor_find(k.sup, "unknown", NULL));
	/* Several in a row are hidden, and so is the last. */
	ask_too("ra", "");
	ask_too("rb", "");
	ask(&a, "z", "");
	ck_assert_str_eq(listed(), "mine r roots ");
	await_told(&a);
	ck_assert_ptr_eq(supervisor_next(k.sup, "roots", a.with->rec.tenant), a.with);
}
END_TEST

/* Its VMM connects to a place in the run directory, or to the one that the caller names. */
START_TEST(test_socket)
{
	cleanup_free char *own = NULL, *named = NULL, *members = NULL;
	const char *there;

	ck_assert_int_gt(asprintf(&own, "%s/run/uffd/", at.dir), 0);
	ck_assert_int_gt(asprintf(&named, "%s/named", at.dir), 0);
	ck_assert_int_gt(asprintf(&members, "\"socket\":{\"path\":\"%s\"}", named), 0);
	ask_too("a", "");
	ask_too("b", members);
	there = table_find(&k.sup->table, "a", NULL)->rec.socket_path;
	ck_assert_int_eq(strncmp(there, own, strlen(own)), 0);
	/* Nobody guesses it, not even the id's owner. */
	ck_assert_uint_eq(strlen(there + strlen(own)), RECORD_KEY_LEN);
	ck_assert_str_ne(there + strlen(own), table_find(&k.sup->table, "b", NULL)->rec.key);
	ck_assert_str_eq(table_find(&k.sup->table, "b", NULL)->rec.socket_path, named);
	ck_assert(access(there, F_OK) == 0 && access(named, F_OK) == 0);
}
END_TEST

/* There is no snapshot. Nothing is left of it, and the id is free. */
START_TEST(test_cannot_be_made)
{
	struct asker a;

	for (int i = 0; i < 2; i++) {
		ask(&a, "r", "");
		ck_assert(a.c.made);
		await_told(&a);
		ck_assert_ptr_null(a.with);
		ck_assert_msg(a.why.code == ERR_PATH && strstr(a.why.msg, at.dir), "%s: %s",
			      err_name(a.why.code), a.why.msg);
		ck_assert_ptr_null(table_find(&k.sup->table, "r", NULL));
	}
	ck_assert_str_eq(rows(), "mine:ended roots:ended ");
	ck_assert_str_eq(ended(), "mine roots ");
}
END_TEST

/* There is a file in the place of the socket: refused at once, by its own reason. */
START_TEST(test_cannot_be_assigned)
{
	cleanup_free char *path = NULL, *members = NULL;

	ck_assert_int_gt(asprintf(&path, "%s/taken", at.dir), 0);
	ck_assert_int_gt(asprintf(&members, "\"socket\":{\"path\":\"%s\"}", path), 0);
	close(open(path, O_CREAT | O_CLOEXEC, 0600));
	ask_in_vain("r", members, ERR_PATH, path);
}
END_TEST

/* ---- joined ---- */

START_TEST(test_joins)
{
	struct asker first, second, late;

	workerkit_snapshot(&at);
	ask(&first, "r", "");
	ask(&second, "r", "");
	ck_assert(first.c.made && !second.c.made && second.c.list && !second.told);
	ck_assert_uint_eq(k.sup->table.n, 3);
	await_told(&first);
	ck_assert_uint_eq(second.told, 1);
	ck_assert(first.with && first.with == second.with);
	ck_assert_uint_lt(first.turn, second.turn);
	/* From then on the answer is there before the call returns. */
	ask(&late, "r", "");
	ck_assert_uint_eq(late.told, 1);
	ck_assert(late.with == first.with && !late.c.made && !late.c.list);
	ck_assert_str_eq(events_of("r"), "created ");
}
END_TEST

/* The failure, too, is for all of them. */
START_TEST(test_joins_in_vain)
{
	struct asker first, second;

	ask(&first, "r", "");
	ask(&second, "r", "");
	await_told(&second);
	ck_assert_uint_eq(first.told, 1);
	ck_assert(!first.with && !second.with);
	ck_assert_str_eq(first.why.msg, second.why.msg);
}
END_TEST

START_TEST(test_conflict)
{
	static const char other[] = "\"connect_timeout\":\"7s\"";
	struct asker a;

	workerkit_snapshot(&at);
	ask(&a, "r", "");
	ask_in_vain("r", other, ERR_CONFLICT, "restore r exists with a different request");
	await_told(&a);
	ask_in_vain("r", other, ERR_CONFLICT, "restore r exists with a different request");
	/* Also one that has ended. */
	ask_in_vain("roots", "\"tenant\":\"" CALLER_DEFAULT_TENANT "\"", ERR_CONFLICT,
		    "restore roots exists");
	ck_assert_uint_eq(a.told, 1);
}
END_TEST

/* An id is nobody's but in its own tenant: each has its own restore, socket and page map. */
START_TEST(test_id_of_another_tenant)
{
	const struct restore *mine = table_find(&k.sup->table, "mine", APIKIT_TENANT);
	struct asker a, b;

	workerkit_snapshot(&at);
	ask(&a, "mine", "\"tenant\":\"red\"");
	ask(&b, "mine", "\"tenant\":\"blue\"");
	await_told(&a);
	await_told(&b);
	ck_assert(a.c.made && b.c.made && a.with && b.with);
	ck_assert(a.with != mine && b.with != mine && a.with != b.with);
	ck_assert_str_ne(a.with->rec.key, b.with->rec.key);
	ck_assert_str_ne(a.with->rec.socket_path, b.with->rec.socket_path);
	ck_assert_ptr_eq(supervisor_find(k.sup, "mine", "red"), a.with);
	ck_assert_ptr_eq(supervisor_find(k.sup, "mine", "blue"), b.with);
	ck_assert_ptr_eq(supervisor_find(k.sup, "mine", APIKIT_TENANT), mine);
	ck_assert_str_eq(rows(), "mine:waiting mine:waiting mine:ended roots:ended ");
}
END_TEST

/* The row of a former run answers by its text in the store. */
START_TEST(test_joins_an_ended_one)
{
	cleanup_json struct json_object *body = NULL;
	struct err err = {.msg = ""};
	struct spec spec;
	struct asker a;

	body = js_parse(APIKIT_BODY, strlen(APIKIT_BODY), false, &err);
	ck_assert_msg(body && spec_parse(body, &spec, &err) == 0, "%s", err.msg);
	spec_resolve(&spec, APIKIT_TENANT, APIKIT_OWNER, APIKIT_OWNER);
	ck_assert_msg(ask_with(&a, "mine", &spec, geteuid(), &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(a.told, 1);
	ck_assert_ptr_eq(a.with, supervisor_find(k.sup, "mine", NULL));
	ck_assert_int_eq(a.with->rec.state, STATE_ENDED);
}
END_TEST

/* ---- whoever goes before the answer ---- */

START_TEST(test_forget_creator)
{
	struct asker first, second;

	workerkit_snapshot(&at);
	ask(&first, "r", "");
	ask(&second, "r", "");
	for (int i = 0; i < 2; i++) {
		supervisor_forget_creator(&first.c);
		ck_assert_ptr_null(first.c.list);
	}
	await_told(&second);
	ck_assert_uint_eq(first.told, 0);
	ck_assert_ptr_nonnull(second.with);
	/* After the answer there is nothing to forget. */
	supervisor_forget_creator(&second.c);
	ck_assert_uint_eq(second.told, 1);
}
END_TEST

/* It is made, although nobody waits any more. */
START_TEST(test_forget_all_creators)
{
	struct asker a, b;

	workerkit_snapshot(&at);
	ask(&a, "r", "");
	supervisor_forget_creator(&a.c);
	ask(&b, "s", "");
	await_told(&b);
	ask(&b, "r", "");
	await_told(&b);
	ck_assert_uint_eq(a.told, 0);
	ck_assert(b.with && !b.c.made);
}
END_TEST

/* ---- refused ---- */

START_TEST(test_quota)
{
	struct asker a;

	workerkit_snapshot(&at);
	k.sup->host.conf.max_restores = 2;
	ask_too("r", "");
	ask_too("s", "\"tenant\":\"another\"");
	ask_in_vain("t", "", ERR_QUOTA, "this host has 2 of 2 restores (max_restores)");
	/* Whoever joins asks for no other restore. */
	ask(&a, "r", "");
	await_told(&a);
	ask_in_vain("t", "", ERR_QUOTA, "2 of 2 restores (max_restores)");
	/* Those that have ended do not count. */
	restore_end(a.with, "stopped");
	ask_too("t", "");
	ask_in_vain("u", "", ERR_QUOTA, "2 of 2 restores (max_restores)");
}
END_TEST

START_TEST(test_quota_of_a_tenant)
{
	k.sup->host.conf.max_restores_per_tenant = 2;
	ask_too("r", "");
	ask_too("s", "\"tenant\":\"another\"");
	ask_too("t", "");
	ask_in_vain("u", "", ERR_QUOTA, "tenant t has all of its budget of 2 restores");
	ask_too("u", "\"tenant\":\"another\"");
	ask_in_vain("v", "\"tenant\":\"another\"", ERR_QUOTA,
		    "tenant another has all of its budget of 2");
}
END_TEST

START_TEST(test_connect_timeout)
{
	k.sup->host.conf.connect_timeout_max_ms = 7000;
	ask_too("r", "\"connect_timeout\":\"7s\"");
	ask_in_vain("s", "\"connect_timeout\":\"7001ms\"", ERR_INVALID,
		    "connect_timeout: 7001 ms is more than the configured connect_timeout_max, "
		    "7000 ms");
}
END_TEST

/* As long a run directory as leaves room for a key in a socket's address, or by one longer. */
START_TEST(test_socket_path)
{
	cleanup_free char *members = NULL;
	char *path = k.conf.run_dir;
	size_t len = PROTO_SUN_MAX - strlen("/uffd/") - RECORD_KEY_LEN + (size_t)_i;

	ck_assert_uint_le(len, CONF_RUN_DIR_MAX);
	ck_assert_int_gt(asprintf(&members, "\"socket\":{\"path\":\"%s/s\"}", at.dir), 0);
	memset(path + strlen(path), 'x', len - strlen(path));
	path[len] = '\0';
	stop();
	start();
	if (_i)
		ask_in_vain("r", "", ERR_INVALID, "choose a shorter run directory");
	else
		ask_too("r", "");
	ask_too("s", members);
}
END_TEST

/* May @uid ask at all? All requests of it are refused for their connect_timeout. */
static bool may_ask(uid_t uid)
{
	struct spec spec = make_request("\"connect_timeout\":\"2s\"");
	struct err err = {.msg = ""};
	struct asker a;

	k.sup->host.conf.connect_timeout_max_ms = 1000;
	ck_assert_int_eq(ask_with(&a, "r", &spec, uid, &err), -1);
	if (err.code == ERR_INVALID)
		return true;
	ck_assert_int_eq(err.code, ERR_DENIED);
	ck_assert_msg(strstr(err.msg, "run it as root to serve others"), "%s", err.msg);
	return false;
}

/* A daemon that is not root has only its own rights to give to a worker. */
START_TEST(test_unprivileged)
{
	bool root = geteuid() == 0;

	if (root) {
		ck_assert(may_ask(0) && may_ask(APIKIT_OWNER));
		ck_assert_int_eq(seteuid(APIKIT_OWNER), 0);
	}
	ck_assert(may_ask(geteuid()));
	ck_assert(!may_ask(geteuid() + 1) && !may_ask(0));
	ck_assert(!root || seteuid(0) == 0);
}
END_TEST

START_TEST(test_too_few_descriptors)
{
	leave(&k.sup->capacity, DESCRIPTORS_PER_RESTORE - 1);
	ask_in_vain("r", "", ERR_QUOTA, "1 are missing");
	set_limit(PLENTY);
	ask_too("r", "");
}
END_TEST

/* A child that has just been forked has all files of its parent, until it executes its program. */
static bool is_nobodys(void *arg)
{
	cleanup_fd int fd = open(arg, O_RDWR | O_CLOEXEC);

	return fcntl(fd, F_SETLEASE, F_WRLCK) == 0;
}

/* A worker of a former daemon has the page map open, and the store does not know its restore. */
START_TEST(test_may_come_back)
{
	cleanup_free char *path = NULL;
	cleanup_fd int map = -1;

	ck_assert_int_gt(asprintf(&path, "%s/run/maps/r", at.dir), 0);
	stop();
	map = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	start();
	ask_in_vain("s", "", ERR_UNREADY, "a worker of a former daemon");
	close_fd(&map);
	ck_assert_msg(harness_wait(is_nobodys, path, HARNESS_MS), "the map stays open");
	ask_too("r", "");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("supervisor");
	TCase *tc = tcase_create("create"), *refused = tcase_create("refused");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_made);
	tcase_add_test(tc, test_socket);
	tcase_add_test(tc, test_cannot_be_made);
	tcase_add_test(tc, test_cannot_be_assigned);
	tcase_add_test(tc, test_joins);
	tcase_add_test(tc, test_joins_in_vain);
	tcase_add_test(tc, test_conflict);
	tcase_add_test(tc, test_id_of_another_tenant);
	tcase_add_test(tc, test_joins_an_ended_one);
	tcase_add_test(tc, test_forget_creator);
	tcase_add_test(tc, test_forget_all_creators);
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(refused, begin, end);
	tcase_add_test(refused, test_quota);
	tcase_add_test(refused, test_quota_of_a_tenant);
	tcase_add_test(refused, test_connect_timeout);
	tcase_add_loop_test(refused, test_socket_path, 0, 2);
	tcase_add_test(refused, test_unprivileged);
	tcase_add_test(refused, test_too_few_descriptors);
	tcase_add_test(refused, test_may_come_back);
	suite_add_tcase(suite, refused);
	return suite;
}
