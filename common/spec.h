/*
 * spec - what a caller asks for when creating a restore
 *
 * One parser for the API (where the text comes from a stranger) and for the
 * worker (which gets the supervisor's canonical text): one meaning. The
 * canonical text decides whether a repeated PUT is "the same request".
 */
#ifndef UFFDD_SPEC_H
#define UFFDD_SPEC_H

#include <uuid/uuid.h>

#include "common/proto.h"
#include "common/js.h"

#define SPEC_PATH_MAX 4095
#define SPEC_LAYERS_MAX 4096

enum spec_source { SOURCE_DIR, SOURCE_HEADER, SOURCE_MEMORY };
enum spec_prefetch { PREFETCH_NONE, PREFETCH_WORKING_SET, PREFETCH_ALL, PREFETCH_COUNT };
enum spec_complete { COMPLETE_STAY, COMPLETE_RELEASE, COMPLETE_COUNT };
enum spec_failure { FAILURE_KILL, FAILURE_POISON, FAILURE_HOLD, FAILURE_COUNT };

struct spec_layer {
	uuid_t build; /* SOURCE_HEADER only */
	char *path;   /* owned */
};

struct spec {
	char tenant[PROTO_ID_MAX + 1]; /* "" = the caller's own */

	enum spec_source source;
	char *path; /* owned; SOURCE_DIR: directory, SOURCE_HEADER: header */
	/* SOURCE_HEADER: sorted by build id; SOURCE_MEMORY: base first, newest last. */
	struct spec_layer *layers; /* owned */
	size_t nlayers;
	bool dense_diffs; /* SOURCE_MEMORY: a diff may be without any hole */

	char socket_path[PROTO_SUN_MAX + 1]; /* "" = in the run directory */
	uint32_t socket_mode;                /* default 0660 */
	/* Defaults: the caller's own. Filled by spec_resolve(). */
	bool have_socket_uid, have_socket_gid, have_peer_uid;
	uint32_t socket_uid, socket_gid, peer_uid;

	enum spec_prefetch prefetch; /* default all */
	uint64_t rate_bytes_per_s;   /* 0 = as fast as it goes */
	uint64_t max_resident_bytes; /* prefetch goes no further; 0 = no bound */
	bool zero_pages;             /* prefetch them where that takes memory, too */
	bool record;                 /* what the guest touches first; default true */
	char *wset_path;             /* owned; a working set of the caller's, or NULL */
	uint64_t connect_timeout_ms; /* default 30 s, at most 1 h */
	enum spec_complete when_complete;
	enum spec_failure on_failure;
};

/* Names as in the API, by enum value; for parsing, printing and the store. */
extern const char *const spec_prefetch_names[PREFETCH_COUNT];
extern const char *const spec_complete_names[COMPLETE_COUNT];
extern const char *const spec_failure_names[FAILURE_COUNT];

/*
 * spec_parse - the create body, strictly
 * @ret: caller's storage, released by spec_fini(), also after failure
 *
 * Paths must be absolute. Returns 0, or -1 with ERR_INVALID naming the field.
 */
int spec_parse(struct json_object *body, struct spec *ret, struct err *err);

/* Fill what depends on the caller: tenant, socket owner, peer. */
void spec_resolve(struct spec *spec, const char *tenant, uint32_t uid, uint32_t gid);

/* The mode of that name; -1 if there is none. */
int spec_prefetch_parse(const char *name, enum spec_prefetch *ret);

void spec_fini(struct spec *spec);

/* ---- spec_json.c ---- */

/*
 * The canonical object: every field that has a value, in one order; all of them
 * once spec_resolve() has run. Owned by the caller. spec_parse() of it gives the
 * same spec.
 */
struct json_object *spec_json(const struct spec *spec);
/* Its "snapshot" member alone, for showing. */
struct json_object *spec_snapshot_json(const struct spec *spec);

#endif
