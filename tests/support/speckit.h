/*
 * speckit - what the tests of the create body share: bodies, and how they are parsed
 */
#ifndef UFFDD_TESTS_SPECKIT_H
#define UFFDD_TESTS_SPECKIT_H

#include <check.h>
#include <string.h>

#include "common/spec.h"

#define UUID_A "0253401b-6878-4028-a7bb-56675dd433a3"
#define UUID_B "28b4d5d3-5742-4726-bd38-23870c536765"
#define UPPER_A "0253401B-6878-4028-A7BB-56675DD433A3"

#define DIR "\"snapshot\":{\"dir\":\"/s\"}"
/* The longest path a Unix socket can have, 107 bytes; and 108. */
#define NINE "/23456789"
#define SUN_108 NINE NINE NINE NINE NINE NINE NINE NINE NINE NINE NINE NINE
#define SUN_107 NINE NINE NINE NINE NINE NINE NINE NINE NINE NINE NINE "/2345678"

#define FULL                                                                       \
	"{\"tenant\":\"t1\",\"snapshot\":{\"header\":\"/h\",\"layers\":{\"" UUID_A \
	"\":\"/a\",\"" UUID_B "\":\"/b\"}},\"socket\":{\"path\":\"/run/x.sock\","  \
	"\"mode\":\"0600\",\"uid\":123,\"gid\":100},\"peer\":{\"uid\":124},"       \
	"\"prefetch\":{\"mode\":\"none\",\"rate_bytes_per_s\":1048576},"           \
	"\"working_set\":{\"record\":false,\"path\":\"/w\"},"                      \
	"\"connect_timeout\":\"1500ms\",\"when_complete\":\"release\",\"on_failure\":\"hold\"}"

/* Parse text; on failure *ret is already released. */
static inline int parse_text(const char *text, struct spec *ret, struct err *err)
{
	cleanup_json struct json_object *body = js_parse(text, strlen(text), false, err);
	int rc;

	ck_assert_msg(body != NULL, "%s: %s", text, err->msg);
	rc = spec_parse(body, ret, err);
	if (rc < 0)
		spec_fini(ret);
	return rc;
}

#endif
