#!/bin/sh
# The same echo binary, no rebuild: under epoll it makes epoll calls and none of io_uring's, under iouring the other way
# round; left to choose, it may have probed the other but does not wait there. Needs strace.
. "$(dirname "$0")/lib.sh"

strace -f -qq -o "$scratch/trace" true 2>"$scratch/complaint" ||
    { echo "skip: strace can't run here: $(cat "$scratch/complaint")" && exit 77; }

count() { grep -cE "(^|[ ])($1)\\(" "$scratch/trace"; }

trace() { # the counts of the present cell: epoll's and io_uring's calls, and those of them that wait
    # -D: the server, not strace, is our child
    serve strace -D -f -qq -o "$scratch/trace" -e 'trace=/^(epoll|io_uring)_' "$echo_server" 127.0.0.1:0 500 || return
    load --connections=4 --warmup=0 --duration=0.3 || { fail "load: $(cat "$scratch/load-error")" && return 1; }
    end_serving || return
    epoll=$(count 'epoll_[a-z0-9_]+')
    ring=$(count 'io_uring_[a-z]+')
    epoll_waits=$(count 'epoll_p?wait2?')
    ring_waits=$(count 'io_uring_enter')
    line="$epoll epoll calls, $ring io_uring calls; $(get requests) requests"
}

named() {
    trace || return
    case $backend in
    epoll) [ "$epoll_waits" -gt 0 ] && [ "$ring" = 0 ] ;;
    iouring) [ "$ring_waits" -gt 0 ] && [ "$epoll" = 0 ] ;;
    esac
    if [ $? = 0 ]; then pass "$line"; else fail "$line"; fi
}

sum=$(cksum <"$echo_server")
backend=
sched=
if trace; then
    if [ "$epoll_waits" -gt 0 ]; then other=$ring other_waits=$ring_waits; else other=$epoll other_waits=$epoll_waits; fi
    backend=auto sched=auto
    # A probe may enter a ring once or twice; a server's loop waits for every request.
    if [ "$other" -le 16 ] && [ "$other_waits" -le 2 ]; then pass "$line"; else fail "$line"; fi
fi
[ "$sum" = "$(cksum <"$echo_server")" ] || { echo "FAIL  the binary has changed" && failed=1; }
on_each_cell named
