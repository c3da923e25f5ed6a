# tests/authors/lib.sh: help for the tests of what is given to authors of plugins. Sourced. Output: TAP.
set -u
nexus=$NXT_BUILD/tools/nexus
[ -x "$nexus" ] || { echo "$nexus is not built (--disable-tools)"; exit 77; }
work=$(mktemp -d)
chmod 755 "$work"
children=
end() {
    for pid in $children; do
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for variable in $(env | sed -n 's/^\(NEXUS_[A-Z_]*\)=.*/\1/p'); do
    unset "$variable"
done
cases=0
srcdir=$(cd "$srcdir" && pwd)

# claim NAME COMMAND...: a case, which holds if the command succeeds; what it prints is shown if it fails
claim() {
    cases=$((cases + 1)) name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "ok $cases - $name"
        return 0
    fi
    echo "not ok $cases - $name"
    tail -n 40 "$work/out" | sed 's/^/# /'
    return 1
}

is() { # WANTED GOT
    [ "$1" = "$2" ] && return
    printf 'wanted: %s\ngot:    %s\n' "$1" "$2"
    return 1
}
