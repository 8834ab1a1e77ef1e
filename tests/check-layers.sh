#!/bin/sh
# The layer table: who may include whom. Includes go downward or sideways, never up, and every
# project header is named from the source root, so that this can read them.
cd "${SLOT_SOURCE_DIR:-$(dirname "$0")/..}" || exit 1
passed=0 failed=0

# Per directory: the directories of src/ it may include besides its own. Every one may include
# <slot/...> except the launcher, which is libc alone.
allowed() {
	case $1 in
	core) echo '' ;;
	wire) echo 'core' ;;
	launch) echo 'core' ;;
	store) echo 'core wire launch' ;;
	engine) echo 'core wire launch store' ;;
	daemon) echo 'core wire launch store engine' ;;
	launcher) echo 'launch' ;;
	client) echo 'core wire' ;;
	ctl) echo '' ;;
	esac
}

result() { # $1: what, $2: lines that are wrong
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s:\n%s\n' "$1" "$2"
	fi
}

for dir in core wire launch store engine daemon launcher client ctl; do
	ok="$dir $(allowed "$dir")"
	wrong=$(grep -n '^#include "' src/$dir/*.[ch] | awk -v ok=" $ok " '{
		split($0, quoted, "\""); target = quoted[2]; sub(/\/.*/, "", target)
		if (index(ok, " " target " ") == 0) print
	}')
	result "src/$dir includes what it may not (it may: $ok)" "$wrong"
done

# libc only: neither libslot nor any other library in what runs as root.
result 'src/launcher includes a library' \
	"$(grep -nE '^#include <(slot|event2?|jansson|ini|sqlite3)[./]' src/launcher/*.[ch])"
# The frame format is shared with the launcher; what it shares may not pull in more.
shared=$(grep -ho '^#include "launch/[^"]*"' src/launcher/*.[ch] | sort -u | sed 's/.*"launch/src\/launch/; s/"$//')
# shellcheck disable=SC2086
result 'a header that the launcher shares includes a library' \
	"$([ -z "$shared" ] || grep -nE '^#include <(slot|event2?|jansson|ini)[./]' $shared)"
# The core knows no JSON, processes or users; wire has no sockets of its own.
result 'src/core includes JSON' "$(grep -n '^#include <jansson' src/core/*.[ch])"
result 'an example or slotctl uses more than the installed headers' \
	"$(grep -n '^#include "' examples/*.c src/ctl/*.[ch] 2>/dev/null | grep -vE '#include "(ctl|examples)?/?[a-z_]+\.h"')"
# The installed headers stand alone.
result 'an installed header includes one that is not' \
	"$(grep -n '^#include "' include/slot/*.h)"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
