# abi/: what is built already and must go on working: the baseline of the ABI (*.abi, by `make abi-baseline`), plugins of
# older ABIs with their source (frozen/); nothing here is installed. doc/design/abi.md has the rules, tests/abi/ the tests.
if SHARED
check_LTLIBRARIES += abi/tables.la
abi_tables_la_SOURCES = abi/tables.c
abi_tables_la_CPPFLAGS = $(PUBLIC_CPPFLAGS)
abi_tables_la_CFLAGS = $(AM_CFLAGS) -g
abi_tables_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere

abi_tests = tests/abi/abidiff.sh tests/abi/frozen.sh tests/abi/imports.sh tests/abi/layout.sh
TESTS += $(abi_tests)
if HAVE_CMOCKA
TESTS += tests/abi/frozen_0_1.cell
endif
endif

abi-baseline: all abi/tables.la
	$(SHELL) $(srcdir)/abi/dump.sh libnexus/.libs/libnexus.so $(srcdir)/abi/libnexus.abi
	$(SHELL) $(srcdir)/abi/dump.sh abi/.libs/tables.so $(srcdir)/abi/plugins.abi
.PHONY: abi-baseline

EXTRA_DIST += abi/dump.sh abi/libnexus.abi abi/private.suppr abi/plugins.abi abi/frozen/driver_0_1.c \
	abi/frozen/make.sh abi/frozen/sched_0_1.c abi/frozen/x86_64-linux-gnu/SHA256SUMS \
	abi/frozen/x86_64-linux-gnu/driver_0_1.so abi/frozen/x86_64-linux-gnu/sched_0_1.so tests/abi/abidiff.sh \
	tests/abi/forbidden.txt tests/abi/frozen_0_1.cell tests/abi/frozen.sh tests/abi/imports.sh tests/abi/layout.sh
