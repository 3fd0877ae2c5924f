#include "ctl/render.h"

#include <string.h>

#include "ctl/member.h"
#include "ctl/table.h"
#include "ctl/terminal.h"

#define COLUMN_WORDS_MAX 4 /* of an array in a table */

static const struct {
	const char *state, *colour;
} colours[] = {
	{"waiting", "\033[33m"}, {"serving", "\033[32m"}, {"recovering", "\033[33m"},
	{"failed", "\033[31m"},  {"ended", "\033[2m"},
};

void render_size(uint64_t bytes, char *ret, size_t len)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	size_t unit = 0;

	/* 1023.95 would be printed as 1024.0. */
	while (v >= 1023.95 && unit + 1 < ARRAY_LEN(units)) {
		v /= 1024;
		unit++;
	}
	if (v == (double)(uint64_t)v)
		snprintf(ret, len, "%.0f %s", v, units[unit]);
	else
		snprintf(ret, len, "%.1f %s", v, units[unit]);
}

/* ---- values ---- */

static void cell_plain(FILE *out, struct json_object *v, bool colour)
{
	(void)colour;
	if (json_object_is_type(v, json_type_string))
		terminal_text(out, json_object_get_string(v));
	else
		terminal_json_part(out, v);
}

static void cell_size(FILE *out, struct json_object *v, bool colour)
{
	char text[32];

	(void)colour;
	render_size(json_object_get_uint64(v), text, sizeof(text));
	fputs(text, out);
}

static void put_state(FILE *out, const char *state, bool colour)
{
	for (size_t i = 0; colour && i < ARRAY_LEN(colours); i++) {
		if (strcmp(colours[i].state, state) == 0) {
			fprintf(out, "%s%s\033[0m", colours[i].colour, state);
			return;
		}
	}
	terminal_text(out, state);
}

static void cell_state(FILE *out, struct json_object *restore, bool colour)
{
	const char *state = member_string(restore, "state");

	put_state(out, state ? state : "-", colour);
	if (member_true(restore, "complete"))
		fputs(" complete", out);
	if (member_true(restore, "paused"))
		fputs(" paused", out);
}

/* Prints the members of an object as "key=value", without nested ones and nulls. */
static void cell_pairs(FILE *out, struct json_object *v, bool colour)
{
	const char *blank = "";

	if (!json_object_is_type(v, json_type_object)) {
		cell_plain(out, v, colour);
		return;
	}
	json_object_object_foreach(v, key, member)
	{
		if (!member || json_object_is_type(member, json_type_object) ||
		    json_object_is_type(member, json_type_array))
			continue;
		fputs(blank, out);
		terminal_text(out, key);
		putc('=', out);
		cell_plain(out, member, colour);
		blank = " ";
	}
}

/* @max: so many of an array are shown. */
static void put_words(FILE *out, struct json_object *v, const char *separator, size_t max)
{
	size_t n;

	if (!json_object_is_type(v, json_type_array)) {
		cell_plain(out, v, false);
		return;
	}
	n = json_object_array_length(v);
	for (size_t i = 0; i < min_u64(n, max); i++) {
		if (i > 0)
			fputs(separator, out);
		cell_plain(out, json_object_array_get_idx(v, i), false);
	}
	if (n > max)
		fprintf(out, "%s…", separator);
	else if (n == 0)
		putc('-', out);
}

/* Prints an array of short words. */
static void cell_words(FILE *out, struct json_object *v, bool colour)
{
	(void)colour;
	put_words(out, v, " ", SIZE_MAX);
}

/* The same for a column: the first ones only. */
static void cell_some_words(FILE *out, struct json_object *v, bool colour)
{
	(void)colour;
	put_words(out, v, ",", COLUMN_WORDS_MAX);
}

static void put_member(FILE *out, struct json_object *o, const char *key)
{
	struct json_object *v = member_at(o, key);

	if (v)
		cell_plain(out, v, false);
	else
		putc('-', out);
}

static void cell_usage(FILE *out, struct json_object *usage, bool colour)
{
	(void)colour;
	put_member(out, usage, "used");
	putc('/', out);
	put_member(out, usage, "limit");
}

/* Before the handshake only the size of the snapshot is known. */
static uint64_t total_bytes(struct json_object *memory)
{
	uint64_t total = member_u64(memory, "total_bytes");

	return total ? total : member_u64(memory, "size_bytes");
}

static unsigned int percent(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned int)((double)min_u64(part, whole) * 100 / (double)whole) : 0;
}

static void cell_percent(FILE *out, struct json_object *memory, bool colour)
{
	(void)colour;
	fprintf(out, "%u%%", percent(member_u64(memory, "resident_bytes"), total_bytes(memory)));
}

static void cell_memory(FILE *out, struct json_object *memory, bool colour)
{
	char total[32], page[32];

	(void)colour;
	render_size(total_bytes(memory), total, sizeof(total));
	render_size(member_u64(memory, "page_bytes"), page, sizeof(page));
	fputs(total, out);
	if (member_u64(memory, "page_bytes"))
		fprintf(out, " in pages of %s", page);
}

static void cell_resident(FILE *out, struct json_object *memory, bool colour)
{
	const char *waits_for = member_string(memory, "short_of");
	char resident[32], zero[32], removed[32];

	render_size(member_u64(memory, "resident_bytes"), resident, sizeof(resident));
	render_size(member_u64(memory, "zero_bytes"), zero, sizeof(zero));
	render_size(member_u64(memory, "removed_bytes"), removed, sizeof(removed));
	fprintf(out, "%s (", resident);
	cell_percent(out, memory, colour);
	fprintf(out, "), %s of it zeroed, %s removed", zero, removed);
	if (waits_for) {
		fputs("; the guest waits for ", out);
		terminal_text(out, waits_for);
	}
}

static void cell_prefetch(FILE *out, struct json_object *prefetch, bool colour)
{
	uint64_t rate = member_u64(prefetch, "rate_bytes_per_s");
	uint64_t resident = member_u64(prefetch, "max_resident_bytes");
	const char *state = member_string(prefetch, "state");
	const char *mode = member_string(prefetch, "mode");
	const char *reason = member_string(prefetch, "reason");
	char done[32], total[32], limit[32], max[32];

	(void)colour;
	render_size(member_u64(prefetch, "done_bytes"), done, sizeof(done));
	render_size(member_u64(prefetch, "total_bytes"), total, sizeof(total));
	render_size(rate, limit, sizeof(limit));
	render_size(resident, max, sizeof(max));
	terminal_text(out, mode ? mode : "-");
	if (state) {
		fputs(", ", out);
		terminal_text(out, state);
	}
	fprintf(out, ", %s of %s", done, total);
	if (rate)
		fprintf(out, ", at most %s/s", limit);
	if (resident)
		fprintf(out, ", until %s are resident", max);
	if (reason) {
		fputs(": ", out);
		terminal_text(out, reason);
	}
}

/* "2025-11-23T14:59:01.123Z" → seconds since 1970; false: not a time. */
static bool parse_time(const char *text, time_t *ret)
{
	struct tm tm = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!end || (*end != '.' && *end != 'Z'))
		return false;
	*ret = timegm(&tm);
	return true;
}

/* The two largest units are enough: "3m12s", "2h5m", "4d3h". */
static void cell_age(FILE *out, struct json_object *v, bool colour)
{
	static const struct {
		int64_t seconds;
		char name;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	const char *text = json_object_get_string(v);
	int64_t age;
	time_t at;
	size_t u = 0;

	(void)colour;
	if (!parse_time(text, &at)) {
		putc('-', out);
		return;
	}
	age = wall_ms() / 1000 - at;
	if (age < 0)
		age = 0; /* the clock was set back */
	while (u + 1 < ARRAY_LEN(units) && age < units[u].seconds)
		u++;
	fprintf(out, "%lld%c", (long long)(age / units[u].seconds), units[u].name);
	if (u + 1 < ARRAY_LEN(units))
		fprintf(out, "%lld%c", (long long)(age % units[u].seconds / units[u + 1].seconds),
			units[u + 1].name);
}

static void cell_time(FILE *out, struct json_object *v, bool colour)
{
	cell_plain(out, v, colour);
	fputs(" (", out);
	cell_age(out, v, colour);
	fputs(" ago)", out);
}

/* ---- one restore ---- */

void render_name(FILE *out, struct json_object *o, bool colour)
{
	const char *id = member_string(o, "id"), *name = id ? id : member_string(o, "name");

	(void)colour;
	terminal_text(out, name ? name : "-");
	putc('\n', out);
}

static const struct table_row show_rows[] = {
	{"id", "id", cell_plain, false},
	{"tenant", "tenant", cell_plain, false},
	{"state", "", cell_state, false},
	{"reason", "reason", cell_plain, false},
	{"snapshot", "snapshot", cell_plain, false},
	{"socket", "socket", cell_pairs, false},
	{"peer", "peer", cell_pairs, false},
	{"mem_backend", "mem_backend", cell_plain, false},
	{"vmm", "vmm", cell_pairs, false},
	{"worker", "worker", cell_pairs, false},
	{"memory", "memory", cell_memory, false},
	{"resident", "memory", cell_resident, false},
	{"faults", "faults", cell_pairs, false},
	{"prefetch", "prefetch", cell_prefetch, false},
	{"working_set", "working_set", cell_pairs, false},
	{"connect_timeout", "connect_timeout", cell_plain, false},
	{"when_complete", "when_complete", cell_plain, false},
	{"on_failure", "on_failure", cell_plain, false},
	{"created", "created_at", cell_time, false},
	{"connected", "connected_at", cell_time, false},
	{"ended", "ended_at", cell_time, false},
};

static bool is_empty(struct json_object *v)
{
	return !v ||
	       (json_object_is_type(v, json_type_string) && json_object_get_string_len(v) == 0) ||
	       (json_object_is_type(v, json_type_object) && json_object_object_length(v) == 0);
}

static void put_rows(FILE *out, const struct table_row *rows, size_t n, struct json_object *o,
		     bool colour)
{
	for (size_t i = 0; i < n; i++) {
		struct json_object *v = member_at(o, rows[i].path);

		if (is_empty(v))
			continue;
		fprintf(out, "%-16s ", rows[i].label);
		rows[i].cell(out, v, colour);
		putc('\n', out);
	}
}

void render_show(FILE *out, struct json_object *restore, bool colour)
{
	put_rows(out, show_rows, ARRAY_LEN(show_rows), restore, colour);
}

void render_line(FILE *out, struct json_object *restore, bool colour)
{
	const char *id = member_string(restore, "id");
	const char *reason = member_string(restore, "reason");

	terminal_text(out, id ? id : "-");
	putc(' ', out);
	cell_state(out, restore, colour);
	if (reason && *reason) {
		fputs(": ", out);
		terminal_text(out, reason);
	}
	putc('\n', out);
}

/* ---- many ---- */

static const struct table_row columns[] = {
	{"ID", "id", cell_plain, false},
	{"TENANT", "tenant", cell_plain, false},
	{"STATE", "", cell_state, false},
	{"RESIDENT", "memory", cell_percent, true},
	{"SIZE", "memory.size_bytes", cell_size, true},
	{"FAULTS", "faults.count", cell_plain, true},
	{"PREFETCH", "prefetch.state", cell_plain, false},
	{"AGE", "created_at", cell_age, true},
};

void render_list(FILE *out, struct json_object *items, bool colour)
{
	table_print(out, columns, ARRAY_LEN(columns), items, colour);
}

/* ---- tenants ---- */

static const struct table_row tenant_columns[] = {
	{"NAME", "name", cell_plain, false},
	{"ORIGIN", "origin", cell_plain, false},
	{"UIDS", "uids", cell_some_words, false},
	{"GIDS", "gids", cell_some_words, false},
	{"SHARE", "prefetch_share", cell_plain, true},
	{"RESTORES", "usage.restores", cell_usage, true},
};

void render_tenants(FILE *out, struct json_object *items, bool colour)
{
	table_print(out, tenant_columns, ARRAY_LEN(tenant_columns), items, colour);
}

static const struct table_row tenant_rows[] = {
	{"name", "name", cell_plain, false},
	{"origin", "origin", cell_plain, false},
	{"uids", "uids", cell_words, false},
	{"gids", "gids", cell_words, false},
	{"prefetch_share", "prefetch_share", cell_plain, false},
	{"cgroup", "cgroup.path", cell_plain, false},
	{"cgroup.memory", "cgroup.memory_bytes", cell_size, false},
	{"cgroup.anon", "cgroup.anon_bytes", cell_size, false},
	{"cgroup.file", "cgroup.file_bytes", cell_size, false},
	{"cgroup.pids", "cgroup.pids", cell_plain, false},
};

/* What is neither counted nor limited says nothing. */
static void put_budget(FILE *out, const char *name, struct json_object *usage)
{
	if (!member_at(usage, "used") && !member_at(usage, "limit"))
		return;
	terminal_text(out, name);
	fprintf(out, "%*s ", (int)(16 - min_u64(strlen(name), 16)), "");
	put_member(out, usage, "used");
	fputs(" of ", out);
	put_member(out, usage, "limit");
	putc('\n', out);
}

void render_tenant(FILE *out, struct json_object *tenant, bool colour)
{
	struct json_object *usage = member_at(tenant, "usage");

	put_rows(out, tenant_rows, ARRAY_LEN(tenant_rows), tenant, colour);
	if (!json_object_is_type(usage, json_type_object))
		return;
	json_object_object_foreach(usage, budget, one)
	{
		put_budget(out, budget, one);
	}
}

/* ---- events ---- */

void render_event(FILE *out, struct json_object *event, bool colour)
{
	static const char *const members[] = {"time", "type", "tenant", "restore", "data"};

	fprintf(out, "%llu", (unsigned long long)member_u64(event, "seq"));
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		struct json_object *v = member_at(event, members[i]);

		putc(' ', out);
		if (is_empty(v))
			putc('-', out);
		else
			cell_pairs(out, v, colour);
	}
	putc('\n', out);
}

/* ---- version ---- */

void render_version(FILE *out, struct json_object *server)
{
	const char *version = member_string(server, "version");
	const char *separator = " (";

	terminal_text(out, version ? version : "-");
	json_object_object_foreach(server, key, v)
	{
		if (strcmp(key, "version") == 0 || !v)
			continue;
		fputs(separator, out);
		terminal_text(out, key);
		putc(' ', out);
		cell_words(out, v, false);
		separator = ", ";
	}
	fputs(*separator == ',' ? ")\n" : "\n", out);
}
