#!/bin/sh
# abi/dump.sh OBJECT FILE.abi [HEADERS]: writes down what users of an object rely on. The result is for x86-64, and
# small: no paths, no lines, no types that only libnexus sees. `make abi-baseline` calls it, and tests/abi/abidiff.sh.
set -eu
command -v abidw >/dev/null || { echo "abidw not found (Debian: abigail-tools)"; exit 1; }
[ -e "$1" ] || { echo "$1 is not there: a shared build is needed"; exit 1; }
readelf -h "$1" | grep -q 'Machine:.*X86-64' || { echo "$1 is not for x86-64, as the baseline is"; exit 1; }
readelf -S "$1" | grep -q '\.debug_info' || { echo "$1 has no debug information (CFLAGS with -g)"; exit 1; }
here=$(dirname "$0")
abidw --suppressions "$here/private.suppr" --headers-dir "${3:-$here/../libnexus/include}" --drop-private-types \
    --exported-interfaces-only --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed \
    --no-parameter-names --no-write-default-sizes --type-id-style hash --out-file "$2" "$1"
