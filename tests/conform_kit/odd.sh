#!/bin/sh
# nexus conform: drivers that are right in an unusual way pass whole, and so do narrow and short networks in memory.
set -u
. "$srcdir/tests/conform_kit/lib.sh"
backends=$NXT_BUILD/backends/.libs
odd=$NXT_BUILD/tests/conform_kit/.libs/odd_driver.so
[ -e "$backends/epoll.so" ] || { echo "epoll is not a module in this build"; exit 77; }

# passes NAME PLUGIN...: with any seed
passes() {
    name=$1
    shift
    "$nexus" conform "$@" >"$work/out" 2>&1
    claim "$name"
}
for real in epoll loop; do
    [ -e "$backends/$real.so" ] || continue
    for shape in later short early full single bare awake; do
        NXT_ODD=$shape NXT_ODD_REAL=$backends/$real.so passes "${real}_that_is_${shape}_passes" "$odd"
    done
done
for seed in 1 6 12; do
    [ -e "$backends/loop.so" ] || continue
    passes "short_reads_and_writes_of_seed_${seed}_pass" --seed=$seed "$backends/loop.so:short=1:seed=$seed"
done
echo "1..$cases"
