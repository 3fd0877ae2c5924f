#!/bin/sh
# The order of the house, as TAP: who may include whom, no circles, and how large things may
# be. What still breaks a rule stands in tests/lint/known; a line there that is no longer needed
# is a failure, too, so that the list only shrinks.
#
# usage: tests/lint/lint.sh     from anywhere; the findings have the form of the lines of tests/lint/known
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd) || exit 99
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

# findings FOLDER…: of the tree that is the working directory
findings() {
	find "$@" -name '*.[ch]' | sort >"$work/files"
	xargs awk -f "$here/includes.awk" <"$work/files" &&
		xargs awk -f "$here/limits.awk" <"$work/files"
}

# A tree that breaks every rule once: a lint that has gone blind finds less.
make_bad_tree() {
	mkdir -p "$work/bad/common" "$work/bad/daemon" "$work/bad/worker"
	cd "$work/bad" || exit 99
	{
		echo '#include "daemon/up.h"'
		echo 'static void quotes(void)'
		printf '{\n\tputs("/* {");\n}\n\nint long_one(int a,\n\t     void (*b)(int, int))\n{\n'
		awk 'BEGIN { for (i = 0; i < 46; i++) print "\tx();" }'
		echo '}'
	} >common/low.c
	{
		echo '#include "b.h"'
		printf 'struct wide {\n\tint a, b[M(1, 2)];\n\tstruct {\n\t\tint c, d;\n\t} e;\n'
		awk 'BEGIN { for (i = 0; i < 23; i++) printf "\tint m%d; /* x; */\n", i }'
		echo '};'
		echo 'int fine(int a, int b, int c, int d, int e, int f) { return a; }'
	} >daemon/a.h
	printf '#include <daemon/c.h>\n#include "common/low.h"\n' >daemon/b.c
	printf '#include "daemon/a.h"\n' >daemon/c.c
	printf 'int many(int a, int b, int c, int d,\n\t int e, int f, int (*g)(int))\n{\n}\n' \
		>worker/w.c
	awk 'BEGIN { for (i = 0; i < 501; i++) print "" }' >worker/w.h
}

bad_findings() {
	cat <<'END'
body common/low.c function long_one lines
circle daemon/a circle
circle daemon/b circle
circle daemon/c circle
direction common/low.c includes daemon/up.h
file worker/w.h lines
members daemon/a.h struct wide
parameters worker/w.c function many parameters
seen 4 functions, 1 structs
seen 6 files, 5 includes
END
}

# result NUMBER NAME FILE: ok if the file is empty, else its lines as the reason
result() {
	if [ -s "$3" ]; then
		echo "not ok $1 - $2"
		sed 's/^/# /' "$3"
		bad=1
	else
		echo "ok $1 - $2"
	fi
}

# rule NUMBER NAME RULE: nothing was found but what is known
rule() {
	awk -F '\t' -v rule="$3" '
		FILENAME == ARGV[1] { known[$0] = 1; next }
		$1 == rule && !($2 in known) {
			print $2 ": " $3
			for (i = 4; i <= NF; i++)
				print "    " $i
		}' "$work/known" "$work/found" >"$work/out"
	result "$1" "$2" "$work/out"
}

bad=0
echo 1..9
make_bad_tree
findings common daemon worker | cut -f 1,2 | tr '\t' ' ' | sort >"$work/seen"
bad_findings | diff - "$work/seen" >"$work/out"
result 1 "a tree that breaks each rule is seen to" "$work/out"

cd "$here/../.." || exit 99
findings common worker daemon ctl tests >"$work/found"
sed 's/#.*//; s/ *$//; /^$/d' "$here/known" >"$work/known"
grep '^seen' "$work/found" | cut -f 2 | sed 's/^/# read: /'
rule 2 "every include points down" direction
rule 3 "no circle of modules" circle
rule 4 "no file is too long" file
rule 5 "no function is too long" body
rule 6 "no function has too many parameters" parameters
rule 7 "no struct has too many members" members
rule 8 "everything could be read" unread
cut -f 2 "$work/found" | sort -u >"$work/keys"
sort "$work/known" | comm -23 - "$work/keys" |
	sed 's,$,: take this line out of tests/lint/known (nothing breaks it any more),' >"$work/out"
result 9 "every exception in tests/lint/known is needed" "$work/out"
exit $bad
