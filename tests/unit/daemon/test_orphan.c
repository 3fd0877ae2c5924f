/* test_orphan - a worker without a row proves its restore: what is believed of what it says */
#include "daemon/orphan.h"

#include "tests/support/orphankit.h"

/* The request of the kit, spelled out, with other @members. */
static void ask_for(const char *members)
{
	cleanup_free char *text = NULL;

	ck_assert_int_gt(asprintf(&text, "{\"snapshot\":{\"dir\":\"/snapshot\"},%s}", members), 0);
	set_request(request_of(text));
}

/* ---- what is believed ---- */

static void check_common(void)
{
	const struct restore_record *rec = &r->rec;

	ck_assert_str_eq(rec->key, "r");
	ck_assert_str_eq(rec->id, "said");
	ck_assert_str_eq(rec->boot_id, "of the test");
	ck_assert(rec->caller_uid == CALLER && rec->caller_gid == CALLER + 1);
	ck_assert_uint_eq(rec->worker_pid, (uint32_t)w.pid);
	ck_assert_uint_eq(rec->worker_start, proc_start_time(w.pid));
	ck_assert_uint_eq(rec->size_bytes, GUESTKIT_BYTES - 1);
	ck_assert_int_eq(rec->prefetch, PREFETCH_NONE);
	ck_assert(rec->prefetch_held);
	ck_assert_uint_eq(rec->rate_bytes_per_s, RATE);
	ck_assert_uint_eq(rec->max_resident_bytes, 2 * RATE);
	ck_assert_str_eq(rec->wset_key, "f00000000000000000000000000000000-000000000000004d");
	ck_assert(r->worker == worker && worker->arg == r);
	ck_assert_ptr_eq(worker->hooks, &conversation_worker_hooks);
	ck_assert_int_eq(r->slot.state, SLOT_READY);
	ck_assert_uint_eq(r->hold.acceptor.awaited, PEERS);
	/* The caller publishes it. */
	ck_assert_str_eq(restorekit_events(&k), "");
	ck_assert_str_eq(workerside_told(&w), "");
}

START_TEST(test_waiting)
{
	int before;
	uint64_t cookie;

	be_waiting();
	before = fds_count(getpid());
	cookie = sock_cookie(listen_fd);
	must_adopt();
	check_common();
	ck_assert_int_eq(r->rec.state, STATE_WAITING);
	ck_assert(!r->rec.vmm_pid && !r->rec.page_bytes && !r->rec.memory_bytes);
	ck_assert(r->rec.recording && r->hold.vmm < 0);
	ck_assert_str_eq(r->rec.socket_path, k.r->spec.socket_path);
	/* The socket is taken and accepts. Page map and request stay the caller's. */
	ck_assert_int_lt(listen_fd, 0);
	ck_assert_uint_eq(sock_cookie(r->hold.acceptor.fd), cookie);
	ck_assert_ptr_nonnull(r->hold.acceptor.on_peer);
	ck_assert(fds[0] >= 0 && fds[1] >= 0);
	ck_assert_int_eq(fds_count(getpid()), before);
	ck_assert(restorekit_exists(&k, "uffd") && restorekit_exists(&k, "maps"));
}
END_TEST

/* Also a worker that brings a socket is not believed that it waits: its page map knows the VMM. */
START_TEST(test_serving)
{
	int before;

	be_serving(guest.pid, true);
	if (_i)
		listen_fd = listening(k.r->spec.socket_path);
	who.uid = geteuid();
	before = fds_count(getpid());
	must_adopt();
	ck_assert_int_eq(r->rec.state, STATE_SERVING);
	ck_assert_uint_eq(r->rec.vmm_pid, (uint32_t)guest.pid);
	ck_assert_uint_eq(r->rec.vmm_uid, geteuid());
	ck_assert_uint_eq(r->rec.vmm_start, proc_start_time(guest.pid));
	ck_assert_uint_eq(r->rec.page_bytes, PAGE_4K);
	ck_assert_uint_eq(r->rec.memory_bytes, GUESTKIT_BYTES);
	/* What is recorded from now on has no beginning. */
	ck_assert(!r->rec.recording);
	ck_assert(r->hold.vmm >= 0 && fds[2] < 0 && r->hold.on_vmm);
	ck_assert_int_eq(fds_count(getpid()), before);
	/* No VMM is waited for any more. */
	ck_assert(!restorekit_exists(&k, "uffd") && !r->hold.own_socket);
	ck_assert_ptr_null(r->hold.acceptor.on_peer);
}
END_TEST

/* The user who runs the worker decides, and not the request. */
static const struct {
	uid_t uid;
	const char *tenant;
} tenants[] = {{CALLER, "uid-4711"}, {0, "default"}};

START_TEST(test_tenant)
{
	be_waiting();
	who.uid = tenants[_i].uid;
	who.ngroups = 2;
	who.groups[0] = 4;
	who.groups[1] = 27;
	must_adopt();
	ck_assert_str_eq(r->rec.tenant, tenants[_i].tenant);
	ck_assert_str_eq(r->spec.tenant, tenants[_i].tenant);
	ck_assert_str_eq(r->rec.caller_groups, "4 27");
	ck_assert_uint_eq(r->spec.peer_uid, geteuid());
}
END_TEST

/* Bounds of what is only said. */
START_TEST(test_numbers)
{
	static const uint64_t values[] = {0, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};

	be_waiting();
	proof.prefetch = _i ? PREFETCH_COUNT : PREFETCH_WORKING_SET;
	proof.prefetch_held = 0;
	proof.rate_bytes_per_s = values[_i];
	proof.max_resident_bytes = values[_i];
	proof.key.kind = WSET_KIND_COUNT;
	must_adopt();
	/* That of the request, where it is none. */
	ck_assert_int_eq(r->rec.prefetch, _i ? PREFETCH_ALL : PREFETCH_WORKING_SET);
	ck_assert(!r->rec.prefetch_held);
	ck_assert_uint_eq(r->rec.rate_bytes_per_s, min_u64(values[_i], INT64_MAX));
	ck_assert_uint_eq(r->rec.max_resident_bytes, min_u64(values[_i], INT64_MAX));
	ck_assert_str_eq(r->rec.wset_key, "");
}
END_TEST

/* ---- whose socket it is ---- */

static const struct {
	const char *asked, *bound; /* in the kit's directory; NULL: in the place of our own */
	bool admin, own;
} sockets[] = {
	{NULL, NULL, false, true}, {NULL, "elsewhere", false, true}, {"s", "s", true, true},
	{"s", "s", false, false},  {"s", "another", true, false},    {"s", NULL, true, false},
};

START_TEST(test_socket)
{
	cleanup_free char *members = NULL;
	const char *own = k.r->spec.socket_path;

	make_map();
	fds[0] = open_map(O_RDWR);
	who.uid = sockets[_i].admin ? geteuid() : CALLER;
	ck_assert_int_gt(asprintf(&members, "\"socket\":{\"path\":\"%s\"}",
				  sockets[_i].asked ? path_in(sockets[_i].asked) : own),
			 0);
	ask_for(members);
	listen_fd = listening(sockets[_i].bound ? path_in(sockets[_i].bound) : own);
	must_adopt();
	ck_assert_int_eq(r->hold.own_socket, sockets[_i].own);
	ck_assert_int_eq(r->hold.foreign_dir, sockets[_i].asked != NULL);
	/* The request names no user: so they are the worker's. */
	ck_assert(r->spec.peer_uid == who.uid && r->spec.socket_uid == who.uid);
	ck_assert_uint_eq(r->spec.socket_gid, who.gid);
}
END_TEST

/* The worker waits without a socket: what is left in our own directory is unlinked. */
START_TEST(test_no_socket)
{
	make_map();
	fds[0] = open_map(O_RDWR);
	must_adopt();
	ck_assert(!restorekit_exists(&k, "uffd") && !r->hold.own_socket);
	ck_assert_int_lt(r->hold.acceptor.fd, 0);
}
END_TEST

/* ---- the VMM ---- */

/* The VMM has ended: the restore has no process to watch or to kill. */
START_TEST(test_vmm_has_ended)
{
	pid_t vmm = guest.pid;

	be_serving(vmm, false);
	guestkit_kill(&guest);
	must_adopt();
	ck_assert_int_eq(r->rec.state, STATE_SERVING);
	ck_assert_uint_eq(r->rec.vmm_pid, (uint32_t)vmm);
	ck_assert(r->hold.vmm < 0 && r->rec.vmm_start == 0);
	ck_assert_ptr_null(r->hold.ask_vmm);
}
END_TEST

/* ---- its id ---- */

/* What the worker says, or else the key. */
static const struct {
	const char *said, *tenant,
		*id; /* tenant: of a restore that has the said id; NULL: nobody's */
} ids[] = {
	{"said", "uid-4711", "r"},
	{"said", "another", "said"},
	{"", NULL, "r"},
	{"../said", NULL, "r"},
};

START_TEST(test_id)
{
	struct restore other = {.rec = {.key = "other", .id = "said"}};

	be_waiting();
	snprintf(proof.id, sizeof(proof.id), "%s", ids[_i].said);
	if (ids[_i].tenant) {
		snprintf(other.rec.tenant, sizeof(other.rec.tenant), "%s", ids[_i].tenant);
		table_insert(&others, &other);
	}
	must_adopt();
	ck_assert_str_eq(r->rec.id, ids[_i].id);
	ck_assert_str_eq(r->rec.key, "r");
	table_fini(&others);
}
END_TEST

/* ---- publish ---- */

static int count_row(void *arg, struct restore_record *rec, struct err *unused)
{
	(void)unused;
	ck_assert_str_eq(rec->id, "said");
	ck_assert_str_eq(rec->tenant, "uid-4711");
	++*(int *)arg;
	return 0;
}

/* The store has the restore from now on, and the event lists what is not known. */
START_TEST(test_publish)
{
	int rows = 0;

	be_waiting();
	must_adopt();
	orphan_publish(r);
	ck_assert_str_eq(restorekit_events(&k), "adopted ");
	ck_assert_str_eq(restorekit_data(&k),
			 "{\"unknown\":[\"created_at\",\"connected_at\",\"worker.restarts\","
			 "\"working_set\",\"stop\"]}");
	ck_assert_int_eq(store_restores(k.store, count_row, &rows, &err), 0);
	ck_assert_int_eq(rows, 1);
	ck_assert_uint_eq(k.changed, 1);
	ck_assert_str_eq(workerside_told(&w), "KNOWN ");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("orphan");
	TCase *tc = runner_case(suite, "believed", begin, end);

	tcase_add_test(tc, test_waiting);
	tcase_add_loop_test(tc, test_serving, 0, 2);
	tcase_add_loop_test(tc, test_tenant, 0, ARRAY_LEN(tenants));
	tcase_add_loop_test(tc, test_numbers, 0, 4);
	tcase_add_loop_test(tc, test_socket, 0, ARRAY_LEN(sockets));
	tcase_add_test(tc, test_no_socket);
	tcase_add_test(tc, test_vmm_has_ended);
	tcase_add_loop_test(tc, test_id, 0, ARRAY_LEN(ids));
	tcase_add_test(tc, test_publish);
	return suite;
}
