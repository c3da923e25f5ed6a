#!/bin/sh
# A plugin's file exports its one symbol, nexus_plugin_<file name>, and takes nothing from libnexus.
set -eu
status=0 count=0
for file in "$NXT_BUILD"/backends/.libs/*.so "$NXT_BUILD"/sched/.libs/*.so; do
    [ -e "$file" ] || continue
    count=$((count + 1))
    name=${file##*/}
    wanted=nexus_plugin_${name%.so}
    exported=$($NM -D --defined-only "$file" | awk '{ print $3 }')
    [ "$exported" = "$wanted" ] || { echo "$name exports: $exported; wanted only $wanted"; status=1; }
    taken=$($NM -D --undefined-only "$file" | awk '$2 ~ /^nxi?_/ { print $2 }')
    [ -z "$taken" ] || { echo "$name takes from outside: $taken"; status=1; }
    if readelf -d "$file" | grep NEEDED | grep libnexus; then
        echo "$name links libnexus"
        status=1
    fi
done
[ $count -gt 0 ] || { echo "no plugin is a module in this build"; exit 77; }
exit $status
