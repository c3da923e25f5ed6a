#!/bin/sh
# nexus info on good and bad plugins: what is printed, what is chosen, and the exit status. Output: TAP.
. "$srcdir/tests/plugin/lib.sh"
for name in good better denied newer_minor fair; do
    cp "$samples" "$folder/$name.so"
done
cp "$samples" "$folder/renamed.so"
chmod 755 "$folder"/*.so
export NEXUS_PLUGIN_PATH="$folder"
# Neither what is built in nor what is installed has a say in what these cases choose.
export NEXUS_BACKEND=better NEXUS_SCHED=fair

run 0 info
claim every_plugin_has_a_line_with_its_state \
    "^backend +better +0\.2 +20 +chosen +$folder/better\.so$" \
    "^backend +good +0\.2 +10 +usable +$folder/good\.so$" \
    "^backend +denied +0\.2 +90 +unusable +$folder/denied\.so: sample_setup\(2\): EPERM \(the .*\)\. Set" \
    "^backend +newer_minor +0\.3 +10 +refused +$folder/newer_minor\.so: it was built for plugin ABI 0\.3" \
    "^unknown +renamed +- +- +refused +$folder/renamed\.so: it has no symbol nexus_plugin_renamed" \
    "^scheduler +fair +0\.2 +10 +chosen " \
    "^backend +better " "^scheduler +fair "

run 0 info --why
claim why_has_the_steps_of_each_decision '^  NEXUS_BACKEND=better$' "^  better \($folder/better\.so\): runs$" \
    '^  chosen: better ' '^  NEXUS_SCHED=fair$'

NEXUS_BACKEND=denied
run 1 info --why
claim strict_choice_that_cannot_run_fails_with_the_remedy '^  denied: sample_setup' \
    "^nexus: NEXUS_BACKEND=denied: denied can't be used: .*Set kernel\.sample_disabled to 0$"

NEXUS_BACKEND=denied,good
run 0 info
claim fallback_within_a_list_warns \
    '^nexus: denied not used: .*\. Using good \(the next in the list\)\.$' '^backend +good +.* chosen '

NEXUS_BACKEND=bettre
run 1 info
claim unknown_name_is_answered_with_the_nearest "did you mean 'better'\?"

NEXUS_BACKEND=better
export NEXUS_BAKCEND=secret
run 0 info --env
claim environment_shows_values_and_where_they_come_from '^NEXUS_BACKEND +better +environment$' \
    '^NEXUS_WORKERS +auto +default$' "^NEXUS_PLUGIN_PATH +$folder +environment$" \
    '^nexus: .*NEXUS_BAKCEND .*did you mean NEXUS_BACKEND\?'
case $out$err in
*secret*) got="0, and a stranger's value is printed" ;;
esac
claim other_peoples_values_are_never_printed
unset NEXUS_BAKCEND

run 0 info --caps
claim capabilities_name_the_backend_that_would_not_open '^better: ENOSYS' '^denied: sample_setup\(2\): EPERM'

# What the backends of this build do, side by side, and why not.
backends=$NXT_BUILD/backends/.libs
if [ -z "${NXT_NEXUS:-}" ] && [ -e "$backends/epoll.so" ] && [ -e "$backends/loop.so" ]; then
    mkdir "$folder/real"
    chmod 755 "$folder/real"
    cp "$backends/epoll.so" "$backends/loop.so" "$samples" "$folder/real"
    mv "$folder/real/samples.so" "$folder/real/denied.so"
    NEXUS_PLUGIN_PATH=$folder/real NEXUS_BACKEND=epoll NEXUS_SCHED=
    run 1 info --caps
    claim capabilities_are_a_table_of_operations_and_backends '^ +denied +epoll +loop$' \
        '^read +- +native +native$' '^shutdown +- +inline +inline$' '^fsync +- +emulated +emulated$' \
        '^membership +- +inline +no$' '^read, loan +- +emulated +native$' '^poll, edges +- +native +no$' \
        '^foreign fds +- +native +no$'
    claim what_is_not_native_has_its_reason_below '^denied: sample_setup\(2\): EPERM' \
        '^  emulated open preadv .* mkdir: done on the blocking pool$' '^  no +membership: .*no groups$' \
        '^  emulated read, loan: .*lends buffers of its own$' '^  no +foreign fds: .*NEXUS_BACKEND_FILE$'
    if command -v python3 >/dev/null; then
        run 1 info --caps --json
        reasonless=$(printf '%s\n' "$out" | python3 -c '
import json, sys
for driver in json.load(sys.stdin)["capabilities"]:
    items = driver.get("ops", []) + driver.get("features", [])
    if not items and not driver["error"]:
        print(driver["name"])
    for item in items:
        if item["does"] not in ("native", "inline") and not item["reason"]:
            print(driver["name"], item)
    if items and (len(items) < 26 or sum(item["does"] == "native" for item in items) < 9):
        print(driver["name"], len(items))' 2>&1)
        [ -z "$reasonless" ] || got="$got, and $reasonless"
        claim capabilities_in_json_have_a_reason_each '"does": "emulated"' '"feature": "read, loan"'
    fi
    # A kernel without half of it, by a parameter.
    if [ -e "$backends/iouring.so" ]; then
        cp "$backends/iouring.so" "$folder/real"
        NEXUS_BACKEND=iouring:rung=plain
        run 1 info --caps
        case $out in
        *"
iouring
"*) claim capabilities_are_asked_of_the_instance '^accept, multishot .*emulated' '^mkdir .*emulated' \
            '^  emulated accept, multishot: .*needs Linux 5\.19; the core submits' \
            "^  emulated truncate rename unlink mkdir: this kernel's io_uring hasn't got it" ;;
        *) echo "ok $((cases += 1)) - capabilities_are_asked_of_the_instance # SKIP no io_uring here" ;;
        esac
    fi
    rm -r "$folder/real"
    NEXUS_PLUGIN_PATH=$folder NEXUS_SCHED=fair
fi

NEXUS_BACKEND=good:entries=5:label=a%2Cb
run 0 info --json --why --env
claim json_has_what_was_asked_for '"version": ' '"plugin_abi": "0\.2"' '"name": "good"' '"why": \{' \
    '"value": "good:entries=5:label=a%2Cb"' '"origin": "environment"' '"warnings": \[\]'
case $out in
*'"plugins"'*) got="0, and plugins nobody asked for" ;;
esac
claim json_has_nothing_else
run 0 info --json
claim json_of_plugins_has_their_reasons '"state": "refused"' '"reason": "sample_setup\(2\): EPERM ' '"abi": "0\.2"'
NEXUS_BACKEND=nothing
run 1 info --json
claim json_has_the_error_where_nothing_runs '"error": "NEXUS_BACKEND=nothing: there is no backend'
NEXUS_BACKEND=good

NEXUS_PLUGIN_PATH=plugins
run 1 info
claim relative_plugin_path_is_an_error "^nexus: NEXUS_PLUGIN_PATH: 'plugins' begins with a relative path"
NEXUS_PLUGIN_PATH=$folder

run 2 inof
claim unknown_command_is_answered_with_the_nearest \
    "^nexus: there is no command 'inof' \(did you mean 'info'\?\); nexus --help lists them$"
run 2
claim no_command_is_wrong_usage '^usage: nexus COMMAND'
run 2 nothing
claim unlike_any_command_none_is_guessed "^nexus: there is no command 'nothing'; nexus --help lists them$"
run 2 info --nothing
claim unknown_option_is_wrong_usage "^nexus info: there is no option '--nothing'$" '^usage: nexus info'
run 2 info --whyy
claim unknown_option_is_answered_with_the_nearest "^nexus info: there is no option '--whyy' \(did you mean '--why'\?\)$"
run 2 info -x
claim unknown_letter_is_named "^nexus info: there is no option '-x'$"
run 2 info --json=1
claim value_nobody_asked_for_is_refused "^nexus info: '--json=1': this option takes no value$"
run 2 --versoin
claim unknown_option_of_the_program_is_answered_with_the_nearest "no option '--versoin' \(did you mean '--version'\?\)$"
run 2 info extra
claim stray_argument_is_wrong_usage "unexpected 'extra'"
run 0 --help
claim help_lists_the_commands '^  info '
run 0 info --help
claim help_of_a_command_lists_its_options '--caps'
run 0 --version
claim version_names_the_plugin_abi '^nexus .*, plugin ABI 0\.2$'

cp "$samples" "$folder/kqueue.so" && chmod 755 "$folder/kqueue.so"
run 0 info
claim kqueue_without_a_run_of_the_suite_is_marked_as_untested \
    "^backend +kqueue .* usable +$folder/kqueue\.so: untested: no run of make check-kqueue "
cksum <"$folder/kqueue.so" >"$folder/kqueue.tested"
run 0 info
claim kqueue_with_a_record_of_such_a_run_is_not_marked "^backend +kqueue .* usable +$folder/kqueue\.so$"
run 0 info --json
claim json_tells_that_it_was_tested '"tested": true'
printf x >>"$folder/kqueue.so"
run 0 info
claim kqueue_of_another_build_than_the_one_that_was_run_is_marked "kqueue\.so: untested: .* another build of it$"
rm "$folder/kqueue.so" "$folder/kqueue.tested"

if [ -c /dev/full ]; then
    wanted=1
    out=
    err=$("$nexus" info 2>&1 >/dev/full)
    got=$?
    claim full_disk_is_a_failure "^nexus: can't write: "
fi
echo "1..$cases"
