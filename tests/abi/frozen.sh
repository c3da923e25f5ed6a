#!/bin/sh
# Plugins that were built for ABI 0.1 load, by their names too, and are seen as what they are; their files are what they
# were when they were made. Output: TAP.
set -u
case $("$NXT_BUILD/libtool" --config | sed -n 's/^host=//p') in
x86_64-*linux-gnu) ;;
*) echo "the plugins kept from ABI 0.1 are for x86-64 Linux with glibc"; exit 77 ;;
esac
case ${SANITIZE:-} in
*thread*) echo "the thread sanitizer can't see into what was built without it"; exit 77 ;;
esac
. "$srcdir/tests/conform_kit/lib.sh"
frozen=$(cd "$srcdir" && pwd)/abi/frozen/x86_64-linux-gnu
chmod 755 "$work"
cp "$frozen"/*.so "$work"
chmod 755 "$work"/*.so
export NEXUS_PLUGIN_PATH="$work"

NEXUS_BACKEND=driver_0_1 NEXUS_SCHED=sched_0_1 "$nexus" info >"$work/out" 2>&1
claim info_chooses_them
grep -Eq '^backend +driver_0_1 +0\.1 +-1 +chosen ' "$work/out" &&
    grep -Eq '^scheduler +sched_0_1 +0\.1 +-1 +chosen ' "$work/out"
claim info_shows_their_abi
for name in driver_0_1 sched_0_1; do
    $NM -D --defined-only "$frozen/$name.so" >"$work/out" &&
        [ "$(awk '{ print $3 }' "$work/out")" = "nexus_plugin_$name" ]
    claim "${name}_exports_one_symbol"
done
(cd "$frozen" && sha256sum -c SHA256SUMS) >"$work/out" 2>&1
claim they_are_the_files_that_were_made
"$nexus" conform "$frozen/driver_0_1.so" >"$work/out" 2>&1
claim nexus_conform_takes_the_driver
"$nexus" conform "$frozen/sched_0_1.so" >"$work/out" 2>&1
claim nexus_conform_takes_the_scheduler

# A number above this libnexus's is refused: the two bytes of the minor version, which follow magic, size and major.
if ! command -v python3 >/dev/null; then
    echo "ok $((cases += 1)) - one_of_a_later_abi_is_refused # SKIP python3 not found"
    echo "1..$cases"
    exit 0
fi
python3 - "$frozen/driver_0_1.so" "$work/driver_0_1.so" <<'END2' 2>"$work/out"
import struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
at = data.index(struct.pack("<IIHHI", 0x3170786E, 72, 0, 1, 1))
data[at + 10] = 9
open(sys.argv[2], "wb").write(data)
END2
NEXUS_BACKEND=driver_0_1 "$nexus" info >"$work/out" 2>&1
grep -q 'built for plugin ABI 0\.9, and this libnexus has' "$work/out"
claim one_of_a_later_abi_is_refused
echo "1..$cases"
