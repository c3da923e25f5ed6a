# tests/show/lib.sh: the proofs of this folder. Each is called with the build folder, prints a line per backend x scheduler
# with the figure and its limit, and ends with 1 if one is beyond. To be sourced.
. "$(dirname "$0")/../../bench/lib.sh"
use_build "${1:?the build folder is missing}"
show=$build/tests/show
failed=0

awk -v cpus="$(nproc)" '$1 > cpus / 2 { print "note: other programs use this machine too (load " $1 "): figures of speed mean little" }' \
    /proc/loadavg

pass() { printf 'pass  %-8s %-14s %s\n' "$backend" "$sched" "$*"; }
fail() {
    printf 'FAIL  %-8s %-14s %s\n' "$backend" "$sched" "$*"
    failed=1
}

# Calls a function for each cell, with backend and sched set.
on_each_cell() { # FUNCTION
    cells >"$scratch/cells"
    [ -s "$scratch/cells" ] || { echo "FAIL  no backend can run here: $(unusable)" && exit 1; }
    while read -r backend sched <&3; do
        "$1"
    done 3<"$scratch/cells"
    exit $failed
}

# Starts a server in the present cell, or fails.
serve() { # COMMAND...
    start_server "$backend" "$sched" "$@" || { fail "$server_error" && return 1; }
}

# Ends it; 1, with a FAIL line, if it did not end as it should.
end_serving() {
    stop_server || { fail "server $server_error" && return 1; }
}

load() { # OPTIONS...; the report is in $scratch/report
    "$nxload" --json --address="$server_address" --pid="$server_pid" "$@" >"$scratch/report" 2>"$scratch/load-error"
}
get() { json_get "$1" "$scratch/report"; }

# Whether an awk expression over numbers holds.
holds() { awk "BEGIN { exit !($1) }"; }

# Runs a program in the present cell; its last line is the figure, its status the verdict.
figure_of() { # PROGRAM...
    if NEXUS_BACKEND=$backend NEXUS_SCHED=$sched "$@" >"$scratch/figure" 2>"$scratch/complaint"; then
        pass "$(tail -n 1 "$scratch/figure")"
    else
        fail "$(tail -n 1 "$scratch/figure") $(tail -n 3 "$scratch/complaint")"
    fi
}
