#!/bin/sh
# nexus conform: good drivers pass whole; of the drivers with one fault, each fails, first at the requirement it breaks.
# There is one for every requirement.
set -u
. "$srcdir/tests/conform_kit/lib.sh"
backends=$NXT_BUILD/backends/.libs
[ -e "$backends/epoll.so" ] || { echo "epoll is not a module in this build"; exit 77; }

# Several at a time, here as below: most of it is waiting.
passing=
for driver in "$backends"/*.so; do
    # Over libkqueue it has that library's thread and descriptors, which are against the rules.
    case $(uname -s)$driver in Linux*/kqueue.so) continue ;; esac
    passing="$passing $driver"
    case $driver in
    */loop.so) passing="$passing $driver:time=virtual $driver:short=1" ;;
    esac
done
printf '%s\n' $passing | nexus=$nexus work=$work xargs -P 3 -n 1 sh -c '"$nexus" conform "$1" >"$work/pass.${1##*/}" 2>&1' sh
for driver in $passing; do
    mv "$work/pass.${driver##*/}" "$work/out" && grep -q "^# .* passed, 0 failed, " "$work/out"
    claim "$(echo "${driver##*/}" | sed 's/\.so//; s/[:=]/_/g')_passes"
done
# What none of them has: nothing is skipped for want of it.
NXT_BROKEN=NXD-000 NXT_BROKEN_REAL=$backends/epoll.so \
    "$nexus" conform "$NXT_BUILD/tests/conform_kit/.libs/broken_driver.so" >"$work/out" 2>&1 &&
    ! grep -E '(NXD-052|NXD-071|NXD-072|NXD-074) .*# SKIP' "$work/out"
claim a_driver_that_offers_more_passes

# Sanitizers end a program that does what it should not in their own way.
faults=
[ -n "$SANITIZE" ] || faults=$("$nexus" conform --list | sed -n 's/^\(NXD-[0-9]*\) .*/\1/p')
for number in $faults; do
    case $number in
    NXD-053 | NXD-058 | NXD-059) real=iouring parameters= ;; # epoll has none of that
    NXD-070) real=loop parameters= ;;
    NXD-073) real=loop parameters=:time=virtual ;;
    *) real=epoll parameters= ;;
    esac
    echo "$number $backends/$real.so $NXT_BUILD/tests/conform_kit/.libs/broken_driver.so$parameters"
done | work=$work nexus=$nexus xargs -P 12 -n 3 sh "$srcdir/tests/conform_kit/break.sh"
for number in $faults; do
    judge "$number" 'nexus-driver(7)'
done
echo "1..$cases"
