# tests/show/: what is claimed in figures, shown: servers and scripts for `make show`; minutes, and not part of make check.
show_programs = tests/show/bad_echo tests/show/balance tests/show/parked_tasks tests/show/plain tests/show/sleep
check_PROGRAMS += $(show_programs)
tests_show_bad_echo_SOURCES = tests/show/bad_echo.c tests/show/servers.h
tests_show_bad_echo_CPPFLAGS = $(PUBLIC_CPPFLAGS)
tests_show_bad_echo_LDADD = libnexus/libnexus.la
tests_show_bad_echo_LDFLAGS = $(AM_LDFLAGS) -no-install
tests_show_balance_SOURCES = tests/show/balance.c tests/show/servers.h
tests_show_balance_CPPFLAGS = $(PUBLIC_CPPFLAGS)
tests_show_balance_LDADD = libnexus/libnexus.la
tests_show_balance_LDFLAGS = $(AM_LDFLAGS) -no-install
tests_show_parked_tasks_CPPFLAGS = $(PUBLIC_CPPFLAGS)
tests_show_parked_tasks_LDADD = libnexus/libnexus.la
tests_show_parked_tasks_LDFLAGS = $(AM_LDFLAGS) -no-install
tests_show_plain_SOURCES = tests/show/plain.c tests/show/servers.h
tests_show_plain_CPPFLAGS = $(PUBLIC_CPPFLAGS)
tests_show_plain_LDADD = libnexus/libnexus.la
tests_show_plain_LDFLAGS = $(AM_LDFLAGS) -no-install
tests_show_sleep_CPPFLAGS = $(PUBLIC_CPPFLAGS)
tests_show_sleep_LDADD = libnexus/libnexus.la
tests_show_sleep_LDFLAGS = $(AM_LDFLAGS) -no-install
EXTRA_DIST += tests/show/balance.sh tests/show/checked_bytes.sh tests/show/idle_cpu.sh tests/show/lib.sh \
	tests/show/live_tasks.sh tests/show/plain_vs_serve.sh tests/show/run.sh tests/show/sleep.sh \
	tests/show/strace_backend.sh tests/show/task_memory.sh tests/show/ten_thousand.sh
