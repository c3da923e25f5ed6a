#!/bin/sh
# Every function of the headers is in the NAME, the SYNOPSIS (with the same prototype) and the text of the page of its
# header; so are the macros and inline functions of a SYNOPSIS (.Fn there). The programs in the pages compile, and what
# they refer to is there.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
for page in "$srcdir"/doc/man/nexus-*.3; do
    header=${page##*/nexus-}
    header=${header%.3}
    # One prototype a line, without attributes and without spaces that mean nothing.
    awk '{ text = text $0 "\n" }
        END {
            while ((start = index(text, "/*"))) { # comments
                rest = substr(text, start + 2)
                text = substr(text, 1, start - 1) substr(rest, index(rest, "*/") + 2)
            }
            print text
        }' "$srcdir/libnexus/include/nexus/$header.h" |
        grep -v '^ *#' | tr '\n;' ' \n' | sed -n 's/.*NX_API *//p' |
        sed 's/NX_MUST_USE\|NX_NORETURN\|NX_PRINTF([^)]*)//g; s/  */ /g; s/^ //; s/ $//' | sort >"$work/$header.header"
    awk '
        /^\.Ft / { type = $0; sub(/^\.Ft "?/, "", type); sub(/"$/, "", type) }
        /^\.Fo / { text = type (type ~ /\*$/ ? "" : " ") $2 "("; first = 1 }
        /^\.Fa / && text { arg = $0; sub(/^\.Fa "?/, "", arg); sub(/"$/, "", arg); text = text (first ? "" : ", ") arg; first = 0 }
        /^\.Fc/ { print text ")"; text = "" }' "$page" | sort >"$work/$header.page"
    diff -u "$work/$header.header" "$work/$header.page" ||
        { echo "prototypes of nexus/$header.h (-) and ${page##*/} (+) differ"; status=1; }
    grep -o 'nx_[a-z0-9_]*(' "$work/$header.page" | tr -d '(' | sort -u >"$work/exported"
    cat "$work/exported" >>"$work/all"
    awk '/^\.Sh/ { on = $2 == "SYNOPSIS" } on && $1 == ".Fn" { print $2 }' "$page" >"$work/inline"
    while read -r name; do
        grep -q "\(define\|nx_case\) $name(" "$srcdir/libnexus/include/nexus/$header.h" ||
            { echo "${page##*/}: nexus/$header.h has no $name"; status=1; }
    done <"$work/inline"
    sort -u "$work/exported" "$work/inline" >"$work/functions"
    awk '/^\.Sh/ { on = $2 == "NAME" } on && $1 == ".Nm" && $2 ~ /^(nx|NX)_/ { print $2 }' "$page" | sort -u >"$work/names"
    diff -u "$work/functions" "$work/names" ||
        { echo "${page##*/}: SYNOPSIS (-) and NAME (+) differ"; status=1; }
    awk '/^\.Sh/ { on = $2 == "DESCRIPTION" }
        on && $1 == ".It" { for (i = 2; i < NF; i++) if ($i == "Fn") print $(i + 1) }' "$page" | sort -u >"$work/described"
    diff -u "$work/functions" "$work/described" ||
        { echo "${page##*/}: SYNOPSIS (-) and what DESCRIPTION describes (+) differ"; status=1; }
    cat "$work/functions" >>"$work/pages"
    echo "${page##*/}" | sed 's/\.3$//' >>"$work/pages"
done
[ "$(wc -l <"$work/all")" -gt 150 ] || { echo "only $(wc -l <"$work/all") functions found"; status=1; }
sed -n 's/^ *\(nx_[a-z0-9_]*\);.*/\1/p' "$srcdir/libnexus/libnexus.map" | sort >"$work/map"
sort "$work/all" | diff -u - "$work/map" || { echo "the pages (-) and libnexus.map (+) differ"; status=1; }

for page in "$srcdir"/doc/man/nexus*.[137]; do
    sed -n 's/^\.Xr \(nx_[a-z0-9_]*\|NX_[A-Z_]*\|nexus-[a-z]*\) 3.*/\1/p' "$page" | sort -u >"$work/wanted"
    missing=$(sort -u "$work/pages" | comm -13 - "$work/wanted")
    [ -z "$missing" ] || { echo "${page##*/} refers to pages that are not there:" $missing; status=1; }
    awk -v base="$work/example-${page##*/}" '
        /^\.Bd -literal/ { first = 1; next }
        /^\.Ed/ { on = 0 }
        first { on = /^#include <nexus\//; first = 0; if (on) file = base "." ++n ".c" }
        on { gsub(/\\e/, "\\"); gsub(/\\&/, ""); print >file }' "$page"
done
for example in "$work"/example-*.c; do
    $CC -std=gnu11 -Wall -Wextra -Werror -I"$srcdir/libnexus/include" -fsyntax-only "$example" ||
        { echo "${example##*/}: does not compile"; status=1; }
done
exit $status
