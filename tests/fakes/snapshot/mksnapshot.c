/* mksnapshot - the command line of snapgen */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "tests/fakes/snapshot/snapgen.h"

static const char usage[] =
	"Usage: mksnapshot [OPTION]... DIR\n"
	"Write a made-up snapshot into DIR, and the uffdctl options that restore it to stdout.\n"
	"\n"
	"      --size N       bytes of guest memory, with K, M or G (256M)\n"
	"      --layers N     generations (3)\n"
	"      --zero N       percentage of zero runs (40)\n"
	"      --run N        mean length of a run in 4 KiB pages (16)\n"
	"      --seed N       the same seed gives the same bytes (1)\n"
	"      --kind KIND    layers: header and layer files (default)\n"
	"                     memory: one flat file with holes\n"
	"                     diffs:  flat base and sparse diffs\n"
	"      --no-image     do not write expected.img\n"
	"  -h, --help         this text\n";

enum { OPT_SIZE = 256, OPT_LAYERS, OPT_ZERO, OPT_RUN, OPT_SEED, OPT_KIND, OPT_NO_IMAGE };

static const struct option options[] = {
	{"size", required_argument, NULL, OPT_SIZE},
	{"layers", required_argument, NULL, OPT_LAYERS},
	{"zero", required_argument, NULL, OPT_ZERO},
	{"run", required_argument, NULL, OPT_RUN},
	{"seed", required_argument, NULL, OPT_SEED},
	{"kind", required_argument, NULL, OPT_KIND},
	{"no-image", no_argument, NULL, OPT_NO_IMAGE},
	{"help", no_argument, NULL, 'h'},
	{0},
};

/* A number up to @max; @units: "M" and the like may follow. */
static bool parse_number(const char *text, uint64_t max, bool units, uint64_t *ret)
{
	static const char suffix[] = "KMG";
	unsigned shift = 0;
	char *end;
	uint64_t v;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (units && *end && strchr(suffix, *end))
		shift = 10 * (unsigned)(strchr(suffix, *end++) - suffix + 1);
	if (*end || v > max >> shift)
		return false;
	*ret = v << shift;
	return true;
}

static bool parse_u32(const char *text, uint32_t *ret)
{
	uint64_t v;

	if (!parse_number(text, UINT32_MAX, false, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool parse_kind(const char *text, enum snapgen_kind *ret)
{
	for (int i = 0; i < SNAPGEN_KINDS; i++)
		if (strcmp(text, snapgen_kind_names[i]) == 0) {
			*ret = (enum snapgen_kind)i;
			return true;
		}
	return false;
}

static bool parse_option(int opt, const char *arg, struct snapgen_opts *o)
{
	switch (opt) {
	case OPT_SIZE:
		return parse_number(arg, UINT64_MAX, true, &o->size_bytes);
	case OPT_LAYERS:
		return parse_u32(arg, &o->nlayers);
	case OPT_ZERO:
		return parse_u32(arg, &o->zero_percent);
	case OPT_RUN:
		return parse_u32(arg, &o->run_pages);
	case OPT_SEED:
		return parse_number(arg, UINT64_MAX, false, &o->seed);
	case OPT_KIND:
		return parse_kind(arg, &o->kind);
	default:
		o->image = false;
		return true;
	}
}

static void print_restore(const struct snapgen_opts *o, const char *dir)
{
	if (o->kind == SNAPGEN_LAYERS) {
		printf("--snapshot %s\n", dir);
		return;
	}
	printf("--memory %s/" SNAPGEN_BASE, dir);
	for (uint32_t i = 1; o->kind == SNAPGEN_DIFFS && i < o->nlayers; i++)
		printf(" --memory %s/" SNAPGEN_DIFF, dir, i);
	putchar('\n');
}

int main(int argc, char **argv)
{
	struct snapgen_opts o = snapgen_defaults;
	struct err err;
	int opt, which = 0;

	while ((opt = getopt_long(argc, argv, "h", options, &which)) != -1) {
		if (opt == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (opt == '?') {
			fputs(usage, stderr);
			return 2;
		}
		if (!parse_option(opt, optarg, &o)) {
			fprintf(stderr, "mksnapshot: --%s: bad value \"%s\"\n", options[which].name,
				optarg);
			return 2;
		}
	}
	if (optind + 1 != argc) {
		fprintf(stderr, "mksnapshot: give one directory\n\n%s", usage);
		return 2;
	}
	if (snapgen_write(&o, argv[optind], &err) < 0) {
		fprintf(stderr, "mksnapshot: %s\n", err.msg);
		return err.code == ERR_INVALID ? 2 : 1;
	}
	print_restore(&o, argv[optind]);
	return 0;
}
