#!/bin/sh
# examples/kv driven by redis-cli and redis-benchmark.
. "${0%/*}/lib.sh"
need redis-cli redis-benchmark
need_example kv
requests=$(scaled 40000 4000)

cli() { redis-cli -h 127.0.0.1 -p "$port" "$@"; }
says() { # WANTED ARGUMENT...
    wanted=$1
    shift
    got=$(cli "$@" 2>&1)
    echo "said: $got"
    [ "$got" = "$wanted" ]
}

# redis-benchmark ends with 0 whatever happens: a line per test must be there, and none that tells of an error.
benchmark() {
    redis-benchmark -h 127.0.0.1 -p "$port" -c 50 -P "$1" -n "$requests" -t ping_mbulk,set,get,incr --csv \
        >"$scratch/benchmark" 2>"$scratch/benchmark.err"
    status=$?
    cat "$scratch/benchmark" "$scratch/benchmark.err"
    [ $status = 0 ] && [ "$(grep -Ec '^"(PING_MBULK|SET|GET|INCR)","[1-9]' "$scratch/benchmark")" = 4 ] &&
        ! grep -i 'error' "$scratch/benchmark.err" | grep -qv 'CONFIG'
}

kv_answers_redis_clients() {
    start kv 127.0.0.1:0 || return
    claim "PING" says PONG PING
    claim "a key that is not there" says "" GET nothing
    claim "SET" says OK SET key "a value"
    claim "GET" says "a value" GET key
    claim "a value with zero bytes" sh -c "printf 'a\\0b' | redis-cli -h 127.0.0.1 -p $port -x SET binary | grep -qx OK"
    claim "INCR from nothing" says 1 INCR counter
    claim "INCR again" says 2 INCR counter
    claim "INCR of a text" says "ERR value is not an integer or out of range" INCR key
    claim "DEL counts what was there" says 2 DEL key counter nothing
    claim "SET PX" says OK SET brief 1 PX 50
    claim "an expired key is gone" sh -c "until [ -z \"\$(redis-cli -p $port GET brief)\" ]; do sleep 0.01; done"
    claim "EXPIRE of nothing" says 0 EXPIRE nothing 10
    claim "SET lasting" says OK SET lasting 1
    claim "EXPIRE" says 1 EXPIRE lasting 100
    claim "TTL" says 100 TTL lasting
    claim "unknown commands" says "ERR unknown command 'FLY'" FLY
    claim "redis-benchmark, one request at a time" benchmark 1
    claim "redis-benchmark, 16 deep" benchmark 16
    claim "it still answers" says PONG PING
    stop kv
}

each_cell kv_answers_redis_clients
finish
