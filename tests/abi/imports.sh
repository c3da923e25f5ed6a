#!/bin/sh
# tests/abi/imports.sh [FOLDER...]: each plugin there (default: this build's) needs the C library and its own library
# alone, and of the C library nothing that forbidden.txt lists. Only what is in the dynamic symbol table can be seen: a
# clock read by syscall(2) can't, and is found by `nexus conform`.
set -eu
[ -z "$SANITIZE" ] || { echo "a sanitizer's build imports the sanitizer"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grep '^[^#!]' "$srcdir/tests/abi/forbidden.txt" >"$work/forbidden"
sed -n 's/^!//p' "$srcdir/tests/abi/forbidden.txt" >"$work/allowed"

# libraries_of NAME: the ones a plugin may need, beside the C library.
libraries_of() {
    case $1 in
    iouring) echo 'liburing.so.*' ;;
    kqueue) echo 'libkqueue.so.*' ;;
    esac
}

# look FILE: prints what is wrong with it, if anything.
look() {
    name=$(basename "$1" .so)
    for library in $(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        case $library in
        libc.so.* | ld-linux*.so.* | libpthread.so.* | libdl.so.*) continue ;;
        esac
        allowed=$(libraries_of "$name")
        # shellcheck disable=SC2254
        case $library in
        ${allowed:-none}) ;;
        *) echo "$name needs $library" ;;
        esac
    done
    # "                 U write@GLIBC_2.2.5": versions tell whose it is. Without one: hooks of the compiler's, weak.
    $NM -D --undefined-only --with-symbol-versions "$1" >"$work/symbols"
    while read -r kind symbol; do
        case $kind$symbol in
        [wv]*) continue ;;
        U*@GLIBC_* | U*@LIBURING_*) ;;
        Ukqueue | Ukevent) [ "$name" = kqueue ] || echo "$name imports $symbol" ;; # libkqueue's have no version
        *) echo "$name imports $symbol, which is not the C library's" ;;
        esac
        symbol=${symbol%%@*}
        ! grep -qx "$symbol" "$work/allowed" || continue
        while read -r pattern; do
            # shellcheck disable=SC2254
            case $symbol in
            $pattern) echo "$name imports $symbol: that is for the host table" ;;
            esac
        done <"$work/forbidden"
    done <"$work/symbols"
}

status=0 count=0
[ $# -gt 0 ] || set -- "$NXT_BUILD/backends/.libs" "$NXT_BUILD/sched/.libs"
for folder; do
    for file in "$folder"/*.so; do
        [ -e "$file" ] || continue
        count=$((count + 1))
        wrong=$(look "$file")
        [ -z "$wrong" ] || { echo "$wrong"; status=1; }
    done
done
[ $count -gt 0 ] || { echo "no plugin is a module in this build"; exit 77; }
echo "$count plugins looked at"

# One that does what it must not is found out, whatever it takes.
mutants=0
while read -r wanted code; do
    mutants=$((mutants + 1))
    printf '%s\n' "#define _GNU_SOURCE" "#include <pthread.h>" "#include <stdlib.h>" "#include <sys/random.h>" \
        "#include <time.h>" "#include <unistd.h>" "#include <math.h>" \
        "long nexus_plugin_mutant(void *p) { return (long)($code); }" >"$work/mutant.c"
    $CC -O0 -w -shared -fPIC "$work/mutant.c" -o "$work/mutant.so" -Wl,--no-as-needed -lm
    look "$work/mutant.so" >"$work/out"
    grep -q "$wanted" "$work/out" || { echo "$code is not found"; cat "$work/out"; status=1; }
done <<'MUTANTS'
clock_gettime: clock_gettime(CLOCK_MONOTONIC, p)
nanosleep: nanosleep(p, p)
time: time(p)
random: random()
getrandom: getrandom(p, 8, 0)
pthread_create: pthread_create(p, 0, p, p)
pthread_mutex_lock: pthread_mutex_lock(p)
getenv: getenv(p)
malloc: malloc(8)
libm.so (long)cos((double)(long)p)
MUTANTS
[ $mutants = 10 ] || status=1
# And one that takes from libnexus, or from whoever happens to have it.
echo 'int nx_spawn(void *); int nexus_plugin_mutant(void *p) { return nx_spawn(p); }' >"$work/mutant.c"
$CC -shared -fPIC "$work/mutant.c" -o "$work/mutant.so"
look "$work/mutant.so" | grep -q "imports nx_spawn, which is not" || { echo "nx_spawn is not found"; status=1; }
exit $status
