# bench/lib.sh: what the demo and the proofs of tests/show share: which cells (backend x scheduler) this machine can run,
# and servers that run under one of them and are always ended. POSIX sh, to be sourced; call use_build first.

use_build() { # BUILD_DIR
    build=$(cd "$1" 2>/dev/null && pwd) || { echo "$0: no such build folder: $1" >&2; exit 2; }
    nxload=$build/bench/load/nxload
    echo_server=$build/examples/echo
    # Plugins of the build tree; harmless where they are built in or installed.
    NEXUS_PLUGIN_PATH=${NEXUS_PLUGIN_PATH-$build/backends/.libs:$build/sched/.libs}
    export NEXUS_PLUGIN_PATH
    unset NEXUS_BACKEND NEXUS_SCHED NEXUS_BACKEND_NET NEXUS_BACKEND_FILE
    for needed in "$nxload" "$echo_server" "$build/tools/nexus"; do
        [ -x "$needed" ] || { echo "$0: $needed is not built (make -C $build)" >&2; exit 2; }
    done
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/nexus.XXXXXX") || exit 2
    server_pid=
    trap end_all EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    ulimit -n "$(ulimit -H -n)"
    "$build/tools/nexus" info --json >"$scratch/info" 2>"$scratch/info-error" ||
        { echo "$0: nexus info failed: $(cat "$scratch/info-error")" >&2; exit 2; }
    list_plugins <"$scratch/info" >"$scratch/plugins"
}

end_all() {
    if [ -n "$server_pid" ]; then
        kill -KILL "$server_pid" 2>/dev/null
        wait "$server_pid" 2>/dev/null
    fi
    rm -rf "$scratch"
}

# The members "kind", "name", "state", "reason" of each object in the list "plugins", a line per plugin, split by tabs.
# Reads JSON by its tokens, so that what a plugin's object nests, and in which order, does not matter.
list_plugins() {
    tr '\n' ' ' | awk '
    {
        text = $0
        while (match(text, /"([^"\\]|\\.)*"|[][{},:]|[-+.a-zA-Z0-9]+/)) {
            token = substr(text, RSTART, RLENGTH)
            text = substr(text, RSTART + RLENGTH)
            if (token == "{" || token == "[") {
                path[++depth] = key
                key = ""
            } else if (token == "}" || token == "]") {
                if (token == "}" && depth == 3 && path[2] == "plugins" && field["kind"] != "") {
                    printf "%s\t%s\t%s\t%s\n", field["kind"], field["name"], field["state"], field["reason"]
                    split("", field)
                }
                depth--
                key = ""
            } else if (token == ":") {
                key = last
            } else if (token != ",") {
                gsub(/^"|"$/, "", token)
                gsub(/\\n/, " ", token)
                gsub(/\\/, "", token)
                if (depth == 3 && path[2] == "plugins" && key != "")
                    field[key] = token
                last = token
            }
            if (token == ",")
                key = ""
        }
    }'
}

# The cells this machine can run: a line "BACKEND SCHEDULER" each.
cells() {
    awk -F '\t' '
    $3 != "usable" && $3 != "chosen" { next }
    $2 == "loop" { next } # a network within the process: no client gets in
    $1 == "scheduler" { scheds[++s] = $2 }
    $1 == "backend" { backends[++b] = $2 }
    END { for (i = 1; i <= b; i++) for (j = 1; j <= s; j++) print backends[i], scheds[j] }' "$scratch/plugins"
}

# What it can't run: a line "NAME: REASON" each.
unusable() {
    awk -F '\t' '$3 == "unusable" || $3 == "refused" { print $2 ": " $4 }' "$scratch/plugins"
}

# Starts a server that prints "... listening on ADDRESS" and sets server_pid and server_address. On failure 1, and what the
# server said is in server_error. BACKEND and SCHEDULER may be empty: automatic.
start_server() { # BACKEND SCHEDULER COMMAND...
    server_backend=$1 server_sched=$2
    shift 2
    rm -f "$scratch/said"
    mkfifo "$scratch/said" || exit 2
    env ${server_backend:+"NEXUS_BACKEND=$server_backend"} ${server_sched:+"NEXUS_SCHED=$server_sched"} "$@" \
        >"$scratch/said" 2>"$scratch/complaint" 3<&- &
    server_pid=$!
    exec 9<"$scratch/said"
    server_line=
    read -r server_line <&9 || :
    case $server_line in
    *'listening on '*)
        server_address=${server_line##*listening on }
        return 0
        ;;
    esac
    kill -KILL "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    server_pid=
    server_error="did not start: $(tr '\n' ' ' <"$scratch/complaint")"
    exec 9<&-
    return 1
}

server_has_ended() {
    server_state=$(sed 's/^.*) //; s/ .*//' "/proc/$server_pid/stat" 2>/dev/null)
    [ -z "$server_state" ] || [ "$server_state" = Z ]
}

# Ends the server by SIGTERM; what it says afterwards is in server_last. 1 unless it ends with 0 within 15 s.
stop_server() {
    kill -TERM "$server_pid" 2>/dev/null
    server_error=
    tries=0
    until server_has_ended; do
        tries=$((tries + 1))
        if [ $tries -gt 300 ]; then
            server_error="did not end 15 s after SIGTERM"
            kill -KILL "$server_pid" 2>/dev/null
            break
        fi
        sleep 0.05
    done
    server_last=$(cat <&9)
    exec 9<&-
    wait "$server_pid" 2>/dev/null
    server_status=$?
    server_pid=
    [ -n "$server_error" ] || [ $server_status -eq 0 ] ||
        server_error="ended with status $server_status: $(tr '\n' ' ' <"$scratch/complaint")"
    [ -z "$server_error" ]
}

# A number of nxload's JSON report.
json_get() { # KEY FILE
    awk -v key="\"$1\":" '$1 == key { sub(/,$/, "", $2); print $2; exit }' "$2"
}
