#include "worker/working_set.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "common/io.h"
#include "common/wset_file.h"

#define STORED "the stored working set"

void working_set_init(struct working_set *h, struct supervisor_link *link)
{
	*h = (struct working_set){.link = link, .file.fd = -1, .made = -1};
}

void working_set_fini(struct working_set *h)
{
	touch_log_fini(&h->touch_log);
	layer_close(&h->file);
	wset_fini(&h->path);
	wset_fini(&h->stored[0]);
	wset_fini(&h->stored[1]);
	wset_fini(&h->set);
	close_fd(&h->made);
}

/* ---- sets that are given ---- */

static void note_ignored(struct working_set *h, const struct err *why)
{
	supervisor_link_note(h->link, CHAN_NOTE_WSET_IGNORED, why->msg);
}

static int decode(const struct layer *f, struct wset *ret, struct err *err)
{
	cleanup_free void *bytes = NULL;

	if (f->size_bytes > WSET_FILE_MAX)
		return err_set(err, ERR_INVALID, "it has %llu bytes, at most %llu are taken",
			       (unsigned long long)f->size_bytes,
			       (unsigned long long)WSET_FILE_MAX);
	bytes = malloc(f->size_bytes + 1);
	if (!bytes)
		return err_sys(err, "cannot hold %llu bytes", (unsigned long long)f->size_bytes);
	if (layer_read(f, 0, f->size_bytes, bytes, err))
		return -1;
	return wset_file_decode(bytes, f->size_bytes, ret, err);
}

/*
 * Flat files have another identity on another host. For a set that was exported there, an equal
 * span must do: a wrong set can only cause a wrong order.
 */
static int check_snapshot(const struct working_set *h, const struct wset *s, bool stored,
			  struct err *err)
{
	if (s->span_bytes != h->span_bytes)
		return err_set(err, ERR_INVALID,
			       "it is of a snapshot of %llu bytes, this one has "
			       "%llu",
			       (unsigned long long)s->span_bytes,
			       (unsigned long long)h->span_bytes);
	if ((stored || h->key.kind == WSET_BUILD) && !wset_key_equal(&s->key, &h->key))
		return err_set(err, ERR_INVALID, "it is of another snapshot (build id or size)");
	return 0;
}

/* Takes the layer over, also on failure. */
static int load(const struct working_set *h, struct layer *f, bool stored, struct wset *ret,
		struct err *err)
{
	int rc = decode(f, ret, err);

	if (rc == 0 && check_snapshot(h, ret, stored, err)) {
		wset_fini(ret);
		rc = -1;
	}
	if (rc)
		err_wrap(err, "%s", layer_shown(f->path));
	layer_close(f);
	return rc;
}

void working_set_open(struct working_set *h, const struct roots *roots, const char *path)
{
	int fd;

	h->ignored.msg[0] = '\0';
	if (!path)
		return;
	fd = roots_open(roots, path, LAYER_FLAGS);
	if (fd < 0)
		layer_open_failed(path, errno, &h->ignored);
	else
		layer_take(fd, "", path, &h->file, &h->ignored);
}

void working_set_read(struct working_set *h)
{
	struct layer f = h->file;

	h->file = (struct layer){.fd = -1};
	if (f.fd >= 0)
		load(h, &f, false, &h->path, &h->ignored);
}

void working_set_send_notes(struct working_set *h)
{
	if (h->ignored.msg[0])
		note_ignored(h, &h->ignored);
}

static int take_stored(struct working_set *h, int fd, struct err *err)
{
	struct wset s, *to;
	struct layer f;

	if (layer_take(fd, "", STORED, &f, err) || load(h, &f, true, &s, err))
		return -1;
	to = &h->stored[s.page_bytes == PAGE_2M];
	wset_fini(to);
	*to = s;
	return 0;
}

/* Merges @from into the set, converted to the guest's page size. */
static void join(struct working_set *h, const struct wset *from)
{
	struct wset same = {0}, both;
	const struct wset *s = from;
	struct err err;

	if (from->page_bytes != h->set.page_bytes) {
		if (wset_convert(from, h->set.page_bytes, &same, &err))
			goto ignored;
		s = &same;
	}
	if (wset_union(s, &h->set, &both, &err))
		goto ignored;
	wset_fini(&same);
	wset_fini(&h->set);
	h->set = both;
	return;
ignored:
	wset_fini(&same);
	note_ignored(h, &err);
}

/* Merges all given sets. A set recorded with pages of another size is only second choice. */
static void put_together(struct working_set *h)
{
	bool large = h->set.page_bytes == PAGE_2M;
	struct wset *stored = &h->stored[large];

	if (!stored->restores)
		stored = &h->stored[!large];
	if (stored->restores)
		join(h, stored);
	if (h->path.restores)
		join(h, &h->path);
	h->set.key = h->key;
	wset_fini(&h->path);
	wset_fini(&h->stored[0]);
	wset_fini(&h->stored[1]);
}

void working_set_receive(struct working_set *h, int fds[CHAN_FDS_MAX])
{
	struct err err;

	for (size_t i = 0; i < CHAN_FDS_MAX && fds[i] >= 0; i++)
		if (take_stored(h, steal_fd(&fds[i]), &err))
			note_ignored(h, &err);
	if (!h->prefetch)
		return;
	/* Prefetch has run without this set, so the pages that it left out are no sample. */
	h->touch_log.seed = 0;
	put_together(h);
	prefetch_use(h->prefetch, &h->set, 0);
}

/* ---- recording ---- */

/* Without a set if the recording gave none. */
static void send_made(struct working_set *h)
{
	struct chan_msg msg = {0};

	supervisor_link_send(h->link, CHAN_WSET_MADE, &msg, &h->made, h->made >= 0);
	h->unsent = h->link->chan < 0;
	if (!h->unsent)
		close_fd(&h->made);
}

static uint64_t random_seed(uint64_t now)
{
	uint64_t seed = 0;

	/* Fallback: the sample is only easier to foresee. */
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = now ^ (uint64_t)getpid() << 32;
	return seed | 1;
}

void working_set_begin(struct working_set *h, struct prefetch *prefetch, uint64_t page_bytes,
		       bool record, uint64_t now)
{
	struct err err;

	h->set =
		(struct wset){.key = h->key, .page_bytes = page_bytes, .span_bytes = h->span_bytes};
	put_together(h);
	if (record && h->window_us &&
	    touch_log_begin(&h->touch_log, h->window_us, random_seed(now), now, &err)) {
		note_ignored(h, &err);
		send_made(h);
	}
	h->prefetch = prefetch;
	prefetch_use(prefetch, &h->set, h->touch_log.seed);
}

void working_set_stepped(struct working_set *h, uint64_t now)
{
	if (prefetch_order_at_sample(&h->prefetch->order))
		touch_log_sample_begins(&h->touch_log, now);
}

static int seal(const struct wset *s, int *ret_fd, struct err *err)
{
	cleanup_free void *bytes = NULL;
	size_t len = 0;

	if (wset_file_encode(s, &bytes, &len, err))
		return -1;
	return io_sealed("working-set", bytes, len, ret_fd, err);
}

static int make(struct working_set *h, const struct pagemap *map, uint64_t now, struct err *err)
{
	struct wset merged;
	int rc;

	if (touch_log_merge(&h->touch_log, &h->set, map, now, &merged, err))
		return -1;
	wset_file_trim(&merged, h->file_bytes);
	rc = seal(&merged, &h->made, err);
	wset_fini(&merged);
	return rc;
}

void working_set_end(struct working_set *h, const struct pagemap *map, uint64_t now)
{
	struct err err;

	if (!h->touch_log.on)
		return;
	if (h->touch_log.n && make(h, map, now, &err))
		note_ignored(h, &err);
	touch_log_fini(&h->touch_log);
	send_made(h);
}

void working_set_drop(struct working_set *h)
{
	if (!h->touch_log.on)
		return;
	touch_log_fini(&h->touch_log);
	send_made(h);
}

void working_set_replay(struct working_set *h)
{
	if (h->unsent)
		send_made(h);
}

/* clang-format off */
static const struct call needs[] = {
	CALL_IF(memfd_create, 1, CALL_INT, MFD_CLOEXEC | MFD_ALLOW_SEALING),
	CALL_IF(fcntl, 1, CALL_INT, F_ADD_SEALS), CALL(getrandom),
};
/* clang-format on */
const struct calls working_set_calls = CALLS(needs);
