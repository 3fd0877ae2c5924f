/*
 * The disk does not answer for a while: whoever waits for what is on it waits,
 * and nobody else does. It is a file system of the test's own (slowdisk).
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/support/killing.h"
#include "tests/fakes/vmm/pages.h"
#include "tests/support/runner.h"
#include "tests/fakes/disk/slowdisk.h"

#define PAGES (KILLING_SIZE / PAGE_4K)
#define HELD_PAGE 300
#define REMOVED_PAGE 40 /* and the 15 after it */
#define REMOVED 16
#define KILLED (128 + SIGKILL)

/* --- the guest, a process of its own --- */

struct guest {
	struct vmm *v;
	_Atomic bool through; /* the thread that waits for the disk */
};

static void *touch_held(void *arg)
{
	struct guest *g = arg;
	struct walker w;

	walker_init(&w, g->v, "held", 1);
	pages_touch(&w, HELD_PAGE, false);
	atomic_store(&g->through, true);
	walker_fini(&w);
	return NULL;
}

/* Everything but the held page; and a removal must not wait for the disk either. */
static bool live_on(struct guest *g, struct walker *w)
{
	struct err err;
	uint64_t n;

	for (uint64_t page = 0; page < PAGES; page++)
		if (page != HELD_PAGE)
			pages_touch(w, page, page % 7 == 0);
	if (pages_remove(w, REMOVED_PAGE, REMOVED, &n, &err) || n != REMOVED)
		return false;
	for (uint64_t page = REMOVED_PAGE; page < REMOVED_PAGE + REMOVED; page++)
		pages_touch(w, page, false);
	return !atomic_load(&g->through) && !atomic_load(&g->v->wrong);
}

/* Words from the test: "l" live on, which is answered, and "e" end. */
static int guest_main(const char *socket, const char *image, int test)
{
	const struct vmm_opts o = {.image = image, .features = UF_FEATURE_REMOVE, .seed = 1};
	const struct vmm_link link = {0};
	struct guest g = {.v = NULL};
	struct walker w;
	pthread_t thread;
	struct err err;
	char word;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (vmm_create(&o, &g.v, &err) || vmm_connect(g.v, socket, &link, &err))
		return 2;
	walker_init(&w, g.v, "guest", 2);
	pthread_create(&thread, NULL, touch_held, &g);
	while (read(test, &word, 1) == 1 && word == 'l')
		if (!live_on(&g, &w) || write(test, ".", 1) != 1)
			return 3;
	pthread_join(thread, NULL);
	return pages_verify(&w) == PAGES && !atomic_load(&g.v->wrong) ? 0 : 4;
}

/* --- the stage --- */

struct show {
	struct killing k;
	struct slowdisk disk;
	int guest; /* owned: words to it */
};

static bool may_mount(const char *name)
{
	bool may = access("/dev/fuse", R_OK | W_OK) == 0 && harness_private_mounts();

	if (!may)
		fprintf(stderr, "%s: not tested: no FUSE file system may be mounted here\n", name);
	return may;
}

/* False: a file system of one's own is not allowed here. */
static bool open_show(struct show *s, const char *name, const char *members)
{
	cleanup_free char *snapshot = NULL, *dir = NULL;
	int pair[2];

	if (!may_mount(name))
		return false;
	killing_open(&s->k, name, NULL);
	dir = scene_format("%s/disk", s->k.dir);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	ck_assert(slowdisk_mount(&s->disk, dir, s->k.image, HELD_PAGE * PAGE_4K, PAGE_4K));
	snapshot = scene_format("{\"memory\":[\"%s/" SLOWDISK_FILE "\"]}", dir);
	stage_create(&s->k.s, snapshot, members);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s->guest = pair[0];
	s->k.s.vmm.pid = fork();
	if (s->k.s.vmm.pid == 0)
		_exit(guest_main(s->k.s.socket, s->k.image, pair[1]));
	close(pair[1]);
	slowdisk_await(&s->disk);
	killing_look(&s->k);
	return true;
}

static void guest_lives_on(struct show *s)
{
	struct pollfd p = {.fd = s->guest, .events = POLLIN};
	char c;

	ck_assert_int_eq(write(s->guest, "l", 1), 1);
	ck_assert_msg(poll(&p, 1, harness_scale_ms(SCENE_MS)) == 1 && read(s->guest, &c, 1) == 1,
		      "%s: the guest stands still", s->k.s.id);
}

/* It finds every byte right. */
static void guest_ends(struct show *s)
{
	ck_assert_int_eq(write(s->guest, "e", 1), 1);
	ck_assert_int_eq(stage_end(&s->k.s), 0);
	killing_look(&s->k);
	killing_bury(&s->k);
	json_object_put(stage_ended(&s->k.s, "vmm-exited"));
}

static void close_show(struct show *s)
{
	cleanup_free char *dir = scene_format("%s/disk", s->k.dir);

	close_fd(&s->guest);
	slowdisk_end(&s->disk);
	ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
	killing_close(&s->k);
}

/* --- what happens --- */

static const char *const demand = "\"prefetch\":{\"mode\":\"none\"}";
static const char *const prefetch = "\"prefetch\":{\"mode\":\"all\"}";

START_TEST(only_who_needs_the_disk_waits)
{
	struct show s;

	if (!open_show(&s, _i ? "disk-prefetch" : "disk-demand", _i ? prefetch : demand))
		return;
	guest_lives_on(&s);
	/* The worker listens, too. */
	stage_settle(&s.k.s);
	slowdisk_go(&s.disk);
	guest_ends(&s);
	close_show(&s);
}
END_TEST

/* The kernel lets nobody die before the disk has answered. */
static const enum killing_who dying[] = {DIES_WORKER, DIES_SUPERVISOR, DIES_BOTH};

START_TEST(deaths_while_the_disk_is_silent)
{
	enum killing_who who = dying[_i];
	cleanup_free char *name = scene_format("disk-%s", killing_who_names[who]);
	struct show s;

	if (!killing_survivable(who) || !open_show(&s, name, demand))
		return;
	killing_end(&s.k, who);
	if (who == DIES_SUPERVISOR)
		guest_lives_on(&s);
	slowdisk_go(&s.disk);
	killing_revive(&s.k, who);
	killing_recovered(&s.k, "serving");
	guest_ends(&s);
	close_show(&s);
}
END_TEST

/* A VMM that ends is let go of at once, whatever the disk does. */
START_TEST(vmm_ends_while_the_disk_is_silent)
{
	struct show s;

	if (!open_show(&s, "disk-vmm", demand))
		return;
	killing_end(&s.k, DIES_VMM);
	json_object_put(stage_await(&s.k.s, "ended"));
	slowdisk_go(&s.disk);
	killing_over(&s.k);
	close_show(&s);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("disk");
	TCase *tc = tcase_create("silent");

	tcase_add_loop_test(tc, only_who_needs_the_disk_waits, 0, 2);
	tcase_add_loop_test(tc, deaths_while_the_disk_is_silent, 0, ARRAY_LEN(dying));
	tcase_add_test(tc, vmm_ends_while_the_disk_is_silent);
	suite_add_tcase(suite, tc);
	return suite;
}
