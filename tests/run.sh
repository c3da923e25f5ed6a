#!/bin/sh
# tests/run.sh [SHELL] TEST: runs a test for the TAP driver. Counts each CMocka case over all groups of a program (CMocka
# starts a new plan per group, writes a skip as "not ok", and in a program that clears its environment doesn't write TAP at
# all); turns the exit status of a test that doesn't write TAP into one case (77: skipped, its last line says why); and ends
# one that hangs after NXT_TIMEOUT seconds. A line "#nxt-skip NAME" stands for a skipped case; the line before says why.
[ $# -gt 1 ] || set -- ${NXT_EMULATOR:-} "$@" # a program, perhaps of another machine
for name; do :; done
name=${name##*/}
{
    timeout -k 10 "${NXT_TIMEOUT:-900}" "$@" 2>&1
    echo "#nxt-exit $?"
} | awk -v name="${name%.sh}" -v scale="${NXT_SCALE:-1}" '
function result(word, rest) {
    tap = 1
    running = 0
    if (word == "not ok")
        failures++
    print word " " ++cases rest
    fflush()
}
BEGIN { print "# NXT_SCALE=" scale }
/^#nxt-exit / { status = $2; next }
/^#nxt-skip / { planned++; result("ok", " - " $2 " # SKIP " last); next }
/^1\.\.[0-9]+/ { planned += substr($1, 4); tap = plan = 1; next }
/^(not )?ok( |$)/ {
    word = /^not / && toupper($0) !~ /# *SKIP/ ? "not ok" : "ok"
    sub(/^(not )?ok *[0-9]*/, "")
    result(word, $0)
    next
}
/^\[ RUN      \] / { running = 1; next }
/^\[       OK \] / { planned += !plan; result("ok", " - " $4); next }
running && /^\[  SKIPPED \] / { planned += !plan; result("ok", " # SKIP " $4); next }
running && /^\[  FAILED  \] / { planned += !plan; result("not ok", " - " $4); next }
{
    if ($0 != "")
        last = $0
    print (/^#/ ? "" : "# ") $0
    fflush()
}
END {
    if (!tap && status == 77) {
        print "ok 1 - " name " # SKIP " last
        planned = 1
    } else if (!tap) {
        print (status ? "not ok" : "ok") " 1 - " name (status == 124 ? " hangs" : "")
        planned = 1
    } else if (status && !failures) {
        # The cases passed and the program did not: a crash, a hang, a leak found at exit.
        print "not ok " ++cases " - " name (status == 124 ? " hangs" : " ended with status " status)
        if (planned < cases)
            planned = cases
    }
    print "1.." planned
}'
