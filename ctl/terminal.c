#include "ctl/terminal.h"

#include <string.h>

#include "common/jscan.h"

bool terminal_escapes(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && !(term && strcmp(term, "dumb") == 0);
}

/* Control characters, and those that hide, break or reorder what is shown beside them. */
static const struct {
	uint32_t first, last;
} unprintable[] = {
	{0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},       {0x61c, 0x61c},
	{0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},
	{0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
};

static bool is_printable(uint32_t c)
{
	for (size_t i = 0; i < ARRAY_LEN(unprintable); i++)
		if (c >= unprintable[i].first && c <= unprintable[i].last)
			return false;
	return true;
}

/* The bytes of the character at @text; 0: they are not UTF-8. */
static size_t decode(const char *text, uint32_t *ret)
{
	static const uint8_t first[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	size_t n = jscan_utf8(text, strnlen(text, 4));

	if (n == 0 || n > strnlen(text, 4))
		return 0;
	*ret = (uint8_t)text[0] & first[n];
	for (size_t i = 1; i < n; i++)
		*ret = *ret << 6 | ((uint8_t)text[i] & 0x3f);
	return n;
}

void terminal_text(FILE *out, const char *text)
{
	uint32_t c;

	for (size_t n; *text; text += n ? n : 1) {
		n = decode(text, &c);
		if (n && is_printable(c))
			fwrite(text, 1, n, out);
		else if (!n || c <= 0xff)
			fprintf(out, "\\x%02x", n ? c : (uint8_t)*text);
		else
			fprintf(out, c <= 0xffff ? "\\u%04x" : "\\U%08x", c);
	}
}

/* json-c escapes what JSON requires, and that is less. All of its text is UTF-8. */
void terminal_json_part(FILE *out, struct json_object *o)
{
	const int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
	const char *text = json_object_to_json_string_ext(o, flags);
	uint32_t c;

	for (size_t n; *text && (n = decode(text, &c)); text += n) {
		if (is_printable(c))
			fwrite(text, 1, n, out);
		else if (c <= 0xffff)
			fprintf(out, "\\u%04x", c);
		else
			fprintf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
				0xdc00 + ((c - 0x10000) & 0x3ff));
	}
}

void terminal_json(FILE *out, struct json_object *o)
{
	terminal_json_part(out, o);
	putc('\n', out);
}
