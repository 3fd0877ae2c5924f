/*
 * log - one line per event on stderr; the only file of the daemon that writes there
 *
 *   log_info("restore ready", "id=%s pages=%" PRIu64, id, pages);
 *
 * A line is a fixed sentence, then key=value. Under the journal (JOURNAL_STREAM names our stderr; a
 * child must inherit the variable) it starts with "<6>", otherwise with time, program and level.
 * Everything but printable ASCII is escaped, since values come from strangers. A value with blanks
 * in it (an error text, a path) goes last, so that it cannot pose as the next key. A line is one
 * write(2) of at most LOG_LINE_MAX bytes; a longer one ends in " [cut]". errno is preserved.
 *
 * Not for the fault path, which has counters. For one thread only.
 */
#ifndef UFFDD_LOG_H
#define UFFDD_LOG_H

#include "common/base.h"

#define LOG_LINE_MAX 1024 /* bytes, with prefix and newline */

/*        level              name       of syslog */
/* clang-format off */
#define LOG_LEVELS(X)                          \
	X(LOG_LEVEL_ERROR,   "error",   3)     \
	X(LOG_LEVEL_WARNING, "warning", 4)     \
	X(LOG_LEVEL_NOTICE,  "notice",  5)     \
	X(LOG_LEVEL_INFO,    "info",    6)     \
	X(LOG_LEVEL_DEBUG,   "debug",   7)
/* clang-format on */

enum log_level {
#define X(level, name, priority) level,
	LOG_LEVELS(X)
#undef X
		LOG_LEVEL_COUNT
};

/*
 * Call once, first thing in main(), before any sandbox: later lines need no system call but write()
 * and clock_gettime(). @name is borrowed for ever.
 */
void log_open(const char *name);
/* Drops lines that are less important than @level; info at first. */
void log_set_level(enum log_level level);
/* LOG_LEVEL_COUNT: no level has that name. */
enum log_level log_level_from(const char *name);

#define log_error(what, ...) log_at(LOG_LEVEL_ERROR, what, __VA_ARGS__)
#define log_warning(what, ...) log_at(LOG_LEVEL_WARNING, what, __VA_ARGS__)
#define log_notice(what, ...) log_at(LOG_LEVEL_NOTICE, what, __VA_ARGS__)
#define log_info(what, ...) log_at(LOG_LEVEL_INFO, what, __VA_ARGS__)
#define log_debug(what, ...) log_at(LOG_LEVEL_DEBUG, what, __VA_ARGS__)
/* Joined as literals, so that the sentence is fixed and the fields may be absent. */
#define log_at(level, what, ...) log_line(level, what __VA_OPT__(": ") __VA_ARGS__)
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * For lines that a client or a VMM can cause: @burst at once, then one per @every_us. Static
 * storage, one for each place that logs:
 *
 *   static struct log_limit limit = LOG_LIMIT(5, 10 * 1000 * 1000);
 *
 *   if (log_allow(&limit, now_us()))
 *           log_warning("stranger turned away", "uid=%u", uid);
 */
struct log_limit {
	uint64_t burst, every_us;
	uint64_t used, since_us; /* tokens spent; when the last came back */
	uint64_t suppressed;     /* lines not written since the last one */
};
#define LOG_LIMIT(burst_, every_us_)                       \
	{                                                  \
		.burst = (burst_), .every_us = (every_us_) \
	}

/* May the caller write? Logs the number of suppressed lines before the first one after them. */
bool log_allow(struct log_limit *limit, uint64_t now_us);

#endif
