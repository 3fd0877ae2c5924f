#!/bin/sh
# The daemon under valgrind through one restore: no leak, no descriptor left open.
#
# usage: tests/valgrind.sh BUILD_DIRECTORY
set -eu

build=$1
top=$(cd "$(dirname "$0")/.." && pwd)
snapshot=$top/tests/data/golden/chain3
work=$(mktemp -d)
daemon=
cleanup() {
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

echo '{"libevent_selftest": false}' >"$work/uffdd.json"
# A daemon that does not end when it is told to is killed, and has failed.
timeout -k 300 1800 \
	valgrind --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=definite,indirect,possible \
	--track-fds=yes --error-exitcode=99 --log-file="$work/valgrind" \
	"$build/daemon/uffdd" --config "$work/uffdd.json" --run-dir "$work/run" \
	--state-dir "$work/state" 2>"$work/log" &
daemon=$!
UFFDD_SOCKET=$work/run/control.sock
export UFFDD_SOCKET
tries=1200
until "$build/ctl/uffdctl" status >/dev/null 2>&1; do
	tries=$((tries - 1))
	[ $tries -gt 0 ] || { cat "$work/log" "$work/valgrind"; exit 1; }
	sleep 0.1
done

"$build/ctl/uffdctl" create --id one --snapshot "$snapshot" -o json >"$work/one"
socket=$(sed -n 's/.*"backend_path": *"\([^"]*\)".*/\1/p' "$work/one" | sed 's|\\/|/|g')
"$build/tests/standin" --socket "$socket" --image "$snapshot/expected.img" --threads 4 --remove 20
"$build/ctl/uffdctl" wait one --for ended --timeout 5m -q >/dev/null
"$build/ctl/uffdctl" pages one >/dev/null 2>&1 || true
"$build/ctl/uffdctl" events one >/dev/null
"$build/ctl/uffdctl" create --id bad --snapshot "$work/nothing" >/dev/null 2>&1 || true
"$build/ctl/uffdctl" create --id two --snapshot "$snapshot" -q
"$build/ctl/uffdctl" stop two >/dev/null

kill -TERM $daemon
rc=0
wait $daemon || rc=$?
daemon=
# The three standard descriptors, the log file of valgrind, and whatever it inherited.
grep -E 'lost:|ERROR SUMMARY|FILE DESCRIPTORS|Open (file descriptor|AF_)' "$work/valgrind"
if [ $rc != 0 ] || grep -q 'Open AF_UNIX\|anon_inode\|uffdd.db' "$work/valgrind"; then
	cat "$work/valgrind"
	echo "valgrind: FAILED (exit $rc)"
	exit 1
fi
