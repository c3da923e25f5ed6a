#!/bin/sh
# make install into an empty folder, then what a user does: cc app.c $(pkg-config --cflags --libs libnexus), in C and C++;
# and what a plugin author asks pkg-config for. Where there is no shared library it is pkg-config --static: all plugins
# are in the library then, and what they need has to be named.
set -eu
static=
[ -e "$NXT_BUILD/libnexus/.libs/libnexus.so" ] || static=--static
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! MAKEFLAGS= $MAKE -C "$NXT_BUILD" install DESTDIR="$work/root" >"$work/log" 2>&1; then
    cat "$work/log"
    exit 1
fi
root=$work/root$libdir
export PKG_CONFIG_PATH="$root/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$work/root" PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
    PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1
export LD_LIBRARY_PATH="$root"

status=0
run() {
    out=$("$@") && [ "$out" = 42 ] || { echo "$1: status $?, output '$out', wanted 42"; status=1; }
}
# The sanitizers leave what a user passes; an app must be built with the same ones.
$CC $SANITIZE "$srcdir/tests/build/app.c" -o "$work/app-c" $($PKG_CONFIG $static --cflags --libs libnexus)
if [ -n "$CXX" ]; then
    $CXX $SANITIZE -x c++ "$srcdir/tests/build/app.c" -x none -o "$work/app-c++" $($PKG_CONFIG $static --cflags --libs libnexus)
else
    echo "no C++ compiler: C only"
fi

# Where the plugins are is compiled in; DESTDIR moves them.
plugins=$(PKG_CONFIG_SYSROOT_DIR= $PKG_CONFIG --variable=plugindir libnexus)
[ -n "$static" ] || export NEXUS_PLUGIN_PATH="$work/root$plugins/backends:$work/root$plugins/sched"
run "$work/app-c"
[ -z "$CXX" ] || run "$work/app-c++"
[ -n "$static" ] || readelf -d "$work/app-c" | grep -q 'NEEDED.*libnexus\.so\.0' ||
    { echo "the app doesn't need libnexus.so.0"; status=1; }

for wanted in plugindir backenddir scheddir; do
    folder=$work/root$(PKG_CONFIG_SYSROOT_DIR= $PKG_CONFIG --variable=$wanted nexus-driver)
    [ -n "$static" ] || [ -d "$folder" ] || { echo "nexus-driver.pc: $wanted is $folder, which is not there"; status=1; }
done
[ "$($PKG_CONFIG --variable=abi nexus-driver)" = "$($PKG_CONFIG --variable=abi libnexus)" ] || status=1

# The adapter can go into an author's module: it is position-independent and needs nothing else of ours.
cat >"$work/x.c" <<END
#include <nexus/readiness.h>
void *nexus_plugin_x[] = {(void *)nx_readiness_open, (void *)nx_fds_open};
END
$CC -shared -fPIC "$work/x.c" -o "$work/x.so" $($PKG_CONFIG --cflags --libs nexus-driver)
taken=$($NM -D --undefined-only "$work/x.so" | awk '$2 ~ /^nxi?_/ { print $2 }')
[ -z "$taken" ] || { echo "libnexus-readiness.a needs: $taken"; status=1; }

# What is installed takes no clock, chance, memory or thread from elsewhere than the host table.
if [ -z "$SANITIZE" ] && [ -n "$(find "$work/root$plugins" -name '*.so')" ]; then
    sh "$srcdir/tests/abi/imports.sh" "$work/root$plugins/backends" "$work/root$plugins/sched" || status=1
fi

# "man nx_spawn" works for every function.
pages=$(find "$work/root" -path '*/man3/nexus-task.3')
pages=${pages%/man3/nexus-task.3}
for name in $(sed -n 's/^ *\(nx_[a-z0-9_]*\);.*/\1/p' "$srcdir/libnexus/libnexus.map") NX_CASE_RECV; do
    page=$(sed -n 's/^\.so //p' "$pages/man3/$name.3" 2>/dev/null) && [ -n "$page" ] && grep -q "^\.Nm $name" "$pages/$page" ||
        { echo "$name(3) is not installed"; status=1; }
done
if command -v man >/dev/null; then
    LC_ALL=C man -M "$pages" nx_spawn 2>&1 </dev/null | grep -q 'NEXUS-TASK(3)' || { echo "man nx_spawn: no page"; status=1; }
fi

MAKEFLAGS= $MAKE -C "$NXT_BUILD" uninstall DESTDIR="$work/root" >"$work/log" 2>&1 || { cat "$work/log"; status=1; }
left=$(find "$work/root" ! -type d)
[ -z "$left" ] || { echo "make uninstall leaves:" $left; status=1; }
exit $status
