#!/bin/sh
# break.sh FAULT REAL BROKEN: a run of the plugin BROKEN, made of REAL, up to the first failure; for drivers.sh and
# schedulers.sh, which read its output and its status in $work.
[ -e "$2" ] || exit 0
NXT_BROKEN=$1 NXT_BROKEN_REAL=$2 "$nexus" conform --first --limit=20 "$3" >"$work/out.$1" 2>&1
echo $? >"$work/status.$1"
