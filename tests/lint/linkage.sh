#!/bin/sh
# The process boundary is the folder boundary: what each program is linked with, as TAP.
top=${top_builddir:-.}
n=0
bad=0

if command -v readelf >/dev/null; then
	needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
elif command -v objdump >/dev/null; then
	needed() { objdump -p "$1" | sed -n 's/^ *NEEDED *//p'; }
else
	echo "1..0 # SKIP neither readelf nor objdump is here"
	exit 0
fi

# with|without PROGRAM LIBRARY: is lib<LIBRARY>… among what the program needs?
check() {
	n=$((n + 1))
	libs=$(needed "$top/$2")
	found=without
	if printf '%s\n' "$libs" | grep -q "^lib$3"; then
		found=with
	fi
	if [ -n "$libs" ] && [ $found = "$1" ]; then
		echo "ok $n - $2 is linked $1 lib$3"
	else
		echo "not ok $n - $2 is linked $1 lib$3"
		printf '%s\n' "${libs:-(not a dynamic program, or missing)}" | sed 's/^/# /'
		bad=1
	fi
}

echo 1..12
check without worker/uffdd-worker event
check without worker/uffdd-worker sqlite3
check without worker/uffdd-worker curl
check with worker/uffdd-worker json-c
check without ctl/uffdctl event
check without ctl/uffdctl sqlite3
check with ctl/uffdctl curl
check with ctl/uffdctl json-c
# The same question finds them where they are.
check with daemon/uffdd event
check with daemon/uffdd sqlite3
check with daemon/uffdd json-c
check without daemon/uffdd curl
exit $bad
