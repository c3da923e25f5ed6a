#!/bin/sh
# run.sh: spin over the models beside it: each right variant under both memories, and every BUG, which must be found where
# its model says it can be. Ends with 1 if anything is otherwise; 77 without spin.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
command -v spin >/dev/null 2>&1 || {
    echo "spin not found (Debian: spin)"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# check EXPECTED MODEL [OPTION...]: EXPECTED is holds or fails. A search that was cut short is neither.
check() {
    expected=$1 model=$2
    shift 2
    cd "$work"
    spin -a "$@" "$here/$model.pml" >log 2>&1 || {
        cat log
        exit 1
    }
    ${CC:-cc} -O1 -w -DSAFETY -DMEMLIM=2000 -o pan pan.c
    ./pan -m100000 >log 2>&1 || true
    if grep -q 'assertion violated' log; then
        verdict=fails
    elif grep -q 'errors: 0' log && ! grep -q -e 'Search not completed' -e 'search depth too small' log; then
        verdict=holds
    else
        verdict='was cut short'
    fi
    states=$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1/p' log)
    echo "$model ${*:-(sequentially consistent)}: $verdict, $states states"
    [ "$verdict" = "$expected" ] || {
        echo "    should be: $expected"
        status=1
    }
}

for config in "" -DLOCAL; do
    check holds park $config
    check holds park $config -DTSO
done
check fails park -DBUG1
check fails park -DTSO -DBUG1
check holds park -DLOCAL -DBUG2 # why there is a TSO twin
check fails park -DLOCAL -DTSO -DBUG2
check fails park -DBUG3
check fails park -DTSO -DBUG3
check holds park -DBUG4
check fails park -DTSO -DBUG4
check fails park -DBUG5
check fails park -DTSO -DBUG5

check holds deque
check holds deque -DTSO
for bug in 1 2 3 4; do
    check fails deque -DBUG$bug
    check fails deque -DTSO -DBUG$bug
done

for model in lock home; do # what membarrier(2) is for
    check holds $model
    check holds $model -DTSO
    for bug in 2 3 4 6; do
        check fails $model -DBUG$bug
        check fails $model -DTSO -DBUG$bug
    done
    for bug in 1 5; do
        check holds $model -DBUG$bug
        check fails $model -DTSO -DBUG$bug
    done
done

check holds mutex
for bug in 1 2 3 4 5 6; do
    check fails mutex -DBUG$bug
done
exit $status
