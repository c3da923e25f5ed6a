# tests/authors/: what is given to authors of plugins, used as they would: nexus new, and examples/plugins/.
if SHARED
build_tests += tests/authors/prefix.sh
endif
build_tests += tests/authors/usage.sh
EXTRA_DIST += tests/authors/lib.sh tests/authors/prefix.sh tests/authors/usage.sh
