#!/bin/sh
# nexus conform: good drivers pass whole; of the drivers with one fault, each fails, first at the requirement it breaks.
# Every requirement has such a driver, or is in the list of those that say why not. Output: TAP.
set -u
nexus=$NXT_BUILD/tools/nexus
backends=$NXT_BUILD/backends/.libs
broken=$NXT_BUILD/tests/conform_kit/.libs/broken_driver.so
[ -x "$nexus" ] || { echo "$nexus is not built (--disable-tools, or jansson not found)"; exit 77; }
[ -e "$backends/epoll.so" ] || { echo "epoll is not a module in this build"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset NEXUS_BACKEND NEXUS_SCHED

cases=0
# claim NAME: the status of the command before it
claim() {
    if [ $? -eq 0 ]; then
        cases=$((cases + 1))
        echo "ok $cases - $1"
    else
        cases=$((cases + 1))
        echo "not ok $cases - $1"
        sed 's/^/# /' "$work/out"
    fi
}

for driver in "$backends"/*.so; do
    name=${driver##*/}
    "$nexus" conform "$driver" >"$work/out" 2>&1
    claim "${name%.so}_passes"
done

# A fault that only shows under sanitizers' own reports is none here, and they end the program in their own way.
if [ -n "$SANITIZE" ]; then
    echo "1..$cases"
    exit 0
fi

# The base of a fault is epoll, but for what only iouring has.
breaks() {
    real=$backends/epoll.so
    case $1 in
    NXD-053 | NXD-058 | NXD-059) real=$backends/iouring.so ;;
    esac
    [ -e "$real" ] || return 0
    NXT_BROKEN=$1 NXT_BROKEN_REAL=$real "$nexus" conform --first --limit=6 "$broken" >"$work/out.$1" 2>&1
    echo $? >"$work/status.$1"
}
judge() {
    [ -e "$work/status.$1" ] || { echo "ok $((cases += 1)) - broken_$1 # SKIP its driver is not in this build"; return; }
    mv "$work/out.$1" "$work/out"
    [ "$(cat "$work/status.$1")" = 1 ] && grep -q "^not ok [0-9]* - $1 " "$work/out" &&
        grep -q '^#   seen: ' "$work/out" && grep -q '^#   so: ' "$work/out" &&
        grep -q "^#   see: *nexus-driver(7), REQUIREMENTS, $1$" "$work/out"
    claim "broken_${1}_is_found_at_${1}"
}

set -- $("$nexus" conform --list | sed -n 's/^\(NXD-[0-9]*\) .*/\1/p')
while [ $# -gt 0 ]; do # four at a time: most of it is waiting
    four=$(echo "$@" | cut -d' ' -f1-4)
    for number in $four; do
        breaks "$number" &
    done
    wait
    for number in $four; do
        judge "$number"
        shift
    done
done
echo "1..$cases"
