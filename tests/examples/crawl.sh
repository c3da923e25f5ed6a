#!/bin/sh
# examples/crawl on a site that Python's http.server serves.
. "${0%/*}/lib.sh"
need python3
need_example crawl
mkdir -p "$scratch/site/sub"
cd "$scratch/site" || exit 1
{
    for i in $(seq 30); do
        echo "<a href=\"page$i.html\">$i</a> <a href=\"/sub/leaf$i.html\">leaf</a> <a href=\"http://elsewhere.invalid/\">not ours</a>"
        echo "<a href=\"index.html#top\">back</a>" >"page$i.html"
        echo "leaf $i <a href=\"leaf1.html\">first</a>" >"sub/leaf$i.html"
    done
    echo '<a href="missing.html">broken</a>'
} >index.html
python3 -u -m http.server 0 --bind 127.0.0.1 >"$scratch/python.out" 2>/dev/null &
servers=$!
until port=$(sed -n 's/.*port \([0-9]*\) .*/\1/p' "$scratch/python.out") && [ -n "$port" ]; do
    sleep 0.02
done
# A server that accepts and never answers.
python3 -c 'import socket, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(64); print(s.getsockname()[1], flush=True)
time.sleep(600)' >"$scratch/silent.out" &
servers="$servers $!"
until silent=$(cat "$scratch/silent.out") && [ -n "$silent" ]; do
    sleep 0.02
done
crawl="timeout 60 $NXT_BUILD/examples/crawl"

all_pages() {
    $crawl "http://127.0.0.1:$port/index.html" 100 50 >"$scratch/pages" || return 1
    cat "$scratch/pages"
    [ "$(grep -c '^200 ' "$scratch/pages")" = 61 ] && [ "$(grep -c '^404 ' "$scratch/pages")" = 1 ] &&
        [ -z "$(sort "$scratch/pages" | uniq -d)" ] && grep -qx "200 $(stat -c %s sub/leaf7.html) /sub/leaf7.html" "$scratch/pages"
}

no_more_than_ten() {
    $crawl "http://localhost:$port/index.html" 10 >"$scratch/pages" && [ "$(wc -l <"$scratch/pages")" = 10 ]
}

gives_up() {
    $crawl "http://127.0.0.1:$silent/" 10 1 >"$scratch/pages" 2>"$scratch/err"
    status=$?
    cat "$scratch/err"
    [ $status = 1 ] && grep -qi 'timed out' "$scratch/err"
}

crawl_follows_links_and_keeps_deadlines() {
    claim "every page once" all_pages
    claim "a limit of pages, a host by name" no_more_than_ten
    claim "the deadline ends a crawl of a silent server" gives_up
}

each_cell crawl_follows_links_and_keeps_deadlines
finish
