#!/bin/sh
# tests/show/run.sh BUILD_DIR [NAME...]: all the proofs, or those named; a few minutes. `make show` runs this.
here=$(cd "$(dirname "$0")" && pwd)
build=${1:?the build folder is missing}
shift
[ $# -gt 0 ] || set -- strace_backend checked_bytes idle_cpu balance ten_thousand task_memory live_tasks sleep plain_vs_serve
failures=
for name; do
    sed -n '2,/^[^#]/s/^# //p' "$here/$name.sh"
    timeout -k 10 300 sh "$here/$name.sh" "$build"
    case $? in
    0 | 77) ;;
    124) failures="$failures $name(timeout)" ;;
    *) failures="$failures $name" ;;
    esac
    echo
done
[ -z "$failures" ] || { echo "failed:$failures" && exit 1; }
echo "all shown"
