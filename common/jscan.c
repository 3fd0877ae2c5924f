#include "common/jscan.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#define WORD_MAX 64 /* bytes of the longest number or literal, with NUL */
#define DIGITS "0123456789"

/* The state of a scan through the tokens. */
struct scanner {
	const char *text;
	size_t len, pos;
	bool key_next; /* a string here is the key of a member */
	bool comma;    /* the token before was a comma */
	size_t depth;
	struct json_object *seen[JS_DEPTH_MAX]; /* owned; keys of each open object, NULL: array */
	struct json_tokener *tok;               /* borrowed; for keys */
	struct err *err;
};

const char *jscan_shown(char buf[JSCAN_SHOWN_MAX], const char *s)
{
	size_t n = 0;

	for (; n < JSCAN_SHOWN_MAX - 1 && s[n]; n++)
		buf[n] = s[n] >= 0x20 && s[n] <= 0x7e ? s[n] : '?';
	buf[n] = '\0';
	return buf;
}

__attribute__((format(printf, 4, 0))) static void
set_bad(const char *text, size_t pos, struct err *err, const char *fmt, va_list ap)
{
	size_t line = 1, column = 1;
	char what[160];

	for (size_t i = 0; i < pos; i++) {
		column = text[i] == '\n' ? 1 : column + 1;
		line += text[i] == '\n';
	}
	vsnprintf(what, sizeof(what), fmt, ap);
	err_set(err, ERR_INVALID, "bad JSON at line %zu, column %zu: %s", line, column, what);
}

int jscan_err(const char *text, size_t pos, struct err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_bad(text, pos, err, fmt, ap);
	va_end(ap);
	return -1;
}

__attribute__((format(printf, 3, 4))) static enum jscan bad(struct scanner *sc, size_t pos,
							    const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_bad(sc->text, pos, sc->err, fmt, ap);
	va_end(ap);
	return JSCAN_BAD;
}

/* Well-formed UTF-8: Unicode, table 3-7. */
size_t jscan_utf8(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf;
	size_t n = s[0] < 0x80   ? 1
		   : s[0] < 0xc2 ? 0
		   : s[0] < 0xe0 ? 2
		   : s[0] < 0xf0 ? 3
		   : s[0] < 0xf5 ? 4
				 : 0;

	if (s[0] == 0xe0)
		low = 0xa0;
	if (s[0] == 0xed)
		high = 0x9f;
	if (s[0] == 0xf0)
		low = 0x90;
	if (s[0] == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < n && i < len; i++) {
		if (s[i] < low || s[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return n;
}

static bool is_hex(char c)
{
	static const char digits[] = DIGITS "abcdefABCDEF";

	return memchr(digits, c, sizeof(digits) - 1) != NULL;
}

/*
 * The four digits of \uXXXX, with @pos at its backslash. Digits that have not come may be anything
 * from 0 to f: the character lies between *ret_low and *ret_high.
 */
static enum jscan scan_hex(struct scanner *sc, size_t pos, unsigned *ret_low, unsigned *ret_high)
{
	char low[] = "0000", high[] = "ffff";
	size_t n = 0;

	while (n < 4 && pos + 2 + n < sc->len) {
		char c = sc->text[pos + 2 + n];

		if (!is_hex(c))
			return bad(sc, pos, "\\u needs four hexadecimal digits");
		low[n] = high[n] = c;
		n++;
	}
	*ret_low = (unsigned)strtoul(low, NULL, 16);
	*ret_high = (unsigned)strtoul(high, NULL, 16);
	return n < 4 ? JSCAN_MORE : JSCAN_OK;
}

static enum jscan half_a_pair(struct scanner *sc)
{
	return bad(sc, sc->pos, "half a surrogate pair");
}

/* The second half of the pair that is begun at the scanner's place. */
static enum jscan scan_second_half(struct scanner *sc)
{
	static const char escape[] = {'\\', 'u'};
	unsigned low, high;
	enum jscan rc;

	for (size_t i = 0; i < sizeof(escape); i++) {
		if (sc->pos + 6 + i == sc->len)
			return JSCAN_MORE;
		if (sc->text[sc->pos + 6 + i] != escape[i])
			return half_a_pair(sc);
	}
	rc = scan_hex(sc, sc->pos + 6, &low, &high);
	if (rc != JSCAN_BAD && (high < 0xdc00 || low > 0xdfff))
		return half_a_pair(sc);
	return rc;
}

/* json-c silently replaces half a surrogate pair: two names could become equal. */
static enum jscan scan_unicode(struct scanner *sc)
{
	unsigned low, high;
	enum jscan rc = scan_hex(sc, sc->pos, &low, &high);
	bool pair;

	if (rc == JSCAN_BAD)
		return rc;
	if (low >= 0xdc00 && high <= 0xdfff)
		return half_a_pair(sc);
	if (rc != JSCAN_OK)
		return rc;
	pair = low >= 0xd800 && low <= 0xdbff;
	if (pair)
		rc = scan_second_half(sc);
	if (rc == JSCAN_OK)
		sc->pos += pair ? 12 : 6;
	return rc;
}

static enum jscan scan_string_char(struct scanner *sc)
{
	unsigned char c = (unsigned char)sc->text[sc->pos];
	size_t n = jscan_utf8(sc->text + sc->pos, sc->len - sc->pos);

	if (c < 0x20)
		return bad(sc, sc->pos, "raw control character in a string, write \\u%04x", c);
	if (n == 0)
		return bad(sc, sc->pos, "not UTF-8");
	if (c == '\\') {
		if (sc->pos + 1 == sc->len)
			return JSCAN_MORE;
		if (sc->text[sc->pos + 1] == 'u')
			return scan_unicode(sc);
		n = 2; /* json-c checks which letters may follow */
	}
	sc->pos += n;
	return sc->pos > sc->len ? JSCAN_MORE : JSCAN_OK;
}

static enum jscan scan_string(struct scanner *sc)
{
	sc->pos++;
	while (sc->pos < sc->len && sc->text[sc->pos] != '"') {
		enum jscan rc = scan_string_char(sc);

		if (rc != JSCAN_OK)
			return rc;
	}
	if (sc->pos == sc->len)
		return JSCAN_MORE;
	sc->pos++;
	return JSCAN_OK;
}

static enum jscan check_key(struct scanner *sc, size_t start, struct json_object *key)
{
	struct json_object *seen = sc->seen[sc->depth - 1];
	const char *name = json_object_get_string(key);
	char buf[JSCAN_SHOWN_MAX];

	if (strlen(name) != (size_t)json_object_get_string_len(key))
		return bad(sc, start, "key \"%s\" contains a NUL", jscan_shown(buf, name));
	if (json_object_object_get_ex(seen, name, NULL))
		return bad(sc, start, "duplicate key \"%s\"", jscan_shown(buf, name));
	if (json_object_object_add(seen, name, NULL) < 0)
		jscan_need(NULL);
	return JSCAN_OK;
}

static enum jscan scan_key(struct scanner *sc)
{
	size_t start = sc->pos;
	enum jscan rc = scan_string(sc);
	struct json_object *key;

	if (rc != JSCAN_OK)
		return rc;
	json_tokener_reset(sc->tok);
	key = json_tokener_parse_ex(sc->tok, sc->text + start, (int)(sc->pos - start));
	if (!key)
		return bad(sc, start, "malformed key");
	rc = check_key(sc, start, key);
	json_object_put(key);
	return rc;
}

/* NUMBER_BEGUN: as far as it goes; digits must follow. */
enum number { NUMBER_NONE, NUMBER_BEGUN, NUMBER_INTEGER, NUMBER_REAL };

/* At least one must be there. */
static bool skip_digits(const char **p)
{
	size_t n = strspn(*p, DIGITS);

	*p += n;
	return n > 0;
}

static enum number number_of(const char *w)
{
	const char *p = w + (*w == '-');
	enum number number = NUMBER_INTEGER;

	if (*p == '0')
		p++;
	else if (!skip_digits(&p))
		return *p ? NUMBER_NONE : NUMBER_BEGUN;
	if (*p == '.') {
		number = NUMBER_REAL;
		p++;
		if (!skip_digits(&p))
			return *p ? NUMBER_NONE : NUMBER_BEGUN;
	}
	if (*p == 'e' || *p == 'E') {
		number = NUMBER_REAL;
		p++;
		p += *p == '+' || *p == '-';
		if (!skip_digits(&p))
			return *p ? NUMBER_NONE : NUMBER_BEGUN;
	}
	return *p ? NUMBER_NONE : number;
}

static bool is_literal(const char *w, size_t n, bool whole)
{
	static const char *const literals[] = {"true", "false", "null"};

	for (size_t i = 0; i < ARRAY_LEN(literals); i++)
		if (strncmp(literals[i], w, n) == 0 && (!whole || !literals[i][n]))
			return true;
	return false;
}

static bool number_fits(const char *w, enum number number)
{
	errno = 0;
	if (number == NUMBER_REAL)
		return isfinite(strtod(w, NULL));
	if (*w == '-')
		(void)strtoll(w, NULL, 10);
	else
		(void)strtoull(w, NULL, 10);
	return errno == 0;
}

/*
 * A word that ends with the text may go on: it is wrong if nothing can follow that makes it right.
 * An integer that is too large may still become a fraction.
 */
static enum jscan check_word(struct scanner *sc, size_t start, const char *word, bool whole)
{
	enum number number = number_of(word);

	if (is_literal(word, sc->pos - start, whole))
		return whole ? JSCAN_OK : JSCAN_MORE;
	if (number == NUMBER_NONE || (whole && number == NUMBER_BEGUN))
		return bad(sc, start, "\"%s\" is no value", word);
	if ((whole || number == NUMBER_REAL) && !number_fits(word, number))
		return bad(sc, start, "%s does not fit into 64 bits", word);
	return whole ? JSCAN_OK : JSCAN_MORE;
}

/* A number, true, false, null, or a word that only json-c accepts. */
static enum jscan scan_word(struct scanner *sc)
{
	static const char letters[] = DIGITS "+-.ABCDEFGHIJKLMNOPQRSTUVWXYZ"
					     "abcdefghijklmnopqrstuvwxyz";
	char word[WORD_MAX];
	size_t start = sc->pos, n = 0;

	while (sc->pos < sc->len && memchr(letters, sc->text[sc->pos], sizeof(letters) - 1))
		sc->pos++;
	n = sc->pos - start;
	if (n == 0)
		return bad(sc, start, "unexpected character");
	if (n >= sizeof(word))
		return bad(sc, start, "number too long");
	memcpy(word, sc->text + start, n);
	word[n] = '\0';
	return check_word(sc, start, word, sc->pos < sc->len);
}

static enum jscan scan_open(struct scanner *sc)
{
	bool object = sc->text[sc->pos] == '{';

	if (sc->depth == JS_DEPTH_MAX)
		return bad(sc, sc->pos, "nested deeper than %d levels", JS_DEPTH_MAX);
	sc->seen[sc->depth++] = object ? jscan_need(json_object_new_object()) : NULL;
	sc->key_next = object;
	sc->comma = false;
	sc->pos++;
	return JSCAN_OK;
}

static enum jscan scan_close(struct scanner *sc)
{
	bool object = sc->seen[sc->depth - 1] != NULL;

	if (object != (sc->text[sc->pos] == '}'))
		return bad(sc, sc->pos, "expected '%c'", object ? '}' : ']');
	if (sc->comma)
		return bad(sc, sc->pos, "nothing follows the last comma");
	json_object_put(sc->seen[--sc->depth]);
	sc->key_next = false;
	sc->pos++;
	return JSCAN_OK;
}

static enum jscan scan_token(struct scanner *sc)
{
	char c = sc->text[sc->pos];
	bool key = sc->key_next;

	if (c == '{' || c == '[')
		return scan_open(sc);
	if (c == '}' || c == ']')
		return scan_close(sc);
	sc->comma = c == ',';
	if (c == '"') {
		sc->key_next = false;
		return key ? scan_key(sc) : scan_string(sc);
	}
	if (c == ',')
		sc->key_next = sc->seen[sc->depth - 1] != NULL;
	else if (c == '\'')
		return bad(sc, sc->pos, "strings take double quotes");
	else if (c == '/')
		return bad(sc, sc->pos, "comments are not allowed here");
	else if (c != ':')
		return scan_word(sc);
	sc->pos++;
	return JSCAN_OK;
}

static void skip_blanks(struct scanner *sc)
{
	while (sc->pos < sc->len && memchr(" \t\r\n", sc->text[sc->pos], 4))
		sc->pos++;
}

static enum jscan scan_value(struct scanner *sc, char open, size_t *ret_end)
{
	enum jscan rc = JSCAN_OK;

	skip_blanks(sc);
	if (sc->pos < sc->len && sc->text[sc->pos] != '{' && (open || sc->text[sc->pos] != '['))
		return bad(sc, sc->pos, "expected an %s", open ? "object" : "array or an object");
	while (rc == JSCAN_OK && sc->pos < sc->len) {
		rc = scan_token(sc);
		*ret_end = sc->pos;
		skip_blanks(sc);
		if (rc == JSCAN_OK && sc->depth == 0 && sc->pos < sc->len)
			return bad(sc, sc->pos, "something follows the end");
		if (rc == JSCAN_OK && sc->depth == 0)
			return JSCAN_OK;
	}
	return rc == JSCAN_OK ? JSCAN_MORE : rc;
}

enum jscan jscan_text(const char *text, size_t len, char open, struct json_tokener *tok,
		      size_t *ret_end, struct err *err)
{
	struct scanner sc = {.text = text, .len = len, .tok = tok, .err = err};
	enum jscan rc = scan_value(&sc, open, ret_end);

	while (sc.depth > 0)
		json_object_put(sc.seen[--sc.depth]);
	return rc;
}
