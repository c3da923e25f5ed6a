#!/bin/sh
# mandoc has nothing to say about the man pages.
set -eu
[ -n "$MANDOC" ] || { echo "mandoc not found (Debian: mandoc)"; exit 77; }
$MANDOC -Tlint -W warning "$srcdir"/doc/man/*.[137]
