#!/bin/sh
# What runs between fork and exec stands alone: it calls nothing of libc, reads no canary and has
# no data, for none of that is there (src/launcher/child.h).
cd "${SLOT_BUILD_DIR:-.}" || exit 1
object=src/launcher/child.o
passed=0 failed=0

result() { # $1: what, $2: lines that are wrong
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s:\n%s\n' "$1" "$2"
	fi
}

if [ ! -f $object ]; then
	result "$object is missing" "$(pwd)"
elif nm $object | grep -qE '__(asan|ubsan|tsan|msan)_|[UT] syscall$'; then
	echo 'a sanitizer, or an unknown machine: children inherit all'
	result 'nothing to see' ''
else
	result 'child.o refers to' "$(nm -u $object)"
	result 'child.o has data' "$(nm $object | grep -i ' [bcdgs] ')"
	result 'child.o uses thread-local memory' "$(objdump -d $object | grep '%fs:')"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
