#!/bin/sh
# nexus conform: good schedulers pass whole; of the schedulers with one fault, each fails, first at the requirement it
# breaks. There is one for every requirement.
set -u
. "$srcdir/tests/conform_kit/lib.sh"
schedulers=$NXT_BUILD/sched/.libs
[ -e "$schedulers/work_stealing.so" ] || { echo "work_stealing is not a module in this build"; exit 77; }

# Some at a time: much of it is waiting.
broken=$NXT_BUILD/tests/conform_kit/.libs/broken_sched.so
for scheduler in "$schedulers"/*.so; do
    for seed in 1 2 3; do
        echo "$scheduler $seed"
    done
done >"$work/passing"
nexus=$nexus work=$work xargs -P 3 -n 2 sh -c \
    '"$nexus" conform --seed=$2 "$1" >"$work/pass.${1##*/}.$2" 2>&1' sh <"$work/passing"
while read -r scheduler seed; do
    mv "$work/pass.${scheduler##*/}.$seed" "$work/out" && grep -q "^# .* passed, 0 failed, " "$work/out"
    claim "$(basename "$scheduler" .so)_passes_with_seed_$seed"
done <"$work/passing"

# Sanitizers end a program that does what it should not in their own way.
faults=
[ -n "$SANITIZE" ] ||
    faults="$("$nexus" conform --list | sed -n 's/^\(NXS-[0-9]*\) .*/\1/p') NXS-003b NXS-019b"
stops=yes
"$nexus" conform --only=NXS-021 "$schedulers/work_stealing.so" | grep -q '# SKIP' && stops=no
for fault in $faults; do
    real=work_stealing
    [ "$fault" != NXS-022 ] || real=local # the other one has no such slot
    [ "$fault$stops" = NXS-021no ] || echo "$fault $schedulers/$real.so $broken"
done | work=$work nexus=$nexus xargs -P 4 -n 3 sh "$srcdir/tests/conform_kit/break.sh"
for fault in $faults; do
    if [ "$fault$stops" = NXS-021no ]; then
        echo "ok $((cases += 1)) - broken_$fault # SKIP it needs a processor that stops after each instruction"
    else
        judge "$fault" 'nexus-sched(7)'
    fi
done
echo "1..$cases"
