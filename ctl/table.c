#include "ctl/table.h"

#include <string.h>

#include "ctl/member.h"

/* Columns on the screen: an escape sequence takes none, a UTF-8 character takes one. */
static size_t shown_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++) {
		if (*text == '\033')
			text += strcspn(text, "m");
		else if (((unsigned char)*text & 0xc0) != 0x80)
			width++;
	}
	return width;
}

/* The cell as text, owned by the caller. */
static char *cell_of(const struct table_row *column, struct json_object *item, bool colour)
{
	struct json_object *v = member_at(item, column->path);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort();
	if (v)
		column->cell(out, v, colour);
	else
		putc('-', out);
	fclose(out);
	return text;
}

static void put_cell(FILE *out, bool right, bool last, size_t width, const char *text)
{
	size_t shown = shown_width(text);
	int pad = shown < width ? (int)(width - shown) : 0;

	if (right)
		fprintf(out, "%*s%s", pad, "", text);
	else
		fprintf(out, "%s%*s", text, last ? 0 : pad, "");
	fputs(last ? "\n" : "  ", out);
}

void table_print(FILE *out, const struct table_row *columns, size_t n, struct json_object *items,
		 bool colour)
{
	size_t lines = json_object_array_length(items);
	cleanup_free size_t *width = xcalloc(n, sizeof(*width));
	char **cells = xcalloc(lines ? lines * n : 1, sizeof(*cells));

	for (size_t c = 0; c < n; c++) {
		width[c] = strlen(columns[c].label);
		for (size_t i = 0; i < lines; i++) {
			struct json_object *item = json_object_array_get_idx(items, i);
			char *cell = cell_of(&columns[c], item, colour);

			cells[i * n + c] = cell;
			width[c] = max_u64(width[c], shown_width(cell));
		}
	}
	for (size_t c = 0; c < n; c++)
		put_cell(out, columns[c].right, c + 1 == n, width[c], columns[c].label);
	for (size_t i = 0; i < lines * n; i++) {
		put_cell(out, columns[i % n].right, i % n + 1 == n, width[i % n], cells[i]);
		free(cells[i]);
	}
	free(cells);
}
