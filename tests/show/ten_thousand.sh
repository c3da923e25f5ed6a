#!/bin/sh
# 10,000 connections on one server process, the client another: each echoes a message, is held, and echoes another.
. "$(dirname "$0")/lib.sh"

ten_thousand() {
    serve "$echo_server" 127.0.0.1:0 || return
    if load --idle=10000 --duration=1; then
        line="$(get server_fds) descriptors in the server, $(get client_fds) in the client; \
$(get bytes_verified) bytes verified (of 1280000), $(($(get server_rss_kib) / 1024)) MiB"
        [ "$(get bytes_verified)" = 1280000 ] && [ "$(get server_fds)" -ge 10000 ]
    else
        line="$(get errors_connect) not connected, $(get errors_io) broken, $(cat "$scratch/load-error")"
        false
    fi
    good=$?
    end_serving || return
    if [ $good = 0 ]; then pass "$line"; else fail "$line"; fi
}
on_each_cell ten_thousand
