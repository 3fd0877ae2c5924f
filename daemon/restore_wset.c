#include "daemon/restore_wset.h"

#include <string.h>

#include "common/js.h"
#include "daemon/log.h"
#include "daemon/wset_store.h"

static struct wset_store_name name_of(const struct restore *r, uint64_t page_bytes)
{
	return (struct wset_store_name){r->rec.tenant, r->rec.wset_key, page_bytes};
}

void restore_wset_ready(struct restore *r, const struct wset_key *key)
{
	if (key->kind > 0 && key->kind < WSET_KIND_COUNT)
		wset_key_text(key, r->rec.wset_key);
	/* A set without its beginning would drop pages that guests need. */
	if (r->rec.vmm_pid)
		r->rec.recording = false;
}

/* The page size is not known before the VMM has come: so the sets of both sizes are sent. */
void restore_wset_give(struct restore *r)
{
	const struct wset_store_name small = name_of(r, PAGE_4K), large = name_of(r, PAGE_2M);
	int found[] = {wset_store_find(r->host->wset_store, &small),
		       wset_store_find(r->host->wset_store, &large)};
	int fds[ARRAY_LEN(found)];
	struct chan_msg msg = {0};
	struct err err;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(found); i++)
		if (found[i] >= 0)
			fds[n++] = found[i];
	if (n && r->worker && worker_send(r->worker, CHAN_WSET_GIVEN, &msg, fds, n, &err))
		log_warning("a worker does not take its working set", "id=%s tenant=%s why=%s",
			    r->rec.id, r->rec.tenant, err.msg);
	while (n)
		close_fd(&fds[--n]);
}

static struct json_object *recorded_data(const struct wset_head *head)
{
	struct json_object *data = json_object_new_object();

	js_add_u64(data, "pages", head->pages);
	js_add_u64(data, "runs", head->runs);
	js_add_u64(data, "restores", head->restores);
	return data;
}

static void store(struct restore *r, int fd)
{
	struct wset_store_name name = name_of(r, r->rec.page_bytes);
	uint64_t span = align_up(r->rec.size_bytes, PAGE_4K);
	struct json_object *data;
	struct wset_head head;
	struct err err;

	if (wset_store_put(r->host->wset_store, &name, span, fd, &head, &err) == 0) {
		r->rec.wset_pages = head.pages;
		restore_changed(r, "working-set-recorded", recorded_data(&head));
		return;
	}
	log_warning("a working set could not be stored", "id=%s tenant=%s why=%s", r->rec.id,
		    r->rec.tenant, err.msg);
	data = json_object_new_object();
	js_add_string(data, "detail", err.msg);
	restore_changed(r, "working-set-ignored", data);
}

/* Once for each restore: a worker's messages can fill neither the store nor the disk. */
void restore_wset_made(struct restore *r, int fd)
{
	if (!r->rec.recording || restore_is_creating(r))
		return;
	r->rec.recording = false;
	r->rec.revision++;
	if (fd >= 0)
		store(r, fd);
	else
		journal_add(r->host->journal, &r->rec, NULL, NULL);
}

const char *restore_wset_state(const struct restore *r)
{
	if (r->rec.wset_pages)
		return "recorded";
	return r->rec.recording && proto_state_live(r->rec.state) ? "recording" : "off";
}

int restore_wset_read(const struct restore *r, void **ret_bytes, size_t *ret_len, struct err *err)
{
	uint64_t own = r->rec.page_bytes == PAGE_2M ? PAGE_2M : PAGE_4K;
	const struct wset_store_name name = name_of(r, own);
	const struct wset_store_name other = name_of(r, own == PAGE_2M ? PAGE_4K : PAGE_2M);
	struct err ignored;

	if (wset_store_read(r->host->wset_store, &name, ret_bytes, ret_len, err) == 0 ||
	    wset_store_read(r->host->wset_store, &other, ret_bytes, ret_len, &ignored) == 0)
		return 0;
	return err_wrap(err,
			"restore %s has no working set (one is there once a recording has "
			"ended, by its window or with the VMM)",
			r->rec.id);
}
