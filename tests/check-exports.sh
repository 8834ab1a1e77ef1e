#!/bin/sh
# libslot.so exports exactly the functions that include/slot/ declares, each with a version, under
# the right soname; it needs its three libraries and nothing else. Each of these headers compiles
# alone, in C and in C++.
cd "${SLOT_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
build=${SLOT_BUILD_DIR:-build}
passed=0 failed=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

result() { # $1: what, $2: lines that are wrong
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s:\n%s\n' "$1" "$2"
	fi
}

# Declarations are what is left of a preprocessed header: NAME( behind a type, ended by ");".
cflags=$(pkg-config --cflags libevent_core jansson)
cc=${CC:-cc}
for h in include/slot/*.h; do
	# shellcheck disable=SC2086
	$cc -E -P -Iinclude $cflags "$h"
done | tr '\n' ' ' | sed 's/;/;\n/g; s/[{}]/\n/g' | grep -v typedef |
	grep -oE '(^|[ *])slot_[a-z0-9_]+ *\(' | grep -oE 'slot_[a-z0-9_]+' | LC_ALL=C sort -u >"$tmp/declared"
nm -D --defined-only "$build/.libs/libslot.so" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' |
	LC_ALL=C sort -u >"$tmp/exported"
result 'the library could not be read' "$([ -s "$tmp/exported" ] || echo "$build/.libs/libslot.so")"
result 'declared in include/slot and not exported' "$(LC_ALL=C comm -23 "$tmp/declared" "$tmp/exported")"
result 'exported and not declared in include/slot' "$(LC_ALL=C comm -13 "$tmp/declared" "$tmp/exported")"

# What a distribution relies on: versions, the soname, what it needs, and nothing that is writable.
lib=$build/.libs/libslot.so
readelf -dW "$lib" >"$tmp/dynamic"
wanted=$(awk '$1 == "libslot_la_LDFLAGS" { sub(/.*-version-info /, ""); sub(/ .*/, "")
	split($0, v, ":"); print "libslot.so." v[1] - v[3] }' Makefile.am)
soname=$(sed -nE 's/.*SONAME.*\[(.*)\]/\1/p' "$tmp/dynamic")
result 'the soname is not the one of -version-info' \
	"$([ "$soname" = "$wanted" ] || echo "$soname instead of $wanted")"
result 'exported without a version' "$(nm -D --with-symbol-versions --defined-only "$lib" |
	awk '$2 != "A" && $3 !~ /^slot_[a-z0-9_]+@@LIBSLOT_[0-9]+$/')"
result 'exported and no function' "$(nm -D --defined-only "$lib" | awk '$2 != "A" && $2 != "T"')"
result 'relocations in its code' "$(grep TEXTREL "$tmp/dynamic")"
result 'a path to look for libraries' "$(grep -E 'RPATH|RUNPATH' "$tmp/dynamic")"
if ! grep -q fsanitize "$build/Makefile"; then
	result 'not the libraries that it should need' "$(sed -nE 's/.*NEEDED.*\[(.*)\]/\1/p' "$tmp/dynamic" |
		sed -E '/^ld-linux/d; s/[-.].*//' | LC_ALL=C sort | tr '\n' ' ' |
		grep -v '^libc libevent_core libjansson $')"
	result 'undefined' "$(ldd -r "$lib" 2>&1 | grep 'undefined symbol')"
	result 'threads' "$(nm -D -u "$lib" | grep -E ' (pthread|thrd)_')"
fi

for h in include/slot/*.h; do
	name=${h#include/}
	echo "#include <$name>" >"$tmp/one.c"
	# shellcheck disable=SC2086
	result "$h alone" "$($cc -std=gnu11 -Wall -Wextra -Werror -Iinclude $cflags -c "$tmp/one.c" -o "$tmp/one.o" 2>&1)"
	if command -v c++ >/dev/null; then
		# shellcheck disable=SC2086
		result "$h in C++" "$(c++ -x c++ -Wall -Werror -Iinclude $cflags -c "$tmp/one.c" -o "$tmp/one.o" 2>&1)"
	fi
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
