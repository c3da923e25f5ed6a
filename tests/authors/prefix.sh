#!/bin/sh
# What an author of plugins does, with nothing but an installed libnexus: nexus new driver and nexus new scheduler, each
# built, checked and installed by its own Autotools; and examples/plugins/ by their makefile, then used by programs.
#
# DESTDIR takes the place of a prefix, and the .pc files are told so; from there on it is the only libnexus that
# pkg-config and PATH know. The two projects are built at the same time.
. "$srcdir/tests/authors/lib.sh"
for program in autoreconf automake libtoolize; do
    command -v $program >/dev/null || { echo "$program not found (Debian: autoconf, automake, libtool)"; exit 77; }
done
[ -e "$NXT_BUILD/libnexus/.libs/libnexus.so" ] || { echo "no shared library in this build"; exit 77; }
export MAKEFLAGS=

root=$work/root
claim libnexus_installs $MAKE -C "$NXT_BUILD" install DESTDIR="$root" || exit 1
sed -i "s|^\([a-z_]*\)=/|\1=$root/|" "$root$libdir"/pkgconfig/*.pc
export PKG_CONFIG_LIBDIR="$root$libdir/pkgconfig" PKG_CONFIG_PATH= PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
    PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1
bindir=$($PKG_CONFIG --variable=bindir nexus-driver)
plugindir=$($PKG_CONFIG --variable=plugindir nexus-driver)
export PATH="$bindir:$PATH" NEXUS_PLUGIN_PATH="$plugindir"
claim its_program_is_the_one_in_the_path is "$bindir/nexus" "$(command -v nexus)"

# ---- nexus new ----

# Configured and compiled as this build is: the sanitizers want it.
flags="-O2 -g $SANITIZE"
make_project() { # KIND NAME: in the background; the log ends with "done" if all went well
    cd "$work" && nexus new "$1" "$2" && cd "$2" && ./bootstrap && ./configure CC="$CC" CFLAGS="$flags" &&
        $MAKE check && $MAKE install && echo done
}
make_project driver suite-poll >"$work/log.suite-poll" 2>&1 &
driver=$!
(umask 002 && make_project scheduler suite-fair) >"$work/log.suite-fair" 2>&1 & # as many people have it
scheduler=$!
children="$driver $scheduler"

passed() { # LOG LEAST: cases that passed, in automake's summary
    count=$(sed -n 's/^# PASS: *//p' "$1")
    echo "$count passed"
    [ "${count:-0}" -ge "$2" ] && grep -q '^# FAIL: *0$' "$1" && grep -q '^# ERROR: *0$' "$1"
}
project() { # KIND NAME LEAST FOLDER
    if ! claim "the_project_of_a_$1_builds_checks_and_installs" is done "$(tail -n 1 "$work/log.$2")"; then
        tail -n 60 "$work/log.$2" | sed 's/^/# /'
    fi
    claim "each_requirement_of_a_${1}_is_a_case_of_its_make_check" passed "$work/log.$2" "$3"
    claim "make_install_puts_the_$1_where_it_is_found" [ -x "$plugindir/$4/$2.so" ]
    claim "the_${1}_exports_one_symbol" is "nexus_plugin_$(echo "$2" | tr - _)" \
        "$($NM -D --defined-only "$plugindir/$4/$2.so" | awk '{ print $3 }')"
    claim "the_${1}_takes_nothing_from_libnexus" is '' \
        "$($NM -D --undefined-only "$plugindir/$4/$2.so" | awk '$2 ~ /^nxi?_/ { print $2 }')"
    claim "nothing_in_the_project_of_a_$1_is_of_this_tree" is '' \
        "$(sed "s|$root$prefix||g" "$work/$2/Makefile" "$work/$2/config.log" | grep -F -e "$srcdir/" -e "$NXT_BUILD/")"
}
lists() { # KIND NAME FOLDER
    nexus info >"$work/info" 2>&1 || { cat "$work/info"; return 1; }
    grep -q "^$1 *$2 .* usable  *$plugindir/$3/$2\.so$" "$work/info" || { cat "$work/info"; return 1; }
}

# ---- examples/plugins/, meanwhile ----

cp -R "$srcdir/examples/plugins" "$work/plugins"
chmod -R u+w "$work/plugins"
cd "$work/plugins" || exit 1
claim the_examples_build $MAKE CC="$CC" CFLAGS="$flags -Wall -Wextra -Werror"
claim the_examples_pass_nexus_conform $MAKE -s check
cp "$work/out" checked
claim they_passed_more_than_fifty_requirements_and_ten \
    awk '/^# poll: / && $3 > 50 && $5 == 0 { n++ } /^# edf: / && $3 > 10 && $5 == 0 { n++ } END { exit n != 2 }' checked
claim the_examples_install $MAKE install
claim nexus_info_lists_the_poll_driver lists backend poll backends
claim nexus_info_lists_the_edf_scheduler lists scheduler edf sched

# Three tasks that are always ready; when each is due is what the definition says, computed here once more.
export NEXUS_WORKERS=1
order() { # PARAMETERS HIGH NORMAL LOW
    wanted=$(awk -v high="$2" -v normal="$3" -v low="$4" 'BEGIN {
        turns["h"] = high; turns["n"] = normal; turns["l"] = low
        for (letter in turns) due[letter] = turns[letter]
        for (turn = 1; turn <= 200; turn++) {
            next_one = "h"
            if (due["n"] < due[next_one]) next_one = "n"
            if (due["l"] < due[next_one]) next_one = "l"
            printf "%s", next_one
            due[next_one] = turn + turns[next_one]
        }
    }')
    is "$wanted" "$(NEXUS_SCHED=edf$1 ./order 200 2>&1)"
}
claim edf_runs_first_what_is_due_first order '' 4 16 64
claim edf_is_due_as_its_parameters_say order :high=1:normal=3:low=6 1 3 6
claim edf_of_equals_takes_turns order :high=5:normal=5:low=5 5 5 5
not_as_local() {
    local_order=$(NEXUS_SCHED=local ./order 200) && [ ${#local_order} = 200 ] &&
        [ "$local_order" != "$(NEXUS_SCHED=edf ./order 200)" ]
}
claim its_order_is_not_that_of_local not_as_local
refuses() {
    said=$(NEXUS_SCHED=edf:high=20 ./order 2>&1) && { echo "it runs: $said"; return 1; }
    echo "$said"
    echo "$said" | grep -q 'EINVAL (it must be high <= normal <= low <= 4096). change the parameters'
}
claim edf_refuses_parameters_without_sense refuses

# An echo server, built from what is installed; nxload is the client, and every byte must come back.
$CC -std=gnu11 $flags "$srcdir/examples/echo.c" -o echo $($PKG_CONFIG --cflags --libs libnexus) \
    -Wl,-rpath,"$root$libdir" || exit 1
export NEXUS_WORKERS=2
echoes() { # NEXUS_BACKEND NEXUS_SCHED
    : >address
    NEXUS_BACKEND=$1 NEXUS_SCHED=$2 ./echo 127.0.0.1:0 >address 2>errors &
    server=$!
    children="$children $server"
    while ! grep -q 'listening on' address; do
        kill -0 $server 2>/dev/null || { cat errors; return 1; }
        sleep 0.02
    done
    "$NXT_BUILD/bench/load/nxload" --json --address="$(sed 's/.*listening on //' address)" --connections=40 \
        --size=1000 --pipeline=4 --warmup=0.1 --duration=0.5 >load 2>&1 || { cat load errors; return 1; }
    cat load
    kill -TERM $server
    wait $server || { echo "the server ended with status $?"; cat errors; return 1; }
    grep -q '"errors": *0\b' load && grep -q '"requests": *[1-9]' load
}
claim an_echo_server_runs_on_poll echoes poll local
claim an_echo_server_runs_on_poll_and_edf echoes poll edf

wait $driver $scheduler
project driver suite-poll 50 backends
project scheduler suite-fair 15 sched
claim nexus_info_lists_the_new_driver lists backend suite-poll backends
claim nexus_info_lists_the_new_scheduler lists scheduler suite-fair sched
claim an_echo_server_runs_on_the_new_ones echoes suite-poll suite-fair

# Its tests can fail: with a clock that stands, deadlines are no more.
cd "$work/suite-fair" || exit 1
sed -i 's/^    w->turn++;$//' suite-fair.c
finds_the_fault() {
    $MAKE check && { echo "make check passes"; return 1; }
    grep -q '^FAIL: conform.sh 14 - NXS-014 ' conform.log
}
claim a_fault_in_it_fails_its_make_check_at_the_requirement finds_the_fault
echo text >.libs/suite-fair.so
tells_why() {
    $MAKE check >log 2>&1
    grep -q '^ERROR: conform.sh - Bail out! nexus conform: .*suite-fair.so' log || { cat log; return 1; }
}
claim a_plugin_that_cannot_be_loaded_is_told tells_why
cd "$work" || exit 1
taken() {
    said=$(nexus new "$1" "$2" 2>&1) && return 1
    echo "$said"
    [ ! -e "$2" ] && echo "$said" | grep -q "already, $plugindir/.*; take another name"
}
mkdir elsewhere && cd elsewhere || exit 1
claim a_driver_that_is_there_is_not_written_again taken driver suite-poll
claim nor_a_scheduler taken scheduler suite-fair
for made in suite-poll suite-fair plugins; do
    claim "make_uninstall_of_$made" $MAKE -C "$work/$made" uninstall
done
claim nothing_is_left_of_them is '' "$(find "$plugindir" -name 'suite*' -o -name 'poll*' -o -name 'edf*')"
echo "1..$cases"
