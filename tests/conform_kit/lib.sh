# tests/conform_kit/lib.sh: help for tests of the nexus program on plugins. Sourced. Output: TAP.
nexus=$NXT_BUILD/tools/nexus
[ -x "$nexus" ] || { echo "$nexus is not built (--disable-tools)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset NEXUS_BACKEND NEXUS_SCHED
cases=0
# claim NAME: what the command before it has said
claim() {
    if [ $? -eq 0 ]; then
        echo "ok $((cases += 1)) - $1"
    else
        echo "not ok $((cases += 1)) - $1"
        sed 's/^/# /' "$work/out"
    fi
}

# judge FAULT PAGE: the first failure is the requirement of that number, with what was seen, so what, and where to read
judge() {
    [ -e "$work/status.$1" ] || { echo "ok $((cases += 1)) - broken_$1 # SKIP its plugin is not in this build"; return; }
    number=${1%b}
    mv "$work/out.$1" "$work/out"
    [ "$(cat "$work/status.$1")" = 1 ] && grep -q "^not ok [0-9]* - $number " "$work/out" &&
        grep -q '^#   seen: ' "$work/out" && grep -q '^#   law: ' "$work/out" && grep -q '^#   so: ' "$work/out" &&
        grep -q "^#   see: *$2, REQUIREMENTS, $number$" "$work/out"
    claim "broken_$1_is_found_at_$number"
}
