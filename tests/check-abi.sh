#!/bin/bash
# The ABI of libslot.so is the one recorded in src/libslot.abi: functions with their versions and
# types, structs and enums of include/slot. Needs abigail-tools and a build with -g.
#
#   tests/check-abi.sh [--record]     --record: writes the record anew
source=$(cd "${SLOT_SOURCE_DIR:-$(dirname "$0")/..}" && pwd) || exit 1
build=$(cd "${SLOT_BUILD_DIR:-$source/build}" && pwd) || exit 1
record=$source/src/libslot.abi
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

skip() {
	echo "skipped: $*"
	exit 77
}

fail() {
	printf '%s\n' "$*" '0 passed, 1 failed'
	exit 1
}

value() { # a variable of the build's Makefile
	sed -n "s/^$1 = //p" "$build/Makefile"
}

command -v abidw >/dev/null && command -v abidiff >/dev/null || skip 'no abidw (abigail-tools)'
[ "$(getconf LONG_BIT)" = 64 ] || skip 'what is recorded is of 64-bit machines'
if grep -q fsanitize "$build/Makefile"; then skip 'an instrumented build'; fi
case " $(value CFLAGS) " in
*' -g'*) ;;
*) skip 'a build without -g' ;;
esac
for file in libslotbase.a libslot.so; do
	[ -e "$build/.libs/$file" ] || fail "there is no $build/.libs/$file"
done
soname=$(readelf -d "$build/.libs/libslot.so" | sed -nE 's/.*SONAME.*\[(.*)\]/\1/p')

# The library's own objects once more, and with them a variable of each type: some are reached
# through void pointers only, which nothing else would follow.
for header in "$source"/include/slot/*.h; do
	echo "#include <slot/${header##*/}>"
done >"$tmp/types.c"
sed -nE 's/^((struct|enum) (slot_[a-z_]+)) \{.*/extern \1 *abi_\3;\n\1 *abi_\3;/p' \
	"$source"/include/slot/*.h >>"$tmp/types.c"
sed '0,/^global:/s//&\n\tabi_*;/' "$source/src/libslot.map" >"$tmp/map"
# shellcheck disable=SC2046
(cd "$tmp" && $(value CC) $(value CFLAGS) -fPIC -shared -I"$source/include" $(value EVENT_CFLAGS) \
	$(value JANSSON_CFLAGS) -o libslot.so types.c "-Wl,-soname,$soname" \
	-Wl,--version-script=map -Wl,--whole-archive "$build/.libs/libslotbase.a" \
	-Wl,--no-whole-archive $(value EVENT_LIBS) $(value JANSSON_LIBS)) || fail 'it could not be linked'

# What is not of include/slot is opaque: by this label libabigail knows that it is to keep the name
# and forget what is inside (--headers-dir looks at the names of files alone, and ours repeat).
cat >"$tmp/private" <<-'END'
	[suppress_type]
	  label = Artificial private types suppression specification
	  source_location_not_regexp = include/slot/|^types\.c
	  drop = yes
END
abidw --suppressions "$tmp/private" --drop-private-types --drop-undefined-syms \
	--exported-interfaces-only --no-show-locs --no-comp-dir-path --no-corpus-path \
	--no-architecture --no-elf-needed --no-parameter-names --no-write-default-sizes \
	--type-id-style hash "$tmp/libslot.so" >"$tmp/dump" || fail 'abidw failed'
sed -E "s|path='[^']*/src/|path='src/|" "$tmp/dump" >"$tmp/libslot.abi"
grep -q "'slot_client'.*is-declaration-only='yes'" "$tmp/libslot.abi" ||
	skip "$(abidw --version 2>&1) does not keep private types apart"

if [ "${1-}" = --record ]; then
	cp "$tmp/libslot.abi" "$record"
	exit
fi
[ -e "$record" ] || fail "there is no $record: tests/check-abi.sh --record"
abidiff --harmless --no-show-locs "$record" "$tmp/libslot.abi" >"$tmp/report"
status=$?
if [ "$status" -eq 0 ]; then
	echo '1 passed, 0 failed'
	exit
fi
cat "$tmp/report"
[ $((status & 3)) -eq 0 ] || fail "abidiff failed with status $status"
abidiff --no-added-syms "$record" "$tmp/libslot.abi" >/dev/null &&
	fail 'Only additions: right for a version of the library with the same soname. Functions go into a
new node of src/libslot.map, once the last one was released. Then: tests/check-abi.sh --record'
fail 'Programs that were built before may break: keep what there was and add what is new. Where that
can not be, the soname changes: src/libslot.map says how. Then: tests/check-abi.sh --record'
