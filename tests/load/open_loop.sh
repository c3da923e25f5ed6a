#!/bin/sh
# That nxload is not fooled by a server that stalls (coordinated omission): a server stopped for 0.1 s of a second delays a
# tenth of the requests of an open loop, and its percentiles say so; a closed loop at the same time loses sight of it.
nxload=$NXT_BUILD/bench/load/nxload
server=$NXT_BUILD/bench/raw/echo_epoll
[ -x "$nxload" ] && [ -x "$server" ] || { echo "the load generator is not built" && exit 77; }
. "$(dirname "$0")/../../bench/lib.sh"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/nexus.XXXXXX") || exit 2
server_pid=
trap end_all EXIT
start_server "" "" "$server" 127.0.0.1:0 || { echo "the server $server_error" && exit 1; }
status=0

run() { # NAME OPTIONS...
    report=$scratch/$1
    shift
    "$nxload" --json --address="$server_address" --pid="$server_pid" --connections=2 --warmup=0 --duration=1 "$@" \
        >"$report" 2>"$scratch/complaint" && return
    echo "nxload $*: $(cat "$scratch/complaint")"
    exit 1
}

check() { # EXPRESSION of awk, WHAT it says
    awk "BEGIN { exit !($1) }" && return
    echo "not so: $2: $1"
    status=1
}

stall=100000000
run open --rate=2000 --pipeline=64 --stall=0.1
run closed --stall=0.1
check "$(json_get stall_ns "$scratch/open") >= $stall" "the server was stopped for so long"
check "$(json_get latency_ns_max "$scratch/open") >= 0.9 * $stall" "who came as it began has waited for the end"
check "$(json_get latency_ns_p99 "$scratch/open") >= 0.8 * $stall" "one in ten was due meanwhile: p99 shows it"
check "$(json_get latency_ns_p90 "$scratch/open") < $(json_get latency_ns_p99 "$scratch/open")" "but not nine in ten"
check "$(json_get latencies "$scratch/open") == 2000" "each message that was due in the window counts, once"
check "$(json_get latency_ns_max "$scratch/closed") >= 0.9 * $stall" "a closed loop has seen one, too"
check "$(json_get latency_ns_p90 "$scratch/closed") < 0.5 * $stall" "and its percentiles hide it"
curve=$(sed -n '/"percentiles"/,$p' "$scratch/open" | tr -d ' \n[]}')
last=${curve##*,}
check "$last == $(json_get latency_ns_max "$scratch/open")" "the curve ends with the greatest"
exit $status
