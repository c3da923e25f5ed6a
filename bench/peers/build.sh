#!/bin/sh
# bench/peers/build.sh go|cargo SOURCE-FOLDER PROGRAM: builds the peer program that make asks for, in the current folder,
# the build's. Nothing is written to the source folder, and nothing is fetched.
set -eu
tool=$1 source=$(cd "$2" && pwd) program=$3 name=${3##*/}
work=$PWD/bench/peers/$tool-build
mkdir -p "$work"

fail() {
    echo "bench/peers: $name: $*" >&2
    exit 1
}
# A peer that can't be built is left out: the others, and libnexus, are measured all the same.
leave_out() {
    echo "bench/peers: $name is left out: $*" >&2
    exit 0
}

case $tool in
go)
    export GO111MODULE=off GOCACHE="$work/cache" GOPATH="$work/path" GOFLAGS='' CGO_ENABLED=0 GOTOOLCHAIN=local
    cd "$source/${name%_go}"
    "${GO:-go}" build -o "$work/$name" . || leave_out "${GO:-go} could not build it"
    mv -f "$work/$name" "$OLDPWD/$program"
    ;;
cargo)
    registry=${CARGO_REGISTRY:-/usr/share/cargo/registry}
    [ -d "$registry" ] || fail "no $registry (Debian: librust-tokio-dev)"
    # These crates are of the age of Debian's compiler: it goes before another one in PATH, unless CARGO has a path.
    cargo=${CARGO:-cargo}
    case $cargo in
    */*) PATH=$(dirname "$cargo"):$PATH ;;
    *) [ ! -x /usr/bin/cargo ] || PATH=/usr/bin:$PATH ;;
    esac
    # Cargo writes its lock file beside Cargo.toml, and takes no second flag for that: a copy.
    rm -rf "$work/crate"
    cp -R "$source" "$work/crate"
    chmod -R u+w "$work/crate"
    mkdir -p "$work/crate/.cargo"
    cat >"$work/crate/.cargo/config.toml" <<END
[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "$registry"
END
    cd "$work/crate"
    unset RUSTFLAGS RUSTC RUSTC_WRAPPER CARGO_BUILD_TARGET CARGO_HOME
    CARGO_HOME=$work/home CARGO_TARGET_DIR=$work/target "$cargo" build --quiet --offline --release --bin "$name" ||
        leave_out "$cargo could not build it"
    cp "$work/target/release/$name" "$OLDPWD/$program"
    ;;
*)
    fail "no such tool: $tool"
    ;;
esac
