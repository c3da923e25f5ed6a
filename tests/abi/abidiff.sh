#!/bin/sh
# What programs and plugins that are built already rely on is as abi/*.abi have it: functions, their prototypes, the
# tables' slots, every struct that crosses. What was added since is no failure; `make abi-baseline` writes it down.
set -eu
library=$NXT_BUILD/libnexus/.libs/libnexus.so
tables=$NXT_BUILD/abi/.libs/tables.so
[ -z "$SANITIZE" ] || { echo "a sanitizer's build is not what is shipped"; exit 77; }
[ -e "$library" ] && [ -e "$tables" ] || { echo "no shared library in this build"; exit 77; }
command -v abidiff >/dev/null || { echo "abidiff not found (Debian: abigail-tools)"; exit 77; }
readelf -h "$library" | grep -q 'Machine:.*X86-64' || { echo "the baseline is of x86-64, this build is not"; exit 77; }
readelf -S "$library" | grep -q '\.debug_info' || { echo "built without debug information (CFLAGS: -g)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# compare BASELINE OBJECT [HEADERS]: 0, or what differs is in $work/out. abidiff's status: 1 and 2, it could not
# compare; 4, a difference; 8 besides, one that surely breaks.
compare() {
    sh "$srcdir/abi/dump.sh" "$2" "$work/now.abi" ${3:+"$3"} &&
        abidiff --no-added-syms --ignore-soname "$1" "$work/now.abi" >"$work/out" 2>&1
}
for pair in "libnexus.abi $library" "plugins.abi $tables"; do
    compare "$srcdir/abi/${pair%% *}" "${pair#* }" || {
        echo "abidiff against abi/${pair%% *} says $?:"
        cat "$work/out"
        echo "if that break is meant: a new ABI version (doc/design/abi.md), then make abi-baseline"
        status=1
    }
done
sh "$srcdir/abi/dump.sh" "$library" "$work/now.abi"
added=$(abidiff "$srcdir/abi/libnexus.abi" "$work/now.abi" 2>&1 |
    sed -n "s/^ *\[A\] 'function .*[ *]\(nx_[a-z0-9_]*\)(.*/\1/p")
[ -z "$added" ] || echo "not in the baseline yet (make abi-baseline):" $added

# mutant WANTED NAME BASELINE OBJECT [HEADERS]: it must be found, by name.
mutant() {
    if compare "$3" "$4" ${5:+"$5"}; then
        echo "abidiff does not see $1"
        status=1
    elif ! grep -q "$2" "$work/out"; then
        echo "abidiff sees $1, and does not name $2:"
        cat "$work/out"
        status=1
    fi
}
# A library of the same objects that lacks a function.
core=$NXT_BUILD/libnexus/.libs/libnexus-core.a
[ -e "$core" ] || { echo "$core is not there"; status=1; }
sed '/^ *nx_spawn;/d' "$srcdir/libnexus/libnexus.map" >"$work/map"
needs=$(sed -n "s/^dependency_libs='\(.*\)'/\1/p" "${core%/.libs/*}/libnexus-core.la" | tr ' ' '\n' | grep '^-l' || :)
# shellcheck disable=SC2086
$CC -shared -o "$work/less.so" -Wl,--version-script="$work/map" -Wl,--whole-archive "$core" -Wl,--no-whole-archive \
    $needs -lpthread
mutant "a removed function" nx_spawn "$srcdir/abi/libnexus.abi" "$work/less.so"
# Tables built against headers with a field more, a slot with another prototype, a field of another size.
tables_of() {
    rm -rf "$work/include"
    cp -R "$srcdir/libnexus/include" "$work/include"
    chmod -R u+w "$work/include"
    sed "$2" "$srcdir/libnexus/include/nexus/$1" >"$work/include/nexus/$1"
    $CC -g -std=gnu11 -fPIC -shared -I"$work/include" "$srcdir/abi/tables.c" -o "$work/tables.so"
}
tables_of driver.h 's/^    uint32_t flags, aux;/    uint32_t flags, aux, late;/'
mutant "a struct with a field more" nx_completion "$srcdir/abi/plugins.abi" "$work/tables.so" "$work/include"
tables_of driver.h 's/^    void (\*disarm)(struct nx_ctx \*ctx);/    int (*disarm)(struct nx_ctx *ctx, int why);/'
mutant "a slot with another prototype" disarm "$srcdir/abi/plugins.abi" "$work/tables.so" "$work/include"
tables_of sched.h 's/^    uint16_t reserved;/    uint8_t reserved;/'
mutant "a field of another size" nx_ready "$srcdir/abi/plugins.abi" "$work/tables.so" "$work/include"
# And a baseline in which an options struct had not had its last field yet.
awk '/class-decl name=.nx_task_options/ { sub(/size-in-bits=.384/, "size-in-bits='\''320"); inside = 1 }
    inside && /layout-offset-in-bits=.320/ { skip = 3 }
    /<\/class-decl>/ { inside = 0 }
    skip > 0 { skip--; next }
    { print }' "$srcdir/abi/libnexus.abi" >"$work/older.abi"
mutant "options that have grown" nx_task_options "$work/older.abi" "$library"
exit $status
