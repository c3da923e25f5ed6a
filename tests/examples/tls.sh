#!/bin/sh
# examples/tls driven by openssl s_client.
. "${0%/*}/lib.sh"
need openssl cmp
need_example tls
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$scratch/key" -out "$scratch/certificate" -days 1 -subj /CN=localhost \
    >"$scratch/req" 2>&1 || { cat "$scratch/req"; exit 77; }
head -c 300000 /dev/urandom | od -An -tx1 -v >"$scratch/text"

echoes() { # ARGUMENT...: s_client sends the text and must get it back
    { cat "$scratch/text"; until [ "$(stat -c %s "$scratch/back")" -ge "$(stat -c %s "$scratch/text")" ]; do sleep 0.05; done; } |
        timeout 60 openssl s_client -connect "$addr" -CAfile "$scratch/certificate" -verify_return_error -quiet -no_ign_eof "$@" \
            >"$scratch/back" 2>"$scratch/s_client"
    cat "$scratch/s_client"
    cmp "$scratch/back" "$scratch/text"
}

many() {
    pids=
    for i in 1 2 3 4 5 6 7 8; do
        : >"$scratch/many.$i"
        { echo "line $i"; until [ -s "$scratch/many.$i" ]; do sleep 0.05; done; } |
            timeout 60 openssl s_client -connect "$addr" -quiet -no_ign_eof >"$scratch/many.$i" 2>/dev/null &
        pids="$pids $!"
    done
    for pid in $pids; do
        wait "$pid"
    done
    for i in 1 2 3 4 5 6 7 8; do
        grep -qx "line $i" "$scratch/many.$i" || return 1
    done
}

refuses_plain_text() {
    printf 'GET / HTTP/1.0\r\n\r\n' | timeout 20 openssl s_client -connect "$addr" -tls1_1 -quiet -no_ign_eof >/dev/null 2>&1
    [ $? -ne 124 ] && echoes -tls1_3
}

tls_echoes_to_s_client() {
    : >"$scratch/back"
    start tls 127.0.0.1:0 "$scratch/certificate" "$scratch/key" || return
    claim "TLS 1.3" echoes -tls1_3
    : >"$scratch/back"
    claim "TLS 1.2" echoes -tls1_2
    claim "eight at once" many
    : >"$scratch/back"
    claim "a client that is refused leaves the others alone" refuses_plain_text
    stop tls
}

each_cell tls_echoes_to_s_client
finish
