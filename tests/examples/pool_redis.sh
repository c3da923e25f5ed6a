#!/bin/sh
# nx_pool against a real redis-server, by a Unix socket and by TCP: tests/examples/pool_redis.c has what is claimed.
. "${0%/*}/lib.sh"
need redis-cli mkfifo
# Debian's redis-tools has the server as redis-check-rdb, which serves when it is called redis-server.
if ! command -v redis-server >/dev/null 2>&1; then
    need redis-check-rdb
    ln -s "$(command -v redis-check-rdb)" "$scratch/redis-server"
    PATH=$scratch:$PATH
fi
program=$NXT_BUILD/tests/examples/pool_redis
[ -x "$program" ] || exit 77
mkfifo "$scratch/in"
port=$((20000 + $$ % 20000))

# The server without persistence; its port or socket as at the first start.
begin_server() {
    redis-server --port "$1" --bind 127.0.0.1 --unixsocket "$scratch/redis.sock" --save '' --appendonly no \
        --dir "$scratch" --daemonize no >"$scratch/redis.log" 2>&1 &
    redis=$!
    servers="$servers $redis"
    until [ "$(redis-cli -s "$scratch/redis.sock" ping 2>/dev/null)" = PONG ]; do
        kill -0 $redis 2>/dev/null || return 1
        sleep 0.02
    done
}

end_server() {
    kill -KILL $redis # so that it says goodbye to nobody
    wait $redis 2>/dev/null
    servers=$(echo "$servers" | sed "s/\b$redis\b//")
    rm -f "$scratch/redis.sock"
}

find_port() {
    for try in 1 2 3 4 5 6 7 8 9 10; do
        begin_server "$port" && return
        port=$((port + 97))
    done
    return 1
}

# ADDRESS: the program, with the server started again in the middle.
survives() {
    : >"$scratch/out" # the last one's, else, until the program runs
    "$program" "$1" <"$scratch/in" >"$scratch/out" 2>"$scratch/err" &
    client=$!
    exec 9>"$scratch/in"
    until grep -q restart "$scratch/out"; do
        kill -0 $client 2>/dev/null || break
        sleep 0.02
    done
    end_server
    begin_server "$port" && echo >&9
    wait $client
    status=$?
    exec 9>&-
    cat "$scratch/out" "$scratch/err"
    [ $status = 0 ] && ! [ -s "$scratch/err" ]
}

a_pool_never_hands_out_what_the_server_has_dropped() {
    claim "redis-server starts" find_port || return
    claim "by a Unix socket" survives "unix:$scratch/redis.sock"
    claim "by TCP" survives "127.0.0.1:$port"
    end_server
}

each_cell a_pool_never_hands_out_what_the_server_has_dropped
finish
