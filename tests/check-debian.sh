#!/bin/bash
# The Debian packages: script/build-deb makes exactly four, with exactly these files, and writes
# nothing into the sources; what they depend on; lintian finds nothing; and what is unpacked of them
# runs a job together.
source=$(cd "${SLOT_SOURCE_DIR:-$(dirname "$0")/..}" && pwd) || exit 1
build=$(cd "${SLOT_BUILD_DIR:-$source/build}" && pwd) || exit 1
passed=0 failed=0
tmp=$(mktemp -d) || exit 1
daemon=
trap '[ -z "$daemon" ] || { kill "$daemon"; wait "$daemon"; } 2>/dev/null; rm -rf "$tmp"' EXIT
umask 022

result() { # $1: what, $2: what is wrong with it
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAILED %s:\n%s\n' "$1" "$2"
	fi
}

finish() {
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
	exit
}

skip() {
	echo "skipped: $*"
	exit 77
}

if grep -q fsanitize "$build/Makefile"; then
	skip 'packages are no instrumented build'
fi
for tool in dpkg-buildpackage:dpkg-dev dh:debhelper pybuild:dh-python lintian:lintian; do
	PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v "${tool%%:*}" >/dev/null ||
		skip "there is no ${tool%%:*} (${tool#*:})"
done
/usr/bin/python3 -c 'import build, installer, setuptools' 2>/dev/null ||
	skip 'there is no pybuild-plugin-pyproject or python3-setuptools'

# ---- building ----------------------------------------------------------------------------------

leftovers() { # files where a build of packages would leave some; others may work in the sources
	(cd "$source" && { find . -maxdepth 1 ! -name autom4te.cache; find debian; } | LC_ALL=C sort)
}

version=$(sed -n 's/^AC_INIT(\[slotd\], \[\(.*\)\])$/\1/p' "$source/configure.ac")
debs=$tmp/debs
leftovers >"$tmp/before"
TMPDIR=$tmp DEB_BUILD_OPTIONS=nocheck "$source/script/build-deb" "$debs" >"$tmp/out" 2>"$tmp/err" ||
	{ result 'script/build-deb' "$(cat "$tmp/err")"; finish; }
result 'script/build-deb says something (lintian?)' "$(cat "$tmp/err")"
result 'script/build-deb wrote into the sources' "$(leftovers | diff "$tmp/before" - | grep '^[<>]')"
result 'script/build-deb leaves something in TMPDIR' \
	"$(find "$tmp" -mindepth 1 -maxdepth 1 ! -name debs ! -name before ! -name out ! -name err)"

architecture=$(dpkg --print-architecture)
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
file() { # $1: a package: its file
	case $1 in
	python3-*) echo "$debs/$1_$version-1_all.deb" ;;
	*) echo "$debs/$1_$version-1_$architecture.deb" ;;
	esac
}
packages='libslot-dev libslot0 python3-slotd slotd'
result 'packages (< wanted, > there)' \
	"$(diff <(for p in $packages; do file "$p"; done) <(ls "$debs"/*) | grep '^[<>]')"
result 'what script/build-deb prints' \
	"$(diff <(for p in $packages; do file "$p"; done) "$tmp/out" | grep '^[<>]')"
[ -e "$(file slotd)" ] || finish

# ---- files -------------------------------------------------------------------------------------

regular() { printf -- '-rw-r--r-- /usr/%s\n' "$@"; }
program() { printf -- '-rwxr-xr-x /usr/%s\n' "$@"; }
link() { printf -- 'lrwxrwxrwx /usr/%s -> %s\n' "$1" "$2"; }
documented() { # $1: a package
	regular "share/doc/$1/changelog.Debian.gz" "share/doc/$1/copyright"
	regular "share/lintian/overrides/$1"
}
# dh_compress leaves small documents as they are, but for news.
packed() { # $1: a directory below usr/, then files of the sources
	local to=$1 file name
	shift
	for file; do
		name=${file##*/}
		case $name in
		NEWS*) name+=.gz ;;
		*) [ "$(stat -c %s "$source/$file")" -le 4096 ] || name+=.gz ;;
		esac
		regular "$to/$name"
	done
}

wanted() { # $1: a package
	local page module
	documented "$1"
	case $1 in
	slotd)
		program bin/slotctl bin/slotd libexec/slotd-launcher
		regular lib/systemd/user/slotd.service lib/systemd/user/slotd.socket
		printf -- '-rw-r--r-- /lib/systemd/system/%s\n' slotd.service slotd.socket
		regular share/man/man1/slotctl.1.gz share/man/man5/slotd.conf.5.gz \
			share/man/man8/slotd-launcher.8.gz share/man/man8/slotd.8.gz
		regular share/doc/slotd/README.Debian share/doc/slotd/examples/slotd.conf
		packed share/doc/slotd README.md NEWS.md docs/{CLIENTS,DESIGN,DURABILITY,PERFORMANCE,PROTOCOL}.md
		;;
	libslot0)
		regular "lib/$multiarch/libslot.so.0.0.0"
		link "lib/$multiarch/libslot.so.0" libslot.so.0.0.0
		;;
	libslot-dev)
		regular include/slot/{client,combine,executor,future,loop}.h
		regular "lib/$multiarch/pkgconfig/libslot.pc" share/man/man3/libslot.3.gz
		link "lib/$multiarch/libslot.so" libslot.so.0.0.0
		for page in $(sed -n 's/^\t\(slot_[a-z0-9_]*\);$/\1/p' "$source/src/libslot.map"); do
			link "share/man/man3/$page.3.gz" libslot.3.gz
		done
		;;
	python3-slotd)
		for module in "$source"/python/slotd/*.py; do
			regular "lib/python3/dist-packages/slotd/${module##*/}"
		done
		regular lib/python3/dist-packages/slotd/py.typed
		regular lib/python3/dist-packages/slotd-"$version".dist-info/{METADATA,RECORD,WHEEL,top_level.txt}
		packed share/doc/python3-slotd python/README.md
		for module in "$source"/python/examples/*.py; do
			regular "share/doc/python3-slotd/examples/${module##*/}"
		done
		;;
	esac
}

contents() { # $1: a package
	dpkg-deb --fsys-tarfile "$(file "$1")" | tar -tv --numeric-owner |
		awk '$1 !~ /^d/ { if ($2 != "0/0") print "of", $2
			sub(/^\./, "", $6); print $1, $6 ($7 == "->" ? " -> " $8 : "") }'
}

mkdir "$tmp/control"
for package in $packages; do
	result "$package: files (< wanted, > there)" \
		"$(diff <(wanted "$package" | LC_ALL=C sort) \
			<(contents "$package" | LC_ALL=C sort) | grep '^[<>]')"
	# libslot0 has ldconfig run; nothing else happens at an installation but python3's own compiling.
	dpkg-deb -e "$(file "$package")" "$tmp/control/$package"
	dpkg-deb -x "$(file "$package")" "$tmp/root"
done
result 'scripts of an installation (< wanted, > there)' \
	"$(diff <(printf '%s\n' python3-slotd/postinst python3-slotd/prerm) \
		<(cd "$tmp/control" && find . -type f -perm -100 -printf '%P\n' | LC_ALL=C sort) | grep '^[<>]')"
result 'symbols (< debian/libslot0.symbols, > package)' \
	"$(diff <(sed 's/ #MINVER#//; /^\*/d' "$source/debian/libslot0.symbols" | LC_ALL=C sort) \
		<(sed 's/ #MINVER#//; /^\*/d' "$tmp/control/libslot0/symbols" | LC_ALL=C sort) | grep '^[<>]')"

# ---- what they say of themselves ---------------------------------------------------------------

field() { dpkg-deb -f "$(file "$1")" "$2"; }
names() { field "$1" "$2" | tr ',' '\n' | sed -E 's/^ *([^ ]+).*/\1/' | LC_ALL=C sort | tr '\n' ' '; }
is() { result "$1: $2 (< wanted, > there)" "$(diff <(echo "$4") <($3 "$1" "$2") | grep '^[<>]')"; }
depends() { # $1: a package, then patterns, sorted: what it depends on, without versions
	local package=$1
	shift
	result "$package: Depends" "$(names "$package" Depends | grep -vxE "$(printf '%s ' "$@")")"
}
depends slotd libc6 'libevent-core-[^ ]*' libinih1 'libjansson4' 'libsqlite3-0'
depends libslot0 libc6 'libevent-core-[^ ]*' libjansson4
depends libslot-dev libevent-dev libjansson-dev libslot0
depends python3-slotd python3:any
is libslot-dev Architecture field "$architecture"
is libslot0 Multi-Arch field same
is python3-slotd Architecture field all
is python3-slotd Suggests field slotd
result 'Built-Using of the static launcher' \
	"$(field slotd Built-Using | grep -vE '^glibc \(= [^ ]+\)$')"
result 'libslot-dev is of another libslot0' \
	"$(field libslot-dev Depends | grep -qF "libslot0 (= $version-1)" || field libslot-dev Depends)"

# ---- a job -------------------------------------------------------------------------------------

root=$tmp/root
unset SLOTD_SOCKET SLOTD_LAUNCHER
run() { # what is unpacked, and nothing of the build
	LD_LIBRARY_PATH=$root/usr/lib/$multiarch PYTHONPATH=$root/usr/lib/python3/dist-packages \
		PYTHONDONTWRITEBYTECODE=1 SLOTD_SOCKET=$tmp/socket timeout 60 "$@" 2>&1
}
SLOTD_LAUNCHER=$root/usr/libexec/slotd-launcher "$root/usr/bin/slotd" --socket "$tmp/socket" \
	--state-dir "$tmp/state" --set store.durability=memory --max-running 4 --ready-fd 5 \
	5>"$tmp/ready" >"$tmp/log" 2>&1 </dev/null &
daemon=$!
for _ in $(seq 600); do
	grep -q READY "$tmp/ready" && break
	kill -0 "$daemon" 2>/dev/null || break
	sleep 0.05
done
result 'slotd runs' "$(grep -q READY "$tmp/ready" || cat "$tmp/log")"
result 'slotctl runs a job' \
	"$(got=$(run "$root/usr/bin/slotctl" run -- echo hello); [ "$got" = hello ] || echo "$got")"
cat >"$tmp/job.py" <<'END'
import asyncio, sys
import slotd, slotd.aio
assert slotd.__file__.startswith(sys.argv[1]), slotd.__file__
with slotd.SlotExecutor() as executor:
	executor.submit(["true"]).result(timeout=50)
print("ok")
END
result 'python3-slotd runs a job' \
	"$(got=$(cd / && run /usr/bin/python3 "$tmp/job.py" "$root"); [ "$got" = ok ] || echo "$got")"
# The library is loaded by its soname alone, as any program of another package would.
result 'libslot0 runs a job' "$(cat >"$tmp/job.c" <<'END'
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
	flags=$(PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=$root/usr/lib/$multiarch/pkgconfig \
		pkg-config --cflags --libs libslot)
	# shellcheck disable=SC2086
	gcc -Wall -Wextra -Werror -o "$tmp/job" "$tmp/job.c" $flags 2>&1 &&
		got=$(run "$tmp/job")
	[ "$got" = ok ] || echo "$got")"
finish
