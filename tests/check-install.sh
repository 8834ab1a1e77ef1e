#!/bin/bash
# What `make install` puts where: exactly these files with these modes, no path of the build in them;
# a program finds libslot by pkg-config, is compiled, linked and runs with what was installed; and
# `make uninstall` leaves nothing. Once as the build is configured, once as distributions do.
source=$(cd "${SLOT_SOURCE_DIR:-$(dirname "$0")/..}" && pwd) || exit 1
build=$(cd "${SLOT_BUILD_DIR:-$source/build}" && pwd) || exit 1
passed=0 failed=0 skipped=0
tmp=$(mktemp -d) || exit 1
daemon=
trap '[ -z "$daemon" ] || { kill "$daemon"; wait "$daemon"; }; rm -rf "$tmp"' EXIT
umask 022
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR

result() { # $1: what, $2: what is wrong with it
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAILED %s:\n%s\n' "$1" "$2"
	fi
}

skip() {
	echo "skipped: $*"
	skipped=$((skipped + 1))
}

finish() {
	local line="$passed passed, $failed failed"
	[ "$skipped" -eq 0 ] || line+=", $skipped skipped"
	echo "$line"
	[ "$failed" -eq 0 ]
	exit
}

if grep -q fsanitize "$build/Makefile"; then
	echo 'skipped: what is installed is no instrumented build'
	exit 77
fi

if [ "$build" = "$source" ]; then
	echo 'skipped: a build within the sources, beside which none can be configured'
	exit 77
fi

value() { # a variable of the Makefile in $1, expanded
	(cd "$1" && printf 'show: ; @echo "$(%s)"\n' "$2" >"$tmp/show.mk" &&
		make -s -f Makefile -f "$tmp/show.mk" show)
}

# ---- the list ----------------------------------------------------------------------------------

expected() { # $1: the build directory; modes and paths below DESTDIR
	local bin lib libexec include man doc file unit
	bin=$(value "$1" bindir) lib=$(value "$1" libdir) libexec=$(value "$1" libexecdir)
	include=$(value "$1" includedir) man=$(value "$1" mandir) doc=$(value "$1" docdir)
	printf -- '-rwxr-xr-x %s\n' "$bin/slotctl" "$bin/slotd" "$libexec/slotd-launcher" \
		"$lib/libslot.la" "$lib/libslot.so.0.0.0"
	printf 'lrwxrwxrwx %s -> libslot.so.0.0.0\n' "$lib/libslot.so" "$lib/libslot.so.0"
	[ ! -e "$1/.libs/libslot.a" ] || printf -- '-rw-r--r-- %s\n' "$lib/libslot.a"
	for file in client combine executor future loop; do
		printf -- '-rw-r--r-- %s\n' "$include/slot/$file.h"
	done
	printf -- '-rw-r--r-- %s\n' "$lib/pkgconfig/libslot.pc" "$doc/examples/slotd.conf" \
		"$man/man1/slotctl.1" "$man/man3/libslot.3" "$man/man5/slotd.conf.5" \
		"$man/man8/slotd-launcher.8" "$man/man8/slotd.8"
	for file in $(value "$1" documents); do
		printf -- '-rw-r--r-- %s\n' "$doc/${file##*/}"
	done
	for file in $(nm -D --defined-only "$1/.libs/libslot.so" | awk '$2 == "T" { print $3 }'); do
		printf -- '-rw-r--r-- %s\n' "$man/man3/${file%%@*}.3"
	done
	unit=$(value "$1" systemdsystemunitdir)
	[ "$unit" = no ] || printf -- '-rw-r--r-- %s\n' "$unit/slotd.service" "$unit/slotd.socket"
	unit=$(value "$1" systemduserunitdir)
	[ "$unit" = no ] || printf -- '-rw-r--r-- %s\n' "$unit/slotd.service" "$unit/slotd.socket"
}

installed() { # $1: DESTDIR
	find "$1" -type l -printf '%M /%P -> %l\n' -o ! -type d -printf '%M /%P\n'
}

install_and_list() { # $1: the build directory, $2: DESTDIR, $3: what it is called
	make -s -C "$1" install DESTDIR="$2" >"$tmp/install.log" 2>&1 ||
		{ result "$3: make install" "$(tail -n 20 "$tmp/install.log")"; finish; }
	result "$3: files and modes (< wanted, > there)" \
		"$(diff <(expected "$1" | LC_ALL=C sort) <(installed "$2" | LC_ALL=C sort) | grep '^[<>]')"
	result "$3: directories that not everybody can read" "$(find "$2" -mindepth 1 -type d ! -perm 755)"
}

uninstall() {
	make -s -C "$1" uninstall DESTDIR="$2" >"$tmp/uninstall.log" 2>&1
	result "$3: make uninstall leaves something" "$(find "$2" ! -type d)"
}

install_and_list "$build" "$tmp/own" 'as configured'
uninstall "$build" "$tmp/own" 'as configured'

# ---- as distributions do -----------------------------------------------------------------------

# The same objects configured anew; what knows its place is made again.
copy=$tmp/build
cp -a "$build" "$copy" || exit 1
rm -rf "$copy/tests" "$copy/test-logs" "$copy/libslot.la" "$copy"/.libs/libslot.* "$copy/slotd" \
	"$copy/src/daemon/slotd-main.o"
options=$("$build/config.status" --config)
(cd "$copy" && eval "'$source/configure' -q $options --disable-dependency-tracking --prefix=/usr --sysconfdir=/etc \
	--libdir=/usr/lib/multiarch --libexecdir=/usr/libexec \
	--with-systemdsystemunitdir=/usr/lib/systemd/system \
	--with-systemduserunitdir=/usr/lib/systemd/user" && make -s all) >"$tmp/configure.log" 2>&1 ||
	{ result 'configuring and building for /usr' "$(tail -n 20 "$tmp/configure.log")"; finish; }
stage=$tmp/stage
install_and_list "$copy" "$stage" 'for /usr'

result 'paths of the build in what was installed' \
	"$(grep -rIl -e "$source" -e "$build" -e "$tmp" "$stage")"
result 'paths to look for libraries' "$(for file in "$stage"/usr/bin/* "$stage"/usr/libexec/* \
	"$stage"/usr/lib/multiarch/libslot.so; do
	readelf -d "$file" | grep -E 'RPATH|RUNPATH'
done)"
result 'the units name programs that are not there' \
	"$(sed -nE 's/^ExecStart=([^ ]+).*/\1/p' "$stage"/usr/lib/systemd/*/slotd.service |
		while read -r program; do [ -x "$stage$program" ] || echo "$program"; done)"
result 'slotd looks for its launcher elsewhere' \
	"$(strings -a "$stage/usr/bin/slotd" | grep -qx /usr/libexec/slotd-launcher || echo it does)"

if man --version >/dev/null 2>&1; then
	result 'man slot_client_submit' "$(man -M "$stage/usr/share/man" slot_client_submit 2>&1 </dev/null |
		grep -q slot_client_submit || echo 'shows nothing')"
else
	skip 'there is no man'
fi

# ---- programs that use it ----------------------------------------------------------------------

flags() { # of the staged libslot; what it requires is the system's own
	PKG_CONFIG_SYSROOT_DIR=$stage PKG_CONFIG_PATH=$stage/usr/lib/multiarch/pkgconfig \
		pkg-config "$@"
}

# (The sysroot stands before the directories of jansson, too: those are no matter.)
result 'flags of libslot' "$(flags --cflags --libs libslot | tr -s ' ' '\n' |
	grep -v "^-L$stage/usr/lib/" | LC_ALL=C sort | tr '\n' ' ' |
	grep -vx -e "-I$stage/usr/include -ljansson -lslot ")"
result 'the place of libslot' "$(got=$(flags --variable=libdir libslot)
	[ "${got#"$stage"}" = /usr/lib/multiarch ] || echo "$got")"

compile() { # $1: source, $2: program, then what pkg-config is asked: what is wrong
	local source=$1 program=$2 cc static=
	shift 2
	cc=$(value "$build" CC)
	[ "$1" != --static ] || static=-static
	# shellcheck disable=SC2046
	(cd "$tmp" && $cc $static -Wall -Wextra -Werror -o "$program" "$source" \
		$(flags --cflags --libs "$@")) 2>&1
}

run() { # a program and its arguments: what it prints
	LD_LIBRARY_PATH=$stage/usr/lib/multiarch SLOTD_SOCKET=$tmp/socket timeout 60 "$@" 2>&1
}

block() { # $1: the n-th fenced block of the README from its first of C on
	awk -v n="$1" '/^```/ { if (!inside) { if ($0 == "```c" || count) count++; inside = 1 } else inside = 0; next }
		inside && count == n' "$source/README.md"
}

SLOTD_LAUNCHER=$stage/usr/libexec/slotd-launcher "$stage/usr/bin/slotd" --socket "$tmp/socket" \
	--state-dir "$tmp/state" --set store.durability=memory --max-running 4 --ready-fd 5 \
	5>"$tmp/ready" >"$tmp/log" 2>&1 </dev/null &
daemon=$!
for _ in $(seq 600); do
	grep -q READY "$tmp/ready" && break
	kill -0 "$daemon" 2>/dev/null || break
	sleep 0.05
done
result 'slotd runs from where it was installed' "$(grep -q READY "$tmp/ready" || cat "$tmp/log")"
result 'slotctl runs from where it was installed' \
	"$(got=$(run "$stage/usr/bin/slotctl" run -- echo hello)
	[ "$got" = hello ] || echo "$got")"

block 1 >"$tmp/readme.c"
block 2 >"$tmp/readme.out"
result "the README's program is compiled" "$(compile readme.c readme libslot libevent_core jansson)"
result "the README's program runs" "$(run "$tmp/readme" | diff "$tmp/readme.out" - 2>&1)"

# One that names nothing of libevent needs nothing of it.
cat >"$tmp/small.c" <<'END'
#include <slot/client.h>
#include <stdio.h>
int main(void)
{
	struct slot_client *client = slot_client_connect(NULL, NULL, NULL, NULL);
	struct slot_future *job;
	int rc = 1;
	if (client == NULL)
		return 1;
	job = slot_client_submit(client, json_pack("{s:[s]}", "argv", "true"), NULL);
	if (slot_client_run(client, job, -1) == 0 && slot_future_result(job, NULL) == 0)
		rc = puts("ok") < 0;
	slot_future_unref(job);
	slot_client_free(client);
	return rc;
}
END
result 'a program without libevent is compiled' "$(compile small.c small libslot)"
result 'a program without libevent runs' "$(got=$(run "$tmp/small"); [ "$got" = ok ] || echo "$got")"
if [ -e "$stage/usr/lib/multiarch/libslot.a" ]; then
	# libc warns of its own getpwuid there; that is no matter.
	result 'a static program is compiled' \
		"$(said=$(compile small.c small.static --static libslot) || echo "$said")"
	result 'a static program runs' "$(got=$(run "$tmp/small.static"); [ "$got" = ok ] || echo "$got")"
fi

uninstall "$copy" "$stage" 'for /usr'
finish
