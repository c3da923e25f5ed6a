#!/bin/sh
# run.sh [deep]: sched/work_stealing.c under the interleaving model, as it is and with planted bugs, each of which the model
# must find. deep: more random schedules, and three preemptions. Ends with 1 if the model fails or a bug goes unseen.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
random=10000 bound=2
if [ "${1:-}" = deep ]; then
    random=500000 bound=3
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build OUTPUT SOURCE [OPTION...]: small rings, so that overflow and wrap are near.
build() {
    output=$1 source=$2
    shift 2
    ${CC:-cc} -std=gnu11 -O1 -Wall -Wextra "$@" -DRING_SIZE=4u -DSHARED_INTERVAL=3u -I"$here" -I"$root/sched" \
        -I"$root/libnexus/include" "$here/model.c" "$source" -o "$output"
}

status=0
build "$work/model" "$root/sched/work_stealing.c"
"$work/model" "$random" "$bound" || status=1

# must_find NAME PROGRAM
must_find() {
    if "$2" 5000 2 >"$work/log"; then
        echo "planted and not found: $1"
        status=1
    else
        echo "planted and found: $1 ($(grep -m 1 -B 1 '^  schedule' "$work/log" | head -n 1))"
    fi
}

build "$work/torn" "$root/sched/work_stealing.c" -DNXT_MUTANT=1
must_find "compare-and-swap that can be torn" "$work/torn"
build "$work/torn" "$root/sched/work_stealing.c" -DNXT_MUTANT=2
must_find "exchange that can be torn" "$work/torn"

# mutant NAME SED-EXPRESSION: one that no longer matches the source is an error, not a pass.
mutant() {
    sed -e "$2" "$root/sched/work_stealing.c" >"$work/mutant.c"
    if cmp -s "$work/mutant.c" "$root/sched/work_stealing.c"; then
        echo "does not apply any more: $1"
        status=1
        return
    fi
    build "$work/mutant" "$work/mutant.c" -Wno-unused
    must_find "$1" "$work/mutant"
}

mutant "the thief claims one less than it copies" \
    '/^static uint32_t ring_steal/,/^}/s/&head, head + count/\&head, head + count - 1/'
mutant "the thief copies from a ring that wrapped under it" \
    '/^static uint32_t ring_steal/,/^}/s/&from->head, &head, head + count/\&from->head, \&(uint32_t){from->head}, head + count/'
mutant "a taker does not see that another is taking" \
    '/^static uint32_t shared_take(/,/^}/s/if (atomic_exchange_explicit(&shared->taking, 1, memory_order_acquire) != 0)/if (0)/'
mutant "the shared list gives a batch up before the ring has it" \
    '/^static uint32_t shared_take(/,/^}/s/^\( *\)atomic_store_explicit(&lane->tail, tail, memory_order_release);/\1atomic_store_explicit(\&shared->list, ready, 0), atomic_store_explicit(\&shared->taking, 0, 0), atomic_store_explicit(\&lane->tail, tail, 0);/'
mutant "has_work does not look at the newest slots" \
    '/^static uint32_t steal_has_work/,/^}/s/atomic_load_explicit(&lane->newest, memory_order_acquire) != NULL ||//'
mutant "has_work does not look at the shared stack" \
    '/^static int shared_filled/,/^}/s/atomic_load_explicit(&shared->stack, memory_order_acquire) != NULL/0/'
mutant "a spill forgets that thieves may have been there" \
    '/^static void ring_spill/,/^}/s/&w->lane\[priority\].head, &head,/\&w->lane[priority].head, \&(uint32_t){w->lane[priority].head},/'
mutant "what newest displaces is dropped" \
    '/^static uint32_t steal_enqueue/,/^}/s/if (ready != NULL)/if (ready != NULL \&\& reason == NX_REASON_IO)/'
exit $status
