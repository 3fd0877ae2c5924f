#include "daemon/holdings.h"

#include <fcntl.h>
#include <string.h>

#include "common/foreign.h"
#include "daemon/holders.h"
#include "daemon/notify.h"
#include "daemon/timer.h"

void holdings_init(struct holdings *h, struct event_base *base, const struct acceptor_hooks *hooks,
		   void *arg)
{
	h->uffd = h->vmm = h->old_worker = h->map_fd = -1;
	acceptor_init(&h->acceptor, base, hooks, arg);
}

bool holdings_place_socket(struct holdings *h, const struct host *host, const char *key,
			   const char *path)
{
	char own[CONF_PATH_MAX + 1];

	host_path(host, "uffd", key, own);
	h->foreign_dir = strcmp(own, path) != 0;
	return h->foreign_dir;
}

void holdings_close_socket(struct holdings *h, const char *path)
{
	if (h->own_socket && h->foreign_dir)
		sock_unlink(path, h->acceptor.fd);
	else if (h->own_socket)
		unlink(path);
	h->own_socket = false;
	acceptor_close(&h->acceptor);
}

void holdings_forget_vmm(struct holdings *h)
{
	timer_drop(&h->on_vmm);
	timer_drop(&h->ask_vmm);
	close_fd(&h->vmm);
	h->life = (struct life){0};
}

void holdings_close_map(struct holdings *h)
{
	struct err err;

	if (h->map_fd >= 0 && pagemap_view(h->map_fd, &h->last, &err))
		memset(&h->last, 0, sizeof(h->last));
	close_fd(&h->map_fd);
}

static void drop_deadlines(struct holdings *h)
{
	timer_drop(&h->grace);
	timer_drop(&h->load_by);
	timer_drop(&h->back_by);
	timer_drop(&h->no_memory);
	close_fd(&h->old_worker);
}

void holdings_release(struct holdings *h, const struct host *host, const char *key,
		      const char *socket_path)
{
	char map[CONF_PATH_MAX + 1];

	foreign_close(&h->uffd);
	notify_forget(key);
	holdings_forget_vmm(h);
	drop_deadlines(h);
	holders_end(host, key);
	host_path(host, "maps", key, map);
	if (h->map_fd < 0)
		h->map_fd = open(map, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	unlink(map);
	holdings_close_socket(h, socket_path);
}

void holdings_fini(struct holdings *h)
{
	holdings_forget_vmm(h);
	drop_deadlines(h);
	acceptor_close(&h->acceptor);
	foreign_close(&h->uffd);
	close_fd(&h->map_fd);
}
