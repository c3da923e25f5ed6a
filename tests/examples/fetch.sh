#!/bin/sh
# examples/fetch: libcurl driven by watches, from Python's http.server and from one that never answers.
. "${0%/*}/lib.sh"
need python3 cmp
need_example fetch
mkdir -p "$scratch/site" "$scratch/got"
count=$(scaled 40 10)
cd "$scratch/site" || exit 1
for i in $(seq "$count"); do
    head -c $((i * 17000)) /dev/urandom >"file$i"
done
# Threads: several downloads are served at once, each in pieces.
python3 -u -c 'import http.server
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_address[1], flush=True)
server.serve_forever()' >"$scratch/python.out" 2>/dev/null &
servers=$!
python3 -c 'import socket, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(64); print(s.getsockname()[1], flush=True)
time.sleep(600)' >"$scratch/silent.out" &
servers="$servers $!"
until port=$(cat "$scratch/python.out") && silent=$(cat "$scratch/silent.out") && [ -n "$port" ] && [ -n "$silent" ]; do
    sleep 0.02
done
urls=$(seq -f "http://127.0.0.1:$port/file%g" "$count")
fetch="timeout 120 $NXT_BUILD/examples/fetch"

all_at_once() {
    # shellcheck disable=SC2086
    $fetch "$scratch/got" $urls >"$scratch/lines" || return 1
    [ "$(grep -c '^200 ' "$scratch/lines")" = "$count" ] || return 1
    for i in $(seq "$count"); do
        cmp "file$i" "$scratch/got/$i" || return 1
    done
}

by_name() {
    $fetch "$scratch/got" "http://localhost:$port/file3" >"$scratch/lines" && cmp file3 "$scratch/got/1"
}

tells_failures() {
    ! $fetch "$scratch/got" "http://127.0.0.1:$port/file1" "http://127.0.0.1:$port/missing" http://127.0.0.1:1/ \
        >"$scratch/lines" || return 1
    cat "$scratch/lines"
    grep -q '^200 ' "$scratch/lines" && grep -q '^404 ' "$scratch/lines" && grep -q '^0 .*connect' "$scratch/lines" &&
        cmp file1 "$scratch/got/1"
}

gives_up() {
    ! $fetch -t 1 "$scratch/got" "http://127.0.0.1:$silent/" "http://127.0.0.1:$port/file2" >"$scratch/lines" || return 1
    cat "$scratch/lines"
    grep -q '^0 .*given up' "$scratch/lines" && cmp file2 "$scratch/got/2"
}

fetch_downloads_all_at_once() {
    rm -f "$scratch"/got/*
    claim "every file, whole" all_at_once
    claim "from a host by name" by_name
    claim "what fails is told" tells_failures
    claim "the deadline ends what does not answer" gives_up
}

each_cell fetch_downloads_all_at_once
finish
