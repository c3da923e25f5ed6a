#!/bin/sh
# bench/demo.sh: the same echo server, built once, on every backend x scheduler this machine can run.
#
#   NXDEMO_BUILD=build bench/demo.sh
#
# Each round starts each cell's server afresh under its environment, loads it with 50 connections and then with one, has
# every byte checked, and ends it by SIGTERM. Rounds are interleaved, so that a machine that changes its speed changes it
# for all; the table shows medians. Last comes a raw epoll server without any runtime, for scale. Exits with 1 if a byte
# was wrong or a server failed. NEXUS_WORKERS and the other variables pass through. NXDEMO_ROUNDS and NXDEMO_SECONDS make
# it shorter.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
use_build "${NXDEMO_BUILD:-build}"

rounds=${NXDEMO_ROUNDS:-3}
budget=${NXDEMO_SECONDS:-44} # in all, about
limit=52  # seconds after which no further round begins a run: a busy machine gets fewer samples, not a longer demo
connections=50
message=64
cpus=$(nproc 2>/dev/null || echo 1)
threads=$((cpus > 3 ? cpus / 2 : 1))
results=$scratch/results
failures=$scratch/failures
: >"$results"
: >"$failures"

{
    cells
    [ ! -x "$build/bench/raw/echo_epoll" ] || echo "raw epoll"
} >"$scratch/cells"
[ -n "$(cells)" ] || { echo "demo: no backend can run on this machine:" && unusable; exit 1; }

runs=$(($(wc -l <"$scratch/cells") * rounds))
window=$(awk -v b=$budget -v n=$runs 'BEGIN { t = b / n - 1.2; t = (t < 0.3) ? 0.3 : (t > 2) ? 2 : t; printf "%.2f", t }')

progress() {
    [ -t 1 ] && printf '\r\033[K%s' "$*"
}

fail() { # BACKEND SCHEDULER SENTENCE
    progress ''
    echo "$1 $2 $3" >>"$failures"
    echo "demo: $1 x $2: $3" >&2
}

load() { # REPORT OPTIONS...
    report=$1
    shift
    "$nxload" --json --address="$server_address" --pid="$server_pid" --size=$message "$@" >"$report" \
        2>"$scratch/load-error" && return
    fail "$backend" "$sched" "$(awk '$1 ~ /errors_/ && $2 + 0 > 0 { gsub(/[":,]/, ""); print }' "$report" | tr '\n' ' ')
$(head -n 3 "$scratch/load-error")"
    return 1
}

start() {
    if [ "$backend" = raw ]; then
        start_server '' '' "$build/bench/raw/echo_epoll" 127.0.0.1:0 "$cpus"
    else
        start_server "$backend" "$sched" "$echo_server" 127.0.0.1:0 1000
    fi
}

measure() { # one round of one cell
    start || { fail "$backend" "$sched" "$server_error"; return; }
    if load "$scratch/many" --connections=$connections --threads=$threads --warmup=0.3 --duration="$window" &&
        load "$scratch/one" --connections=1 --warmup=0.1 --duration=0.5; then
        echo "$backend $sched" "$(json_get requests_per_second "$scratch/many")" \
            "$(json_get latency_ns_p50 "$scratch/many")" "$(json_get latency_ns_p99 "$scratch/many")" \
            "$(json_get latency_ns_p99_9 "$scratch/many")" "$(json_get latency_ns_p50 "$scratch/one")" \
            "$(json_get server_cpu_ns_per_request "$scratch/many")" "$(json_get server_rss_kib "$scratch/many")" \
            "$(json_get bytes_verified "$scratch/many")" "$(json_get bytes_verified "$scratch/one")" >>"$results"
    fi
    # The raw server knows no graceful end: any will do.
    stop_server || [ "$backend" = raw ] || fail "$backend" "$sched" "$server_error"
}

began=$(date +%s)
done_runs=0
round=1
while [ $round -le $rounds ]; do
    while read -r backend sched <&3; do
        [ $round -eq 1 ] || [ $(($(date +%s) - began)) -lt $limit ] || break 2
        done_runs=$((done_runs + 1))
        progress "[$done_runs/$runs] round $round: $backend x $sched"
        measure
    done 3<"$scratch/cells"
    round=$((round + 1))
done
progress ''

echo "examples/echo under $connections connections x $message B and under one; $cpus cpus shared with the clients" \
    "($threads thread$([ "$threads" -eq 1 ] || echo s)); medians of $rounds rounds of $window s$([ $done_runs -eq $runs ] || echo ', the last cut short')"
echo
bold=
plain=
if [ -t 1 ]; then
    bold=$(printf '\033[1m')
    plain=$(printf '\033[0m')
fi
awk -v bold="$bold" -v plain="$plain" -v cells="$scratch/cells" '
function median(row, column,    n, i, j, v, swap) {
    n = samples[row]
    for (i = 1; i <= n; i++)
        v[i] = value[row, column, i]
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && v[j - 1] > v[j]; j--) {
            swap = v[j]; v[j] = v[j - 1]; v[j - 1] = swap
        }
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
function grouped(number,    text) {
    text = sprintf("%d", number)
    while (text ~ /^[0-9][0-9][0-9][0-9]/)
        sub(/[0-9][0-9][0-9]($|,)/, ",&", text)
    return text
}
function shown(number, column) {
    return column == 1 || column == 6 ? grouped(number + 0.5) : sprintf("%.1f", number)
}
function print_row(row, compared,    column, text, mark, line) {
    line = sprintf("%-9s%-15s", backend[row], sched[row])
    for (column = 1; column <= 7; column++) {
        text = samples[row] ? shown(m[row, column], column) : "failed"
        mark = compared && samples[row] && text == shown(best[column], column)
        text = sprintf("%" width[column] "s", (mark ? "*" : "") text)
        line = line (mark ? bold text plain : text)
    }
    print line
}
BEGIN {
    columns = split("requests/s|p50 us|p99 us|p99.9 us|alone p50 us|CPU ns/request|memory MiB", title, "|")
    split("13 10 10 11 15 17 13", width, " ")
    split("1 1000 1000 1000 1000 1 1024", unit, " ")
    while ((getline line < cells) > 0) {
        split(line, part, " ")
        row = line
        order[++rows] = row
        backend[row] = part[1]
        sched[row] = part[2]
    }
}
{
    row = $1 " " $2
    samples[row]++
    for (column = 1; column <= columns; column++)
        value[row, column, samples[row]] = $(column + 2) / unit[column]
    bytes += $10 + $11
}
END {
    line = sprintf("%-9s%-15s", "backend", "scheduler")
    for (column = 1; column <= columns; column++)
        line = line sprintf("%" width[column] "s", title[column])
    print line
    for (i = 1; i <= rows; i++) {
        row = order[i]
        for (column = 1; samples[row] && column <= columns; column++) {
            m[row, column] = median(row, column)
            if (backend[row] != "raw" && (!(column in best) || (column == 1 ? m[row, column] > best[column] \
                                                                            : m[row, column] < best[column])))
                best[column] = m[row, column]
        }
    }
    for (i = 1; i <= rows; i++)
        if (backend[order[i]] != "raw")
            print_row(order[i], 1)
    for (i = 1; i <= rows; i++)
        if (backend[order[i]] == "raw") {
            backend[order[i]] = "(epoll"
            sched[order[i]] = "no runtime)"
            print_row(order[i], 0)
        }
    print "\n* best of its column. Checked " grouped(bytes) " bytes; latencies are of the " \
          "clients, alone: with one connection; CPU: of the server"
}' "$results"

unusable >"$scratch/unusable"
if [ -s "$scratch/unusable" ]; then
    echo "Cannot run here:"
    sed 's/^/  /' "$scratch/unusable"
fi
if [ -s "$failures" ]; then
    echo "demo: FAILED, see above" >&2
    exit 1
fi
