#!/bin/sh
# Two workers and nx_serve, 64 equal closed-loop connections: 32 +- 1 each, and CPU time of the two within 15 % over 10 s.
. "$(dirname "$0")/lib.sh"

NEXUS_WORKERS=2
export NEXUS_WORKERS
balance() {
    serve "$show/balance" || return
    load --connections=64 --warmup=0.5 --duration=10 || fail "load: $(cat "$scratch/load-error")"
    end_serving || return
    # server_last has a line "TID CONNECTIONS" for each thread that served; the report has each thread's CPU time.
    line=$(printf '%s\n' "$server_last" | awk -v report="$scratch/report" '
    { connections[$1] = $2; total += $2; threads++ }
    END {
        while ((getline line < report) > 0) {
            split(line, part, /[:,]/)
            if (line ~ /"tid"/) tid = part[2] + 0
            if (line ~ /"thread_cpu_ns"/ && tid in connections) cpu[tid] = part[2] / 1e6
        }
        for (tid in connections) {
            split_text = split_text (split_text ? " + " : "") connections[tid]
            cpu_text = cpu_text (cpu_text ? " and " : "") sprintf("%.0f", cpu[tid])
            if (least == "" || cpu[tid] < least) least = cpu[tid]
            if (cpu[tid] > most) most = cpu[tid]
            if (connections[tid] < 31 || connections[tid] > 33) uneven = 1
        }
        apart = most > 0 ? 100 * (most - least) / most : 100
        printf "%s connections (limit 32 +- 1), %s ms of CPU: %.1f %% apart (limit 15)", split_text, cpu_text, apart
        exit threads != 2 || total != 64 || uneven || apart > 15
    }') && { pass "$line"; return; }
    fail "$line"
}
on_each_cell balance
