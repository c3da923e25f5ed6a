#!/bin/sh
# examples/http driven by wrk and curl.
. "${0%/*}/lib.sh"
need wrk curl cmp
need_example http

mkdir "$scratch/folder"
head -c 3000000 /dev/urandom >"$scratch/folder/big"
echo "a small file" >"$scratch/folder/small.txt"
duration=$(scaled 3 1)

wrk_without_errors() {
    wrk -t2 -c"$1" -d"${duration}s" "http://$addr$2" >"$scratch/wrk" 2>&1 || return 1
    cat "$scratch/wrk"
    grep -q 'Requests/sec' "$scratch/wrk" && ! grep -Eq 'Socket errors|Non-2xx' "$scratch/wrk" &&
        ! grep -q ' 0 requests in' "$scratch/wrk"
}

status_is() { # STATUS CURL_ARGUMENT...
    wanted=$1
    shift
    got=$(curl -s -o "$scratch/body" -w '%{http_code}' --max-time 20 "$@")
    echo "status $got"
    [ "$got" = "$wanted" ]
}

pipelined() {
    printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' |
        curl -s --max-time 20 "telnet://$addr" | grep -c 'hello from libnexus' | grep -qx 2
}

http_says_hello_to_wrk_and_curl() {
    start http 127.0.0.1:0 || return
    claim "wrk finishes without an error" wrk_without_errors 50 /
    claim "GET gives 200" status_is 200 "http://$addr/"
    claim "HEAD gives 200" status_is 200 -I "http://$addr/"
    claim "two requests on one connection" status_is 200200 "http://$addr/" "http://$addr/" -o /dev/null
    claim "two requests at once are answered in order" pipelined
    claim "POST gives the body back" status_is 200 --data-binary "@$scratch/folder/small.txt" "http://$addr/echo"
    claim "and it is the same" cmp "$scratch/body" "$scratch/folder/small.txt"
    claim "a chunked body too" status_is 200 -H 'Transfer-Encoding: chunked' --data-binary "@$scratch/folder/small.txt" \
        "http://$addr/echo"
    claim "more than 1 MiB is too large" status_is 413 -H Expect: --data-binary "@$scratch/folder/big" "http://$addr/echo"
    claim "PUT is not allowed" status_is 405 -X PUT "http://$addr/"
    claim "HTTP it must be" sh -c "printf 'nonsense\r\n\r\n' | curl -s --max-time 20 telnet://$addr | grep -q ' 400 '"
    stop http
}

# An idle connection is let go at once, not when the drain has ended.
lets_idle_ones_go() {
    rm -f "$scratch/request"
    mkfifo "$scratch/request"
    exec 9<>"$scratch/request" # held open: the client has more to say
    timeout 60 curl -sN "telnet://$addr" <"$scratch/request" >"$scratch/idle" &
    client=$!
    printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\n' >&9
    until grep -q hello "$scratch/idle" 2>/dev/null; do
        sleep 0.02
    done
    before=$(date +%s)
    stop http
    after=$(date +%s)
    kill $client 2>/dev/null # it still reads its terminal
    wait $client
    exec 9>&-
    [ $((after - before)) -lt 8 ]
}

http_lets_idle_connections_go_when_it_ends() {
    start http 127.0.0.1:0 || return
    claim "an idle connection does not hold the end up" lets_idle_ones_go
}

http_sends_files() {
    start http 127.0.0.1:0 "$scratch/folder" || return
    claim "a file is sent" status_is 200 "http://$addr/big"
    claim "whole" cmp "$scratch/body" "$scratch/folder/big"
    claim "wrk gets small files without an error" wrk_without_errors 10 /small.txt
    claim "what is not there is 404" status_is 404 "http://$addr/none"
    claim "nobody climbs out of the folder" status_is 403 --path-as-is "http://$addr/../http.out"
    stop http
}

each_cell http_says_hello_to_wrk_and_curl
each_cell http_lets_idle_connections_go_when_it_ends
each_cell http_sends_files
finish
