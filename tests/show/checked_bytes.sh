#!/bin/sh
# That the load generator finds a wrong byte: a server that flips a bit, drops, adds or swaps bytes, or hangs up, is found
# out, and an honest one is not.
. "$(dirname "$0")/lib.sh"

found() {
    for fault in flip drop add swap end none; do
        if [ $fault = none ]; then set -- "$echo_server" 127.0.0.1:0; else set -- "$show/bad_echo" $fault; fi
        serve "$@" || return
        load --connections=3 --size=500 --pipeline=4 --warmup=0 --duration=0.2
        status=$?
        wrong=$(get errors_corrupt) lost=$(get errors_lost_bytes) broken=$(get errors_io)
        end_serving || return
        case $fault in
        none) [ $status = 0 ] ;;
        drop | end) [ $status = 1 ] && [ $((wrong + broken)) -ge 3 ] ;;
        *) [ $status = 1 ] && [ "$wrong" = 3 ] ;;
        esac || { fail "fault '$fault': status $status, $wrong corrupt, $lost bytes lost, $broken broken" && return; }
    done
    pass "each of 5 faults is found on all connections, an honest server has none"
}
on_each_cell found
