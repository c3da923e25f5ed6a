#!/bin/sh
# What the headers declare, what the map lists and what libnexus.so exports are the same functions.
set -eu
library=$NXT_BUILD/libnexus/.libs/libnexus.so
[ -e "$library" ] || { echo "no shared library in this build"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Preprocessed, NX_API is the visibility attribute; the first nx_...( after it in a statement is the function's name.
for header in "$srcdir"/libnexus/include/nexus/*.h; do
    echo "#include <nexus/${header##*/}>"
done | $CC -I"$srcdir/libnexus/include" -E -P - | tr '\n;' ' \n' | awk '
    (start = index($0, "visibility(\"default\")")) {
        declaration = substr($0, start)
        if (match(declaration, /[ *]nx_[a-z0-9_]+\(/))
            print substr(declaration, RSTART + 1, RLENGTH - 2)
    }' | sort >"$work/headers"
sed -n 's/^ *\(nx_[a-z0-9_]*\);.*/\1/p' "$srcdir/libnexus/libnexus.map" | sort >"$work/map"
$NM -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort >"$work/library"

[ "$(wc -l <"$work/headers")" -gt 40 ] || { echo "no declarations found in the headers"; exit 1; }
status=0
diff -u "$work/headers" "$work/map" || { echo "the headers (-) and libnexus.map (+) differ"; status=1; }
diff -u "$work/map" "$work/library" || { echo "libnexus.map (-) and libnexus.so (+) differ"; status=1; }
$NM -D --defined-only --with-symbol-versions "$library" | awk '$2 != "A" && $3 !~ /@@NEXUS_0\.1$/ { bad = 1; print $3 ": no version" }
    END { exit bad }' || status=1
exit $status
