#!/bin/sh
# tests/kqueue/run.sh SOURCE BUILD CELL...: the whole conformance suite with NEXUS_BACKEND=kqueue, on both schedulers. In
# BUILD if that has the driver; else in BUILD/kqueue, configured over the libkqueue installed in $LIBKQUEUE_PREFIX. If
# all passes, a record of it is left beside the driver's file, which then is not marked as untested by nexus info.
set -u
[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0"; exit 2; }
source=$(cd "$1" && pwd) && build=$(cd "$2" && pwd) || exit 1
shift 2
folder=$build
if ! [ -e "$build/backends/kqueue.la" ]; then
    [ -n "${LIBKQUEUE_PREFIX-}" ] ||
        { echo "this build has no kqueue driver: LIBKQUEUE_PREFIX=folder says where libkqueue is installed"; exit 1; }
    prefix=$(cd "$LIBKQUEUE_PREFIX" && pwd) || exit 1
    libs=$(dirname "$(find "$prefix" -name 'libkqueue.so*' | head -n 1)")
    [ -e "$libs/pkgconfig/libkqueue.pc" ] || { echo "no libkqueue.pc in $prefix"; exit 1; }
    folder=$build/kqueue
    mkdir -p "$folder" && cd "$folder" || exit 1
    [ -e Makefile ] || PKG_CONFIG_PATH=$libs/pkgconfig "$source/configure" -q --enable-kqueue=dl --disable-static \
        LDFLAGS="-Wl,-rpath,$libs" || exit 1
fi
unset MAKEFLAGS MFLAGS
driver=$folder/backends/.libs/kqueue.so record=$folder/backends/.libs/kqueue.tested
rm -f "$record"
make -C "$folder" -j"$(nproc 2>/dev/null || echo 2)" all || exit 1
if make -C "$folder" check TESTS="$*"; then
    cksum <"$driver" >"$record" || exit 1
    echo "recorded in $record; nexus info says:"
    NEXUS_PLUGIN_PATH=$folder/backends/.libs "$folder/tools/nexus" info | grep ' kqueue '
else
    exit 1
fi
