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
    ${CC:-cc} -std=gnu11 -O1 -Wall -Wextra "$@" -DRING_SIZE=4u -DSHARED_INTERVAL=3u -DSUSPECT_LOOKS=1u -I"$here" -I"$root/sched" \
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

# mutant NAME SED-EXPRESSION: applied to the source and its headers; one that no longer matches is an error, not a pass.
mutant() {
    changed=0
    for file in work_stealing.c ring.h shared.h shares.h; do
        sed -e "$2" "$root/sched/$file" >"$work/$file"
        cmp -s "$work/$file" "$root/sched/$file" || changed=$((changed + 1))
    done
    if [ $changed -ne 1 ]; then
        echo "applies to $changed files: $1"
        status=1
        return
    fi
    build "$work/mutant" "$work/work_stealing.c" -Wno-unused
    must_find "$1" "$work/mutant"
}

mutant "a taker reads and empties a slot in two steps" \
    '/^static inline struct nx_ready \*slot_take/,/^}/s/return atomic_exchange_explicit(\(.*\), NULL, memory_order_acq_rel);/struct nx_ready *seen = atomic_load_explicit(\1, 0); atomic_store_explicit(\1, NULL, 0); return seen;/'
mutant "take empties the slot without looking again what is in it" \
    '/^static int ring_take_this/,/^}/s/!atomic_compare_exchange_strong_explicit(&rings->slot\[ready->priority\]\[place\], &found, NULL,/(atomic_exchange_explicit(\&rings->slot[ready->priority][place], NULL, memory_order_acq_rel), 0))/;/^static int ring_take_this/,/^}/s/^  *memory_order_acq_rel, memory_order_relaxed))$//'
mutant "tail goes back over a task" \
    '/^static int ring_take_this/,/^}/s/while (tail != head && !slot_filled(rings, ready->priority, tail - 1))/if (tail != head)/'
mutant "closing up forgets the first" \
    '/^static void ring_close_up/,/^}/s/for (uint32_t i = 0; i < count; i++)/for (uint32_t i = 1; i < count; i++)/'
mutant "a taker does not see that another is taking" \
    '/^static uint32_t shared_take(/,/^}/s/if (atomic_exchange_explicit(&shared->taking, 1, memory_order_acquire) != 0)/if (0)/'
mutant "the shared list gives a batch up before the ring has it" \
    '/^static uint32_t shared_take(/,/^}/s/^\( *\)atomic_store_explicit(&lane->tail, tail, memory_order_release);/\1atomic_store_explicit(\&shared->list, ready, 0), atomic_store_explicit(\&shared->taking, 0, 0), atomic_store_explicit(\&lane->tail, tail, 0);/'
mutant "has_work does not look at the newest slots" \
    '/^static uint32_t steal_has_work/,/^}/s/atomic_load_explicit(&w->rings.lane\[priority\].newest, memory_order_acquire) != NULL ||//'
mutant "has_work does not look at the shared stack" \
    '/^static int shared_filled/,/^}/s/atomic_load_explicit(&shared->stack, memory_order_acquire) != NULL/0/'
mutant "head passes a full slot" \
    '/^static uint32_t ring_room/,/^}/s/while (head != tail && !slot_filled(rings, priority, head))/if (head != tail)/'
mutant "what newest displaces is dropped" \
    '/^static uint32_t steal_enqueue/,/^}/s/if (ready != NULL)/if (ready != NULL \&\& reason == NX_REASON_IO)/'
exit $status
