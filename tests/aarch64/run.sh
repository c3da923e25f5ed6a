#!/bin/sh
# make check-aarch64: libnexus for aarch64, cross-built and run under qemu-user, all from Debian packages: the unit
# tests, and the conformance programs on epoll. Needs no aarch64 machine, no root and no change of this system's
# packages: the libraries for aarch64 are unpacked into the build folder.
#
# Call: run.sh SOURCE BUILD. NXT_SCALE (default 0.02) is the size of the long cases: an emulator is ten times slower.
set -u
source=$(cd "$1" && pwd) || exit 1
mkdir -p "$2" && build=$(cd "$2" && pwd) || exit 1
host=aarch64-linux-gnu
root=$build/root
export NXT_SCALE="${NXT_SCALE:-0.02}"

qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64)
command -v $host-gcc >/dev/null && [ -n "$qemu" ] && command -v dpkg-deb >/dev/null || {
    echo "check-aarch64 needs a cross compiler and an emulator: apt-get install gcc-$host qemu-user-static" >&2
    exit 1
}

# ---- libraries: what libc6-dev-arm64-cross does not bring ----
# An apt of its own, for arm64, with this system's sources: nothing of the system's is changed.
unpack() {
    apt=$build/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$root" && : >"$apt/status" || return 1
    arm_apt() {
        apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User="$(id -un)" \
            -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
            -o Dir::Cache="$apt/cache" "$@"
    }
    arm_apt update && cd "$apt" && arm_apt download libcmocka-dev libcmocka0 liburing-dev liburing2 || return 1
    for package in "$apt"/*.deb; do
        dpkg-deb -x "$package" "$root" || return 1
    done
    touch "$root/complete"
}
[ -e "$root/complete" ] || unpack >"$build/unpack.log" 2>&1 || {
    tail -n 20 "$build/unpack.log" >&2
    echo "check-aarch64: the libraries for arm64 can't be had; $build/unpack.log has it all" >&2
    exit 1
}
libraries=$root/usr/lib/$host

# ---- the emulator: programs find their own libraries, this system's programs run as they are ----
cat >"$build/emulate" <<EMULATE
#!/bin/sh
exec $qemu -L /usr/$host -E LD_LIBRARY_PATH=$build/libnexus/.libs:$libraries "\$@"
EMULATE
chmod +x "$build/emulate"
export NXT_EMULATOR="$build/emulate"

# ---- build ----
cd "$build" || exit 1
[ -e config.status ] ||
    PKG_CONFIG_LIBDIR=$libraries/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root "$source/configure" -q --host=$host \
        --disable-static CFLAGS='-O2 -g0' CPPFLAGS="-I$root/usr/include" \
        LDFLAGS="-L$libraries -Wl,-rpath-link,$libraries" || exit 1
make -s --no-print-directory -j"$(nproc)" all check-programs || exit 1
file=$(readelf -h libnexus/.libs/libnexus.so | sed -n 's/.*Machine: *//p')
[ "$file" = AArch64 ] || { echo "libnexus was built for $file" >&2; exit 1; }

# ---- run: what is C of the suite, on the cells with epoll ----
emulated=$(MAKEFLAGS= make -s --no-print-directory print-emulated)
make -j"$(nproc)" check TESTS="$emulated"
