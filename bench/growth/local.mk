# bench/growth/: what it costs to have many: tasks, timers, workers. Built by `make bench-programs` alone.
EXTRA_PROGRAMS += bench/growth/growth
bench_growth_growth_SOURCES = bench/growth/growth.c
bench_growth_growth_CPPFLAGS = $(PUBLIC_CPPFLAGS)
bench_growth_growth_LDADD = libnexus/libnexus.la
bench_growth_growth_LDFLAGS = $(AM_LDFLAGS) -no-install
bench_programs += bench/growth/growth
