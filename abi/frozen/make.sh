#!/bin/sh
# abi/frozen/make.sh NAME COMMIT: builds abi/frozen/NAME.c against the headers and the adapter of COMMIT, for the
# machine it runs on. Run once for each ABI that a later one is to keep loading, by who makes the later one; what it
# built is committed and never built again. Of the files here:
#
#     make.sh driver_0_1 37e6b3ee00fad58b  make.sh sched_0_1 37e6b3ee00fad58b     (gcc 12.2, Debian 12)
set -eu
[ $# = 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
machine=$(${CC:-gcc} -print-multiarch)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git -C "$here/../.." archive "$2" libnexus/include backends/readiness | tar -C "$work" -xf -
adapter=
case $1 in driver*) adapter=$(echo "$work"/backends/readiness/*.c) ;; esac
mkdir -p "$here/$machine"
cd "$work"
# shellcheck disable=SC2086
${CC:-gcc} -std=gnu11 -Os -fPIC -shared -s -D_GNU_SOURCE= -Ilibnexus/include -fvisibility=hidden \
    -ffunction-sections -fdata-sections -Wl,--gc-sections -Wl,-z,noseparate-code -Wl,--build-id=none -Wl,-z,defs \
    "$here/$1.c" $adapter -o "$here/$machine/$1.so"
ls -l "$here/$machine/$1.so"
