#!/bin/sh
# The programs' options and their documents say the same: the sample file and slotd.conf(5) are
# those that the table makes, slotd(8) and slotd-launcher(8) have the options of --help, slotctl(1)
# is what slotctl's help makes, and no document names a verb that isn't there.
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

for name in slotd slotd-launcher; do
	"$build/$name" --help >"$tmp/help"
	options_in "$tmp/help" >"$tmp/$name"
	options_in "man/$name.8" >"$tmp/$name.8"
	result "options of $name --help and $name(8) differ" "$(diff "$tmp/$name" "$tmp/$name.8")"
done

python3 man/slotctl.py "$build" >"$tmp/slotctl.1"
result 'man/slotctl.1 differs from what man/slotctl.py makes' "$(diff -u man/slotctl.1 "$tmp/slotctl.1")"
# The verbs of the README's tour and of the documents exist.
"$build/slotctl" --help | awk -F '  +' '/^  [a-z]/ { gsub(", ", "\n", $2); print $2 }' >"$tmp/verbs"
wrong=$(grep -ohE '(^|[`$] ?|\| )slotctl [a-z]+' README.md docs/*.md 2>/dev/null | awk '{ print $NF }' |
	sort -u | grep -vxFf "$tmp/verbs")
result 'documents name verbs that slotctl lacks' "$wrong"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
