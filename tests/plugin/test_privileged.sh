#!/bin/sh
# A set-gid program of ours sees no NEXUS_ variable; the same file without the bit sees them all.
set -eu
helper=${NXT_PRIVILEGED:-$NXT_BUILD/tests/plugin/privileged}
user=65533 group=65532 other=65531
[ "$(id -u)" = 0 ] || { echo "only root can make a set-gid file of another group"; exit 77; }
command -v setpriv >/dev/null || { echo "setpriv not found (Debian: util-linux)"; exit 77; }
if grep -q '^NoNewPrivs:[[:space:]]*1' /proc/self/status; then
    echo "set-id bits don't count here: no_new_privs is set"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
[ -z "$("$helper" "$folder")" ] || { echo "set-id bits don't count in $folder: it is mounted nosuid"; exit 77; }
cp "$helper" "$folder/helper"
run() {
    setpriv --reuid=$user --regid=$other --clear-groups env NEXUS_BACKEND=epoll NEXUS_BACKEND_NET=epoll \
        NEXUS_BACKEND_FILE=epoll NEXUS_SCHED=local NEXUS_WORKERS=1 NEXUS_CPUS=none NEXUS_PLUGIN_PATH=/tmp NEXUS_SPIN=0 \
        NEXUS_LOG=debug NEXUS_BAKCEND=epoll "$folder/helper"
}
chmod 755 "$folder/helper"
plain=$(run)
chgrp $group "$folder/helper"
chmod 2755 "$folder/helper"
privileged=$(run)

status=0
case $plain in
*"privileged: no"*"warned: "*) ;;
*) echo "without the bit it says: $plain"; status=1 ;;
esac
[ "$(echo "$plain" | grep -c '^sees NEXUS_')" = 9 ] || { echo "without the bit it doesn't see all nine: $plain"; status=1; }
[ "$privileged" = "privileged: yes" ] || { echo "set-gid it says: $privileged"; status=1; }
exit $status
