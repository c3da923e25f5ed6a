#!/bin/sh
# The programs of bench/micro and bench/raw list their cases, each by its own name; a case runs and prints JSON.
# Built by `make bench-programs`; of those that are not there bench/micro/switch alone is built by `make check`.
cd "$NXT_BUILD" || exit 1
n=0
result() {
    n=$((n + 1))
    echo "$1 $n - $2"
    [ "$1" = ok ] || failed=1
}

lists() {
    if [ ! -x "bench/$1" ]; then
        result ok "bench/$1 # SKIP not built: make bench-programs"
        return
    fi
    shown=$("bench/$1" --benchmark_list_tests | tr '\n' ' ')
    if [ "$shown" = "$2 " ]; then result ok "bench/$1 lists its cases"; else
        echo "# $shown"
        result "not ok" "bench/$1 lists its cases"
    fi
}

echo 1..15
lists micro/spawn "spawn_join spawn_join_1000 tree"
lists micro/switch "yield_2 yield_ring_1000"
lists micro/channel "chan_same_task chan_two_tasks chan_ping_pong chan_local_same_task chan_local_two_tasks \
chan_local_ping_pong chan_mpsc_threads chan_spsc_threads"
lists micro/wake "wake_spin wake_parked pool_hop"
lists micro/memory "memory_parked memory_live_1m stack_fresh"
lists micro/file "file_read_4k/1 file_read_4k/32"
lists micro/dispatch "dispatch_yield dispatch_try dispatch_read dispatch_accepted"
lists raw/spawn spawn_join
lists raw/switch "yield_2 yield_ring_1000"
lists raw/channel "chan_same_task chan_mpsc_threads chan_spsc_threads"
lists raw/wake "wake_spin wake_parked"
lists raw/memory stack_fresh
lists raw/file "file_read_4k/1 file_read_4k/32"

# The filter means the name that is printed, and nothing else is in the way of a JSON reader.
json=$(bench/micro/switch '--benchmark_filter=^yield_2$' --benchmark_min_time=0.01 --benchmark_format=json 2>/dev/null)
names=$(printf '%s\n' "$json" | sed -n 's/^ *"name": "\(.*\)",$/\1/p')
if [ "$names" = yield_2 ] && printf '%s' "$json" | "${AWK:-awk}" '
    { text = text $0 }
    END {
        gsub(/\\./, "", text); gsub(/"[^"]*"/, "0", text)
        for (i = 1; i <= length(text); i++) {
            c = substr(text, i, 1)
            if (c ~ /[{[]/) open++
            if (c ~ /[]}]/ && --open < 0) exit 1
        }
        exit open != 0 || text !~ /^{.*}$/
    }'; then
    result ok "one case by its name, as JSON"
else
    printf '%s\n' "$json" | sed 's/^/# /'
    result "not ok" "one case by its name, as JSON"
fi
time_of() { printf '%s\n' "$json" | sed -n "s/^ *\"$1\": \\([^,]*\\),*\$/\\1/p"; }
if [ "$(time_of time_unit)" = '"ns"' ] &&
    "${AWK:-awk}" -v time="$(time_of real_time)" -v n="$(time_of iterations)" \
        'BEGIN { exit !(time > 0.1 && n >= 1000) }'; then
    result ok "a switch takes time, in nanoseconds"
else
    result "not ok" "a switch takes time, in nanoseconds"
fi
exit ${failed:-0}
