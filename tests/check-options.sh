#!/bin/sh
# The programs' options and their documents say the same: the sample file and slotd.conf(5) are
# those that the table makes, slotd(8) has the options of --help, slotctl(1) its verbs and options.
cd "${SLOT_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
build=${SLOT_BUILD_DIR:-build}
passed=0 failed=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
SLOTCTL_START=0
export SLOTCTL_START

result() { # $1: what, $2: lines that are wrong
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s:\n%s\n' "$1" "$2"
	fi
}

# Long options in a text; roff writes \- for -.
options_in() {
	sed 's/\\-/-/g' "$@" | grep -oE '(^|[^-a-z])--[a-z][-a-z]*' | grep -oE -- '--[a-z][-a-z]*' | LC_ALL=C sort -u
}

"$build/slotd" --print-config-sample >"$tmp/sample"
result 'conf/slotd.conf differs from slotd --print-config-sample' "$(diff -u conf/slotd.conf "$tmp/sample")"
"$build/slotd" --print-config-man >"$tmp/man"
result 'man/slotd.conf.5 differs from slotd --print-config-man' "$(diff -u man/slotd.conf.5 "$tmp/man")"
result 'the sample file is refused' \
	"$("$build/slotd" --config conf/slotd.conf --check-config 2>&1 >/dev/null)"

"$build/slotd" --help >"$tmp/help"
options_in "$tmp/help" >"$tmp/slotd"
options_in man/slotd.8 >"$tmp/slotd.8"
result 'options of slotd --help and slotd(8) differ' "$(diff "$tmp/slotd" "$tmp/slotd.8")"

if [ -f man/slotctl.1 ]; then
	sed 's/\\-/-/g' man/slotctl.1 >"$tmp/slotctl.1"
	"$build/slotctl" --help >"$tmp/verbs"
	for verb in $(awk '/^  [a-z]+/ { print $1 }' "$tmp/verbs"); do
		grep -q "^\.SS.*\\b$verb\\b" "$tmp/slotctl.1" || echo "$verb"
	done >"$tmp/missing"
	result 'verbs that slotctl(1) lacks' "$(cat "$tmp/missing")"
	for verb in $(awk '/^  [a-z]+/ { print $1 }' "$tmp/verbs"); do
		"$build/slotctl" "$verb" --help
	done >"$tmp/helps"
	options_in "$tmp/helps" "$tmp/verbs" >"$tmp/options"
	options_in man/slotctl.1 >"$tmp/documented"
	result 'options of slotctl and slotctl(1) differ' "$(diff "$tmp/options" "$tmp/documented")"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
