#include "tests/fakes/vmm/standin_args.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "tests/fakes/vmm/hostile.h"
#include "tests/fakes/vmm/kvm.h"
#include "tests/fakes/vmm/walk.h"

static const char *const orders[] = {"seq", "rev", "rand", "stride", "same", NULL};
static const char *const styles[] = {"both", "kib", "size", "neither", "kib-zero", "in-kib", NULL};
static const char *const helpers[] = {"none", "ends", "stays", NULL};
static const char *const directions[] = {"fwd", "rev", NULL};
static const char *const events[] = {"remove", "none", "all", NULL};
/* clang-format off */
static const unsigned event_features[] = {
	UF_FEATURE_REMOVE, 0,
	UF_FEATURE_REMOVE | UF_FEATURE_UNMAP | UF_FEATURE_REMAP | UF_FEATURE_FORK,
};
/* clang-format on */

enum kind { FLAG, TEXT, BYTES, NUMBER, CHOICE };

struct option {
	const char *name;
	enum kind kind;
	size_t at; /* in struct standin_args: bool, const char * or uint64_t */
	uint64_t min, max;
	const char *const *choices;
	const char *help;
};

#define AT(field) offsetof(struct standin_args, field)
static const struct option options[] = {
	{"--socket", TEXT, AT(link.socket), .help = "PATH of the server's socket (required)"},
	{"--image", TEXT, AT(memory.image),
	 .help = "FILE with what guest memory must hold (required)"},
	{"--size", BYTES, AT(memory.size), 1, VMM_SIZE_MAX,
	 .help = "of guest memory; default: the image's"},
	{"--split", TEXT, AT(memory.split), .help = "sizes of regions: 4K,12K,1M,rest"},
	{"--offset-order", CHOICE, AT(memory.reverse), .choices = directions,
	 .help = "rev: later offsets at lower addresses"},
	{"--page-size", BYTES, AT(memory.page_bytes), PAGE_4K, PAGE_2M, .help = "4K or 2M"},
	{"--scarce", FLAG, AT(memory.scarce),
	 .help = "also where there are too few huge pages for it"},
	{"--threads", NUMBER, AT(touch.threads), 1, WALK_THREADS_MAX,
	 .help = "that touch; vCPUs with --kvm"},
	{"--order", CHOICE, AT(touch.order), .choices = orders,
	 .help = "in which pages are touched"},
	{"--seed", NUMBER, AT(seed), 0, UINT64_MAX, .help = "of everything random"},
	{"--write", NUMBER, AT(touch.write_pct), 0, 100, .help = "percent of touches that write"},
	{"--passes", NUMBER, AT(touch.passes), 1, 1000000, .help = "over all of memory"},
	{"--quick", FLAG, AT(touch.quick), .help = "touches compare nothing; the last pass does"},
	{"--remove", NUMBER, AT(change.remove_pct), 0, 100,
	 .help = "percent of pages to give back half-way"},
	{"--balloon", NUMBER, AT(change.balloon_s), 0, 86400,
	 .help = "seconds of giving back and touching, or until the end of stdin"},
	{"--unmap", FLAG, AT(change.unmap), .help = "some pages half-way"},
	{"--remap", FLAG, AT(change.remap), .help = "some pages half-way"},
	{"--fork", FLAG, AT(change.fork), .help = "a child half-way"},
	{"--events", CHOICE, AT(memory.events), .choices = events,
	 .help = "asked of the userfaultfd"},
	{"--only", TEXT, AT(touch.only),
	 .help = "touch 0+64,128,…; a line on stdin: then the rest"},
	{"--linger", NUMBER, AT(touch.linger_ms), 0, 86400000, .help = "ms; then --only again"},
	{"--paced", NUMBER, AT(touch.paced), 1, UINT32_MAX,
	 .help = "for each line on stdin: as many pages more, 1 ms apart, and their median fault"},
	{"--no-touch", FLAG, AT(touch.no_touch), .help = "leave it to prefetch"},
	{"--wait-resident", NUMBER, AT(touch.resident_s), 0, 86400,
	 .help = "s for all, then verify"},
	{"--kvm", FLAG, AT(touch.kvm), .help = "a real guest reads instead of threads"},
	{"--hold-before", FLAG, AT(touch.hold_before), .help = "wait for a line before touching"},
	{"--hold", FLAG, AT(end.hold), .help = "wait for end of stdin or SIGTERM before leaving"},
	{"--style", CHOICE, AT(link.style), .choices = styles, .help = "page sizes in the message"},
	{"--fds", NUMBER, AT(link.extra_fds), 0, HANDSHAKE_FDS_MAX - 1, .help = "after the uffd"},
	{"--split-send", FLAG, AT(link.split_send), .help = "the message byte by byte"},
	{"--split-hold", FLAG, AT(link.split_hold),
	 .help = "wait for a line on stdin in the middle of the message"},
	{"--drop", FLAG, AT(link.drop), .help = "the connection after the message"},
	{"--no-keep", FLAG, AT(link.no_keep), .help = "close the uffd after the message"},
	{"--helper", CHOICE, AT(link.helper), .choices = helpers,
	 .help = "another process that connects for it"},
	{"--main-ends", FLAG, AT(end.main_ends),
	 .help = "its thread, once connected; others go on"},
	{"--ends-slowly", FLAG, AT(end.ends_slowly),
	 .help = "wait as with --hold once its memory and its uffd are gone"},
	{"--pid-ns", FLAG, AT(link.pid_ns), .help = "in a PID namespace of its own"},
	{"--uid", NUMBER, AT(link.uid), 0, UINT32_MAX - 1,
	 .help = "user and group that it becomes before it connects; 0: it stays who it is"},
	{"--hostile", TEXT, AT(hostile), .help = "WAY to misbehave; see below"},
	{"--timeout", NUMBER, AT(end.timeout_s), 1, 86400,
	 .help = "seconds until everything is done"},
	{"--help", FLAG, AT(help), .help = "this"},
};

void standin_usage(FILE *f)
{
	fputs("usage: standin --socket PATH --image FILE [options]\n", f);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option *o = &options[i];

		fprintf(f, "  %-16s %s", o->name, o->help);
		for (const char *const *c = o->choices; c && *c; c++)
			fprintf(f, "%s%s", c == o->choices ? ": " : "|", *c);
		fputc('\n', f);
	}
	fputs("ways: ", f);
	hostile_list(f);
}

/* Decimal with an optional K, M or G; ends at the end of @text or at a comma. */
static bool parse_bytes(const char *text, uint64_t *ret, const char **ret_end)
{
	static const char suffixes[] = "KMG";
	const char *suffix;
	uint64_t factor = 1;
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (errno || text[0] < '0' || text[0] > '9')
		return false;
	suffix = *end ? strchr(suffixes, *end) : NULL;
	if (suffix) {
		factor <<= 10 * (suffix - suffixes + 1);
		end++;
	}
	*ret_end = end;
	return (*end == '\0' || *end == ',') && !__builtin_mul_overflow(*ret, factor, ret);
}

static bool parse_choice(const char *text, const char *const *choices, uint64_t *ret)
{
	for (*ret = 0; choices[*ret]; (*ret)++)
		if (!strcmp(choices[*ret], text))
			return true;
	return false;
}

static int set_option(struct standin_args *a, const struct option *o, const char *value,
		      struct err *err)
{
	void *field = (char *)a + o->at;
	uint64_t number = 0;
	const char *end = "";
	bool good;

	if (o->kind == FLAG) {
		*(bool *)field = true;
		return 0;
	}
	if (!value)
		return err_set(err, ERR_INVALID, "%s needs a value", o->name);
	if (o->kind == TEXT) {
		*(const char **)field = value;
		return 0;
	}
	if (o->kind == CHOICE)
		good = parse_choice(value, o->choices, &number);
	else
		good = parse_bytes(value, &number, &end) && !*end && number >= o->min &&
		       number <= o->max;
	if (!good)
		return err_set(err, ERR_INVALID, "%s: \"%s\" will not do", o->name, value);
	*(uint64_t *)field = number;
	return 0;
}

int standin_parse(struct standin_args *a, char **argv, struct err *err)
{
	while (*argv) {
		const struct option *o = options;

		while (o < options + ARRAY_LEN(options) && strcmp(o->name, *argv))
			o++;
		if (o == options + ARRAY_LEN(options))
			return err_set(err, ERR_INVALID, "no option %s: see --help", *argv);
		if (set_option(a, o, argv[1], err))
			return -1;
		argv += o->kind == FLAG ? 1 : 2;
	}
	if (a->help)
		return 0;
	if (!a->link.socket || !a->memory.image)
		return err_set(err, ERR_INVALID, "--socket and --image are needed: see --help");
	if (a->hostile && !hostile_find(a->hostile))
		return err_set(err, ERR_INVALID, "no way %s to misbehave: see --help", a->hostile);
	if (a->memory.page_bytes != PAGE_4K && a->memory.page_bytes != PAGE_2M)
		return err_set(err, ERR_INVALID, "--page-size is 4K or 2M");
	if (a->touch.kvm &&
	    (a->change.unmap || a->change.remap || a->touch.no_touch || a->change.balloon_s ||
	     a->touch.write_pct || a->touch.threads > KVM_VCPUS_MAX))
		return err_set(err, ERR_INVALID,
			       "--kvm reads with at most %d threads, and only "
			       "--remove and --fork may go with it",
			       KVM_VCPUS_MAX);
	return 0;
}

int standin_split(const char *text, uint64_t *ret, size_t *ret_n, struct err *err)
{
	const char *end = text;

	for (*ret_n = 0; text && *end; text = end + 1) {
		uint64_t bytes = 0;

		if (*ret_n == REGIONS_MAX)
			return err_set(err, ERR_INVALID, "--split: at most %d regions",
				       REGIONS_MAX);
		if (!strncmp(text, "rest", 4) && (text[4] == ',' || !text[4]))
			end = text + 4;
		else if (!parse_bytes(text, &bytes, &end) || !bytes)
			return err_set(err, ERR_INVALID, "--split: no size at \"%s\"", text);
		ret[(*ret_n)++] = bytes;
	}
	return 0;
}

unsigned standin_features(const struct standin_args *a)
{
	unsigned features = event_features[a->memory.events];

	features |= a->change.unmap ? UF_FEATURE_UNMAP : 0;
	features |= a->change.remap ? UF_FEATURE_REMAP : 0;
	features |= a->change.fork ? UF_FEATURE_FORK : 0;
	return features;
}
