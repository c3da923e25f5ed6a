#!/bin/sh
# tests/conform/enosys.sh: each public function is really exercised: made to fail (-ENOSYS, NULL, nothing), it makes a
# case of the conformance suite fail. Needs a build that was configured with --enable-enosys-hooks.
#
# The programs are $CONFORM under $NXT_BUILD. A function's own topic is tried first; the first failing case is enough,
# and a case that hangs without the function has failed, too. Environment: NEXUS_BACKEND and NEXUS_SCHED as for any
# program.
set -u
srcdir=${srcdir:-$(dirname "$0")/../..}
map=$srcdir/libnexus/libnexus.map
out=${TMPDIR:-/tmp}/nxt-enosys.$$ # of this process
trap 'rm -f "$out"' EXIT
trap 'exit 1' HUP INT TERM
export NXT_SCALE=0.01 NXT_SECONDS=3 NXT_STOP=1 CMOCKA_MESSAGE_OUTPUT=TAP
: "${NEXUS_BACKEND:=epoll}" "${NEXUS_SCHED:=local}"
export NEXUS_BACKEND NEXUS_SCHED

program_of() {
    for program in $CONFORM; do
        case $program in *conform_"$1") echo "$program" ;; esac
    done
}

# What is most likely to notice.
topics_of() {
    case $1 in
    nx_runtime_metrics | nx_op_name | nx_runtime_current) echo metrics ;;
    nx_dump) echo dump ;;
    nx_runtime_* | nx_run | nx_block_on | nx_strerror | nx_version) echo runtime ;;
    nx_join | nx_detach) echo join ;;
    nx_join_message) echo panic ;;
    nx_cancel | nx_cancelled | nx_shield) echo cancel ;;
    nx_spawn* | nx_go | nx_self | nx_task_name | nx_defer | nx_local_*) echo task ;;
    nx_yield) echo sched time ;;
    nx_now | nx_after_* | nx_sleep_* | nx_ticker_*) echo time ;;
    nx_serve) echo serve ;;
    nx_signal_wait) echo signal ;;
    nx_until_signal) echo until_signal ;;
    nx_process_*) echo process ;;
    nx_chan_*) echo chan chan_use ;;
    nx_oneshot_* | nx_broadcast_* | nx_latest_*) echo chan_kinds ;;
    nx_select*) echo select ;;
    nx_scope_*) echo scope ;;
    nx_mutex_* | nx_rwlock_* | nx_cond_* | nx_sem_* | nx_event_* | nx_waitgroup_* | nx_barrier_* | nx_once_*)
        echo sync sync_order ;;
    nx_blocking) echo blocking ;;
    nx_send_file | nx_recv_file | nx_stream_copy) echo copy ;;
    nx_file_* | nx_dir_* | nx_p*read* | nx_p*write* | nx_f*sync | nx_stat | nx_rename | nx_unlink | nx_mkdir | nx_rmdir)
        echo file ;;
    nx_resolve) echo resolve ;;
    nx_read_until | nx_read_loan | nx_loan_return | nx_writer_* | nx_write_zerocopy) echo buffered ;;
    nx_pool_*) echo pool ;;
    nx_addr_*) echo addr net ;;
    nx_udp_*) echo udp ;;
    nx_watch_*) echo watch ;;
    nx_pair | nx_pipe | nx_stream_*_fds) echo unix ;;
    nx_stream_* | nx_fd_wait) echo foreign net ;;
    nx_accept | nx_listen*) echo accept net ;;
    *) echo transfer net ;;
    esac
}

# Prints the case that fails without the function, or fails.
failing_case() {
    ordered=
    for topic in $(topics_of "$1"); do
        ordered="$ordered $(program_of "$topic")"
    done
    for program in $ordered $CONFORM; do
        NEXUS_TEST_ENOSYS=$1 timeout -k 5 60 "$NXT_BUILD/$program" >"$out" 2>&1
        status=$?
        # A skip is no failure; CMocka writes it as "not ok". A case that hangs has failed.
        case_name=$(grep -av '# *SKIP' "$out" | sed -n 's/^not ok *[0-9]* *-* *\([a-z0-9_]*\).*/\1/p' | head -n 1)
        [ "$case_name" != starting ] || case_name=
        [ -n "$case_name" ] || [ "$status" -ge 124 ] || continue # a crash is a failure of the program
        # It must be for the lack of this function: with it, the case passes.
        # shellcheck disable=SC2086
        if timeout -k 5 60 "$NXT_BUILD/$program" $case_name >"$out" 2>&1; then
            echo "${program##*/}, ${case_name:-which dies}"
            return 0
        fi
        echo "# without $1 ${case_name:-$program} fails, and also with it" >&2
    done
    return 1
}

# Called again for a function of its own: one line of its verdict.
if [ $# -gt 0 ]; then
    if noticed=$(failing_case "$1"); then
        echo "ok - $1 is missed by $noticed"
    else
        echo "not ok - nothing misses $1"
    fi
    exit 0
fi

if [ "$(NEXUS_TEST_ENOSYS=nx_version "$NXT_BUILD/$(program_of runtime)" the_version 2>&1 |
    grep -c '^not ok')" = 0 ]; then
    echo "this build has no hooks: configure with --enable-enosys-hooks"
    exit 77
fi
# Not nx_panic: it has no result to fail with, it does not return. conform_panic sees processes and tasks end by it.
# Two at a time for each processor, since many a case waits most of its time.
functions=$(sed -n 's/^ *\(nx_[a-z_]*\);$/\1/p' "$map" | grep -vx nx_panic)
printf '%s\n' "$functions" | xargs -n 1 -P $((2 * $(nproc 2>/dev/null || echo 1))) "${SHELL:-sh}" "$0" |
    awk -v all="$(printf '%s\n' "$functions" | wc -l)" '
        /^#/ { print; next }
        { failed += /^not ok/; sub(/ok - /, "ok " ++count " - "); print }
        END { print "1.." all; exit failed > 0 || count != all }'
