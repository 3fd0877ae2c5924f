#include "daemon/request.h"

#include <string.h>

#include "common/js.h"
#include "daemon/store.h"

static int read_text(const struct restore *r, struct request *ret, struct err *err)
{
	cleanup_json struct json_object *body = NULL;
	cleanup_free char *text = NULL;

	if (store_request(r->host->store, r->rec.key, &text, err))
		return -1;
	body = js_parse(text, strlen(text), false, err);
	if (!body || spec_parse(body, &ret->parsed, err)) {
		spec_fini(&ret->parsed);
		err->code = ERR_SYSTEM;
		return err_wrap(err, "the store's row of restore %s", r->rec.id);
	}
	ret->text = ret->read = steal_ptr(&text);
	ret->spec = &ret->parsed;
	return 0;
}

int request_open(const struct restore *r, struct request *ret, struct err *err)
{
	*ret = (struct request){.text = r->rec.spec, .spec = &r->spec};
	return r->rec.spec ? 0 : read_text(r, ret, err);
}

void request_close(struct request *q)
{
	spec_fini(&q->parsed);
	free(q->read);
	*q = (struct request){0};
}

size_t request_bytes(const struct restore *r)
{
	return r->rec.spec ? strlen(r->rec.spec) : r->stored_bytes;
}

void request_leave_to_store(struct restore *r)
{
	r->stored_bytes = request_bytes(r);
	record_fini(&r->rec);
	/* What takes no memory of its own stays. */
	spec_fini(&r->spec);
}
