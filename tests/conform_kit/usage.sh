#!/bin/sh
# nexus conform: options, exit status, what is skipped and why, JSON. Output: TAP.
set -u
. "$srcdir/tests/conform_kit/lib.sh"
backends=$NXT_BUILD/backends/.libs
[ -e "$backends/epoll.so" ] || { echo "epoll is not a module in this build"; exit 77; }
export NEXUS_PLUGIN_PATH="$backends:$NXT_BUILD/sched/.libs"
broken=$NXT_BUILD/tests/conform_kit/.libs/broken_driver.so

# expect STATUS NAME PATTERN ARGUMENT...: the status is right, and a line of what is printed is like the pattern
expect() {
    status=$1 name=$2 pattern=$3
    shift 3
    "$nexus" conform "$@" >"$work/out" 2>&1
    got=$?
    [ $got -eq "$status" ] || echo "status $got, not $status" >>"$work/out"
    [ $got -eq "$status" ] && grep -q -e "$pattern" "$work/out"
    claim "$name"
}
expect 0 a_name_is_looked_up '^# epoll: 1 passed, 0 failed, 0 skipped$' --only=NXD-005 epoll
expect 0 a_file_is_taken '^ok 1 - NXD-005 ' --only=nxd-005 "$backends/epoll.so"
cd "$backends" || exit 1
expect 0 a_relative_file_is_taken '^1\.\.2$' --only=NXD-001,NXD-005 ./epoll.so
cd "$work" || exit 1
mkdir "$work/a+b:c=d%"
cp "$backends/epoll.so" "$work/a+b:c=d%"
expect 0 a_path_may_have_any_character '^ok 1 - NXD-019 ' --only=NXD-019 "./a+b:c=d%/epoll.so:events=1"
expect 0 parameters_are_given '^ok 1 - NXD-019 ' --only=NXD-019 epoll:events=1
expect 0 a_skip_names_what_allows_it '# SKIP capability of WRITE lacks NX_OP_INJECT' --only=NXD-052 epoll
expect 0 a_domain_that_is_not_there_is_a_skip '# SKIP domains lacks NX_DOMAIN_FILES' --only=NXD-058 epoll
expect 0 a_profile_leaves_the_rest_out '^ok 2 - NXD-055 .*# SKIP not in this profile' --profile=network \
    --only=NXD-006,NXD-055 epoll
expect 0 a_profile_of_what_it_has '^ok 1 - NXD-055 [^#]*$' --profile=foreign --only=NXD-055 epoll
expect 2 a_profile_that_it_does_not_declare 'epoll does not declare NX_DOMAIN_FILES' --profile=files epoll
expect 2 schedulers_have_no_profiles 'no profiles' --profile=network local
expect 2 no_such_profile "there is no profile 'nerwork'" --profile=nerwork epoll
expect 2 no_such_requirement "there is no requirement 'NXD-999'" --only=NXD-999 epoll
expect 2 no_requirement_at_all '--only names no requirement' --only= epoll
expect 2 a_requirement_of_schedulers_is_none_of_a_driver "NXS-001 is a requirement of schedulers" --only=NXS-001 epoll
expect 2 nor_the_other_way_round "NXD-001 is a requirement of drivers" --only=NXD-001,NXS-001 local
expect 2 no_such_plugin "there is no plugin 'nothing'" nothing
expect 2 no_such_file 'none.so' ./none.so
expect 2 no_such_option "did you mean '--profile'" --profiel=all epoll
expect 2 no_number "'many' is not a number" --seed=many epoll
expect 2 no_such_parameter 'nothing' epoll:nothing=1
expect 2 one_plugin 'name one plugin' epoll local
expect 2 no_plugin 'name one plugin'
expect 0 help '^usage: nexus conform'  --help
expect 0 the_list '^NXS-003 each task is given out exactly once$' --list
echo text >"$work/text.so"
expect 2 a_file_that_is_no_plugin 'text.so' "$work/text.so"

export NXT_BROKEN=NXD-005 NXT_BROKEN_REAL="$backends/epoll.so"
expect 1 a_failure_is_told '^#   see:  nexus-driver(7), REQUIREMENTS, NXD-005$' --only=NXD-005,NXD-006 "$broken"
expect 1 first_ends_there '^1\.\.1$' --first --only=NXD-005,NXD-006 "$broken"
NXT_BROKEN=NXD-000 # as good as the real one, but for what it prints
NXT_BROKEN_SAYS="not ok 1 - a word of the plugin"
export NXT_BROKEN_SAYS
"$nexus" conform --only=NXD-001,NXD-005 "$broken" >"$work/out" 2>"$work/errors"
[ "$(grep -c 'a word of the plugin' "$work/errors")" -ge 1 ] && ! grep -q 'a word of the plugin' "$work/out"
claim what_a_plugin_prints_is_no_part_of_the_report
unset NXT_BROKEN_SAYS
export NXT_BROKEN=NXD-009
expect 1 a_run_goes_on_after_a_failure '^ok 2 - NXD-015' --only=NXD-009,NXD-015 "$broken"

NXT_BROKEN=NXD-058 # it fails in the middle, with a file there
mkdir "$work/tmp"
if [ -e "$backends/iouring.so" ]; then
    TMPDIR=$work/tmp NXT_BROKEN_REAL=$backends/iouring.so "$nexus" conform --only=NXD-058 "$broken" >"$work/out" 2>&1
    [ $? -eq 1 ] && grep -q 'PREADV of the last' "$work/out" && rmdir "$work/tmp"
    claim what_fails_leaves_no_folder_either
    TMPDIR=$work/tmp expect 0 a_tmpdir_that_is_not_there_is_none_at_all '^ok 1 - NXD-058 [^#]*$' --only=NXD-058 iouring
fi
NXT_BROKEN=NXD-009

# Of JSON: what jq would be asked, by a reader of whatever is here.
if command -v python3 >/dev/null; then
    "$nexus" conform --json --only=NXD-009,NXD-015,NXD-052 "$broken" >"$work/out" 2>&1
    [ $? -eq 1 ] && python3 - "$work/out" <<'END' 2>>"$work/out"
import json, sys
run = json.load(open(sys.argv[1]))
assert (run["plugin"], run["kind"]) == ("broken_driver", "driver"), run
assert (run["passed"], run["failed"], run["skipped"]) == (1, 1, 1), run
bad, good, skipped = run["results"]
assert bad["id"] == "NXD-009" and bad["verdict"] == "fail" and bad["seen"] and bad["consequence"], bad
assert good["verdict"] == "pass" and skipped["because"], run
END
    claim json_says_the_same
fi

# A plugin of the ABI before this one: its table ends earlier, and nobody reads on.
export NXT_BROKEN=NXD-000 NXT_BROKEN_REAL="$backends/epoll.so" NXT_BROKEN_OLD=1
# The search for leaks reads all of a plugin's data and would meet the page behind the table, which nobody may read.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
expect 0 a_table_of_an_older_abi_is_tested_as_far_as_it_goes '^# broken_driver: [0-9]* passed, 0 failed' "$broken"
[ ! -e "$backends/loop.so" ] || NXT_BROKEN_REAL="$backends/loop.so" expect 0 what_it_ends_before_is_skipped \
    '# SKIP hold is NULL' --only=NXD-073 "$broken:time=virtual"
echo "1..$cases"
