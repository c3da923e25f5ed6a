# tests/plugin/lib.sh: help for the tests of nexus info. Sourced. Output: TAP.
set -u
nexus=${NXT_NEXUS:-$NXT_BUILD/tools/nexus}
samples=$NXT_BUILD/tests/plugin/.libs/samples.so
[ -x "$nexus" ] || { echo "$nexus is not built (--disable-tools)"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
for variable in $(env | sed -n 's/^\(NEXUS_[A-Z_]*\)=.*/\1/p'); do
    unset "$variable"
done

cases=0
# run STATUS ARGUMENT...: the program, within 20 s; output in $out, what went to stderr in $err
run() {
    wanted=$1
    shift
    out=$(timeout -k 1 20 "$nexus" "$@" 2>"$folder/stderr" </dev/null)
    got=$?
    err=$(cat "$folder/stderr")
}
# claim NAME PATTERN...: the status was right, and each pattern has a line of the output or of stderr
claim() {
    name=$1
    shift
    cases=$((cases + 1))
    failed=
    [ "$got" = "$wanted" ] || failed="status $got, not $wanted"
    for pattern; do
        printf '%s\n%s\n' "$out" "$err" | grep -Eq -e "$pattern" || failed="$failed; no line is like '$pattern'"
    done
    [ -z "$failed" ] && { echo "ok $cases - $name"; return; }
    echo "not ok $cases - $name"
    printf '%s\n%s\n%s\n' "$failed" "$out" "$err" | cut -c1-600 | sed 's/^/# /'
}
