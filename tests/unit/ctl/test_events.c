/* The event stream: what is asked, what is printed of it, and how it ends. */
#include "ctl/events.h"

#include <check.h>
#include <string.h>

#include "tests/support/ctlkit.h"
#include "tests/support/runner.h"

#define STREAM(text)                                                      \
	{                                                                 \
		{                                                         \
			200, text, CANNED_CHUNKED, "application/x-ndjson" \
		}                                                         \
	}
#define TRIMMED                                                 \
	{                                                       \
		410, PROBLEM(410, "trimmed", "the oldest is 9") \
	}
#define GOES_ON(seq) \
	"uffdctl: uffdd has ended the stream; waiting for it, to go on behind event " seq "\n"
#define THE_END "uffdctl: the oldest is 9 (trimmed)\n"
#define HEAD "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

/* clang-format off */
static const struct ctlkit_case cases[] = {
	/* What is asked. */
	{"events", STREAM(""), 0, NULL, NULL, "GET /v1/events?follow=0\n"},
	{"events vm1", STREAM(""), 0, NULL, NULL, "GET /v1/events?follow=0&restore=vm1\n"},
	{"events vm1 --tenant t1", STREAM(""), 0, NULL, NULL,
	 "GET /v1/events?follow=0&restore=vm1&tenant=t1\n"},
	{"events --after 0", STREAM(""), 0, NULL, NULL, "GET /v1/events?follow=0&after=0\n"},
	{"events vm1 --after 9223372036854775807", STREAM(""), 0, NULL, NULL,
	 "GET /v1/events?follow=0&after=9223372036854775807&restore=vm1\n"},

	/* What is printed: every event, no heartbeat, no line without text. */
	{"events", STREAM("{\"seq\":4,\"time\":\"T\",\"type\":\"restore.state\",\"tenant\":\"t1\","
			  "\"restore\":\"vm1\",\"data\":{\"from\":\"waiting\",\"n\":1}}\n"
			  "{}\n\n{\"seq\":5,\"restore\":\"\\u001b[2J\"}\n"), 0,
	 "4 T restore.state t1 vm1 from=waiting n=1\n5 - - - \\x1b[2J -\n", NULL,
	 "GET /v1/events?follow=0\n"},
	{"events -o json", STREAM("{\"seq\":4, \"more\":{\"x\":[1]}}\n{}\n{\"seq\":5}"), 0,
	 "{\"seq\":4,\"more\":{\"x\":[1]}}\n{\"seq\":5}\n", NULL, "GET /v1/events?follow=0\n"},

	/* A followed stream goes on behind its last event, over restarts of the daemon. */
	{"events -f", {{200, "{\"seq\":18}\n{}\n", CANNED_CHUNKED}, TRIMMED}, 1, "18 - - - - -\n",
	 GOES_ON("18") THE_END, "GET /v1/events?follow=1\nGET /v1/events?follow=1&after=18\n"},
	{"events --follow --after 18",
	 {{200, "{\"seq\":20}\n{\"seq\":19}\n{\"type\":\"x\"}\n", CANNED_CHUNKED}, TRIMMED}, 1,
	 "20 - - - - -\n19 - - - - -\n0 - x - - -\n", GOES_ON("20") THE_END,
	 "GET /v1/events?follow=1&after=18\nGET /v1/events?follow=1&after=20\n"},
	{"events vm1 -f --after 7", {{200, "", CANNED_CHUNKED}, TRIMMED}, 1, NULL,
	 GOES_ON("7") THE_END,
	 "GET /v1/events?follow=1&after=7&restore=vm1\n"
	 "GET /v1/events?follow=1&after=7&restore=vm1\n"},
	{"events vm1 -f", {{200, "{}\n", CANNED_CHUNKED}, TRIMMED}, 1, NULL, GOES_ON("0") THE_END,
	 "GET /v1/events?follow=1&restore=vm1\nGET /v1/events?follow=1&restore=vm1\n"},
	{"events -f -o json", {{200, "{\"seq\":2}\n", CANNED_CHUNKED}, TRIMMED}, 1, "{\"seq\":2}\n",
	 GOES_ON("2") PROBLEM(410, "trimmed", "the oldest is 9") "\n",
	 "GET /v1/events?follow=1\nGET /v1/events?follow=1&after=2\n"},
	/* A line that was cut off comes again. Once is said that the daemon is waited for. */
	{"events -f",
	 {{200, HEAD "a\r\n{\"seq\":7}\n\r\n5\r\n{\"s", CANNED_RAW},
	  {200, "", CANNED_RAW},
	  {503, PROBLEM(503, "not-ready", "not yet")},
	  {200, "{\"seq\":8}\n", CANNED_CHUNKED},
	  TRIMMED}, 1,
	 "7 - - - - -\n8 - - - - -\n", GOES_ON("7") GOES_ON("8") THE_END,
	 "GET /v1/events?follow=1\nGET /v1/events?follow=1&after=7\n"
	 "GET /v1/events?follow=1&after=7\nGET /v1/events?follow=1&after=7\n"
	 "GET /v1/events?follow=1&after=8\n"},
	/* What another try would not mend ends it. */
	{"events -f", {{200, "{\"seq\":3}\nrubbish\n", CANNED_CHUNKED}}, 1, "3 - - - - -\n",
	 "uffdctl: event behind 3: bad JSON at line 1, column 1: expected an object (bad-peer)\n",
	 "GET /v1/events?follow=1\n"},
	{"events -f", {{503, PROBLEM(503, "not-ready", "not yet")}}, 5, NULL,
	 "uffdctl: not yet (not-ready)\n", "GET /v1/events?follow=1\n"},

	/* What goes wrong. */
	{"events -f --after 1", {{410, PROBLEM(410, "trimmed", "the oldest is 9")}}, 1, NULL,
	 "uffdctl: the oldest is 9 (trimmed)\n", "GET /v1/events?follow=1&after=1\n"},
	{"events", STREAM("{\"seq\":3}\nrubbish\n{\"seq\":4}\n"), 1, "3 - - - - -\n",
	 "uffdctl: event behind 3: bad JSON at line 1, column 1: expected an object (bad-peer)\n",
	 "GET /v1/events?follow=0\n"},
	{"events", STREAM("{/* no */\"seq\":3}\n"), 1, NULL,
	 "uffdctl: event behind 0: bad JSON at line 1, column 2: comments are not allowed here "
	 "(bad-peer)\n",
	 "GET /v1/events?follow=0\n"},
	{"events --after 6", STREAM("[]\n"), 1, NULL,
	 "uffdctl: event behind 6: bad JSON at line 1, column 1: expected an object (bad-peer)\n",
	 "GET /v1/events?follow=0&after=6\n"},
	{"events", {{200, HEAD "a\r\n{\"seq\":7}\n\r\n5\r\n{\"s", CANNED_RAW}}, 5,
	 "7 - - - - -\n", "uffdctl: uffdd hung up in the middle of its answer; try again (not-ready)\n",
	 "GET /v1/events?follow=0\n"},
	{"events -f", {{200, "", CANNED_RAW}}, 5, NULL,
	 "uffdctl: uffdd hung up without an answer; try again (not-ready)\n", "GET /v1/events?follow=1\n"},
	{"events -f", {{0}}, 5, NULL, CTLKIT_NO_DAEMON, NULL},
};
/* clang-format on */

START_TEST(stream)
{
	ctlkit_check(&cases[_i]);
}
END_TEST

/* Each event is written at once, so the first that cannot be ends the stream. */
START_TEST(full_disk)
{
	const struct canned_reply script[] = {{200, "{\"seq\":1}\n{\"seq\":2}\n", CANNED_CHUNKED},
					      {0}};
	struct ctlkit k = {.line = _i ? "events -o json" : "events",
			   .script = script,
			   .printed.full = true};

	ctlkit_run(&k);
	ck_assert_int_eq(k.code, 1);
	ck_assert_str_eq(k.printed.err,
			 _i ? OWN_PROBLEM(507, "no-space", "No space is left",
					  "write to stdout: No space left on device")
			    : "uffdctl: write to stdout: No space left on device (no-space)\n");
	ctlkit_fini(&k);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("events");
	TCase *tcase = tcase_create("events");

	tcase_add_loop_test(tcase, stream, 0, ARRAY_LEN(cases));
	tcase_add_loop_test(tcase, full_disk, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}
