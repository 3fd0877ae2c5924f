/*
 * spec - what a caller asks for when creating a restore
 *
 * The same parser serves the API (text from outside) and the worker (the supervisor's canonical
 * text), so both read the same meaning. The canonical text decides whether a repeated PUT is "the
 * same request".
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
	char tenant[PROTO_ID_MAX + 1]; /* "": the caller's own */

	enum spec_source source;
	char *path; /* owned; SOURCE_DIR: directory, SOURCE_HEADER: header; else NULL */
	/* SOURCE_HEADER: sorted by build id; SOURCE_MEMORY: base first, newest last. */
	struct spec_layer *layers; /* owned */
	size_t nlayers;
	bool dense_diffs; /* SOURCE_MEMORY: accept a diff without any hole */

	char socket_path[PROTO_SUN_MAX + 1]; /* "": in the run directory */
	uint32_t socket_mode;                /* default 0660 */
	/* The caller's own by default: see spec_resolve(). */
	bool have_socket_uid, have_socket_gid, have_peer_uid;
	uint32_t socket_uid, socket_gid, peer_uid;
	uint32_t peer_pid; /* 0: any process of that user */

	enum spec_prefetch prefetch; /* default all */
	uint64_t rate_bytes_per_s;   /* 0: no limit */
	uint64_t max_resident_bytes; /* prefetch stops there; 0: no bound */
	bool zero_pages;             /* prefetch zero pages also where they cost memory */
	bool record;     /* record the pages that the guest touches first; default true */
	char *wset_path; /* owned; path of a working set of the caller's, or NULL */
	uint64_t connect_timeout_ms; /* default 30 s, 100 ms to 1 h */
	enum spec_complete when_complete;
	enum spec_failure on_failure;
};

/* Names as in the API, by enum value; for parsing, printing and the store. */
extern const char *const spec_prefetch_names[PREFETCH_COUNT];
extern const char *const spec_complete_names[COMPLETE_COUNT];
extern const char *const spec_failure_names[FAILURE_COUNT];

/*
 * spec_parse - parse the body of a create request, strictly
 * @body: borrowed, not referred to afterwards
 * @ret: caller's storage, released by spec_fini(), also after failure
 *
 * Paths must be absolute. Returns 0, or -1 with ERR_INVALID naming the field, or ERR_SYSTEM: no
 * memory.
 */
int spec_parse(struct json_object *body, struct spec *ret, struct err *err);

/* Fills members that depend on the caller and were not given: tenant, socket owner, peer. */
void spec_resolve(struct spec *spec, const char *tenant, uint32_t uid, uint32_t gid);

/* Sets *ret and returns 0, or -1 for an unknown name. */
int spec_prefetch_parse(const char *name, enum spec_prefetch *ret);

/* Frees what @spec owns. Safe to repeat. */
void spec_fini(struct spec *spec);

/* ---- spec_json.c ---- */

/*
 * The canonical object: every field that has a value, in a fixed order; all fields after
 * spec_resolve(). Owned by the caller. spec_parse() of it gives the same spec. Aborts without
 * memory.
 */
struct json_object *spec_json(const struct spec *spec);
/* Only the "snapshot" member, for the API's output. Owned by the caller. */
struct json_object *spec_snapshot_json(const struct spec *spec);

#endif
