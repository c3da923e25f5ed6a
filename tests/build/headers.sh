#!/bin/sh
# Each installed header compiles alone, in C11 and in C++17, with nothing before it and nothing else on the path.
set -u
status=0
for header in "$srcdir"/libnexus/include/nexus/*.h; do
    name=nexus/${header##*/}
    echo "#include <$name>" | $CC -std=c11 -pedantic -Wall -Wextra -Werror -fsyntax-only \
        -I"$srcdir/libnexus/include" -x c - || { echo "$name: not alone in C11"; status=1; }
    if [ -n "$CXX" ]; then
        echo "#include <$name>" | $CXX -std=c++17 -pedantic -Wall -Wextra -Werror -fsyntax-only \
            -I"$srcdir/libnexus/include" -x c++ - || { echo "$name: not alone in C++17"; status=1; }
    fi
done
[ -n "$CXX" ] || echo "no C++ compiler: C only"
exit $status
