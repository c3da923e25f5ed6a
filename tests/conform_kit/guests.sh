#!/bin/sh
# nexus conform: plugins that misuse the process are found, and neither they nor a signal leave a process or a folder
# behind. Whoever is left holds the end of a pipe: a reader of it would not come to an end. Output: TAP.
set -u
. "$srcdir/tests/conform_kit/lib.sh"
backends=$NXT_BUILD/backends/.libs
guest=$NXT_BUILD/tests/conform_kit/.libs/guest_driver.so
[ -e "$backends/epoll.so" ] || { echo "epoll is not a module in this build"; exit 77; }
export NEXUS_PLUGIN_PATH="$backends" NXT_GUEST_REAL="$backends/epoll.so" nexus guest work
mkdir "$work/tmp"

# seen NAME MANNER STATUS PATTERN ARGUMENT...: it is found, within the time, and nobody holds the pipe
seen() {
    name=$1 NXT_GUEST=$2 status=$3 pattern=$4
    shift 4
    export NXT_GUEST
    TMPDIR=$work/tmp timeout 60 sh -c '{ "$nexus" conform "$@" "$guest"; echo "status $?"; } 2>&1 | cat >"$work/out"' \
        sh "$@" && grep -q "^status $status$" "$work/out" && grep -q -e "$pattern" "$work/out"
    claim "$name"
}
seen a_fork_is_found_and_ended forks 1 'it has forked' --only=NXD-050
seen what_every_requirement_forks_is_ended forks 0 '^# guest_driver: 3 passed' --only=NXD-001,NXD-003,NXD-005
seen real_time_signals_are_looked_at ignores 1 'the handler of signal 3[0-9] ' --only=NXD-050
seen a_hang_without_the_pipe_ends closes 1 'nothing had ended after 1 s' --limit=1 --only=NXD-003
seen a_hang_in_a_child_of_a_child_ends sticks 1 'nothing had ended after 1 s' --limit=1 --only=NXD-051
seen a_child_that_keeps_descriptors_is_found keeps 1 'after forked a child still has' --only=NXD-051
# However many there were before.
if command -v python3 >/dev/null; then
    NXT_GUEST=keeps python3 -c 'import os, sys
for _ in range(130): os.set_inheritable(os.dup(2), True)
os.execv(sys.argv[1], sys.argv[1:])' "$nexus" conform --only=NXD-051 "$guest" >"$work/out" 2>&1
    [ $? -eq 1 ] && grep -q 'after forked a child still has' "$work/out"
    claim among_many_descriptors_too
fi

# stops NAME SIGNAL PATIENCE: the child of a run that a signal ends does not go on
stops() {
    rm -f "$work/out"
    mkfifo "$work/pipe"
    NXT_GUEST=hangs TMPDIR=$work/tmp "$nexus" conform --limit=2 --only=NXD-003 "$guest" >"$work/pipe" 2>&1 &
    run=$!
    (timeout "$3" cat "$work/pipe" && echo over) >"$work/out" &
    until [ "$(ps -o comm= --ppid "$run" 2>/dev/null | grep -c nexus)" -ge 1 ] || ! kill -0 "$run"; do sleep 0.05; done
    kill -"$2" "$run"
    wait
    rm "$work/pipe"
    grep -q '^over$' "$work/out"
    claim "$1"
}
if ps --ppid 1 >/dev/null 2>&1; then
    stops who_stops_it_stops_its_child TERM 1.5
    stops even_who_kills_it KILL 60
fi

NXT_GUEST=talks "$nexus" conform --json --only=NXD-005 "$guest" 2>"$work/errors" >"$work/out"
head -n 1 "$work/out" | grep -q '^{$' && grep -q 'a word of the plugin' "$work/errors"
claim what_is_said_at_loading_is_no_part_of_the_report
NXT_GUEST=talks NEXUS_PLUGIN_PATH="$backends:${guest%/*}" "$nexus" info --json 2>"$work/errors" >"$work/out"
head -n 1 "$work/out" | grep -q '^{$' && grep -q 'a word of the plugin' "$work/errors"
claim nor_of_what_info_says

ls "$work/tmp" >"$work/out"
rmdir "$work/tmp"
claim no_folder_is_left
echo "1..$cases"
