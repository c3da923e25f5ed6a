#!/bin/sh
# nexus conform: good schedulers pass whole; of the schedulers with one fault, each fails, first at the requirement it
# breaks. There is one for every requirement.
set -u
. "$srcdir/tests/conform_kit/lib.sh"
schedulers=$NXT_BUILD/sched/.libs
[ -e "$schedulers/work_stealing.so" ] || { echo "work_stealing is not a module in this build"; exit 77; }

for scheduler in "$schedulers"/*.so; do
    name=${scheduler##*/}
    "$nexus" conform "$scheduler" >"$work/out" 2>&1
    claim "${name%.so}_passes"
    for seed in 2 3; do
        "$nexus" conform --seed=$seed "$scheduler" >"$work/out" 2>&1
        claim "${name%.so}_passes_with_seed_$seed"
    done
done

# Sanitizers end a program that does what it should not in their own way.
if [ -z "$SANITIZE" ]; then
    for fault in $("$nexus" conform --list | sed -n 's/^\(NXS-[0-9]*\) .*/\1/p') NXS-003b NXS-019b; do
        work=$work nexus=$nexus sh "$srcdir/tests/conform_kit/break.sh" "$fault" "$schedulers/work_stealing.so" \
            "$NXT_BUILD/tests/conform_kit/.libs/broken_sched.so"
        judge "$fault" 'nexus-sched(7)'
    done
fi
echo "1..$cases"
