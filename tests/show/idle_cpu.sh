#!/bin/sh
# An idle runtime with four workers uses no CPU: 10 s idle, after it had work, cost less than 5 ms of CPU time.
. "$(dirname "$0")/lib.sh"

cpu_ns() { cat /proc/"$server_pid"/task/*/schedstat | awk '{ ns += $1 } END { printf "%.0f", ns }'; }
switches() { awk '/ctxt_switches/ { n += $2 } END { print n }' /proc/"$server_pid"/task/*/status; }

NEXUS_WORKERS=4
export NEXUS_WORKERS
idle() {
    serve "$echo_server" 127.0.0.1:0 || return
    load --connections=8 --warmup=0 --duration=0.3 || fail "load: $(cat "$scratch/load-error")"
    sleep 1 # the load's end is not idleness
    cpu=$(cpu_ns)
    woken=$(switches)
    sleep 10
    cpu=$(($(cpu_ns) - cpu))
    woken=$(($(switches) - woken))
    end_serving || return
    line="10 s idle: $(awk "BEGIN { printf \"%.3f\", $cpu / 1e6 }") ms of CPU (limit 5), $woken wake-ups"
    if [ $cpu -lt 5000000 ]; then pass "$line"; else fail "$line"; fi
}
on_each_cell idle
