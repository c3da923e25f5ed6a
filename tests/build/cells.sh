#!/bin/sh
# That the demo and the proofs of tests/show find the cells of this machine: bench/lib.sh reads them from nexus info.
build=${NXT_BUILD:?}
[ -x "$build/tools/nexus" ] && [ -x "$build/bench/load/nxload" ] || { echo "the nexus program is not built" && exit 77; }
. "$(dirname "$0")/../../bench/lib.sh"
use_build "$build"
said=$(cells)
[ -n "$said" ] && { echo "$said"; exit 0; }
echo "no cell found; nexus info --json says:"
cat "$scratch/info"
exit 1
