#include "ctl/progress.h"

#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include "ctl/member.h"
#include "ctl/render.h"
#include "ctl/terminal.h"

#define LINE_MAX_COLUMNS 200
#define BAR_MAX 40 /* columns; a longer bar shows no more */
#define BAR_MIN 8

static volatile sig_atomic_t drawn; /* the terminal has an unfinished line */

void progress_start(struct progress *p, bool wanted)
{
	*p = (struct progress){.on = wanted && terminal_escapes(STDERR_FILENO), .rate = -1};
}

static uint64_t whole(struct json_object *restore)
{
	uint64_t total = member_u64(restore, "memory.total_bytes");

	return total ? total : member_u64(restore, "memory.size_bytes");
}

static void put_bar(char *ret, size_t width, unsigned int percent)
{
	size_t full = width * percent / 100;

	memset(ret, '#', full);
	memset(ret + full, '-', width - full);
	ret[width] = '\0';
}

void progress_line(struct json_object *restore, double rate, size_t columns, char *ret, size_t len)
{
	uint64_t resident = member_u64(restore, "memory.resident_bytes");
	uint64_t total = whole(restore);
	unsigned int percent =
		total ? (unsigned int)((double)min_u64(resident, total) * 100 / (double)total) : 0;
	char id[64], state[16], size[32], speed[40] = "", tail[128], bar[BAR_MAX + 1];
	const char *s = member_string(restore, "id");
	size_t used, width;

	snprintf(id, sizeof(id), "%s", s ? s : "-");
	s = member_string(restore, "state");
	snprintf(state, sizeof(state), "%s", s ? s : "-");
	if (rate >= 0) {
		render_size((uint64_t)rate, size, sizeof(size));
		snprintf(speed, sizeof(speed), "%s/s ", size);
	}
	if (member_true(restore, "complete"))
		percent = 100;
	snprintf(tail, sizeof(tail), "%3u%% %s%llu faults", percent, speed,
		 (unsigned long long)member_u64(restore, "faults.count"));
	used = strlen(id) + 1 + strlen(state) + 1 + strlen(tail);
	/* Brackets and a blank around the bar; the last column stays free, or some
	 * terminals wrap. */
	width = columns > used + 4 ? min_u64(columns - used - 4, BAR_MAX) : 0;
	if (width >= BAR_MIN) {
		put_bar(bar, width, percent);
		snprintf(ret, len, "%s %s [%s] %s", id, state, bar, tail);
	} else {
		snprintf(ret, len, "%s %s %s", id, state, tail);
	}
	if (strlen(ret) >= columns && columns > 0)
		ret[columns - 1] = '\0';
	for (char *c = ret; *c; c++)
		if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
			*c = '?';
}

static size_t columns_now(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return 80;
	return min_u64(size.ws_col, LINE_MAX_COLUMNS);
}

void progress_draw(struct progress *p, struct json_object *restore, uint64_t at_us)
{
	uint64_t bytes = member_u64(restore, "memory.resident_bytes");
	char line[LINE_MAX_COLUMNS + 1];

	if (!p->on)
		return;
	if (p->last_us && at_us > p->last_us) {
		uint64_t grown = bytes > p->last_bytes ? bytes - p->last_bytes : 0;
		double now = (double)grown * 1e6 / (double)(at_us - p->last_us);

		p->rate = p->rate < 0 ? now : (p->rate + now) / 2;
	}
	p->last_us = at_us;
	p->last_bytes = bytes;
	progress_line(restore, p->rate, columns_now(), line, sizeof(line));
	drawn = 1;
	fprintf(stderr, "\r%s\033[K", line);
	fflush(stderr);
}

void progress_stop(struct progress *p)
{
	if (p->on && drawn)
		fputc('\n', stderr);
	drawn = 0;
}

void progress_interrupted(void)
{
	if (drawn && write(STDERR_FILENO, "\n", 1) < 0)
		return;
}
