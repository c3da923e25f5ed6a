#!/bin/sh
# examples/proxy between curl or wrk and examples/http.
. "${0%/*}/lib.sh"
need wrk curl cmp
need_example proxy http
mkdir "$scratch/folder"
head -c 3000000 /dev/urandom >"$scratch/folder/big"
duration=$(scaled 2 1)

gets_all() { # COUNT: as many connections, one after the other
    for i in $(seq "$1"); do
        curl -s --max-time 20 -o "$scratch/got" "http://$addr/big" && cmp "$scratch/got" "$scratch/folder/big" || return 1
    done
}

wrk_without_errors() {
    wrk -t1 -c20 -d"${duration}s" "http://$addr/big" >"$scratch/wrk" 2>&1 || return 1
    cat "$scratch/wrk"
    grep -q 'Requests/sec' "$scratch/wrk" && ! grep -Eq 'Socket errors|Non-2xx' "$scratch/wrk"
}

opened_at_most() {
    tail -n 1 "$scratch/proxy.out"
    opened=$(sed -n 's/^proxy: \([0-9]*\) upstream.*/\1/p' "$scratch/proxy.out")
    [ -n "$opened" ] && [ "$opened" -le "$1" ]
}

# A download that is under way when the proxy is told to stop comes whole.
drains() {
    curl -s --max-time 20 --limit-rate 3M -o "$scratch/slow" "http://$addr/big" &
    curl=$!
    while ! [ -s "$scratch/slow" ]; do
        kill -0 $curl 2>/dev/null || break
        sleep 0.02
    done
    stop proxy
    wait $curl && cmp "$scratch/slow" "$scratch/folder/big"
}

proxy_carries_reuses_and_drains() {
    start http 127.0.0.1:0 "$scratch/folder" || return
    start proxy 127.0.0.1:0 "$addr" 50 || return
    claim "twenty connections one after the other" gets_all 20
    claim "wrk finishes without an error" wrk_without_errors
    rm -f "$scratch/slow"
    claim "a download under way comes whole when the proxy stops" drains
    claim "upstream connections were used again" opened_at_most 45
    stop http
}

proxy_tells_of_a_dead_upstream() {
    start proxy 127.0.0.1:0 127.0.0.1:1 || return
    claim "the client is let go" sh -c "! curl -s --max-time 20 http://$addr/"
    claim "and the reason is said" grep -q 'Connection refused' "$scratch/proxy.err"
    stop proxy
}

each_cell proxy_carries_reuses_and_drains
each_cell proxy_tells_of_a_dead_upstream
finish
