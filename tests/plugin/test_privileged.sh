#!/bin/sh
# A program of ours that is set-uid, set-gid or has capabilities of its file sees no NEXUS_ variable, and its runtime
# takes nothing from where they point; the same file without sees them all. Output: TAP.
set -u
helper=${NXT_PRIVILEGED:-$NXT_BUILD/tests/plugin/privileged}
user=65533 group=65532 other=65531 owner=65530
[ "$(id -u)" = 0 ] || { echo "only root can make a set-gid file of another group"; exit 77; }
command -v setpriv >/dev/null || { echo "setpriv not found (Debian: util-linux)"; exit 77; }
if grep -q '^NoNewPrivs:[[:space:]]*1' /proc/self/status; then
    echo "set-id bits don't count here: no_new_privs is set"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
! "$helper" nosuid "$folder" | grep -q nosuid ||
    { echo "set-id bits don't count in $folder: it is mounted nosuid"; exit 77; }
# Where the environment points: a plugin that would be seen by its path. Where the program looks: this build's.
mkdir -p "$folder/evil" "$folder/lib/backends" "$folder/lib/sched"
for file in "$NXT_BUILD"/backends/.libs/epoll.so "$NXT_BUILD"/sched/.libs/local.so; do
    [ ! -e "$file" ] || cp "$file" "$folder/evil"
done
cp "$NXT_BUILD"/backends/.libs/epoll.so "$folder/lib/backends" 2>/dev/null
cp "$NXT_BUILD"/sched/.libs/local.so "$folder/lib/sched" 2>/dev/null
chmod -R go-w,a+rX "$folder"

variables='NEXUS_BACKEND_NET=epoll NEXUS_BACKEND_FILE=epoll NEXUS_SCHED=local NEXUS_WORKERS=1
    NEXUS_CPUS=none NEXUS_SPIN=0 NEXUS_LOG=debug NEXUS_BAKCEND=epoll NEXUS_STALL_MS=0 NEXUS_DUMP=sigquit'
# as_user ARGUMENT...: the helper, by a user with all variables set
as_user() {
    # shellcheck disable=SC2086
    setpriv --reuid=$user --regid=$other --clear-groups env -u NEXUS_BACKEND $variables NEXUS_BACKEND=epoll \
        NEXUS_PLUGIN_PATH="$folder/evil" "$folder/helper" "$@" 2>&1
}
cases=0
# claim NAME: what the command before it has said
claim() {
    if [ $? -eq 0 ]; then
        echo "ok $((cases += 1)) - $1"
    else
        echo "not ok $((cases += 1)) - $1"
        printf '%s\n' "$look" "$run" | sed 's/^/# /'
    fi
}
# fresh: the helper without privileges
fresh() {
    rm -f "$folder/helper"
    cp "$helper" "$folder/helper"
    chmod 755 "$folder/helper"
}
# with_privileges HOW COMMAND...: what the command gives the helper shows, and blinds it
with_privileges() {
    how=$1
    shift
    fresh
    if ! "$@" 2>"$folder/why"; then
        echo "ok $((cases += 1)) - $how # SKIP $(head -n 1 "$folder/why")"
        return
    fi
    look=$(as_user) run=$(as_user run "$folder/lib")
    [ "$look" = "AT_SECURE: yes
privileged: yes" ]
    claim "${how}_sees_no_variable_and_warns_of_none"
    case $run in
    *"$folder/evil"* | *fails:*) false ;;
    *"has "*) true ;;
    *) false ;;
    esac
    claim "${how}_loads_nothing_from_where_the_environment_points"
}

fresh
look=$(as_user) run=$(as_user run "$folder/lib")
case $look in
*"privileged: no"*"warned: "*) [ "$(echo "$look" | grep -c '^sees NEXUS_')" = 11 ] ;;
*) false ;;
esac
claim without_privileges_all_variables_are_seen
if [ -e "$folder/evil/epoll.so" ]; then
    case $run in
    *"has $folder/evil/epoll.so"*) true ;;
    *) false ;;
    esac
    claim without_privileges_the_environment_chooses
fi

set_gid() { chgrp $group "$folder/helper" && chmod 2755 "$folder/helper"; }
set_uid() { chown $owner "$folder/helper" && chmod 4755 "$folder/helper"; }
capable() {
    command -v setcap >/dev/null || { echo "setcap not found (Debian: libcap2-bin)" >&2; return 1; }
    setcap cap_net_bind_service+ep "$folder/helper"
}
with_privileges set_gid set_gid
with_privileges set_uid_root chmod 4755 "$folder/helper"
with_privileges set_uid set_uid
with_privileges capable_file capable
echo "1..$cases"
