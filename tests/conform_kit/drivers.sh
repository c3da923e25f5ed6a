#!/bin/sh
# nexus conform: good drivers pass whole; of the drivers with one fault, each fails, first at the requirement it breaks.
# There is one for every requirement.
set -u
. "$srcdir/tests/conform_kit/lib.sh"
backends=$NXT_BUILD/backends/.libs
[ -e "$backends/epoll.so" ] || { echo "epoll is not a module in this build"; exit 77; }

for driver in "$backends"/*.so; do
    name=${driver##*/}
    "$nexus" conform "$driver" >"$work/out" 2>&1
    claim "${name%.so}_passes"
done

# Sanitizers end a program that does what it should not in their own way.
faults=
[ -n "$SANITIZE" ] || faults=$("$nexus" conform --list | sed -n 's/^\(NXD-[0-9]*\) .*/\1/p')
# Eight at a time: most of it is waiting.
for number in $faults; do
    case $number in
    NXD-053 | NXD-058 | NXD-059) real=iouring ;; # epoll has none of that
    *) real=epoll ;;
    esac
    echo "$number $backends/$real.so $NXT_BUILD/tests/conform_kit/.libs/broken_driver.so"
done | work=$work nexus=$nexus xargs -P 8 -n 3 sh "$srcdir/tests/conform_kit/break.sh"
for number in $faults; do
    judge "$number" 'nexus-driver(7)'
done
echo "1..$cases"
