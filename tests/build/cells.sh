#!/bin/sh
# That the demo and the proofs of tests/show find the cells of this machine (bench/lib.sh reads them from nexus info),
# and that the demo goes well on each of them.
build=${NXT_BUILD:?}
[ -x "$build/tools/nexus" ] && [ -x "$build/bench/load/nxload" ] || { echo "the nexus program is not built" && exit 77; }
. "$(dirname "$0")/../../bench/lib.sh"
use_build "$build"
said=$(cells)
if [ -n "$said" ]; then
    echo "$said"
    [ -x "$build/examples/echo" ] || exit 0
    NXDEMO_BUILD=$build NXDEMO_ROUNDS=1 NXDEMO_SECONDS=1 "$(dirname "$0")/../../bench/demo.sh"
    exit
fi
echo "no cell found; nexus info --json says:"
cat "$scratch/info"
exit 1
