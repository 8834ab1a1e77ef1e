#!/bin/sh
# Every source file stands in Makefile.am, in the list of its directory, and every entry exists.
cd "${SLOT_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
passed=0 failed=0

result() { # $1: what, $2: lines that are wrong
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s:\n%s\n' "$1" "$2"
	fi
}

# The entries of one variable, one a line.
listed() {
	awk -v name="$1" '
		$1 == name && $2 == "=" { on = 1; sub(/^[^=]*=/, "") }
		on { more = /\\$/; gsub(/\\/, ""); for (i = 1; i <= NF; i++) print $i; on = more }
	' Makefile.am
}

compare() { # $1: variable, $2: what is in the directories, one a line
	there=$(printf '%s\n' "$2" | sed '/^$/d' | LC_ALL=C sort)
	wrong=$({
		listed "$1" | LC_ALL=C sort
		printf '%s\n' "$there"
	} | sed '/^$/d' | LC_ALL=C sort | uniq -u)
	result "$1 in Makefile.am and the directory differ" "$wrong"
	twice=$(listed "$1" | LC_ALL=C sort | uniq -d)
	result "$1 in Makefile.am has twice" "$twice"
}

files() { # pattern...
	for f; do
		[ -e "$f" ] && printf '%s\n' "$f"
	done
}

for dir in core wire client launch store engine daemon launcher ctl; do
	found=$(files src/$dir/*.c src/$dir/*.h)
	case $dir in
	ctl | daemon | launcher) found=$(printf '%s\n' "$found" | grep -v "^src/$dir/main.c$") ;;
	esac
	compare "${dir}_sources" "$found"
done
compare public_headers "$(files include/slot/*.h)"
compare unit_tests "$(files tests/unit/test_*.c | sed 's/\.c$//')"
compare unit_support_sources "$(files tests/unit/*.c tests/unit/*.h | grep -v '/test_[^/]*\.c$')"
compare example_programs "$(files examples/*.c | sed 's/\.c$//')"
compare remote_example_programs "$(files examples/*.c | sed 's/\.c$//; s/examples/&\/remote/')"
compare bench_programs "$(files bench/*.c | sed 's/\.c$//')"
compare example_headers "$(files examples/*.h)"
compare test_scripts "$(files tests/check-*.sh tests/check-*.py tests/*/run.py tests/functional/run)"
compare documents "$(files ./*.md docs/*.md | sed 's/^\.\///')"
result 'directories in src/ that no list covers' "$(files src/*/ |
	grep -vE '^src/(core|wire|client|launch|store|engine|daemon|launcher|ctl)/$')"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
