# bench/growth/: what it costs to have many: tasks, timers, workers, connections. Built by `make bench-programs` alone.
EXTRA_PROGRAMS += bench/growth/growth bench/growth/wheel
bench_growth_growth_SOURCES = bench/growth/growth.c
bench_growth_growth_CPPFLAGS = $(PUBLIC_CPPFLAGS)
bench_growth_growth_LDADD = libnexus/libnexus.la
bench_growth_growth_LDFLAGS = $(AM_LDFLAGS) -no-install
bench_growth_wheel_SOURCES = bench/growth/wheel.c bench/micro/wheel.h bench/micro/wheel.c
bench_growth_wheel_CPPFLAGS = $(PUBLIC_CPPFLAGS) -iquote $(srcdir)/bench/micro -iquote $(top_srcdir)/libnexus
bench_growth_wheel_LDADD = libnexus/libnexus-core.la
bench_growth_wheel_LDFLAGS = $(AM_LDFLAGS) -no-install
bench_programs += bench/growth/growth bench/growth/wheel bench/growth/connections

# Beside the programs, where nexus bench looks for what it runs.
bench/growth/connections: bench/growth/connections.py
	$(AM_V_GEN)$(MKDIR_P) $(@D) && cp $(srcdir)/bench/growth/connections.py $@-t && chmod 755 $@-t && mv -f $@-t $@
EXTRA_DIST += bench/growth/connections.py
clean-local-growth:
	rm -f bench/growth/connections bench/growth/connections-t
clean-local: clean-local-growth
.PHONY: clean-local-growth
