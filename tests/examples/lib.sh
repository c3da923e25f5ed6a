# tests/examples/lib.sh: the examples, driven by foreign clients on each backend x scheduler. Sourced. Output: TAP.
#
#   need wrk curl                     77 with a sentence if a client is missing
#   each_cell body                    calls body once for each cell that runs here, as one case
#   start NAME ARGUMENT...            examples/NAME under the cell; its address is $addr, its port $port
#   stop NAME                         SIGTERM: it must end with status 0
#   claim SENTENCE COMMAND...         the body fails unless the command succeeds
set -u
unset NEXUS_BACKEND NEXUS_SCHED NEXUS_BACKEND_NET NEXUS_BACKEND_FILE
scratch=$(mktemp -d "${TMPDIR:-/tmp}/nexus.XXXXXX") || exit 1
servers= cases=0 failed_cases=0

end_all() {
    for pid in $servers; do
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$scratch"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

need() {
    for program; do
        command -v "$program" >/dev/null 2>&1 && continue
        echo "$program is not installed"
        exit 77
    done
}

# The example is built only where its library was found.
need_example() {
    for example; do
        [ -x "$NXT_BUILD/examples/$example" ] && continue
        echo "examples/$example is not built: configure did not find its library"
        exit 77
    done
}

scaled() { # FULL LEAST: by NXT_SCALE
    awk -v full="$1" -v least="$2" -v scale="${NXT_SCALE:-1}" \
        'BEGIN { n = int(full * scale); print (n > least ? n : least) }'
}

claim() {
    sentence=$1
    shift
    "$@" >"$scratch/output" 2>&1 && return
    echo "# not so: $sentence: $*"
    head -n 20 "$scratch/output" | sed 's/^/#   /'
    failed="$failed; $sentence"
}

# The first line of a server that says so has its address.
start() {
    name=$1
    shift
    : >"$scratch/$name.out"
    "$NXT_BUILD/examples/$name" "$@" >"$scratch/$name.out" 2>"$scratch/$name.err" &
    last_server=$!
    servers="$servers $last_server"
    eval "pid_$name=$last_server"
    addr=
    while [ -z "$addr" ]; do
        addr=$(sed -n 's/.*listening on //p' "$scratch/$name.out")
        if ! kill -0 "$last_server" 2>/dev/null; then
            claim "$name starts" cat "$scratch/$name.err" -
            return 1
        fi
        sleep 0.02
    done
    port=${addr##*:}
}

stop() {
    eval "pid=\$pid_$1"
    kill -TERM "$pid"
    wait "$pid"
    status=$?
    servers=$(echo "$servers" | sed "s/\b$pid\b//")
    claim "$1 ends with 0 at SIGTERM, not $status ($(head -n 5 "$scratch/$1.err" | tr '\n' ' '))" [ "$status" = 0 ]
}

each_cell() {
    for NEXUS_BACKEND in iouring epoll; do
        for NEXUS_SCHED in local work_stealing; do
            export NEXUS_BACKEND NEXUS_SCHED
            cases=$((cases + 1))
            failed=
            if "$NXT_BUILD/examples/hello" >/dev/null 2>"$scratch/why"; then
                "$1"
            elif [ $NEXUS_BACKEND = iouring ]; then # not every kernel lets us
                echo "ok $cases - $1 $NEXUS_BACKEND $NEXUS_SCHED # SKIP $(head -n 1 "$scratch/why")"
                continue
            else
                failed="; $(head -n 1 "$scratch/why")"
            fi
            [ -z "$failed" ] || failed_cases=$((failed_cases + 1))
            echo "${failed:+not }ok $cases - $1 $NEXUS_BACKEND $NEXUS_SCHED${failed#;}"
        done
    done
}

finish() {
    echo "1..$cases"
    [ "$failed_cases" = 0 ]
    exit
}
