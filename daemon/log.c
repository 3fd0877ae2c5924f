#include "daemon/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define CUT " [cut]"

static const struct {
	const char *name;
	int priority;
} levels[LOG_LEVEL_COUNT] = {
#define X(level, name, priority) [level] = {name, priority},
	LOG_LEVELS(X)
#undef X
};

static struct {
	const char *name; /* borrowed */
	int pid;
	enum log_level level;
	bool journal;
} state = {.name = "uffdd", .level = LOG_LEVEL_INFO};

/* A process whose stderr was redirected inherits JOURNAL_STREAM, too: compare. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char own[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(stream, own) == 0;
}

void log_open(const char *name)
{
	state.name = name;
	state.pid = (int)getpid();
	state.journal = stderr_is_journal();
	/* The first gmtime_r() reads the time zone file, which a sandbox may refuse. */
	tzset();
}

void log_set_level(enum log_level level)
{
	state.level = level;
}

enum log_level log_level_from(const char *name)
{
	int i = 0;

	while (i < LOG_LEVEL_COUNT && strcmp(levels[i].name, name) != 0)
		i++;
	return (enum log_level)i;
}

static size_t put_prefix(char *line, size_t size, enum log_level level)
{
	char date[32] = "";
	int64_t ms = wall_ms();
	time_t sec = (time_t)(ms / 1000);
	struct tm tm;
	int n;

	if (state.journal) {
		n = snprintf(line, size, "<%d>", levels[level].priority);
	} else {
		if (gmtime_r(&sec, &tm))
			strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
		n = snprintf(line, size, "%s.%03dZ %.64s[%d] %s: ", date, (int)(ms % 1000),
			     state.name, state.pid, levels[level].name);
	}
	return (size_t)n;
}

/* Writes one byte of text as it may appear in a line; returns its length. */
static size_t put_escaped(char out[5], unsigned char c)
{
	static const char plain[] = "\n\t\r\\", letter[] = "ntr\\";
	const char *p = c ? strchr(plain, c) : NULL;

	if (p)
		return (size_t)snprintf(out, 5, "\\%c", letter[p - plain]);
	if (c < 0x20 || c > 0x7e)
		return (size_t)snprintf(out, 5, "\\x%02x", c);
	return (size_t)snprintf(out, 5, "%c", c);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	char text[LOG_LINE_MAX] = "", line[LOG_LINE_MAX], c[5];
	const size_t room = sizeof(line) - sizeof(CUT); /* sizeof counts the newline */
	size_t len, n;
	bool cut = false;
	va_list ap;

	if (level > state.level)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap); /* a longer text is cut below */
	va_end(ap);

	len = put_prefix(line, room, level);
	for (const char *p = text; *p; p++) {
		n = put_escaped(c, (unsigned char)*p);
		if (len + n > room) {
			cut = true;
			break;
		}
		memcpy(line + len, c, n);
		len += n;
	}
	if (cut) {
		memcpy(line + len, CUT, strlen(CUT));
		len += strlen(CUT);
	}
	line[len++] = '\n';
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
	errno = saved;
}

bool log_allow(struct log_limit *limit, uint64_t now_us)
{
	uint64_t back = now_us > limit->since_us ? (now_us - limit->since_us) / limit->every_us : 0;
	uint64_t suppressed = limit->suppressed;

	limit->used -= min_u64(limit->used, back);
	limit->since_us += back * limit->every_us;
	if (limit->used >= limit->burst) {
		limit->suppressed++;
		return false;
	}
	limit->used++;
	limit->suppressed = 0;
	if (suppressed)
		log_warning("lines like the next were suppressed", "count=%" PRIu64, suppressed);
	return true;
}
