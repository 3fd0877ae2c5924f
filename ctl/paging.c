#include "ctl/paging.h"

#include "ctl/member.h"
#include "ctl/render.h"
#include "ctl/terminal.h"

#define PARTS_MAX 10000 /* a daemon that never stops paging is broken */

static int part_target(const struct paging *paging, const char *token, char *target,
		       struct err *err)
{
	char escaped[3 * CLIENT_TOKEN_MAX + 1];

	if (!client_escape(token, escaped))
		return err_set(err, ERR_PEER, "uffdd's next_page_token is longer than %d bytes",
			       CLIENT_TOKEN_MAX);
	snprintf(target, CTL_TARGET_MAX, "%s%s%s", paging->target, *token ? "&page_token=" : "",
		 escaped);
	return 0;
}

/* Appends the items of one part to @items; @token becomes "" at the end. */
static int take_part(struct ctl *ctl, const struct paging *paging, struct json_object *items,
		     char *token, struct err *err)
{
	char target[CTL_TARGET_MAX];
	struct client_request req = {"GET", target};
	cleanup_json struct json_object *part = NULL;
	struct json_object *more;
	const char *next;

	if (part_target(paging, token, target, err) < 0 || ctl_call(ctl, &req, &part, err) < 0)
		return -1;
	more = member_at(part, "items");
	if (!json_object_is_type(more, json_type_array))
		return err_set(err, ERR_PEER, "uffdd's answer has no list of %s", paging->what);
	for (size_t i = 0; i < json_object_array_length(more); i++)
		json_object_array_add(items, json_object_get(json_object_array_get_idx(more, i)));
	next = member_string(part, "next_page_token");
	snprintf(token, CLIENT_TOKEN_MAX + 2, "%s", next ? next : "");
	return 0;
}

int paging_all(struct ctl *ctl, const struct paging *paging, struct json_object *items,
	       struct err *err)
{
	char token[CLIENT_TOKEN_MAX + 2] = ""; /* room to notice a token that is too long */

	for (int parts = 0; parts < PARTS_MAX; parts++) {
		if (take_part(ctl, paging, items, token, err) < 0)
			return -1;
		if (!*token)
			return 0;
	}
	return err_set(err, ERR_PEER, "uffdd's list has no end");
}

int paging_list(struct ctl *ctl, const struct paging *paging)
{
	cleanup_json struct json_object *list = json_object_new_object();
	struct json_object *items = json_object_new_array();
	struct err err;

	json_object_object_add(list, "items", items);
	json_object_object_add(list, "next_page_token", NULL);
	if (paging_all(ctl, paging, items, &err) < 0)
		return ctl_fail(ctl, &err);
	if (ctl->json)
		terminal_json(stdout, list);
	else if (!ctl->quiet)
		paging->show(stdout, items, ctl->colour);
	else
		for (size_t i = 0; i < json_object_array_length(items); i++)
			render_name(stdout, json_object_array_get_idx(items, i), ctl->colour);
	return CTL_DONE;
}
