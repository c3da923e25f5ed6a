#!/bin/sh
# tests/conform/cell.sh FILE.cell [PROGRAM...]: the conformance programs (or those named, here or in the file) under the
# environment that the file sets: a driver and a scheduler, perhaps another driver for files. A program that ends with
# 77 can't run in this cell: one skipped case, with its reason. NXT_EMULATOR: what runs programs of another machine.
set -u
set -a
. "$1"
set +a
shift
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $CONFORM
worst=0
for program; do
    echo "# $program: NEXUS_BACKEND=$NEXUS_BACKEND${NEXUS_BACKEND_FILE:+ NEXUS_BACKEND_FILE=$NEXUS_BACKEND_FILE}" \
        "NEXUS_SCHED=$NEXUS_SCHED"
    ${NXT_EMULATOR:-} "$NXT_BUILD/$program"
    status=$?
    case $status in
    0) ;;
    77) echo "#nxt-skip $program" ;;
    *) worst=$status ;;
    esac
done
exit $worst
