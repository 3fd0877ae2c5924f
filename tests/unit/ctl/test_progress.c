/* The line that shows how far a restore is: its text, and when it is drawn. */
#include "ctl/progress.h"

#include <string.h>

#include "common/js.h"
#include "tests/support/capture.h"
#include "tests/support/runner.h"

#define ROOM 201
#define HALF                                                                      \
	"{\"id\":\"vm1\",\"state\":\"serving\",\"memory\":{\"total_bytes\":1000," \
	"\"resident_bytes\":500},\"faults\":{\"count\":42}}"
#define MEMORY(total, resident) \
	"{\"id\":\"a\",\"state\":\"b\",\"memory\":{" total "\"resident_bytes\":" #resident "}}"
#define ID_64 "i234567890123456789012345678901234567890123456789012345678901234"

/* clang-format off */
static const struct {
	const char *restore;
	double rate;
	size_t columns;
	const char *line;
} lines[] = {
	{HALF, -1, 80, "vm1 serving [####################--------------------]  50% 42 faults"},
	{HALF, -1, 200, "vm1 serving [####################--------------------]  50% 42 faults"},
	{HALF, 0, 80, "vm1 serving [####################--------------------]  50% 0 B/s 42 faults"},
	{HALF, 2048.7, 80,
	 "vm1 serving [####################--------------------]  50% 2 KiB/s 42 faults"},
	/* Eight columns are the shortest bar; then there is none, then the text is cut. */
	{HALF, -1, 40, "vm1 serving [#####-----]  50% 42 faults"},
	{HALF, -1, 38, "vm1 serving [####----]  50% 42 faults"},
	{HALF, -1, 37, "vm1 serving  50% 42 faults"},
	{HALF, -1, 27, "vm1 serving  50% 42 faults"},
	{HALF, -1, 26, "vm1 serving  50% 42 fault"},
	{HALF, -1, 4, "vm1"},
	{HALF, -1, 1, ""},
	/* Before the handshake only the size of the snapshot is known. */
	{MEMORY("\"size_bytes\":1000,", 250), -1, 20, "a b  25% 0 faults"},
	{MEMORY("\"size_bytes\":1000,\"total_bytes\":500,", 250), -1, 20, "a b  50% 0 faults"},
	{MEMORY("\"total_bytes\":1000,", 999), -1, 20, "a b  99% 0 faults"},
	{MEMORY("\"total_bytes\":1000,", 1000), -1, 20, "a b 100% 0 faults"},
	{MEMORY("\"total_bytes\":1000,", 2000), -1, 20, "a b 100% 0 faults"},
	{MEMORY("\"total_bytes\":18446744073709551615,", 9223372036854775808), -1, 20,
	 "a b  50% 0 faults"},
	{MEMORY("", 500), -1, 20, "a b   0% 0 faults"},
	{"{\"complete\":true}", -1, 20, "- - 100% 0 faults"},
	{"{\"complete\":true}", -1, 30, "- - [#########] 100% 0 faults"},
	{"{}", -1, 20, "- -   0% 0 faults"},
	{"{\"id\":7,\"state\":[],\"memory\":1,\"faults\":2}", -1, 20, "- -   0% 0 faults"},
	{"{\"id\":\"a\\u001b\\u007f\\u00e4b\",\"state\":\"~ \\n\"}", -1, 25,
	 "a????b ~ ?   0% 0 faults"},
	/* What is too long for an id or a state was never one. */
	{"{\"id\":\"" ID_64 "\",\"state\":\"s2345678901234567\"}", -1, 100,
	 "i23456789012345678901234567890123456789012345678901234567890123 s23456789012345"
	 "   0% 0 faults"},
};
/* clang-format on */

START_TEST(text_of_the_line)
{
	cleanup_json struct json_object *o = json_tokener_parse(lines[_i].restore);
	char line[ROOM];

	ck_assert_ptr_nonnull(o);
	progress_line(o, lines[_i].rate, lines[_i].columns, line, sizeof(line));
	ck_assert_str_eq(line, lines[_i].line);
}
END_TEST

/* The caller's room bounds the text, also where no terminal does; nothing else is written. */
START_TEST(text_is_bounded)
{
	static const struct {
		size_t columns, len;
		const char *line;
	} bounds[] = {
		{80, 16, "vm1 serving [##"},
		{200, 100, "vm1 serving [####################--------------------]  50% 42 faults"},
		{0, 8, "vm1 ser"},
	};
	cleanup_json struct json_object *o = json_tokener_parse(HALF);
	char room[1 + ROOM], *line = room + 1;

	memset(room, 'x', sizeof(room));
	progress_line(o, -1, bounds[_i].columns, line, bounds[_i].len);
	ck_assert_str_eq(line, bounds[_i].line);
	ck_assert_int_eq(room[0], 'x');
	for (size_t i = strlen(line) + 1; i < ROOM; i++)
		ck_assert_msg(line[i] == 'x', "byte %zu", i);
}
END_TEST

/* Any width, any bytes: one line that fits. */
START_TEST(bar_fits)
{
	cleanup_json struct json_object *o = json_tokener_parse(
		"{\"id\":\"a\\u001b[2Jb\",\"tenant\":\"t1\",\"state\":\"serving\","
		"\"memory\":{\"total_bytes\":8,\"resident_bytes\":4}}");
	char line[ROOM];

	ck_assert_ptr_nonnull(o);
	for (size_t columns = 1; columns <= 200; columns++) {
		progress_line(o, 1e9, columns, line, sizeof(line));
		ck_assert_msg(strlen(line) < columns, "%zu: %s", columns, line);
		ck_assert_ptr_null(strchr(line, '\033'));
	}
	ck_assert_msg(strstr(line, "[####################--------------------]  50% 953.7 MiB/s "),
		      "%s", line);
}
END_TEST

/* ---- on a terminal ---- */

static void draw(struct progress *p, uint64_t bytes, uint64_t at_us)
{
	cleanup_json struct json_object *o = json_tokener_parse("{\"id\":\"a\",\"state\":\"b\"}");
	struct json_object *memory = json_object_new_object();

	js_add_u64(memory, "total_bytes", 8192);
	js_add_u64(memory, "resident_bytes", bytes);
	json_object_object_add(o, "memory", memory);
	progress_draw(p, o, at_us);
}

static void begin(struct capture *c)
{
	setenv("TERM", "xterm", 1);
	capture_begin(c);
}

static void end(struct capture *c, const char *should)
{
	capture_end(c);
	ck_assert_str_eq(c->err, should);
	ck_assert_str_eq(c->out, "");
	capture_fini(c);
}

/* Half of the last rate and half of the one before; the first draw knows none. */
START_TEST(rate)
{
	struct capture c = {.terminal = STDERR_FILENO, .columns = 30};
	struct progress p;

	begin(&c);
	progress_start(&p, true);
	draw(&p, 1024, 1000000);
	draw(&p, 2048, 2000000);
	draw(&p, 5120, 3000000);
	draw(&p, 6144, 3000000); /* no time has passed */
	draw(&p, 6144, 2000000); /* the clock of another host */
	draw(&p, 4096, 4000000); /* the guest gave memory back */
	draw(&p, 8192, 4500000);
	progress_stop(&p);
	end(&c, "\ra b [#--------]  12% 0 faults\033[K"
		"\ra b  25% 1 KiB/s 0 faults\033[K"
		"\ra b  62% 2 KiB/s 0 faults\033[K"
		"\ra b  75% 2 KiB/s 0 faults\033[K"
		"\ra b  75% 2 KiB/s 0 faults\033[K"
		"\ra b  50% 1 KiB/s 0 faults\033[K"
		"\ra b 100% 4.5 KiB/s 0 faults\033[K\n");
}
END_TEST

/* A rate of nothing is one, too. */
START_TEST(rate_of_nothing)
{
	struct capture c = {.terminal = STDERR_FILENO, .columns = 30};
	struct progress p;

	begin(&c);
	progress_start(&p, true);
	draw(&p, 1024, 1000000);
	draw(&p, 1024, 2000000);
	draw(&p, 5120, 3000000);
	progress_stop(&p);
	end(&c, "\ra b [#--------]  12% 0 faults\033[K"
		"\ra b  12% 0 B/s 0 faults\033[K"
		"\ra b  62% 2 KiB/s 0 faults\033[K\n");
}
END_TEST

/* The terminal says how wide it is, each time; one that does not is taken for 80 columns. */
START_TEST(width_of_the_terminal)
{
	static const struct {
		unsigned short columns;
		const char *seen;
	} cases[] = {
		{0, "\ra b [####################--------------------]  50% 0 faults\033[K\n"},
		{12, "\ra b  50% 0 \033[K\n"},
		{500, "\ra b [####################--------------------]  50% 0 faults\033[K\n"},
	};
	struct capture c = {.terminal = STDERR_FILENO, .columns = cases[_i].columns};
	struct progress p;

	begin(&c);
	progress_start(&p, true);
	draw(&p, 4096, 1000000);
	progress_stop(&p);
	end(&c, cases[_i].seen);
}
END_TEST

START_TEST(long_line_is_cut)
{
	static const char *const seen[] = {
		"\ri23456789012345678901234567890123456789012345678901234567890123 "
		"s23456789012345\033[K\n",
		"\ri234567890123456789\033[K\n",
	};
	struct capture c = {.terminal = STDERR_FILENO, .columns = _i ? 20 : 0};
	cleanup_json struct json_object *o =
		json_tokener_parse("{\"id\":\"" ID_64 "\",\"state\":\"s2345678901234567\"}");
	struct progress p;

	begin(&c);
	progress_start(&p, true);
	progress_draw(&p, o, 1);
	progress_stop(&p);
	end(&c, seen[_i]);
}
END_TEST

/* A line that was drawn is ended once, by whichever comes first. */
START_TEST(end_of_the_line)
{
	struct capture c = {.terminal = STDERR_FILENO, .columns = 20};
	struct progress p;

	begin(&c);
	progress_interrupted(); /* nothing is drawn yet */
	progress_start(&p, true);
	progress_interrupted();
	progress_stop(&p);
	fputs("first ", stderr);
	draw(&p, 8192, 1);
	progress_stop(&p);
	progress_stop(&p);
	progress_interrupted();
	fputs("second ", stderr);
	draw(&p, 8192, 2);
	progress_interrupted();
	end(&c, "first \ra b 100% 0 faults\033[K\nsecond \ra b 100% 0 B/s 0 fa\033[K\n");
}
END_TEST

/* Each picture is out when it is drawn, whatever stands in the buffer of the stream. */
START_TEST(drawn_at_once)
{
	static char buffer[4096];
	struct capture c = {.terminal = STDERR_FILENO, .columns = 20};
	struct progress p;

	begin(&c);
	setvbuf(stderr, buffer, _IOFBF, sizeof(buffer));
	progress_start(&p, true);
	draw(&p, 8192, 1);
	progress_interrupted();
	setvbuf(stderr, NULL, _IONBF, 0);
	end(&c, "\ra b 100% 0 faults\033[K\n");
}
END_TEST

/* Not wanted, no terminal, or a terminal that cannot draw. */
START_TEST(no_line)
{
	static const struct {
		int terminal;
		bool wanted;
		const char *term;
	} cases[] = {
		{STDERR_FILENO, false, "xterm"},
		{0, true, "xterm"},
		{STDOUT_FILENO, true, "xterm"},
		{STDERR_FILENO, true, "dumb"},
	};
	struct capture c = {.terminal = cases[_i].terminal, .columns = 80};
	struct progress p;

	capture_begin(&c);
	setenv("TERM", cases[_i].term, 1);
	progress_start(&p, cases[_i].wanted);
	draw(&p, 4096, 1000000);
	progress_interrupted();
	progress_stop(&p);
	end(&c, "");
	ck_assert(!p.on);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("progress");
	TCase *tcase = tcase_create("progress");

	tcase_add_loop_test(tcase, text_of_the_line, 0, ARRAY_LEN(lines));
	tcase_add_loop_test(tcase, text_is_bounded, 0, 3);
	tcase_add_test(tcase, bar_fits);
	tcase_add_test(tcase, rate);
	tcase_add_test(tcase, rate_of_nothing);
	tcase_add_loop_test(tcase, width_of_the_terminal, 0, 3);
	tcase_add_loop_test(tcase, long_line_is_cut, 0, 2);
	tcase_add_test(tcase, end_of_the_line);
	tcase_add_test(tcase, drawn_at_once);
	tcase_add_loop_test(tcase, no_line, 0, 4);
	suite_add_tcase(suite, tcase);
	return suite;
}
