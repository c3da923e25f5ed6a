#!/bin/sh
# A plain server, accept in one task and a task per connection, is as fast as nx_serve when its handlers are spread (any
# scheduler) or stolen (work_stealing). Medians of five interleaved rounds, 64 connections; below 0.95 fails: what is less
# than 5 % apart is this method's noise.
. "$(dirname "$0")/lib.sh"

rate() { # FILE COMMAND...: adds the requests/s and the CPU ns a request of a fresh server to FILE
    rates=$1
    shift
    serve "$@" || return
    load --connections=64 --warmup=0.3 --duration=1 || fail "load: $(cat "$scratch/load-error")"
    echo "$(get requests_per_second) $(get server_cpu_ns_per_request)" >>"$rates"
    end_serving
}

median() { # FILE COLUMN
    sort -n -k "$2,$2" "$1" | awk -v column="$2" '{ v[NR] = $column } END { printf "%.0f", v[int((NR + 1) / 2)] }'
}

compare() { # MODE of the plain server
    : >"$scratch/serve-rates"
    : >"$scratch/plain-rates"
    for _ in 1 2 3 4 5; do
        rate "$scratch/serve-rates" "$echo_server" 127.0.0.1:0 1000 || return
        rate "$scratch/plain-rates" "$show/plain" "$1" || return
    done
    with=$(median "$scratch/serve-rates" 1)
    without=$(median "$scratch/plain-rates" 1)
    line="plain server, $1: $without requests/s, nx_serve $with: $(awk "BEGIN { printf \"%.3f\", $without / $with }") x \
(limit 0.95); CPU $(median "$scratch/plain-rates" 2) and $(median "$scratch/serve-rates" 2) ns a request"
    if holds "$without >= 0.95 * $with"; then pass "$line"; else fail "$line"; fi
}

both() {
    compare spread
    [ "$sched" != work_stealing ] || compare spawn
}
on_each_cell both
