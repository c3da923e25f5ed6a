#!/bin/sh
# The C files are as clang-format 14 writes them.
set -eu
cd "${1:-$srcdir}"
if ! ${CLANG_FORMAT:-clang-format} --version 2>/dev/null | grep -q 'version 14'; then
    echo "clang-format 14 not found (Debian: clang-format-14)"
    exit 77
fi
find libnexus backends sched tools examples bench tests -name '*.[ch]' -print0 |
    xargs -0 "${CLANG_FORMAT:-clang-format}" --dry-run -Werror
