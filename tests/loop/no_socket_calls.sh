#!/bin/sh
# What the loop driver runs makes no socket call, no epoll's and none of io_uring's: by strace, over programs of servers
# and clients. And an hour asleep under virtual time is over at once. Output: TAP.
set -u
unset NEXUS_BACKEND_NET NEXUS_BACKEND_FILE
export NEXUS_SCHED=work_stealing NXT_SCALE=0.1
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" # the search for leaks doesn't work under strace
scratch=$(mktemp -d "${TMPDIR:-/tmp}/nexus.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
strace -f -qq -o "$scratch/trace" true 2>"$scratch/complaint" ||
    { echo "strace can't run here: $(cat "$scratch/complaint")" && exit 77; }

calls='socket|socketpair|connect|accept4?|bind|listen|shutdown|getsockname|getpeername|[sg]etsockopt|send(to|msg|mmsg)|recv(from|msg|mmsg)|p?select6?|p?poll|epoll_[a-z0-9_]+|io_uring_[a-z]+'
cases=0
failed=0

# What a program calls that it should not, but for the eventfd of the tests' own watchdog. One that ends well has called
# write(2): so the trace is one.
silent() { # BACKEND PROGRAM
    cases=$((cases + 1))
    if [ ! -x "$NXT_BUILD/tests/loop/$2" ]; then
        echo "ok $cases - $2 $1 # SKIP it is not built: configure did not find its library"
        return
    fi
    NEXUS_BACKEND=$1 strace -f -qq -o "$scratch/trace" "$NXT_BUILD/tests/loop/$2" >"$scratch/out" 2>&1
    status=$?
    found=$(grep -oE "^[0-9]+ +($calls)\\(" "$scratch/trace" | sed 's/.* //' | sort | uniq -c | tr -s ' \n' ' ')
    if [ $status = 0 ] && [ -z "$found" ] && grep -qE '^[0-9]+ +write\(' "$scratch/trace"; then
        echo "ok $cases - $2 $1"
    else
        echo "not ok $cases - $2 $1: status $status; called:$found"
        sed 's/^/# /' "$scratch/out" | tail -n 20
        failed=1
    fi
}

silent loop loop_net
silent loop loop_kv
silent loop:time=virtual loop_kv
silent loop loop_proxy
silent loop:time=virtual loop_clock
echo "1..$cases"
exit $failed
